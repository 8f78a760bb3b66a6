//! Reno (RFC 5681) with proportional rate reduction in recovery (RFC 9937), and what
//! [`window`](super::window) has for all.

use super::window::{SlowStart, Window};
use super::{Ack, Congestion, Controller, Prr};
use crate::time::{Duration, Instant};

/// RFC 5681's congestion control.
#[derive(Clone, Debug)]
pub struct Reno {
    window: Window,
    /// Octets acknowledged since `cwnd` last grew in congestion avoidance (RFC 3465 section 2.1).
    bytes_acked: u32,
    /// Made when the window is first in use.
    model: Option<Box<Model>>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    slow_start: SlowStart,
    prr: Prr,
    /// `cwnd` and `ssthresh` before the last event.
    undo: Option<(u32, u32)>,
}

impl Reno {
    /// A controller at its initial window.
    pub fn new(smss: u16) -> Self {
        Self::with(Window::new(smss))
    }

    pub(super) fn with(window: Window) -> Self {
        Self {
            window,
            bytes_acked: 0,
            model: None,
        }
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    fn model(&mut self) -> &mut Model {
        self.model.get_or_insert_default()
    }

    /// RFC 5681 equation 4: half of the flight, at least two segments. In whole segments: a part of
    /// one would not be sent, but have to be acknowledged before the window grows.
    fn halve(&mut self, flight_size: u32) {
        let before = (self.window.cwnd, self.window.ssthresh);
        self.model().undo = Some(before);
        let smss = self.window.smss();
        let half = flight_size / 2;
        self.window.ssthresh = (half - half % smss).max(2 * smss);
    }

    fn avoid_congestion(&mut self, acked: u32) {
        self.model().slow_start.after_timeout = false;
        self.bytes_acked = self.bytes_acked.saturating_add(acked);
        if self.bytes_acked >= self.window.cwnd {
            self.bytes_acked -= self.window.cwnd;
            self.window.grow(self.window.smss());
        }
    }
}

impl Controller for Reno {
    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    fn on_sent(&mut self, _now: Instant, octets: u32, pipe: u32) {
        self.window.on_sent(pipe.saturating_add(octets));
        if let Some(model) = &mut self.model {
            model.prr.on_sent(octets);
        }
    }

    fn on_ack(&mut self, ack: &Ack) {
        let is_limited = self.window.is_limited(ack);
        if ack.in_recovery && !ack.ends_recovery {
            let (ssthresh, smss) = (self.window.ssthresh, self.window.smss());
            if let Some(cwnd) = self.model().prr.on_ack(ack, ssthresh, smss) {
                self.window.cwnd = cwnd;
            }
            return;
        }
        if ack.ends_recovery {
            self.on_recovered(ack.now, ack.pipe);
            // It grows by the next one: this one only deflates it (RFC 5681 section 3.2 step 6).
            if is_limited {
                self.bytes_acked = ack.proves().min(self.window.cwnd);
            }
            return;
        }
        if ack.acked == 0 || !is_limited {
            return;
        }
        let mut acked = ack.acked;
        if self.window.in_slow_start() {
            let model = self.model.get_or_insert_default();
            acked = model.slow_start.on_ack(&mut self.window, ack);
        }
        if acked > 0 && !self.window.in_slow_start() {
            self.avoid_congestion(acked);
        }
    }

    fn on_congestion(&mut self, _now: Instant, congestion: Congestion, flight_size: u32) {
        self.halve(flight_size);
        self.bytes_acked = 0;
        let model = self.model();
        model.slow_start.after_timeout = false;
        match congestion {
            Congestion::Loss => model.prr.begin(),
            // No recovery follows.
            Congestion::Ecn => self.window.cwnd = self.window.ssthresh,
        }
    }

    fn on_recovered(&mut self, _now: Instant, _pipe: u32) {
        // RFC 6582 section 3.2 step 3, option 2; PRR has brought the flight there already.
        self.window.cwnd = self.window.ssthresh;
        self.bytes_acked = 0;
    }

    fn on_timeout(&mut self, _now: Instant, flight_size: u32, first: bool) {
        if first {
            self.halve(flight_size);
        }
        // RFC 5681 section 3.1: the loss window.
        self.window.cwnd = self.window.smss();
        self.bytes_acked = 0;
        self.model().slow_start.after_timeout = true;
    }

    fn on_spurious(&mut self, _now: Instant) {
        let Some((cwnd, ssthresh)) = self.model.as_mut().and_then(|model| model.undo.take()) else {
            return;
        };
        self.window.cwnd = self.window.cwnd.max(cwnd);
        self.window.ssthresh = ssthresh;
        self.model().slow_start.after_timeout = false;
    }

