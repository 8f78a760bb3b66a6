//! Congestion control: who decides how much may be in flight.
//!
//! A controller owns `cwnd` and `ssthresh` and hears of events; it never sees the sender. Which
//! segments are lost is `loss`'s to say.
//!
//! Recovery is [`on_congestion`](Controller::on_congestion), then [`on_ack`](Controller::on_ack) with
//! `in_recovery`, which [`Prr`] turns into a window, then [`on_recovered`](Controller::on_recovered).

mod prr;
mod reno;

use std::fmt;
use std::str::FromStr;

pub use prr::Prr;
pub use reno::Reno;

use super::rate::RateSample;
use crate::time::{Duration, Instant};

/// What one acknowledgment says of the path. Octets throughout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ack {
    /// When it arrived.
    pub now: Instant,
    /// How far it has moved SND.UNA.
    pub acked: u32,
    /// DeliveredData (RFC 6937 section 3): what it has newly acknowledged, selectively or not.
    pub delivered: u32,
    /// What it has shown to be lost.
    pub lost: u32,
    /// FlightSize before it.
    pub flight_size: u32,
    /// What is believed to be in the network after it (RFC 6675 section 4).
    pub pipe: u32,
    /// Whether the connection is in recovery, before and after it.
    pub in_recovery: bool,
    /// Whether something was acknowledged that was sent after the round trip before had ended.
    pub round_start: bool,
    /// The round trip that it measures (Karn's algorithm applied).
    pub rtt: Option<Duration>,
    /// The least round trip of the last ten seconds.
    pub min_rtt: Option<Duration>,
    /// The delivery rate that it measures.
    pub rate: Option<RateSample>,
}

/// Why a window must shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// Acknowledgments show a loss: recovery begins.
    Loss,
    /// A router has marked a packet instead of dropping it (RFC 3168 section 6.1.2).
    Ecn,
}

/// What a controller hears. Octets throughout.
pub trait Controller {
    /// The congestion window.
    fn cwnd(&self) -> u32;
    /// The slow start threshold.
    fn ssthresh(&self) -> u32;
    /// Octets per second at which segments should leave; `None`: the sender spreads `cwnd` over a
    /// round trip by itself.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
    /// `octets` of text leave, first or again, while `pipe` are in the network.
    fn on_sent(&mut self, now: Instant, octets: u32, pipe: u32) {
        let _ = (now, octets, pipe);
    }
    /// Something was acknowledged, or another acknowledgment of what was arrived. Once more with
    /// nothing acknowledged when a timer begins recovery, right after `on_congestion`.
    fn on_ack(&mut self, ack: &Ack);
    /// The network is congested; at most once per round trip. `flight_size` octets are in flight,
    /// without what limited transmit has added (RFC 5681 section 3.2 step 2).
    fn on_congestion(&mut self, now: Instant, congestion: Congestion, flight_size: u32);
    /// Recovery is over; `pipe` is still in the network.
    fn on_recovered(&mut self, now: Instant, pipe: u32);
    /// The retransmission timer expired. `first` unless it is the same segment's again.
    fn on_timeout(&mut self, now: Instant, flight_size: u32, first: bool);
    /// The last [`on_congestion`](Self::on_congestion) or [`on_timeout`](Self::on_timeout) was
    /// without cause: nothing was lost (RFC 4015, RFC 5682).
    fn on_spurious(&mut self, now: Instant) {
        let _ = now;
    }
    /// Nothing has been sent for `idle`, which is longer than an RTO (RFC 5681 section 4.1).
    fn on_idle(&mut self, now: Instant, idle: Duration);
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
