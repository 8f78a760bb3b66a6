//! Which segments are lost: by duplicate acknowledgments (RFC 5681 section 3.2), partial ones
//! (RFC 6582) and the retransmission timer (RFC 6298). How fast to send is
//! [`congestion`](super::congestion)'s to say.

mod newreno;

pub(super) use newreno::Recovery;
