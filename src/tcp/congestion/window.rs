//! What every window-based controller has: the window, how much of it is in use, and the rules
//! that do not depend on the algorithm (RFC 6928, RFC 3465, RFC 7661's concern, RFC 2861's restart).

use super::Ack;
use super::hystart::HyStart;
use crate::time::Duration;

/// RFC 9406 section 4.3: L of RFC 3465 when nothing but the window holds segments back.
const LIMIT_UNPACED: u32 = 8;

/// RFC 6928 section 2: ten segments, at most 14600 octets, at least two segments.
pub(in crate::tcp) fn initial_window(smss: u16) -> u32 {
    let smss = u32::from(smss);
    (10 * smss).min((2 * smss).max(14_600))
}

/// How much of the window was in use, at most, during a round trip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Usage {
    #[default]
    Little,
    /// More than half.
    Half,
    /// No room for another segment.
    Full,
}

/// A congestion window. Twelve octets, since every connection has one.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) cwnd: u32,
    pub(super) ssthresh: u32,
    smss: u16,
    /// In this round trip, and in the one before.
    usage: Usage,
    used: Usage,
}

impl Window {
    /// The initial window.
    pub(super) fn new(smss: u16) -> Self {
        Self {
            cwnd: initial_window(smss),
            // RFC 5681 section 3.1: arbitrarily high.
            ssthresh: u32::MAX,
            smss,
            usage: Usage::Little,
            used: Usage::Little,
        }
    }

