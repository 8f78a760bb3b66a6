//! Connections and counters as they go over the control socket and into `--json`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::options::SocketOptions;
use crate::ring::RingCounters;
use crate::stack;
use crate::time::Duration;
use crate::worker::Tally;

/// One connection. Octets and microseconds; what is not measured is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The state's name in RFC 9293.
    pub state: String,
    /// Octets received in order and not consumed.
    pub receive_queue: u32,
    /// Octets written and not acknowledged.
    pub send_queue: u32,
    /// Octets written and not sent.
    pub unsent: u32,
    /// Our address.
    pub local_address: IpAddr,
    /// Our port.
    pub local_port: u16,
    /// The peer's address.
    pub peer_address: IpAddr,
    /// The peer's port.
    pub peer_port: u16,
    /// The CPU of the worker that has it.
    pub core: usize,
    /// The queue of the device that it uses.
    pub queue: u32,
    /// The timer that is due next.
    pub timer: Option<String>,
    /// The time until then.
    pub timer_expires_us: Option<u64>,
    /// Where loss recovery is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_state: Option<String>,
    /// Retransmission timeouts in a row.
    pub timeouts: u8,
    /// Zero-window or keepalive probes in a row without an answer.
    pub probes: u8,
    /// Smoothed round-trip time.
    pub rtt_us: Option<u64>,
    /// Its variation.
    pub rttvar_us: u64,
    /// The least round trip of late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rtt_us: Option<u64>,
    /// The round trip as a receiver can tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_rtt_us: Option<u64>,
    /// The retransmission timeout in force.
    pub rto_us: u64,
    /// How long an acknowledgment may wait.
    pub ato_us: u64,
    /// The congestion control.
    pub congestion: String,
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold; none while it has never been set.
    pub ssthresh: Option<u32>,
    /// Octets per second at which segments leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pacing_rate: Option<u64>,
    /// Octets per second at which they arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_rate: Option<u64>,
    /// Octets that have arrived since a window was first filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<u64>,
    /// Of those: what acknowledgments with an echo of congestion have delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_ce: Option<u64>,
    /// Time with something written that was not acknowledged.
    pub busy_us: u64,
    /// Of that: kept by the peer's window.
    pub rwnd_limited_us: u64,
    /// Of that: kept by a send buffer that was full, all of it sent.
    pub sndbuf_limited_us: u64,
    /// Octets of text in a full segment.
    pub mss: u16,
    /// The largest text received.
    pub receive_mss: u16,
    /// The MSS that we have offered.
    pub advertised_mss: u16,
    /// The path's MTU.
    pub path_mtu: u16,
    /// Octets in flight.
    pub flight_size: u32,
    /// Of those: what the peer says it has.
    pub sacked: u32,
    /// Of those: what is taken for lost and not sent again.
    pub lost: u32,
    /// Acknowledgments that have shown segments out of order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorderings_seen: Option<u32>,
    /// How many segments out of order they have arrived at the most; three at the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordering: Option<u32>,
    /// Duplicates that the peer has reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsacks: Option<u32>,
    /// The peer's window.
    pub send_window: u32,
    /// Our window.
    pub receive_window: u32,
    /// What our window may be now.
    pub receive_limit: u32,
    /// The most that the application has consumed in a round trip.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_space: Option<u32>,
    /// Time since text was last sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_data_sent_us: Option<u64>,
    /// Time since text last arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_data_received_us: Option<u64>,
    /// Time since the peer was last heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard_us: Option<u64>,
    /// Segments retransmitted.
    pub retransmissions: u32,
    /// Octets retransmitted, modulo 2^32.
    pub octets_retransmitted: u32,
    /// Octets of text sent, retransmitted ones included.
    pub octets_sent: u64,
    /// Octets of text acknowledged by the peer.
    pub octets_acked: u64,
    /// Octets of text received in order.
    pub octets_received: u64,
    /// Segments received, modulo 2^32.
    pub segs_in: u32,
    /// Segments sent, SYNs excepted, modulo 2^32.
    pub segs_out: u32,
    /// Segments with text received, modulo 2^32.
    pub data_segs_in: u32,
    /// Segments with text sent, modulo 2^32.
    pub data_segs_out: u32,
    /// Segments received out of order, modulo 2^32.
    pub out_of_order: u32,
    /// Whether SACK is in use.
    pub sack: bool,
    /// Whether timestamps are in use.
    pub timestamps: bool,
    /// Whether ECN is in use.
    pub ecn: bool,
    /// The shift count of the peer's window.
    pub send_window_scale: u8,
    /// The shift count of our window.
    pub receive_window_scale: u8,
    /// Its options, where there is a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<SocketOptions>,
}

