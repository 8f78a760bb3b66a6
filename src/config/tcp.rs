//! The `[tcp]` table of a configuration file, and the tables of single services.
//!
//! Keys are named after Linux's socket options and sysctls where those exist. Each value is checked
//! where it is read, so that an error can name its line and say what is legal.

use std::num::NonZeroU8;

use serde::Deserialize;

use super::value::{duration, number, octets};
use crate::tcp::congestion::Algorithm;
use crate::tcp::{self, BufferLimit, EcnMode, Linger, SocketOptions, SynCookies};
use crate::time::Duration;

/// Milliseconds.
const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 3_600 * SECOND;
/// Octets.
const PAGE: u64 = 4_096;
const MAX_WINDOW: u64 = tcp::MAX_WINDOW as u64;
const TIB: u64 = 1 << 40;

/// A table with the options of connections, and what else it has.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
        pub struct $name {
            $($own)*
            /// TCP_NODELAY.
            pub nodelay: Option<bool>,
            /// TCP_QUICKACK, but for good.
            pub quickack: Option<bool>,
            /// SO_KEEPALIVE.
            pub keepalive: Option<bool>,
            /// TCP_KEEPIDLE.
            #[serde(deserialize_with = "duration::<_, SECOND, { 30 * DAY }>")]
            pub keepalive_idle: Option<Duration>,
            /// TCP_KEEPINTVL.
            #[serde(deserialize_with = "duration::<_, SECOND, { 30 * DAY }>")]
            pub keepalive_interval: Option<Duration>,
            /// TCP_KEEPCNT.
            #[serde(deserialize_with = "number::<_, 1, 127>")]
            pub keepalive_count: Option<u64>,
            /// TCP_USER_TIMEOUT.
            #[serde(deserialize_with = "duration::<_, 1, { 30 * DAY }>")]
            pub user_timeout: Option<Duration>,
            /// SO_LINGER.
            #[serde(deserialize_with = "duration::<_, 0, { 30 * DAY }>")]
            pub linger: Option<Duration>,
            /// SO_RCVBUF: a window that does not follow the path.
            #[serde(deserialize_with = "octets::<_, PAGE, MAX_WINDOW>")]
            pub receive_buffer: Option<u64>,
            /// The third number of `tcp_rmem`: how far the window follows the path.
            #[serde(deserialize_with = "octets::<_, PAGE, MAX_WINDOW>")]
            pub receive_buffer_max: Option<u64>,
            /// TCP_WINDOW_CLAMP.
            #[serde(deserialize_with = "octets::<_, PAGE, MAX_WINDOW>")]
            pub window_clamp: Option<u64>,
            /// SO_SNDBUF: a limit that does not follow the path.
            #[serde(deserialize_with = "octets::<_, PAGE, MAX_WINDOW>")]
            pub send_buffer: Option<u64>,
            /// The third number of `tcp_wmem`: how far the limit follows the path.
            #[serde(deserialize_with = "octets::<_, PAGE, MAX_WINDOW>")]
            pub send_buffer_max: Option<u64>,
            /// TCP_NOTSENT_LOWAT.
            #[serde(deserialize_with = "octets::<_, 1, MAX_WINDOW>")]
            pub notsent_lowat: Option<u64>,
            /// TCP_MAXSEG.
            #[serde(deserialize_with = "number::<_, 88, 65_495>")]
            pub max_segment: Option<u64>,
            /// `tcp_fin_timeout`, TCP_LINGER2.
            #[serde(deserialize_with = "duration::<_, SECOND, { 30 * DAY }>")]
            pub fin_timeout: Option<Duration>,
            /// SO_MAX_PACING_RATE, in octets per second.
            #[serde(deserialize_with = "octets::<_, PAGE, TIB>")]
            pub max_pacing_rate: Option<u64>,
            /// IP_TOS, IPV6_TCLASS: the Differentiated Services field in the upper six bits.
            #[serde(deserialize_with = "number::<_, 0, 255>")]
            pub traffic_class: Option<u64>,
            /// IP_TTL, IPV6_UNICAST_HOPS.
            #[serde(deserialize_with = "number::<_, 1, 255>")]
            pub hop_limit: Option<u64>,
        }

        impl $name {
            /// `options`, but for what this table says.
            fn change(&self, options: &mut SocketOptions) {
                let set = |value: Option<u64>, to: &mut Option<u32>| {
                    if let Some(value) = value {
                        // No legal value has more bits.
                        *to = Some(value as u32);
                    }
                };
                set(self.window_clamp, &mut options.window_clamp);
                set(self.notsent_lowat, &mut options.notsent_lowat);
                options.nodelay = self.nodelay.unwrap_or(options.nodelay);
                options.quickack = self.quickack.unwrap_or(options.quickack);
                options.user_timeout = self.user_timeout.or(options.user_timeout);
                options.fin_wait_2 = self.fin_timeout.unwrap_or(options.fin_wait_2);
                options.max_segment = self.max_segment.map(|it| it as u16).or(options.max_segment);
                options.max_pacing_rate = self.max_pacing_rate.or(options.max_pacing_rate);
                let octet = |value: u64| value as u8;
                options.traffic_class = self.traffic_class.map_or(options.traffic_class, octet);
                let hop_limit = self.hop_limit.and_then(|it| NonZeroU8::new(octet(it)));
                options.hop_limit = hop_limit.unwrap_or(options.hop_limit);
                options.linger = match self.linger {
                    Some(Duration::ZERO) => Linger::Reset,
                    Some(limit) => Linger::For(limit),
                    None => options.linger,
                };
                let (fixed, auto) = (self.receive_buffer, self.receive_buffer_max);
                options.receive_buffer = limit(fixed, auto).unwrap_or(options.receive_buffer);
                let (fixed, auto) = (self.send_buffer, self.send_buffer_max);
                options.send_buffer = limit(fixed, auto).unwrap_or(options.send_buffer);
            }

            /// Keepalive as this table or else `general` has it.
            fn keepalive(&self, general: &TcpSettings) -> Option<tcp::Keepalive> {
                let defaults = tcp::Keepalive::default();
                let idle = self.keepalive_idle.or(general.keepalive_idle);
                let interval = self.keepalive_interval.or(general.keepalive_interval);
                let count = self.keepalive_count.or(general.keepalive_count);
                let is_on = self.keepalive.or(general.keepalive).unwrap_or(false);
                is_on.then(|| tcp::Keepalive {
                    idle: idle.unwrap_or(defaults.idle),
                    interval: interval.unwrap_or(defaults.interval),
                    count: count.map_or(defaults.count, |count| count as u8),
                })
            }
        }
    };
}

