//! How long a peer may take, and how much it may send.

use crate::time::Duration;

/// Limits of an HTTP server's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the first octet of a head until it is complete; then 408 (RFC 9110 section 15.5.9).
    pub header_timeout: Duration,
    /// Between a response, or the connection's beginning, and the first octet of the next request;
    /// then the connection is closed.
    pub idle_timeout: Duration,
    /// From a head until its content is complete; each [`body_rate`](Self::body_rate) octets that
    /// have come give a second more. Then 408.
    pub body_timeout: Duration,
    /// Octets per second. More than this on average, and content may take as long as it needs.
    pub body_rate: u64,
    /// How long a peer may take no octet of a response that waits; then the connection is reset.
    pub send_timeout: Duration,
    /// Octets of the largest content; more is refused by 413.
    pub max_body: u64,
    /// Octets that heads of which the end has not come may take in all, per worker; one that would
    /// need more is refused by 503 (RFC 9110 section 15.6.4).
    pub head_memory: u64,
}

impl Default for Limits {
    /// What nginx and Apache have, or somewhat less: ten seconds are plenty for 8 KiB.
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(20),
            body_rate: 500,
            send_timeout: Duration::from_secs(60),
            max_body: 1 << 20,
            // 2,000 of the largest.
            head_memory: 16 << 20,
        }
    }
}

/// After the last response, for the peer to close (RFC 9112 section 9.6). Longer, and a peer that
/// does not would hold the connection for ever.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wait {
    /// The first octet of a head.
    #[default]
    Request,
    /// The end of a head.
    Head,
    /// The end of content.
    Content,
    /// Room for a response.
    Room,
    /// The peer's close.
    Close,
}

impl Limits {
    /// How long a connection may wait, without what it has already got.
    pub(super) const fn timeout(&self, wait: Wait) -> Duration {
        match wait {
            Wait::Request => self.idle_timeout,
            Wait::Head => self.header_timeout,
            Wait::Content => self.body_timeout,
            Wait::Room => self.send_timeout,
            Wait::Close => LINGER_TIMEOUT,
        }
    }
}

/// What has happened to connections that met a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) header_timeouts: u64,
    pub(super) idle_timeouts: u64,
    pub(super) body_timeouts: u64,
    pub(super) send_timeouts: u64,
    pub(super) linger_timeouts: u64,
    pub(super) heads_too_large: u64,
    pub(super) heads_refused: u64,
    pub(super) bodies_too_large: u64,
}

impl Tally {
    /// Names and values.
    pub(super) const fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("http_header_timeouts", self.header_timeouts),
            ("http_idle_timeouts", self.idle_timeouts),
            ("http_body_timeouts", self.body_timeouts),
            ("http_send_timeouts", self.send_timeouts),
            ("http_linger_timeouts", self.linger_timeouts),
            ("http_heads_too_large", self.heads_too_large),
            ("http_heads_refused", self.heads_refused),
            ("http_bodies_too_large", self.bodies_too_large),
        ]
    }

    /// A wait was too long.
    pub(super) const fn timed_out(&mut self, wait: Wait) {
        let counter = match wait {
            Wait::Request => &mut self.idle_timeouts,
            Wait::Head => &mut self.header_timeouts,
            Wait::Content => &mut self.body_timeouts,
            Wait::Room => &mut self.send_timeouts,
            Wait::Close => &mut self.linger_timeouts,
        };
        *counter += 1;
    }
}
