//! The settings of a core's TCP. Defaults are those that a Linux administrator would expect.

use super::ecn::EcnMode;
use super::options::SocketOptions;
use super::syn_cookie::SynCookies;
use crate::time::Duration;

/// Settings of one core's TCP, valid by construction of [`crate::config`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Options of connections, unless their listener or their application says otherwise.
    pub options: SocketOptions,
    /// Octets that all connections of a core may hold for their applications, in pages. When it
    /// runs short, [`MemoryPressure`](super::MemoryPressure) says what is given up.
    pub receive_memory: usize,
    /// Whether segments leave at a measured pace instead of a window at once. BBR always does.
    pub pacing: bool,
    /// How long an acknowledgment may wait for company (RFC 9293 section 3.8.6.3: below 0.5 s).
    pub delayed_ack: Duration,
    /// 2MSL: how long TIME-WAIT lasts.
    pub time_wait: Duration,
    /// How long what was written may wait for its acknowledgment after the application has closed.
    pub orphan_timeout: Duration,
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
    /// Connections per core and listener whose SYN has brought text and that are not established
    /// yet (RFC 7413); 0 switches Fast Open off. Whoever sets it consents to a SYN's text being
    /// delivered once more, to another connection, if the network doubles the SYN: harmless for
    /// services to which the same request may come twice.
    pub fast_open_queue: usize,
    /// When SYNs are answered with SYN cookies (RFC 4987 section 3.6).
    pub syn_cookies: SynCookies,
    /// Challenge ACKs (RFC 5961 section 7) per core and average second; single seconds differ by up
    /// to a half.
    pub challenge_acks_per_second: u32,
    /// Resets for segments of no connection, per core and second.
    pub resets_per_second: u32,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: EcnMode,
    /// Whether silence makes segments smaller, and what the path carries is then found by probing
    /// (RFC 4821), for routers that drop large packets without a word.
    pub mtu_probing: bool,
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
            options: SocketOptions::default(),
            receive_memory: 64 * 1024 * 1024,
            pacing: true,
            delayed_ack: Duration::from_millis(40),
            time_wait: Duration::from_secs(60),
            orphan_timeout: Duration::from_secs(100),
            retransmissions: 15,
            syn_retransmissions: 7,
            syn_ack_retransmissions: 5,
            syn_queue: 4096,
            fast_open_queue: 0,
            syn_cookies: SynCookies::Auto,
            challenge_acks_per_second: 1_000,
            resets_per_second: 1_000,
            ecn: EcnMode::Passive,
            mtu_probing: true,
            sack: true,
            timestamps: true,
            window_scale: true,
        }
    }
}
