//! The retransmission timeout (RFC 6298).

use crate::time::{Duration, Instant};

/// RFC 6298 rule 2.1: the RTO before any round trip has been measured.
pub(super) const INITIAL_RTO: Duration = Duration::from_secs(1);
/// How far the RTO stays above SRTT, in place of RFC 6298 rule 2.4's least RTO of one second: a
/// second of silence is an outage to a data centre. As in Linux it is room for the peer's delayed
/// ACK on top of the round trip, however long and steady that is.
pub(super) const RTO_MARGIN: Duration = Duration::from_millis(200);
/// RFC 6298 rule 2.5: at least 60 seconds.
pub(super) const MAX_RTO: Duration = Duration::from_secs(60);
/// How long the least round trip counts: a path may change.
const MIN_RTT_LIFETIME_MS: u32 = 10_000;

/// Smoothed round-trip time and the RTO made from it. Microseconds in `u32` reach 71 minutes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RttEstimator {
    srtt_us: u32,
    rttvar_us: u32,
    /// No more than [`MAX_RTO`]; finer than a millisecond is noise.
    rto_ms: u16,
    /// The least round trip of the last [`MIN_RTT_LIFETIME_MS`], and when it was measured.
    min_rtt_us: u32,
    min_rtt_at_ms: u32,
    /// The RTO in force is `rto << backoff`, until a round trip is measured again.
    backoff: u8,
    /// Consecutive expirations without an acknowledgment of anything new.
    expirations: u8,
}

impl Default for RttEstimator {
    fn default() -> Self {
        Self {
            srtt_us: 0,
            rttvar_us: 0,
            rto_ms: INITIAL_RTO.as_millis() as u16,
            min_rtt_us: 0,
            min_rtt_at_ms: 0,
            backoff: 0,
            expirations: 0,
        }
    }
}

impl RttEstimator {
    /// A round trip of a segment that was sent once (Karn's algorithm is the caller's).
    pub(super) fn on_measurement(&mut self, now: Instant, rtt: Duration) {
        let r = rtt.as_micros().clamp(1, u64::from(u32::MAX / 16)) as u32;
        let now_ms = now.as_millis() as u32;
        let is_old = now_ms.wrapping_sub(self.min_rtt_at_ms) > MIN_RTT_LIFETIME_MS;
        if self.min_rtt_us == 0 || r <= self.min_rtt_us || is_old {
            (self.min_rtt_us, self.min_rtt_at_ms) = (r, now_ms);
        }
        if self.srtt_us == 0 {
            // Rule 2.2.
            self.srtt_us = r;
            self.rttvar_us = r / 2;
        } else {
            // Rule 2.3: beta = 1/4, alpha = 1/8.
            self.rttvar_us = self.rttvar_us - self.rttvar_us / 4 + self.srtt_us.abs_diff(r) / 4;
            self.srtt_us = (self.srtt_us - self.srtt_us / 8 + r / 8).max(1);
        }
        let rto = self.srtt_us + (4 * self.rttvar_us).max(RTO_MARGIN.as_micros() as u32);
        self.rto_ms = (rto / 1_000).min(MAX_RTO.as_millis() as u32) as u16;
        self.backoff = 0;
        self.expirations = 0;
    }

    /// The timer expired: rule 5.5 doubles the RTO.
    pub(super) fn on_timeout(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
        self.expirations = self.expirations.saturating_add(1);
    }

    /// New data was acknowledged: the peer is alive. The back-off stays until a round trip has been
    /// measured (Karn's algorithm, RFC 6298 section 5): on a path that has become slower than the
    /// estimate, everything would be sent twice and nothing ever measured.
    pub(super) fn on_progress(&mut self) {
        self.expirations = 0;
    }

    /// The timer expired although nothing was lost: its back-off was in vain (RFC 4015 section 3.2).
    pub(super) fn on_spurious_timeout(&mut self) {
        self.backoff = 0;
    }

    /// Rule 5.7: the SYN was retransmitted, so data starts with an RTO of three seconds.
    pub(super) fn on_handshake_retransmitted(&mut self) {
        if self.srtt_us == 0 {
            self.rto_ms = 3_000;
        }
        self.backoff = 0;
        self.expirations = 0;
    }

