//! Pacing: what may leave is spread over the round trip instead of leaving in bursts.
//!
//! The rate is the controller's, or as in Linux a little more than a window per round trip. It is
//! held by a schedule in which each segment takes the time that its octets take at that rate; the
//! schedule may run ahead by one quantum, and a sender that has had to wait waits for a whole
//! quantum, so that a timer brings several segments.
//!
//! Nothing waits that need not: a window that is no larger than the initial one leaves at once
//! (RFC 6928 lets it), a request or an answer below a quantum too, and a path of less than a
//! millisecond is not paced at all, since a window is then no more than what a quantum would be.

use super::congestion::{Ack, initial_window};
use super::rate::{Delivery, Departure, Newest, RateSample};
use super::tcb::Tcb;
use crate::time::{Duration, Instant};

/// What a quantum lasts (draft-ietf-ccwg-bbr section 5.6.3; Linux's tcp_tso_autosize()).
const QUANTUM_TIME_PER_SECOND: u64 = 1_000;
/// The most that leaves at once.
const MOST_QUANTUM: u64 = 64 * 1024;
/// Segments of the least quantum.
const LEAST_QUANTUM_SEGMENTS: u32 = 2;
/// Below this round trip pacing is left to the ACK clock.
const LEAST_RTT: Duration = Duration::from_millis(1);
/// Linux's tcp_pacing_ss_ratio: percent of a window per round trip while slow start doubles it.
const SLOW_START_PERCENT: u64 = 200;
/// Linux's tcp_pacing_ca_ratio.
const AVOIDANCE_PERCENT: u64 = 120;
/// No rate at all.
const UNPACED: u64 = u64::MAX;
const NOT_WAITING: Instant = Instant::FAR_FUTURE;

/// What may leave at once at `rate` octets per second.
pub(super) fn quantum(rate: u64, smss: u32) -> u32 {
    let quantum = (rate / QUANTUM_TIME_PER_SECOND).min(MOST_QUANTUM) as u32;
    quantum.max(LEAST_QUANTUM_SEGMENTS * smss)
}

/// What a connection needs once it sends more than a window, and few do.
#[derive(Clone, Debug)]
pub(super) struct Bulk {
    pub(super) delivery: Delivery,
    pacing: Pacing,
}

/// The schedule.
#[derive(Clone, Debug)]
struct Pacing {
    /// Octets per second.
    rate: u64,
    /// SO_MAX_PACING_RATE.
    max_rate: u64,
    /// When the next segment would leave if all left evenly.
    next: Instant,
    /// When the sender may go on, if it waits.
    release: Instant,
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            delivery: Delivery::default(),
            pacing: Pacing {
                rate: UNPACED,
                max_rate: UNPACED,
                next: Instant::ZERO,
                release: NOT_WAITING,
            },
        }
    }
}

impl Pacing {
    fn rate(&self) -> u64 {
        self.rate.min(self.max_rate)
    }

    fn is_paced(&self) -> bool {
        self.rate() != UNPACED
    }

    /// Whether a segment may leave at `now`. If not, [`release`](Self::release) says when.
    fn may_leave(&mut self, now: Instant, smss: u32) -> bool {
        if !self.is_paced() {
            return true;
        }
        if self.next <= now {
            self.release = NOT_WAITING;
            return true;
        }
        if self.release == NOT_WAITING {
            // By then a quantum has come together, of which the segment that waits is the first.
            let rest = quantum(self.rate(), smss) - smss;
            self.release = self.next + self.time(rest);
        }
        false
    }

    fn on_sent(&mut self, now: Instant, octets: u32, smss: u32) {
        if !self.is_paced() {
            return;
        }
        // What was not used is lost but for a quantum.
        let credit = self.time(quantum(self.rate(), smss) - smss);
        let earliest = Instant::ZERO + (now.saturating_since(Instant::ZERO)).saturating_sub(credit);
        self.next = self.next.max(earliest) + self.time(octets);
    }

    /// What `octets` take.
    fn time(&self, octets: u32) -> Duration {
        let nanos = u128::from(octets) * 1_000_000_000 / u128::from(self.rate().max(1));
        // A second per segment and no less, whatever is asked for.
        Duration::from_nanos((nanos as u64).min(1_000_000_000))
    }
}

impl Tcb {
    /// The last measured delivery rate in octets per second, and whether the application has
    /// limited it.
    pub fn delivery_rate(&self) -> Option<(u64, bool)> {
        self.bulk.as_ref()?.delivery.rate()
    }

