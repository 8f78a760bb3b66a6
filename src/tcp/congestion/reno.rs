//! Reno (RFC 5681) with proportional rate reduction in recovery (RFC 6937), the initial window of
//! RFC 6928 and appropriate byte counting (RFC 3465).

use super::{Ack, Congestion, Controller, Prr};
use crate::time::{Duration, Instant};

/// RFC 5681's congestion control.
#[derive(Clone, Debug)]
pub struct Reno {
    cwnd: u32,
    ssthresh: u32,
    /// Octets acknowledged since `cwnd` last grew in congestion avoidance (RFC 3465 section 2.1).
    bytes_acked: u32,
    prr: Prr,
    smss: u16,
    /// In the slow start that follows a timeout.
    after_timeout: bool,
}

impl Reno {
    /// A controller at its initial window.
    pub fn new(smss: u16) -> Self {
        Self {
            cwnd: initial_window(smss),
            ssthresh: u32::MAX,
            bytes_acked: 0,
            prr: Prr::default(),
            smss,
            after_timeout: false,
        }
    }

    /// RFC 5681 equation 4: half of the flight, at least two segments.
    fn halve(&mut self, flight_size: u32) {
        self.ssthresh = (flight_size / 2).max(2 * self.smss());
    }

    fn smss(&self) -> u32 {
        u32::from(self.smss)
    }
}

/// RFC 6928 section 2: ten segments, at most 14600 octets, at least two segments.
fn initial_window(smss: u16) -> u32 {
    let smss = u32::from(smss);
    (10 * smss).min((2 * smss).max(14_600))
}

impl Controller for Reno {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn on_sent(&mut self, _now: Instant, octets: u32, _pipe: u32) {
        self.prr.on_sent(octets);
    }

    fn on_ack(&mut self, ack: &Ack) {
        let &Ack {
            acked, flight_size, ..
        } = ack;
        if ack.in_recovery {
            if let Some(cwnd) = self.prr.on_ack(ack, self.ssthresh, self.smss()) {
                self.cwnd = cwnd;
            }
            return;
        }
        if acked == 0 {
            return;
        }
        // RFC 7661's concern: a window that the application does not fill is not proven by ACKs.
        let limited = flight_size.saturating_add(self.smss()) > self.cwnd
            || (self.cwnd < self.ssthresh && flight_size > self.cwnd / 2);
        if !limited {
            return;
        }
        if self.cwnd < self.ssthresh {
            // RFC 3465 section 2.3: L = 2; but 1 after a timeout, when an acknowledgment covers
            // much that left the network long ago.
            let limit = if self.after_timeout { 1 } else { 2 };
            self.cwnd = self.cwnd.saturating_add(acked.min(limit * self.smss()));
        } else {
            self.after_timeout = false;
            self.bytes_acked = self.bytes_acked.saturating_add(acked);
            if self.bytes_acked >= self.cwnd {
                self.bytes_acked -= self.cwnd;
                self.cwnd = self.cwnd.saturating_add(self.smss());
            }
        }
    }

    fn on_congestion(&mut self, _now: Instant, _congestion: Congestion, flight_size: u32) {
        self.halve(flight_size);
        self.prr.begin(flight_size);
        self.bytes_acked = 0;
        self.after_timeout = false;
    }

    fn on_recovered(&mut self, _now: Instant, _pipe: u32) {
        // RFC 6582 section 3.2 step 3, option 2; PRR has brought the flight there already.
        self.cwnd = self.ssthresh;
        self.bytes_acked = 0;
    }

    fn on_timeout(&mut self, _now: Instant, flight_size: u32, first: bool) {
        if first {
            self.halve(flight_size);
        }
        // RFC 5681 section 3.1: the loss window.
        self.cwnd = self.smss();
        self.bytes_acked = 0;
        self.after_timeout = true;
    }

    fn on_idle(&mut self, _now: Instant, _idle: Duration) {
        self.cwnd = self.cwnd.min(initial_window(self.smss));
    }

    fn on_smss(&mut self, smss: u16) {
        // Still the initial window if nothing has happened yet.
        if self.cwnd == initial_window(self.smss) && self.ssthresh == u32::MAX {
            self.cwnd = initial_window(smss);
        }
        self.smss = smss;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1);

    fn reno(cwnd: u32, ssthresh: u32) -> Reno {
        Reno {
            cwnd,
            ssthresh,
            bytes_acked: 0,
            prr: Prr::default(),
            smss: 1000,
            after_timeout: false,
        }
    }

    fn ack(acked: u32, flight_size: u32) -> Ack {
        Ack {
            acked,
            flight_size,
            ..Ack::default()
        }
    }

    #[test]
    fn initial_window_is_rfc_6928s() {
        assert_eq!(Reno::new(1460).cwnd(), 14_600);
        assert_eq!(Reno::new(536).cwnd(), 5_360);
        assert_eq!(Reno::new(9000).cwnd(), 18_000);
    }

    #[test]
    fn slow_start_doubles_per_round_trip_and_avoidance_adds_one_segment() {
        let mut slow = reno(10_000, 64_000);
        for _ in 0..10 {
            slow.on_ack(&ack(1000, 10_000));
        }
        assert_eq!(slow.cwnd(), 20_000);

        let mut avoid = reno(10_000, 10_000);
        for _ in 0..10 {
            avoid.on_ack(&ack(1000, 10_000));
        }
        assert_eq!(avoid.cwnd(), 11_000);
    }

    #[test]
    fn an_ack_of_many_segments_counts_for_two() {
        let mut reno = reno(10_000, 64_000);
        reno.on_ack(&ack(9000, 10_000));
        assert_eq!(reno.cwnd(), 12_000);
    }

    #[test]
    fn after_a_timeout_it_counts_for_one() {
        let mut reno = reno(20_000, u32::MAX);
        reno.on_timeout(NOW, 20_000, true);
        reno.on_ack(&ack(9_000, 20_000));
        assert_eq!(reno.cwnd(), 2_000);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut reno = reno(100_000, 64_000);
        reno.on_ack(&ack(1000, 1000));
        assert_eq!(reno.cwnd(), 100_000);
    }

    #[test]
    fn recovery_brings_the_window_to_half() {
        let mut reno = reno(20_000, u32::MAX);
        reno.on_congestion(NOW, Congestion::Loss, 20_000);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20_000, 10_000));
        let sack = |pipe| Ack {
            delivered: 1_000,
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
        assert_eq!(reno.cwnd(), 15_500);
        reno.on_ack(&sack(14_000));
        assert_eq!(reno.cwnd(), 15_000, "one more");
        reno.on_recovered(NOW, 4_000);
        assert_eq!(reno.cwnd(), 10_000);
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
    fn idle_restarts_from_the_initial_window_at_most() {
        let mut grown = reno(200_000, 300_000);
        grown.on_idle(NOW, Duration::from_secs(1));
        assert_eq!(grown.cwnd(), 10_000);
        let mut small = reno(2_000, 2_000);
        small.on_idle(NOW, Duration::from_secs(1));
        assert_eq!(small.cwnd(), 2_000);
    }
}
