//! A token bucket.

use crate::time::{Duration, Instant};

/// Lets so much through per second, and so much at once.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    burst: u64,
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    /// Full at `now`.
    pub(super) fn new(per_second: u64, burst: u64, now: Instant) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            burst,
            tokens: burst,
            filled: now,
        }
    }

    /// Takes one token, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let grown = now.saturating_since(self.filled).as_nanos() / self.interval.as_nanos().max(1);
        if grown > 0 {
            self.tokens = self.tokens.saturating_add(grown).min(self.burst);
            self.filled += self.interval * grown;
        }
        let Some(left) = self.tokens.checked_sub(1) else {
            return false;
        };
        self.tokens = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_through_then_the_rate() {
        let start = Instant::from_millis(1_000);
        let mut bucket = Bucket::new(1_000, 10, start);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 10);
        // One a millisecond; parts of one are not lost.
        assert_eq!(taken(&mut bucket, start + Duration::from_micros(900)), 0);
        assert_eq!(taken(&mut bucket, start + Duration::from_micros(1_100)), 1);
        assert_eq!(taken(&mut bucket, start + Duration::from_micros(2_000)), 1);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(3_600)), 10);
    }
}
