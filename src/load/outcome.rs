//! What all workers have come to, as text and as JSON.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::options::Options;
use super::report::{Errors, Report};
use crate::time::Duration;

/// The result of a load.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The server.
    pub target: String,
    /// Connections at once.
    pub connections: u32,
    /// Requests on their way on one connection.
    pub pipeline: usize,
    /// Whether each request had a connection of its own.
    pub close: bool,
    /// Requests per second that were asked for.
    pub rate: Option<u64>,
    /// Whether connections were only opened and held.
    pub idle: bool,
    /// Seconds from the first SYN to the end.
    pub seconds: f64,
    /// Answers of success.
    pub requests: u64,
    /// The same per second.
    pub requests_per_second: f64,
    /// Octets of application text received.
    pub octets_received: u64,
    /// Octets of application text sent; of streams, acknowledged.
    pub octets_sent: u64,
    /// Bits of it received and sent per second.
    pub bits_per_second: f64,
    /// From requests to their answers; where there are no requests, from SYNs to their connections.
    pub latency_us: Option<Latency>,
    /// Connections that became established.
    pub opened: u64,
    /// Of those, the ones that were open at the end.
    pub open: u64,
    /// Connections whose SYN was not answered at the end.
    pub connecting: u64,
    /// Seconds until all connections were open for the first time.
    pub opening_seconds: Option<f64>,
    /// What went wrong, how often.
    pub errors: Errors,
    /// TCP segments sent, all of them.
    pub segments_sent: u64,
    /// TCP segments received.
    pub segments_received: u64,
    /// Segments sent again, SYNs too.
    pub retransmissions: u64,
    /// Octets of memory that the process had at the end (VmRSS).
    pub resident_octets: Option<u64>,
}

/// A distribution of latencies, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub count: u64,
    pub mean: f64,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Option<Self> {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            mean: histogram.mean() / 1_000.0,
            min: micros(histogram.min()),
            p50: at(0.50),
            p90: at(0.90),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: micros(histogram.max()),
        })
    }
}

impl Outcome {
    pub(super) fn new(options: &Options, report: &Report, resident_octets: Option<u64>) -> Self {
        let seconds = seconds(report.elapsed);
        let per_second = |count: u64| match seconds > 0.0 {
            true => count as f64 / seconds,
            false => 0.0,
        };
        Self {
            target: options.target.to_string(),
            connections: options.connections,
            pipeline: options.pipeline,
            close: options.close,
            rate: options.rate,
            idle: options.idle,
            seconds,
            requests: report.requests,
            requests_per_second: per_second(report.requests),
            octets_received: report.received,
            octets_sent: report.sent,
            bits_per_second: 8.0 * per_second(report.received + report.sent),
            latency_us: Latency::new(&report.latency),
            opened: report.opened,
            open: report.open,
            connecting: report.connecting,
            opening_seconds: report.opening.map(self::seconds),
            errors: report.errors,
            segments_sent: report.segments_sent,
            segments_received: report.segments_received,
            retransmissions: report.retransmissions,
            resident_octets,
        }
    }

    /// Whether something was done, and nothing went wrong.
    pub fn is_success(&self) -> bool {
        let done = match (self.idle, self.has_requests()) {
            (true, _) => self.open == u64::from(self.connections),
            (false, true) => self.requests > 0,
            (false, false) => self.octets_received + self.octets_sent > 0,
        };
        done && self.errors.total() == 0
    }

    fn has_requests(&self) -> bool {
        self.target.starts_with("http:") || self.target.starts_with("echo:")
    }
}

fn seconds(duration: Duration) -> f64 {
    std::time::Duration::from(duration).as_secs_f64()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_requests = self.has_requests() && !self.idle;
        if has_requests {
            writeln!(
                f,
                "requests      {} in {:.2} s, {:.0} per second",
                self.requests, self.seconds, self.requests_per_second
            )?;
        }
        if !self.idle {
            writeln!(
                f,
                "octets        {} received, {} sent, {:.3} Gbit/s",
                self.octets_received,
                self.octets_sent,
                self.bits_per_second / 1e9
            )?;
        }
        let name = if has_requests { "latency" } else { "handshake" };
        match &self.latency_us {
            Some(it) => writeln!(
                f,
                "{name:<13} p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, p99.99 {:.1}, max {:.1} us",
                it.p50, it.p90, it.p99, it.p99_9, it.p99_99, it.max
            )?,
            None => writeln!(f, "{name:<13} none")?,
        }
        write!(
            f,
            "connections   {} opened, {} open and {} not answered at the end",
            self.opened, self.open, self.connecting
        )?;
        match self.opening_seconds {
            Some(seconds) if !self.close => writeln!(f, ", all after {seconds:.3} s")?,
            _ => writeln!(f)?,
        }
        writeln!(
            f,
            "segments      {} sent, {} received, {} sent again",
            self.segments_sent, self.segments_received, self.retransmissions
        )?;
        if let Some(octets) = self.resident_octets.filter(|_| self.idle) {
            writeln!(f, "memory        {octets} octets resident")?;
        }
        let errors: Vec<String> = self
            .errors
            .named()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        match errors.is_empty() {
            true => writeln!(f, "errors        none"),
            false => writeln!(f, "errors        {}", errors.join(", ")),
        }
    }
}