    fn on_idle(&mut self, _now: Instant, idle: Duration, rto: Duration) {
        self.window.restart(idle, rto);
    }

    fn on_smss(&mut self, smss: u16) {
        self.window.set_smss(smss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1);

    fn reno(cwnd: u32, ssthresh: u32) -> Reno {
        let mut window = Window::new(1_000);
        (window.cwnd, window.ssthresh) = (cwnd, ssthresh);
        Reno::with(window)
    }

    fn ack(acked: u32) -> Ack {
        Ack {
            acked,
            ..Ack::default()
        }
    }

    fn fill(reno: &mut Reno) {
        reno.on_sent(NOW, reno.cwnd(), 0);
    }

    #[test]
    fn the_model_is_boxed_and_the_controller_small() {
        assert_eq!(size_of::<Reno>(), 24);
    }

    #[test]
    fn slow_start_doubles_per_round_trip_and_avoidance_adds_one_segment() {
        let mut slow = reno(10_000, 64_000);
        fill(&mut slow);
        for _ in 0..10 {
            slow.on_ack(&ack(1000));
        }
        assert_eq!(slow.cwnd(), 20_000);

        let mut avoid = reno(10_000, 10_000);
        fill(&mut avoid);
        for _ in 0..10 {
            avoid.on_ack(&ack(1000));
        }
        assert_eq!(avoid.cwnd(), 11_000);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        for ssthresh in [64_000, 200_000] {
            let mut reno = reno(100_000, ssthresh);
            reno.on_sent(NOW, 1_000, 0);
            reno.on_ack(&ack(1000));
            assert_eq!(reno.cwnd(), 100_000);
        }
    }

    #[test]
    fn recovery_brings_the_window_to_half() {
        let mut reno = reno(20_000, u32::MAX);
        reno.on_congestion(NOW, Congestion::Loss, 20_000);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20_000, 10_000));
        let sack = |pipe| Ack {
            delivered: 1_000,
            outstanding: 20_000,
            pipe,
            in_recovery: true,
            ..Ack::default()
        };
        reno.on_ack(&sack(16_000));
        assert_eq!(reno.cwnd(), 17_000, "the fast retransmit");
        reno.on_sent(NOW, 1_000, 16_000);
        reno.on_ack(&sack(16_000));
        assert_eq!(reno.cwnd(), 16_000, "two delivered, one for them is out");
        reno.on_ack(&sack(15_000));
        assert_eq!(reno.cwnd(), 16_000, "three delivered, one more");
        reno.on_sent(NOW, 1_000, 15_000);
        reno.on_ack(&sack(15_000));
        assert_eq!(reno.cwnd(), 15_000, "four delivered, two for them are out");
        reno.on_recovered(NOW, 4_000);
        assert_eq!(reno.cwnd(), 10_000);
    }

    /// RFC 3465 section 2.1: what is newly acknowledged counts, but what had been SACKed does not count
    /// again; and the window is ssthresh at first (RFC 5681 section 3.2 step 6).
    #[test]
    fn what_the_end_of_recovery_delivers_counts_for_growth() {
        for (delivered, left) in [(1_000, 9), (4_000, 6), (20_000, 1)] {
            let mut reno = reno(20_000, u32::MAX);
            reno.on_congestion(NOW, Congestion::Loss, 20_000);
            fill(&mut reno);
            reno.on_ack(&Ack {
                acked: 20_000,
                delivered,
                in_recovery: true,
                ends_recovery: true,
                ..Ack::default()
            });
            for _ in 0..left {
                assert_eq!(reno.cwnd(), 10_000, "{delivered}");
                fill(&mut reno);
                reno.on_ack(&ack(1_000));
            }
            assert_eq!(reno.cwnd(), 11_000, "{delivered}");
        }
    }

    #[test]
    fn timeouts_collapse_the_window_and_halve_once() {
        let mut reno = reno(20_000, u32::MAX);
        reno.on_timeout(NOW, 20_000, true);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1_000, 10_000));
        reno.on_timeout(NOW, 1_000, false);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1_000, 10_000));
    }

    #[test]
    fn a_spurious_timeout_is_undone_once() {
        let mut reno = reno(20_000, u32::MAX);
        reno.on_timeout(NOW, 20_000, true);
        reno.on_timeout(NOW, 1_000, false);
        reno.on_spurious(NOW);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20_000, u32::MAX));
        reno.on_congestion(NOW, Congestion::Loss, 20_000);
        reno.on_spurious(NOW);
        reno.on_spurious(NOW);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20_000, u32::MAX));
    }
}