table! {
    /// What a `[service."NAME:PORT"]` table says of the connections of one service.
    ServiceSettings {
        /// TCP_CONGESTION.
        #[serde(deserialize_with = "super::file::algorithm")]
        pub congestion: Option<Algorithm>,
    }
}

table! {
    /// What the `[tcp]` table says: of all connections, and of a worker's TCP.
    TcpSettings {
        /// The third number of `tcp_mem`, but in octets, for what is received, and per worker.
        #[serde(deserialize_with = "octets::<_, { 1 << 20 }, TIB>")]
        pub receive_memory: Option<u64>,
        /// TCP_DELACK_MAX; RFC 9293 section 3.8.6.3 wants less than half a second.
        #[serde(deserialize_with = "duration::<_, 1, 499>")]
        pub delayed_ack: Option<Duration>,
        /// TCP_TIMEWAIT_LEN: 2MSL.
        #[serde(deserialize_with = "duration::<_, SECOND, { 600 * SECOND }>")]
        pub time_wait: Option<Duration>,
        /// What `tcp_orphan_retries` comes to.
        #[serde(deserialize_with = "duration::<_, SECOND, DAY>")]
        pub orphan_timeout: Option<Duration>,
        /// `tcp_retries2`.
        #[serde(deserialize_with = "number::<_, 1, 255>")]
        pub retries: Option<u64>,
        /// `tcp_syn_retries`.
        #[serde(deserialize_with = "number::<_, 1, 127>")]
        pub syn_retries: Option<u64>,
        /// `tcp_synack_retries`.
        #[serde(deserialize_with = "number::<_, 0, 127>")]
        pub synack_retries: Option<u64>,
        /// `tcp_max_syn_backlog`.
        #[serde(deserialize_with = "number::<_, 1, { 1 << 24 }>")]
        pub syn_backlog: Option<u64>,
        /// `tcp_syncookies`.
        #[serde(deserialize_with = "super::file::syn_cookies")]
        pub syn_cookies: Option<SynCookies>,
        /// Resets to strangers per second; FreeBSD's `icmplim` limits them, too.
        #[serde(deserialize_with = "number::<_, 1, { 1 << 30 }>")]
        pub reset_limit: Option<u64>,
        /// `tcp_challenge_ack_limit`.
        #[serde(deserialize_with = "number::<_, 1, { 1 << 30 }>")]
        pub challenge_ack_limit: Option<u64>,
        /// Whether segments leave at a measured pace (`fq`).
        pub pacing: Option<bool>,
        /// `tcp_ecn`.
        #[serde(deserialize_with = "super::file::ecn")]
        pub ecn: Option<EcnMode>,
        /// `tcp_mtu_probing`.
        pub mtu_probing: Option<bool>,
        /// `tcp_sack`.
        pub sack: Option<bool>,
        /// `tcp_timestamps`.
        pub timestamps: Option<bool>,
        /// `tcp_window_scaling`.
        pub window_scaling: Option<bool>,
    }
}

