//! Delivery rate: how fast the path takes what is sent (draft-ietf-ccwg-bbr section 4.1).

use crate::time::Duration;

/// One measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// Octets delivered during `interval`.
    pub delivered: u32,
    /// Octets lost during `interval`.
    pub lost: u32,
    /// Over how long.
    pub interval: Duration,
    /// Whether the application had less to send than the path would take.
    pub is_app_limited: bool,
    /// Octets in flight when the segment that it is about was sent.
    pub tx_in_flight: u32,
    /// All octets that had been delivered when that segment was sent.
    pub prior_delivered: u64,
}

impl RateSample {
    /// Octets per second.
    pub fn octets_per_second(&self) -> u64 {
        let nanos = u128::from(self.interval.as_nanos().max(1));
        let rate = u128::from(self.delivered) * 1_000_000_000 / nanos;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_octets_over_time() {
        let sample = RateSample {
            delivered: 125_000,
            interval: Duration::from_millis(10),
            ..RateSample::default()
        };
        assert_eq!(sample.octets_per_second(), 12_500_000);
    }
}
