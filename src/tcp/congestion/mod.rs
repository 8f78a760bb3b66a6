//! Congestion control: who decides how much may be in flight.
//!
//! A controller owns `cwnd` and `ssthresh` and hears of events; it never sees the sender. Which
//! segments are lost is `loss`'s to say.
//!
//! Recovery is [`on_congestion`](Controller::on_congestion), then [`on_ack`](Controller::on_ack) with
//! `in_recovery`, which [`Prr`] turns into a window, then one with `ends_recovery` as well; or, if
//! another one begins at once, [`on_recovered`](Controller::on_recovered).
//!
//! Another one takes a file here that implements [`Controller`], a variant of [`Algorithm`] with its
//! name, and an arm in each `match` of `AnyController`; nothing else knows how many there are. What
//! most of them need is in `window`: the window itself with its initial size, slow start with
//! appropriate byte counting and HyStart++, the restart after idle, and whether the window is in use
//! at all. State that only a busy connection needs belongs in a box: every connection has a
//! controller, and most are idle.

mod bbr;
mod cubic;
mod hystart;
mod prr;
mod reno;
mod window;

use std::fmt;
use std::str::FromStr;

pub use bbr::Bbr;
pub use cubic::Cubic;
pub use prr::Prr;
pub use reno::Reno;
use window::Window;
pub(super) use window::initial_window;

use super::rate::RateSample;
use crate::time::{Duration, Instant};

/// What one acknowledgment says of the path. Octets throughout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ack {
    /// When it arrived.
    pub now: Instant,
    /// How far it has moved SND.UNA.
    pub acked: u32,
    /// DeliveredData (RFC 9937): what it has newly acknowledged, selectively or not.
    pub delivered: u32,
    /// What it has shown to be lost.
    pub lost: u32,
    /// What it may have found in the network and lost: FlightSize before it, without what had been
    /// SACKed already. RecoverFS (RFC 9937 section 6.1), if recovery begins with it.
    pub outstanding: u32,
    /// What is believed to be in the network after it (RFC 6675 section 4).
    pub pipe: u32,
    /// Whether the connection is in recovery, before or after it.
    pub in_recovery: bool,
    /// Whether recovery is over with it.
    pub ends_recovery: bool,
    /// Whether something was acknowledged that was sent after the round trip before had ended.
    pub round_start: bool,
    /// The round trip that it measures (Karn's algorithm applied).
    pub rtt: Option<Duration>,
    /// The smoothed round trip.
    pub srtt: Option<Duration>,
    /// The least round trip of the last ten seconds.
    pub min_rtt: Option<Duration>,
    /// Whether what leaves is spread over the round trip, so that nothing need be said about bursts.
    pub paced: bool,
    /// The delivery rate that it measures.
    pub rate: Option<RateSample>,
}

impl Ack {
    /// What it says of the window: octets that prove it. Of what ends recovery, not what had been
    /// delivered during it and has been replaced already.
    fn proves(&self) -> u32 {
        if self.ends_recovery {
            self.acked.min(self.delivered)
        } else {
            self.acked
        }
    }
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
    /// Whether it needs the delivery rate of the very first segments already.
    fn needs_rate(&self) -> bool {
        false
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
    /// Recovery is over, and the next one begins; `pipe` is still in the network.
    fn on_recovered(&mut self, now: Instant, pipe: u32);
    /// The retransmission timer expired. `first` unless it is the same segment's again.
    fn on_timeout(&mut self, now: Instant, flight_size: u32, first: bool);
    /// The last [`on_congestion`](Self::on_congestion) or [`on_timeout`](Self::on_timeout) was
    /// without cause: nothing was lost (RFC 4015, RFC 5682).
    fn on_spurious(&mut self, now: Instant) {
        let _ = now;
    }
    /// Nothing has been sent for `idle`, which is longer than the RTO (RFC 5681 section 4.1).
    fn on_idle(&mut self, now: Instant, idle: Duration, rto: Duration);
    /// The sender's maximum segment size has changed.
    fn on_smss(&mut self, smss: u16);
}

/// The congestion control algorithms there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582.
    Reno,
    /// RFC 9438.
    #[default]
    Cubic,
    /// BBR version 3 (draft-ietf-ccwg-bbr).
    Bbr,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reno, Self::Cubic, Self::Bbr];

    /// Its name on the command line and in `ss`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
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
        let named = Self::ALL.into_iter().find(|it| it.name() == name);
        named.ok_or_else(|| UnknownAlgorithm(name.to_owned()))
    }
}

