//! What a worker has counted and measured.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::stack::ConnectError;
use crate::tcp::CloseReason;
use crate::time::{Duration, Instant};

/// What latencies are told apart: three decimal digits, from a nanosecond to ten minutes. What takes
/// longer counts as that.
const LONGEST: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

/// How often which mistake was made, by whomever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// A SYN was answered with a reset.
    pub refused: u64,
    /// No answer came, to a request or to TCP, for too long.
    pub timed_out: u64,
    /// The server has reset a connection.
    pub reset: u64,
    /// The server has closed a connection before it had answered.
    pub closed_early: u64,
    /// An answer was not understood, or not what it had to be.
    pub bad_answer: u64,
    /// An answer's status was not one of success.
    pub status: u64,
    /// There was no port left to open a connection from.
    pub ports_exhausted: u64,
    /// A connection could not be opened for another reason, or there was no way to the server.
    pub other: u64,
}

impl Errors {
    /// All of them, by name.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("refused", self.refused),
            ("timed out", self.timed_out),
            ("reset", self.reset),
            ("closed early", self.closed_early),
            ("bad answer", self.bad_answer),
            ("status", self.status),
            ("ports exhausted", self.ports_exhausted),
            ("other", self.other),
        ]
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    pub(super) fn count_failed_open(&mut self, error: ConnectError) {
        match error {
            ConnectError::Failed(reason) => self.count_end(reason),
            ConnectError::PortsExhausted => self.ports_exhausted += 1,
            _ => self.other += 1,
        }
    }

    /// A connection has ended, and not as it should.
    pub(super) fn count_end(&mut self, reason: CloseReason) {
        let count = match reason {
            CloseReason::Finished => &mut self.closed_early,
            CloseReason::Refused => &mut self.refused,
            CloseReason::Reset => &mut self.reset,
            CloseReason::TimedOut => &mut self.timed_out,
            CloseReason::Unreachable | CloseReason::Aborted => &mut self.other,
        };
        *count += 1;
    }

    fn add(&mut self, other: &Self) {
        self.refused += other.refused;
        self.timed_out += other.timed_out;
        self.reset += other.reset;
        self.closed_early += other.closed_early;
        self.bad_answer += other.bad_answer;
        self.status += other.status;
        self.ports_exhausted += other.ports_exhausted;
        self.other += other.other;
    }
}

/// What one worker, or all of them, have come to.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Answers of success; without requests none.
    pub(super) requests: u64,
    /// Octets of application text received.
    pub(super) received: u64,
    /// Octets of application text sent; of streams, acknowledged.
    pub(super) sent: u64,
    /// Nanoseconds from a request to its answer, or from a SYN to its connection where there are none.
    pub(super) latency: Histogram<u64>,
    pub(super) errors: Errors,
    /// Connections that became established.
    pub(super) opened: u64,
    /// Of those, the ones that are still open.
    pub(super) open: u64,
    /// Connections whose SYN was not answered at the end.
    pub(super) connecting: u64,
    /// From the start until no connection was left to open for the first time.
    pub(super) opening: Option<Duration>,
    /// From the start to the end.
    pub(super) elapsed: Duration,
    /// Of its TCP.
    pub(super) segments_sent: u64,
    pub(super) segments_received: u64,
    pub(super) retransmissions: u64,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            requests: 0,
            received: 0,
            sent: 0,
            // The bounds are legal.
            latency: Histogram::new_with_bounds(1, LONGEST, DIGITS)
                .unwrap_or_else(|error| unreachable!("{error}")),
            errors: Errors::default(),
            opened: 0,
            open: 0,
            connecting: 0,
            opening: None,
            elapsed: Duration::ZERO,
            segments_sent: 0,
            segments_received: 0,
            retransmissions: 0,
        }
    }

    pub(super) fn record(&mut self, since: Instant, now: Instant) {
        self.latency
            .saturating_record(now.saturating_since(since).as_nanos());
    }

    /// Adds what another worker has come to in the same time.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.received += other.received;
        self.sent += other.sent;
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
        self.errors.add(&other.errors);
        self.opened += other.opened;
        self.open += other.open;
        self.connecting += other.connecting;
        self.opening = self.opening.zip(other.opening).map(|(a, b)| a.max(b));
        self.elapsed = self.elapsed.max(other.elapsed);
        self.segments_sent += other.segments_sent;
        self.segments_received += other.segments_received;
        self.retransmissions += other.retransmissions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_add_up() {
        let start = Instant::from_millis(1_000);
        let report = |latencies: &[u64], opening, elapsed| {
            let mut report = Report::new();
            for &micros in latencies {
                report.requests += 1;
                report.record(start, start + Duration::from_micros(micros));
            }
            report
                .errors
                .count_failed_open(ConnectError::PortsExhausted);
            report.errors.count_end(CloseReason::Finished);
            report.opening = opening;
            report.elapsed = Duration::from_millis(elapsed);
            report
        };
        let some = |millis| Some(Duration::from_millis(millis));
        let fast: Vec<u64> = (1..=99).collect();
        let mut sum = report(&fast, some(5), 1_000);
        sum.add(&report(&[1_000_000], some(7), 999));
        assert_eq!(sum.requests, 100);
        assert_eq!(sum.latency.len(), 100);
        let at = |quantile| sum.latency.value_at_quantile(quantile);
        // To three digits.
        assert!((49_950..=50_050).contains(&at(0.50)), "{}", at(0.50));
        assert!((98_900..=99_100).contains(&at(0.99)), "{}", at(0.99));
        assert!((999_000_000..=1_001_000_000).contains(&sum.latency.max()));
        assert_eq!(
            (sum.errors.ports_exhausted, sum.errors.closed_early),
            (2, 2)
        );
        assert_eq!(sum.errors.total(), 4);
        assert_eq!(
            (sum.opening, sum.elapsed),
            (some(7), Duration::from_secs(1))
        );
        // Who has not opened all has not opened all.
        sum.add(&report(&[], None, 1));
        assert_eq!(sum.opening, None);
    }

    #[test]
    fn what_takes_longer_than_the_longest_still_counts() {
        let mut report = Report::new();
        report.record(Instant::ZERO, Instant::FAR_FUTURE);
        report.record(Instant::from_millis(5), Instant::ZERO);
        assert_eq!(report.latency.len(), 2);
        assert!(report.latency.max() >= LONGEST);
    }
}
