//! HyStart++ (RFC 9406): slow start ends when the round trip grows, before a queue overflows; a
//! while of conservative slow start (CSS) first makes sure that it was not jitter.

use super::Ack;

/// RFC 9406 section 4.3, in microseconds.
const MIN_RTT_THRESH: u32 = 4_000;
/// The same.
const MAX_RTT_THRESH: u32 = 16_000;
/// The same.
const MIN_RTT_DIVISOR: u32 = 8;
/// The same: samples in a round before it says anything.
const N_RTT_SAMPLE: u8 = 8;
/// The same.
const CSS_GROWTH_DIVISOR: u32 = 4;
/// The same.
const CSS_ROUNDS: u8 = 5;

const INFINITY: u32 = u32::MAX;

/// RFC 9406 section 4.2. Times in microseconds.
#[derive(Clone, Debug)]
pub(super) struct HyStart {
    /// lastRoundMinRTT.
    last_round_min_rtt: u32,
    /// currentRoundMinRTT.
    current_round_min_rtt: u32,
    /// cssBaselineMinRtt; infinity outside of CSS.
    css_baseline_min_rtt: u32,
    /// rttSampleCount.
    samples: u8,
    /// Rounds of CSS that have begun.
    css_rounds: u8,
}

impl Default for HyStart {
    fn default() -> Self {
        Self {
            last_round_min_rtt: INFINITY,
            current_round_min_rtt: INFINITY,
            css_baseline_min_rtt: INFINITY,
            samples: 0,
            css_rounds: 0,
        }
    }
}

impl HyStart {
    pub(super) fn on_ack(&mut self, ack: &Ack) {
        if ack.round_start {
            self.last_round_min_rtt = self.current_round_min_rtt;
            self.current_round_min_rtt = INFINITY;
            self.samples = 0;
            if self.in_css() {
                self.css_rounds = self.css_rounds.saturating_add(1);
            }
        }
        let Some(rtt) = ack.rtt else {
            return;
        };
        let rtt = u32::try_from(rtt.as_micros()).unwrap_or(INFINITY - 1);
        self.current_round_min_rtt = self.current_round_min_rtt.min(rtt);
        self.samples = self.samples.saturating_add(1);
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        if self.in_css() {
            if self.current_round_min_rtt < self.css_baseline_min_rtt {
                // It was jitter: slow start goes on.
                self.css_baseline_min_rtt = INFINITY;
                self.css_rounds = 0;
            }
        } else if self.last_round_min_rtt != INFINITY {
            let thresh =
                (self.last_round_min_rtt / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
            if self.current_round_min_rtt >= self.last_round_min_rtt.saturating_add(thresh) {
                self.css_baseline_min_rtt = self.current_round_min_rtt;
            }
        }
    }

    fn in_css(&self) -> bool {
        self.css_baseline_min_rtt != INFINITY
    }

    /// What the window's growth is divided by.
    pub(super) fn divisor(&self) -> u32 {
        if self.in_css() { CSS_GROWTH_DIVISOR } else { 1 }
    }

    /// Whether CSS has lasted long enough: congestion avoidance begins.
    pub(super) fn is_done(&self) -> bool {
        self.css_rounds >= CSS_ROUNDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    /// A round of `samples` acknowledgments, each with this round trip.
    fn round(hystart: &mut HyStart, samples: usize, rtt_us: u64) {
        for i in 0..samples {
            hystart.on_ack(&Ack {
                round_start: i == 0,
                rtt: Some(Duration::from_micros(rtt_us)),
                ..Ack::default()
            });
        }
    }

    #[test]
    fn a_steady_round_trip_never_ends_slow_start() {
        let mut hystart = HyStart::default();
        for _ in 0..50 {
            round(&mut hystart, 20, 40_000);
        }
        assert_eq!((hystart.divisor(), hystart.is_done()), (1, false));
    }

    #[test]
    fn the_threshold_is_an_eighth_between_4_and_16_ms() {
        for (before, thresh) in [(8_000, 4_000), (80_000, 10_000), (400_000, 16_000)] {
            for (more, divisor) in [(thresh - 1, 1), (thresh, 4)] {
                let mut hystart = HyStart::default();
                round(&mut hystart, 3, before);
                round(&mut hystart, 8, before + more);
                assert_eq!(hystart.divisor(), divisor, "{before} + {more}");
            }
        }
    }

    #[test]
    fn seven_samples_say_nothing() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 10, 40_000);
        round(&mut hystart, 7, 80_000);
        assert_eq!(hystart.divisor(), 1);
    }

    #[test]
    fn five_rounds_of_css_end_slow_start() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 10, 40_000);
        round(&mut hystart, 10, 50_000);
        for _ in 0..4 {
            round(&mut hystart, 10, 50_000);
            assert!(!hystart.is_done());
        }
        round(&mut hystart, 10, 50_000);
        assert!(hystart.is_done());
    }

    #[test]
    fn a_round_trip_below_the_baseline_resumes_slow_start() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 10, 40_000);
        round(&mut hystart, 10, 50_000);
        round(&mut hystart, 10, 50_000);
        assert_eq!(hystart.divisor(), 4);
        round(&mut hystart, 10, 49_999);
        assert_eq!((hystart.divisor(), hystart.is_done()), (1, false));
        for _ in 0..20 {
            round(&mut hystart, 10, 49_999);
        }
        assert!(!hystart.is_done());
    }

    #[test]
    fn rounds_without_samples_do_no_harm() {
        let mut hystart = HyStart::default();
        for _ in 0..300 {
            hystart.on_ack(&Ack {
                round_start: true,
                ..Ack::default()
            });
        }
        assert_eq!((hystart.divisor(), hystart.is_done()), (1, false));
    }
}