    /// Octets that have arrived, since a window was first filled.
    pub(super) fn delivered(&self) -> Option<u64> {
        Some(self.bulk.as_ref()?.delivery.delivered())
    }

    /// Octets per second at which segments leave, if they are paced.
    pub fn pacing_rate(&self) -> Option<u64> {
        let pacing = &self.bulk.as_ref()?.pacing;
        pacing.is_paced().then(|| pacing.rate())
    }

    /// Nothing leaves faster than `rate` octets per second; `None`: no such limit.
    pub(super) fn limit_pacing(&mut self, rate: Option<u64>) {
        if rate.is_some() || self.bulk.is_some() {
            self.bulk.get_or_insert_default().pacing.max_rate = rate.unwrap_or(UNPACED).max(1);
        }
    }

    /// Whether what leaves is spread over the round trip: also from now on, if nothing was yet.
    pub(super) fn is_paced(&self, paces: bool) -> bool {
        self.bulk.as_ref().is_some_and(|bulk| {
            bulk.pacing.is_paced() || paces && self.rtt.srtt() >= Some(LEAST_RTT)
        })
    }

    /// When pacing lets go of what it holds back.
    pub(super) fn pacing_release(&self) -> Option<Instant> {
        let release = self.bulk.as_ref()?.pacing.release;
        (release != NOT_WAITING).then_some(release)
    }

    /// Whether pacing lets a segment leave now.
    pub(super) fn pacing_allows(&mut self, now: Instant) -> bool {
        let smss = u32::from(self.smss);
        self.bulk
            .as_mut()
            .is_none_or(|bulk| bulk.pacing.may_leave(now, smss))
    }

    /// The time to release what was held back, if it has come.
    pub(super) fn release_paced(&mut self, now: Instant) {
        if let Some(bulk) = &mut self.bulk
            && bulk.pacing.release <= now
        {
            bulk.pacing.release = NOT_WAITING;
        }
    }

    /// `octets` of text leave. Returns what the segment is to remember.
    pub(super) fn on_departure(&mut self, now: Instant, octets: u32) -> Departure {
        let pipe = self.pipe();
        let smss = u32::from(self.smss);
        self.controller.on_sent(now, octets, pipe);
        let fills = pipe.saturating_add(octets).saturating_add(smss) > self.controller.cwnd();
        if self.bulk.is_none() && (fills || self.controller.needs_rate()) {
            self.bulk = Some(Box::default());
        }
        let Some(bulk) = &mut self.bulk else {
            return Departure::default();
        };
        bulk.pacing.on_sent(now, octets, smss);
        bulk.delivery.on_sent(now, octets, pipe)
    }

    /// There is nothing to send; if there is room for it, the application sets the pace.
    pub(super) fn note_app_limited(&mut self) {
        if self.bulk.is_none() || self.send.lost() > 0 {
            return;
        }
        let pipe = self.pipe();
        if pipe < self.controller.cwnd()
            && let Some(bulk) = &mut self.bulk
        {
            bulk.delivery.mark_app_limited(pipe);
        }
    }

    /// The delivery rate that an acknowledgment measures.
    pub(super) fn sample_rate(&mut self, ack: &Ack, newest: &Newest) -> Option<RateSample> {
        let delivery = &mut self.bulk.as_mut()?.delivery;
        delivery.on_ack(ack.now, ack.delivered, ack.lost, newest, ack.min_rtt)
    }

    /// The window or the round trip may have changed.
    pub(super) fn update_pacing(&mut self, paces: bool) {
        let Some(bulk) = &mut self.bulk else {
            return;
        };
        // Segments that a small window holds back would be missed: a duplicate too few, and the loss
        // is found late or by the timer.
        let (cwnd, initial) = (self.controller.cwnd(), initial_window(self.smss));
        bulk.pacing.rate = match (self.controller.pacing_rate(), self.rtt.srtt()) {
            (Some(rate), _) => rate.max(1),
            (None, Some(srtt)) if paces && srtt >= LEAST_RTT && cwnd > initial => {
                let ssthresh = self.controller.ssthresh();
                let percent = if cwnd < ssthresh / 2 {
                    SLOW_START_PERCENT
                } else {
                    AVOIDANCE_PERCENT
                };
                (u64::from(cwnd) * percent * 10_000_000 / srtt.as_nanos()).max(1)
            }
            _ => UNPACED,
        };
    }
}