/// A limit that is said; a fixed one goes before one that tuning may reach.
fn limit(fixed: Option<u64>, auto: Option<u64>) -> Option<BufferLimit> {
    // No legal value has more than 32 bits.
    let fixed = fixed.map(|octets| BufferLimit::Fixed(octets as u32));
    fixed.or(auto.map(|octets| BufferLimit::Auto(octets as u32)))
}

impl TcpSettings {
    /// The settings of a worker's TCP.
    pub(super) fn config(&self, congestion: Option<Algorithm>) -> tcp::Config {
        let mut config = tcp::Config::default();
        let options = &mut config.options;
        self.change(options);
        options.keepalive = self.keepalive(self);
        options.congestion = congestion.unwrap_or(options.congestion);
        let octet = |value: Option<u64>, default: u8| value.map_or(default, |value| value as u8);
        tcp::Config {
            receive_memory: self
                .receive_memory
                .map_or(config.receive_memory, |octets| octets as usize),
            delayed_ack: self.delayed_ack.unwrap_or(config.delayed_ack),
            time_wait: self.time_wait.unwrap_or(config.time_wait),
            orphan_timeout: self.orphan_timeout.unwrap_or(config.orphan_timeout),
            retransmissions: octet(self.retries, config.retransmissions),
            syn_retransmissions: octet(self.syn_retries, config.syn_retransmissions),
            syn_ack_retransmissions: octet(self.synack_retries, config.syn_ack_retransmissions),
            syn_queue: self
                .syn_backlog
                .map_or(config.syn_queue, |entries| entries as usize),
            challenge_acks_per_second: self
                .challenge_ack_limit
                .map_or(config.challenge_acks_per_second, |limit| limit as u32),
            syn_cookies: self.syn_cookies.unwrap_or(config.syn_cookies),
            resets_per_second: self
                .reset_limit
                .map_or(config.resets_per_second, |limit| limit as u32),
            pacing: self.pacing.unwrap_or(config.pacing),
            ecn: self.ecn.unwrap_or(config.ecn),
            mtu_probing: self.mtu_probing.unwrap_or(config.mtu_probing),
            sack: self.sack.unwrap_or(config.sack),
            timestamps: self.timestamps.unwrap_or(config.timestamps),
            window_scale: self.window_scaling.unwrap_or(config.window_scale),
            ..config
        }
    }

    /// The options of the connections of a service of which `service` speaks; `options` are those
    /// of all.
    pub(super) fn service_options(
        &self,
        service: &ServiceSettings,
        options: &SocketOptions,
    ) -> SocketOptions {
        let mut options = options.clone();
        service.change(&mut options);
        options.keepalive = service.keepalive(self);
        options.congestion = service.congestion.unwrap_or(options.congestion);
        options
    }
}