impl Connection {
    /// A connection of the worker on `core`.
    pub fn new(core: usize, connection: &stack::Connection) -> Self {
        let info = &connection.info;
        let micros = |time: Option<Duration>| time.map(Duration::as_micros);
        Self {
            state: info.state.to_string(),
            receive_queue: info.receive_queue,
            send_queue: info.send_queue,
            unsent: info.unsent,
            local_address: connection.local.ip(),
            local_port: connection.local.port(),
            peer_address: connection.remote.ip(),
            peer_port: connection.remote.port(),
            core,
            queue: connection.queue,
            timer: info.timer.map(|(name, _)| name.to_owned()),
            timer_expires_us: info.timer.map(|(_, left)| left.as_micros()),
            ca_state: info.ca_state.map(str::to_owned),
            timeouts: info.timeouts,
            probes: info.probes,
            rtt_us: micros(info.srtt),
            rttvar_us: info.rttvar.as_micros(),
            min_rtt_us: micros(info.min_rtt),
            receive_rtt_us: micros(info.receive_rtt),
            rto_us: info.rto.as_micros(),
            ato_us: info.ato.as_micros(),
            congestion: info.congestion.to_owned(),
            cwnd: info.cwnd,
            ssthresh: info.ssthresh,
            pacing_rate: info.pacing_rate,
            delivery_rate: info.delivery_rate,
            delivered: info.delivered,
            delivered_ce: info.delivered_ce,
            busy_us: info.busy.as_micros(),
            rwnd_limited_us: info.rwnd_limited.as_micros(),
            sndbuf_limited_us: info.sndbuf_limited.as_micros(),
            mss: info.mss,
            receive_mss: info.receive_mss,
            advertised_mss: info.advertised_mss,
            path_mtu: info.path_mtu,
            flight_size: info.flight_size,
            sacked: info.sacked,
            lost: info.lost,
            reorderings_seen: info.reorderings_seen,
            reordering: info.reordering,
            dsacks: info.dsacks,
            send_window: info.snd_wnd,
            receive_window: info.rcv_wnd,
            receive_limit: info.receive_limit,
            receive_space: info.receive_space,
            last_data_sent_us: micros(info.last_data_sent),
            last_data_received_us: micros(info.last_data_received),
            last_heard_us: micros(info.last_heard),
            retransmissions: info.retransmissions,
            octets_retransmitted: info.octets_retransmitted,
            octets_sent: info.octets_sent,
            octets_acked: info.octets_acked,
            octets_received: info.octets_received,
            segs_in: info.segs_in,
            segs_out: info.segs_out,
            data_segs_in: info.data_segs_in,
            data_segs_out: info.data_segs_out,
            out_of_order: info.out_of_order,
            sack: info.sack,
            timestamps: info.timestamps,
            ecn: info.ecn,
            send_window_scale: info.window_scale.0,
            receive_window_scale: info.window_scale.1,
            options: info.options.as_deref().map(SocketOptions::new),
        }
    }

    /// Our end.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_address, self.local_port)
    }

    /// The peer's end.
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(self.peer_address, self.peer_port)
    }
}

/// The counters of a server, since its start, by name: those of
/// [`DropReason`](crate::stack::DropReason), [`Malformed`](crate::wire::Malformed) and
/// [`tcp::Counters`](crate::tcp::Counters), the XDP program's and the rings'.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The XDP program's: frames by what became of them.
    pub xdp: BTreeMap<String, u64>,
    /// The stacks', all workers together.
    pub stack: BTreeMap<String, u64>,
    /// Each worker's own.
    pub workers: Vec<Worker>,
    /// Each queue's rings'.
    pub queues: Vec<Queue>,
}

/// The counters of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its CPU.
    pub core: usize,
    /// Its counters.
    pub counters: BTreeMap<String, u64>,
    /// What it holds now, and what it may hold; memory in octets.
    #[serde(default)]
    pub gauges: BTreeMap<String, u64>,
}

/// The counters of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its number on the device.
    pub queue: u32,
    /// The CPU of its worker.
    pub core: usize,
    /// Its counters; those that begin with `kernel` are the kernel's.
    pub counters: BTreeMap<String, u64>,
}

impl Stats {
    /// Adds what a worker says.
    pub fn add(&mut self, core: usize, counters: &stack::Counters, tally: Tally) {
        for &(name, value) in &counters.stack {
            *self.stack.entry(name.to_owned()).or_default() += value;
        }
        self.workers.push(Worker {
            core,
            counters: tally_map(tally),
            gauges: counters
                .gauges
                .iter()
                .map(|&(name, value)| (name.to_owned(), value))
                .collect(),
        });
        self.queues
            .extend(counters.queues.iter().map(|&(queue, counters)| Queue {
                queue,
                core,
                counters: ring_map(counters),
            }));
        self.queues.sort_unstable_by_key(|queue| queue.queue);
    }
}

fn map<const N: usize>(counters: [(&str, u64); N]) -> BTreeMap<String, u64> {
    let owned = counters.map(|(name, value)| (name.to_owned(), value));
    owned.into()
}