/// There is no congestion control of that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no congestion control \"{0}\"; there are: reno, cubic, bbr")]
pub struct UnknownAlgorithm(String);

/// The controller of one connection, dispatched by its kind.
#[derive(Clone, Debug)]
pub(super) enum AnyController {
    Reno(Reno),
    Cubic(Cubic),
    /// Ten times as large as the others, and chosen by few.
    Bbr(Box<Bbr>),
}

macro_rules! of_each {
    ($controller:expr, $it:ident => $call:expr) => {
        match $controller {
            Self::Reno($it) => $call,
            Self::Cubic($it) => $call,
            Self::Bbr($it) => $call,
        }
    };
}

/// What is called for every segment, without a look at a table; the rest goes through [`Deref`].
///
/// [`Deref`]: std::ops::Deref
impl AnyController {
    pub(super) fn cwnd(&self) -> u32 {
        of_each!(self, it => it.cwnd())
    }

    pub(super) fn needs_rate(&self) -> bool {
        of_each!(self, it => it.needs_rate())
    }

    pub(super) fn on_sent(&mut self, now: Instant, octets: u32, pipe: u32) {
        of_each!(self, it => it.on_sent(now, octets, pipe));
    }

    pub(super) fn on_ack(&mut self, ack: &Ack) {
        of_each!(self, it => it.on_ack(ack));
    }
}

impl AnyController {
    /// A controller at its initial window; `seed` is for what must differ between flows.
    pub(super) fn new(algorithm: Algorithm, smss: u16, seed: u32) -> Self {
        Self::with(algorithm, Window::new(smss), seed)
    }

    fn with(algorithm: Algorithm, window: Window, seed: u32) -> Self {
        match algorithm {
            Algorithm::Reno => Self::Reno(Reno::with(window)),
            Algorithm::Cubic => Self::Cubic(Cubic::with(window)),
            Algorithm::Bbr => Self::Bbr(Box::new(Bbr::with(window, seed))),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Reno(_) => Algorithm::Reno,
            Self::Cubic(_) => Algorithm::Cubic,
            Self::Bbr(_) => Algorithm::Bbr,
        }
    }

    /// Another algorithm goes on with this one's window.
    pub(super) fn change(&mut self, algorithm: Algorithm, seed: u32) {
        if algorithm != self.algorithm() {
            *self = Self::with(algorithm, self.window(), seed);
        }
    }

    fn window(&self) -> Window {
        match self {
            Self::Reno(reno) => reno.window().clone(),
            Self::Cubic(cubic) => cubic.window().clone(),
            Self::Bbr(bbr) => bbr.window(),
        }
    }
}

impl std::ops::Deref for AnyController {
    type Target = dyn Controller;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Reno(reno) => reno,
            Self::Cubic(cubic) => cubic,
            Self::Bbr(bbr) => &**bbr,
        }
    }
}

impl std::ops::DerefMut for AnyController {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Reno(reno) => reno,
            Self::Cubic(cubic) => cubic,
            Self::Bbr(bbr) => &mut **bbr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_others_are_answered_with_all_of_them() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse::<Algorithm>().unwrap(), algorithm);
            let controller = AnyController::new(algorithm, 1_000, 7);
            assert_eq!(controller.algorithm(), algorithm);
            let message = "vegas".parse::<Algorithm>().unwrap_err().to_string();
            assert!(message.contains(algorithm.name()), "{message}");
        }
    }

    #[test]
    fn a_change_of_algorithm_keeps_the_window() {
        for from in Algorithm::ALL {
            for to in Algorithm::ALL {
                let mut controller = AnyController::new(from, 1_000, 7);
                controller.on_congestion(Instant::ZERO, Congestion::Loss, 8_000);
                let cwnd = controller.cwnd();
                controller.change(to, 8);
                assert_eq!((controller.algorithm(), controller.cwnd()), (to, cwnd));
            }
        }
    }

    #[test]
    fn a_controller_takes_32_octets() {
        assert_eq!(size_of::<AnyController>(), 32);
    }
}
