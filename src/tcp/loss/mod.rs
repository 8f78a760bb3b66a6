//! Which segments are lost: by the peer's SACK blocks (RFC 6675), or without them by duplicate
//! acknowledgments (RFC 5681 section 3.2) and partial ones (RFC 6582); and by the retransmission
//! timer (RFC 6298). How fast to send is
//! [`congestion`](super::congestion)'s to say.

mod newreno;
mod sack;

pub(super) use newreno::Recovery;