    /// The timeout in force, back-off included.
    pub(super) fn rto(&self) -> Duration {
        self.rto_doubled(self.backoff)
    }

    /// The time to the next zero-window probe after `probes` of them, which has a back-off of its
    /// own: a closed window says nothing about the path.
    pub(super) fn persist_timeout(&self, probes: u8) -> Duration {
        self.rto_doubled(probes)
    }

    fn rto_doubled(&self, times: u8) -> Duration {
        let rto = u64::from(self.rto_ms) << times.min(16);
        Duration::from_millis(rto.min(MAX_RTO.as_millis()))
    }

    /// How often the timer has expired in a row, without an acknowledgment of anything new.
    pub(super) fn expirations(&self) -> u8 {
        self.expirations
    }

    /// The smoothed round-trip time; `None` before the first measurement.
    pub(super) fn srtt(&self) -> Option<Duration> {
        (self.srtt_us != 0).then(|| Duration::from_micros(u64::from(self.srtt_us)))
    }

    /// The least round trip of the last ten seconds; `None` before the first measurement.
    pub(super) fn min_rtt(&self) -> Option<Duration> {
        (self.min_rtt_us != 0).then(|| Duration::from_micros(u64::from(self.min_rtt_us)))
    }

    /// The round-trip time's variation.
    pub(super) fn rttvar(&self) -> Duration {
        Duration::from_micros(u64::from(self.rttvar_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);

    #[test]
    fn the_first_measurement_sets_rto_to_three_times_itself() {
        let mut rtt = RttEstimator::default();
        assert_eq!((rtt.rto(), rtt.srtt()), (INITIAL_RTO, None));
        rtt.on_measurement(NOW, Duration::from_millis(100));
        assert_eq!(rtt.srtt(), Some(Duration::from_millis(100)));
        assert_eq!(rtt.rttvar(), Duration::from_millis(50));
        assert_eq!(rtt.rto(), Duration::from_millis(300));
    }

    #[test]
    fn a_steady_path_leaves_room_for_a_delayed_ack() {
        let mut rtt = RttEstimator::default();
        for _ in 0..200 {
            rtt.on_measurement(NOW, Duration::from_secs(1));
        }
        assert_eq!(rtt.rto(), Duration::from_millis(1_200));
    }

    #[test]
    fn rto_is_bounded_below_and_above_and_doubles() {
        let mut rtt = RttEstimator::default();
        rtt.on_measurement(NOW, Duration::from_micros(20));
        assert_eq!(rtt.rto(), RTO_MARGIN);
        rtt.on_timeout();
        assert_eq!(rtt.rto(), RTO_MARGIN * 2);
        for _ in 0..300 {
            rtt.on_timeout();
        }
        assert_eq!((rtt.rto(), rtt.expirations()), (MAX_RTO, u8::MAX));
        rtt.on_progress();
        assert_eq!((rtt.rto(), rtt.expirations()), (MAX_RTO, 0));
        rtt.on_measurement(NOW, Duration::from_micros(20));
        assert_eq!(rtt.rto(), RTO_MARGIN);
        rtt.on_measurement(NOW, Duration::MAX);
        assert_eq!(rtt.rto(), MAX_RTO);
    }

    #[test]
    fn a_retransmitted_syn_starts_data_at_three_seconds() {
        let mut rtt = RttEstimator::default();
        rtt.on_timeout();
        rtt.on_handshake_retransmitted();
        assert_eq!(rtt.rto(), Duration::from_secs(3));
    }

    #[test]
    fn the_least_round_trip_is_forgotten_after_ten_seconds() {
        let mut rtt = RttEstimator::default();
        assert_eq!(rtt.min_rtt(), None);
        let millis = Duration::from_millis;
        for (at, measured, least) in [
            (0, 20, 20),
            (1_000, 30, 20),
            (2_000, 10, 10),
            (12_000, 40, 10),
            (12_001, 40, 40),
        ] {
            rtt.on_measurement(NOW + millis(at), millis(measured));
            assert_eq!(rtt.min_rtt(), Some(millis(least)));
        }
    }
}
