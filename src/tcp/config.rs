//! The settings of a core's TCP. Defaults are those that a Linux administrator would expect.

use super::congestion::Algorithm;
use crate::time::Duration;

/// Keepalive probes (RFC 9293 section 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe; at least two hours by default (MUST-28).
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes before the connection is given up.
    pub count: u8,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(7_200),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}

/// Settings of one core's TCP, valid by construction of [`crate::config`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Octets that a connection may have received and not yet handed to its application: the
    /// receive window.
    pub receive_buffer: u32,
    /// Octets that all connections of a core may hold for their applications, in pages.
    pub receive_memory: usize,
    /// Buffers (frames) that one connection may hold for what is not acknowledged.
    pub send_buffers: u16,
    /// Congestion control of new connections.
    pub congestion: Algorithm,
    /// Whether segments leave at a measured pace instead of a window at once. BBR always does.
    pub pacing: bool,
    /// How long an acknowledgment may wait for company (RFC 9293 section 3.8.6.3: below 0.5 s).
    pub delayed_ack: Duration,
    /// 2MSL: how long TIME-WAIT lasts.
    pub time_wait: Duration,
    /// How long an orphaned FIN-WAIT-2 lasts.
    pub fin_wait_2: Duration,
    /// Retransmissions of one segment before the connection is given up (R2 of RFC 9293 section
    /// 3.8.3). Fifteen take about nine minutes at the least RTO.
    pub retransmissions: u8,
    /// Retransmissions of a SYN; seven take just over three minutes (RFC 9293 section 3.8.3,
    /// MUST-23).
    pub syn_retransmissions: u8,
    /// Retransmissions of a SYN-ACK.
    pub syn_ack_retransmissions: u8,
    /// Half-open connections per core of each listener: a port of one address.
    pub syn_queue: usize,
    /// Keepalive for every connection, if set (RFC 9293 section 3.8.4: off by default).
    pub keepalive: Option<Keepalive>,
    /// Challenge ACKs (RFC 5961 section 7) per core and second.
    pub challenge_acks_per_second: u32,
    /// Whether SACK, timestamps and window scale are offered and accepted.
    pub sack: bool,
    /// See [`sack`](Self::sack).
    pub timestamps: bool,
    /// See [`sack`](Self::sack).
    pub window_scale: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            receive_buffer: 512 * 1024,
            receive_memory: 64 * 1024 * 1024,
            send_buffers: 256,
            congestion: Algorithm::default(),
            pacing: true,
            delayed_ack: Duration::from_millis(40),
            time_wait: Duration::from_secs(60),
            fin_wait_2: Duration::from_secs(60),
            retransmissions: 15,
            syn_retransmissions: 7,
            syn_ack_retransmissions: 5,
            syn_queue: 4096,
            keepalive: None,
            challenge_acks_per_second: 1_000,
            sack: true,
            timestamps: true,
            window_scale: true,
        }
    }
}

impl Config {
    /// The window scale to offer: the least shift that lets 16 bits say the receive buffer (RFC
    /// 7323 section 2.2).
    pub(super) fn window_shift(&self) -> u8 {
        let bits = u32::BITS - self.receive_buffer.leading_zeros();
        (bits.saturating_sub(16) as u8).min(14)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_shift_just_reaches_the_buffer() {
        for (buffer, shift) in [
            (1, 0),
            (65_535, 0),
            (65_536, 1),
            (512 * 1024, 4),
            (u32::MAX, 14),
        ] {
            let config = Config {
                receive_buffer: buffer,
                ..Config::default()
            };
            assert_eq!(config.window_shift(), shift, "{buffer}");
        }
    }
}
