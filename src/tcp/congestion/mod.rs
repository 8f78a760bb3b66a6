//! Congestion control: who decides how much may be in flight.
//!
//! A controller owns `cwnd` and `ssthresh` and hears of events; it never sees the sender. Which
//! segments are lost is `loss`'s to say.

mod reno;

use std::fmt;
use std::str::FromStr;

pub use reno::Reno;

use crate::time::Instant;

/// What a controller hears. Octets throughout.
pub trait Controller {
    /// The congestion window.
    fn cwnd(&self) -> u32;
    /// The slow start threshold.
    fn ssthresh(&self) -> u32;
    /// `acked` new octets were acknowledged outside of recovery; `flight_size` were in flight
    /// before.
    fn on_ack(&mut self, now: Instant, acked: u32, flight_size: u32);
    /// A loss was found by acknowledgments: recovery begins.
    fn on_loss(&mut self, now: Instant, flight_size: u32);
    /// A duplicate acknowledgment in recovery without SACK: a segment has left the network.
    fn on_duplicate_ack(&mut self);
    /// A partial acknowledgment in recovery without SACK (RFC 6582 section 3.2 step 3).
    fn on_partial_ack(&mut self, acked: u32);
    /// Recovery without SACK is over; `flight_size` is still in flight.
    fn on_recovered(&mut self, flight_size: u32);
    /// The retransmission timer expired. `first` unless it is the same segment's again.
    fn on_timeout(&mut self, now: Instant, flight_size: u32, first: bool);
    /// Nothing has been sent for longer than an RTO (RFC 5681 section 4.1).
    fn on_idle(&mut self);
    /// The sender's maximum segment size has changed.
    fn on_smss(&mut self, smss: u16);
}

/// The congestion control algorithms there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582.
    #[default]
    Reno,
}

impl Algorithm {
    /// Its name on the command line and in `ss`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        match name {
            "reno" => Ok(Self::Reno),
            _ => Err(UnknownAlgorithm(name.to_owned())),
        }
    }
}

/// There is no congestion control of that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no congestion control \"{0}\"; there is: reno")]
pub struct UnknownAlgorithm(String);

/// The controller of one connection, dispatched by its kind.
#[derive(Clone, Debug)]
pub(super) enum AnyController {
    Reno(Reno),
}

impl AnyController {
    pub(super) fn new(algorithm: Algorithm, smss: u16) -> Self {
        match algorithm {
            Algorithm::Reno => Self::Reno(Reno::new(smss)),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Reno(_) => Algorithm::Reno,
        }
    }
}

impl std::ops::Deref for AnyController {
    type Target = dyn Controller;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Reno(reno) => reno,
        }
    }
}

impl std::ops::DerefMut for AnyController {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Reno(reno) => reno,
        }
    }
}