    pub(super) fn smss(&self) -> u32 {
        u32::from(self.smss)
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Text leaves, after which `in_flight` octets are in the network.
    pub(super) fn on_sent(&mut self, in_flight: u32) {
        let usage = if in_flight.saturating_add(self.smss()) > self.cwnd {
            Usage::Full
        } else if in_flight > self.cwnd / 2 {
            Usage::Half
        } else {
            Usage::Little
        };
        self.usage = self.usage.max(usage);
    }

    /// Whether acknowledgments prove anything of the window (RFC 7661's concern). In slow start it
    /// is enough that more than half of it is in use, as Linux has it: what acknowledgments make
    /// room for has then not left yet.
    ///
    /// Not what is in flight when an acknowledgment arrives, because several arrive in one batch,
    /// with nothing sent between them.
    pub(super) fn is_limited(&mut self, ack: &Ack) -> bool {
        let is_full = self.is_full(ack);
        is_full || (self.in_slow_start() && self.usage.max(self.used) >= Usage::Half)
    }

    /// Whether the window, and nothing else, has limited what is in flight.
    pub(super) fn is_full(&mut self, ack: &Ack) -> bool {
        if ack.round_start {
            self.used = std::mem::take(&mut self.usage);
        }
        self.usage.max(self.used) == Usage::Full
    }

    pub(super) fn grow(&mut self, octets: u32) {
        self.cwnd = self.cwnd.saturating_add(octets);
    }

    /// RFC 5681 section 4.1, in the way of Linux: the window is halved for each RTO of silence,
    /// down to the restart window, and the slow start threshold remembers three quarters of it.
    pub(super) fn restart(&mut self, idle: Duration, rto: Duration) {
        let least = initial_window(self.smss).min(self.cwnd);
        self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
        let mut left = idle.saturating_sub(rto);
        while left > Duration::ZERO && self.cwnd > least {
            self.cwnd /= 2;
            left = left.saturating_sub(rto.max(Duration::from_millis(1)));
        }
        self.cwnd = self.cwnd.max(least);
    }

    /// Still the initial window if nothing has happened yet.
    pub(super) fn set_smss(&mut self, smss: u16) {
        if self.cwnd == initial_window(self.smss) && self.ssthresh == u32::MAX {
            self.cwnd = initial_window(smss);
        }
        self.smss = smss;
    }
}

/// Slow start: appropriate byte counting (RFC 3465), and for the first one HyStart++ (RFC 9406).
#[derive(Clone, Debug, Default)]
pub(super) struct SlowStart {
    pub(super) hystart: HyStart,
    /// The slow start that follows a timeout.
    pub(super) after_timeout: bool,
}

impl SlowStart {
    /// Grows the window for one acknowledgment. Returns the acknowledged octets that are left for
    /// congestion avoidance because the window has reached the threshold.
    pub(super) fn on_ack(&mut self, window: &mut Window, ack: &Ack) -> u32 {
        // RFC 3465 section 2.3: after a timeout, when an acknowledgment covers much that left the
        // network long ago, L = 1. Otherwise RFC 9406 section 4.3.
        let limit = if self.after_timeout {
            window.smss()
        } else if ack.paced {
            u32::MAX
        } else {
            LIMIT_UNPACED * window.smss()
        };
        // RFC 9406 section 4.3: for the initial slow start only.
        if window.ssthresh != u32::MAX {
            let growth = ack.acked.min(limit).min(window.ssthresh - window.cwnd);
            window.grow(growth);
            return if window.in_slow_start() {
                0
            } else {
                ack.acked - growth
            };
        }
        self.hystart.on_ack(ack);
        window.grow(ack.acked.min(limit) / self.hystart.divisor());
        if self.hystart.is_done() {
            window.ssthresh = window.cwnd;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(cwnd: u32, ssthresh: u32) -> Window {
        Window {
            cwnd,
            ssthresh,
            ..Window::new(1_000)
        }
    }

    fn ack(acked: u32) -> Ack {
        Ack {
            acked,
            ..Ack::default()
        }
    }

    #[test]
    fn a_window_takes_twelve_octets() {
        assert_eq!(size_of::<Window>(), 12);
    }

    #[test]
    fn initial_window_is_rfc_6928s() {
        assert_eq!(initial_window(1460), 14_600);
        assert_eq!(initial_window(536), 5_360);
        assert_eq!(initial_window(9000), 18_000);
    }

    #[test]
    fn a_window_that_was_full_in_this_round_or_the_last_is_limited() {
        let mut window = window(10_000, 10_000);
        let round = Ack {
            round_start: true,
            ..ack(1_000)
        };
        window.on_sent(9_000);
        assert!(!window.is_limited(&ack(1_000)));
        window.on_sent(9_001);
        assert!(window.is_limited(&ack(1_000)));
        assert!(window.is_limited(&round));
        assert!(!window.is_limited(&round));
    }

    #[test]
    fn in_slow_start_half_a_window_is_enough() {
        let mut window = window(10_000, 64_000);
        window.on_sent(5_000);
        assert!(!window.is_limited(&ack(1_000)));
        window.on_sent(5_001);
        assert!(window.is_limited(&ack(1_000)));
    }

    #[test]
    fn an_ack_counts_for_eight_segments_at_most_unless_paced() {
        let mut start = SlowStart::default();
        let mut unpaced = window(10_000, 64_000);
        start.on_ack(&mut unpaced, &ack(20_000));
        assert_eq!(unpaced.cwnd, 18_000);
        let mut paced = window(10_000, 64_000);
        let all = Ack {
            paced: true,
            ..ack(20_000)
        };
        start.on_ack(&mut paced, &all);
        assert_eq!(paced.cwnd, 30_000);
    }

    #[test]
    fn after_a_timeout_an_ack_counts_for_one_segment() {
        let mut start = SlowStart {
            after_timeout: true,
            ..SlowStart::default()
        };
        let mut window = window(1_000, 10_000);
        start.on_ack(&mut window, &ack(9_000));
        assert_eq!(window.cwnd, 2_000);
    }

    #[test]
    fn slow_start_ends_at_the_threshold_and_leaves_the_rest() {
        let mut start = SlowStart::default();
        let mut window = window(9_500, 10_000);
        assert_eq!(start.on_ack(&mut window, &ack(2_000)), 1_500);
        assert_eq!(window.cwnd, 10_000);
    }

    #[test]
    fn the_window_is_halved_for_each_rto_of_silence() {
        let rto = Duration::from_millis(200);
        for (idle, cwnd) in [
            (200, 200_000),
            (201, 100_000),
            (401, 50_000),
            (9_000, 10_000),
        ] {
            let mut window = window(200_000, 120_000);
            window.restart(Duration::from_millis(idle), rto);
            assert_eq!(window.cwnd, cwnd, "{idle} ms");
            assert_eq!(window.ssthresh, 150_000);
        }
        let mut small = window(2_000, 3_000);
        small.restart(Duration::from_secs(60), rto);
        assert_eq!((small.cwnd, small.ssthresh), (2_000, 3_000));
    }
}
