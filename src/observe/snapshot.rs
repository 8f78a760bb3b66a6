//! Connections and counters as they go over the control socket and into `--json`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::ring::RingCounters;
use crate::stack;
use crate::time::Duration;
use crate::worker::Tally;

/// One connection. Octets and microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The state's name in RFC 9293.
    pub state: String,
    /// Octets received in order and not consumed.
    pub receive_queue: u32,
    /// Octets written and not acknowledged.
    pub send_queue: u32,
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
    /// Smoothed round-trip time.
    pub rtt_us: Option<u64>,
    /// Its variation.
    pub rttvar_us: u64,
    /// The retransmission timeout in force.
    pub rto_us: u64,
    /// The congestion control.
    pub congestion: String,
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold; none while it has never been set.
    pub ssthresh: Option<u32>,
    /// Octets of text in a full segment.
    pub mss: u16,
    /// Octets in flight.
    pub flight_size: u32,
    /// The peer's window.
    pub send_window: u32,
    /// Our window.
    pub receive_window: u32,
    /// Segments retransmitted.
    pub retransmissions: u32,
    /// Whether SACK is in use.
    pub sack: bool,
    /// Whether timestamps are in use.
    pub timestamps: bool,
    /// The shift count of the peer's window.
    pub send_window_scale: u8,
    /// The shift count of our window.
    pub receive_window_scale: u8,
}

impl Connection {
    /// A connection of the worker on `core`.
    pub fn new(core: usize, connection: &stack::Connection) -> Self {
        let info = &connection.info;
        Self {
            state: info.state.to_string(),
            receive_queue: info.receive_queue,
            send_queue: info.send_queue,
            local_address: connection.local.ip(),
            local_port: connection.local.port(),
            peer_address: connection.remote.ip(),
            peer_port: connection.remote.port(),
            core,
            queue: connection.queue,
            timer: info.timer.map(|(name, _)| name.to_owned()),
            timer_expires_us: info.timer.map(|(_, left)| left.as_micros()),
            rtt_us: info.srtt.map(Duration::as_micros),
            rttvar_us: info.rttvar.as_micros(),
            rto_us: info.rto.as_micros(),
            congestion: info.congestion.to_owned(),
            cwnd: info.cwnd,
            ssthresh: info.ssthresh,
            mss: info.mss,
            flight_size: info.flight_size,
            send_window: info.snd_wnd,
            receive_window: info.rcv_wnd,
            retransmissions: info.retransmissions,
            sack: info.sack,
            timestamps: info.timestamps,
            send_window_scale: info.window_scale.0,
            receive_window_scale: info.window_scale.1,
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
                receive_queue: 0,
                send_queue: 2_896,
                timer: Some(("retransmission", Duration::from_micros(201_500))),
                srtt: Some(Duration::from_micros(345)),
                rttvar: Duration::from_micros(67),
                rto: Duration::from_millis(1_000),
                congestion: "reno",
                cwnd: 14_480,
                ssthresh: None,
                mss: 1_448,
                flight_size: 2_896,
                snd_wnd: 64_000,
                rcv_wnd: 524_288,
                retransmissions: 3,
                sack: true,
                timestamps: true,
                window_scale: (7, 4),
                loss: Default::default(),
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
            };
            stats.add(core, &counters, Tally::default());
        }
        assert_eq!(stats.stack["segments"], 10);
        assert_eq!(stats.stack["dropped_checksum"], 2);
        assert_eq!(stats.workers.len(), 2);
        assert_eq!((stats.queues[0].queue, stats.queues[0].core), (0, 1));
        assert_eq!(stats.queues[1].counters["rx_frames"], 7);
    }
}