fn tally_map(tally: Tally) -> BTreeMap<String, u64> {
    // All fields by name: a new one does not compile until it has one here.
    let Tally {
        turns,
        sleeps,
        strays_sent,
        strays_received,
        strays_dropped_rate,
        strays_dropped_full,
    } = tally;
    map([
        ("turns", turns),
        ("sleeps", sleeps),
        ("strays_sent", strays_sent),
        ("strays_received", strays_received),
        ("strays_dropped_rate", strays_dropped_rate),
        ("strays_dropped_full", strays_dropped_full),
    ])
}

fn ring_map(counters: RingCounters) -> BTreeMap<String, u64> {
    let RingCounters {
        rx_frames,
        rx_bytes,
        tx_frames,
        tx_bytes,
        tx_wakeups,
        rx_wakeups,
        tx_ring_full,
        tx_frames_exhausted,
        rx_fill_blocked,
        wakeup_errors,
        bad_addresses,
        kernel_rx_dropped,
        kernel_rx_ring_full,
        kernel_rx_fill_ring_empty,
        kernel_rx_invalid_descs,
        kernel_tx_invalid_descs,
    } = counters;
    map([
        ("rx_frames", rx_frames),
        ("rx_bytes", rx_bytes),
        ("tx_frames", tx_frames),
        ("tx_bytes", tx_bytes),
        ("tx_wakeups", tx_wakeups),
        ("rx_wakeups", rx_wakeups),
        ("tx_ring_full", tx_ring_full),
        ("tx_frames_exhausted", tx_frames_exhausted),
        ("rx_fill_blocked", rx_fill_blocked),
        ("wakeup_errors", wakeup_errors),
        ("bad_addresses", bad_addresses),
        ("kernel_rx_dropped", kernel_rx_dropped),
        ("kernel_rx_ring_full", kernel_rx_ring_full),
        ("kernel_rx_fill_ring_empty", kernel_rx_fill_ring_empty),
        ("kernel_rx_invalid_descs", kernel_rx_invalid_descs),
        ("kernel_tx_invalid_descs", kernel_tx_invalid_descs),
    ])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tcp::{Info, State};

    pub(in crate::observe) fn established() -> stack::Connection {
        stack::Connection {
            local: "198.18.0.1:80".parse().unwrap(),
            remote: "198.18.0.2:40000".parse().unwrap(),
            queue: 1,
            info: Info {
                state: State::Established,
                options: Some(Box::new(crate::tcp::SocketOptions {
                    nodelay: true,
                    user_timeout: Some(Duration::from_secs(30)),
                    ..crate::tcp::SocketOptions::default()
                })),
                send_queue: 2_896,
                timer: Some(("retransmission", Duration::from_micros(201_500))),
                srtt: Some(Duration::from_micros(345)),
                rttvar: Duration::from_micros(67),
                rto: Duration::from_millis(1_000),
                ato: Duration::from_millis(40),
                congestion: "reno",
                cwnd: 14_480,
                mss: 1_448,
                receive_mss: 1_448,
                advertised_mss: 1_460,
                path_mtu: 1_500,
                flight_size: 2_896,
                snd_wnd: 64_000,
                rcv_wnd: 524_288,
                receive_limit: 524_288,
                last_data_sent: Some(Duration::from_millis(7)),
                last_heard: Some(Duration::from_millis(8)),
                retransmissions: 3,
                octets_retransmitted: 4_344,
                octets_sent: 5_000_000_000,
                octets_acked: 4_999_992_760,
                segs_in: 1_000,
                segs_out: 2_000,
                data_segs_out: 1_990,
                sack: true,
                timestamps: true,
                window_scale: (7, 4),
                ..Info::default()
            },
        }
    }

    #[test]
    fn a_connection_survives_the_socket() {
        let connection = Connection::new(3, &established());
        let text = serde_json::to_string(&connection).unwrap();
        assert!(text.contains("\"timer_expires_us\":201500"), "{text}");
        assert!(text.contains("\"state\":\"ESTABLISHED\""), "{text}");
        let back: Connection = serde_json::from_str(&text).unwrap();
        assert_eq!(back, connection);
        assert_eq!(back.peer().to_string(), "198.18.0.2:40000");
    }

    #[test]
    fn stacks_are_added_up_and_queues_sorted() {
        let mut stats = Stats::default();
        for (core, queue) in [(0, 1), (1, 0)] {
            let counters = stack::Counters {
                stack: vec![("segments", 5), ("dropped_checksum", 1)],
                queues: vec![(
                    queue,
                    RingCounters {
                        rx_frames: 7,
                        ..RingCounters::default()
                    },
                )],
                gauges: vec![("flows", 3)],
            };
            stats.add(core, &counters, Tally::default());
        }
        assert_eq!(stats.stack["segments"], 10);
        assert_eq!(stats.stack["dropped_checksum"], 2);
        assert_eq!(stats.workers.len(), 2);
        assert_eq!(stats.workers[1].gauges["flows"], 3);
        assert_eq!((stats.queues[0].queue, stats.queues[0].core), (0, 1));
        assert_eq!(stats.queues[1].counters["rx_frames"], 7);
    }
}
