//! A connection's options as they go over the control socket and into `--json`.

use serde::{Deserialize, Serialize};

use crate::tcp::{self, BufferLimit, Linger};
use crate::time::Duration;

/// Keepalive probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Silence before the first probe.
    pub idle_us: u64,
    /// Time between probes.
    pub interval_us: u64,
    /// Probes.
    pub count: u8,
}

/// The options of one connection. Octets and microseconds; what is not set is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketOptions {
    /// Whether Nagle's algorithm is off.
    pub nodelay: bool,
    /// Whether segments that are not full are held back.
    pub cork: bool,
    /// Whether acknowledgments do not wait.
    pub quickack: bool,
    /// Keepalive probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
    /// How long what was written may wait for its acknowledgment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_timeout_us: Option<u64>,
    /// How long it may after a close; 0: a close resets the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger_us: Option<u64>,
    /// The most that may be received and not consumed.
    pub receive_buffer: u32,
    /// Whether the receive window follows the path up to that.
    pub receive_buffer_auto: bool,
    /// The most that may be written and not acknowledged.
    pub send_buffer: u32,
    /// Whether this follows the path up to that.
    pub send_buffer_auto: bool,
    /// The largest window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_clamp: Option<u32>,
    /// The most that may be written and not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notsent_lowat: Option<u32>,
    /// Congestion control.
    pub congestion: String,
    /// The largest MSS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_segment: Option<u16>,
    /// How long a FIN-WAIT-2 lasts.
    pub fin_wait_2_us: u64,
    /// The most octets per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pacing_rate: Option<u64>,
    /// The Differentiated Services field.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

impl SocketOptions {
    pub(super) fn new(options: &tcp::SocketOptions) -> Self {
        // All fields by name: a new one does not compile until it has one here.
        let tcp::SocketOptions {
            nodelay,
            cork,
            quickack,
            keepalive,
            user_timeout,
            linger,
            receive_buffer,
            window_clamp,
            send_buffer,
            notsent_lowat,
            congestion,
            max_segment,
            fin_wait_2,
            max_pacing_rate,
            traffic_class,
            hop_limit,
        } = *options;
        let is_auto = |limit| matches!(limit, BufferLimit::Auto(_));
        Self {
            nodelay,
            cork,
            quickack,
            keepalive: keepalive.map(|it| Keepalive {
                idle_us: it.idle.as_micros(),
                interval_us: it.interval.as_micros(),
                count: it.count,
            }),
            user_timeout_us: user_timeout.map(Duration::as_micros),
            linger_us: match linger {
                Linger::Background => None,
                Linger::For(limit) => Some(limit.as_micros()),
                Linger::Reset => Some(0),
            },
            receive_buffer: receive_buffer.most(),
            receive_buffer_auto: is_auto(receive_buffer),
            send_buffer: send_buffer.most(),
            send_buffer_auto: is_auto(send_buffer),
            window_clamp,
            notsent_lowat,
            congestion: congestion.name().to_owned(),
            max_segment,
            fin_wait_2_us: fin_wait_2.as_micros(),
            max_pacing_rate,
            traffic_class,
            hop_limit: hop_limit.get(),
        }
    }
}
