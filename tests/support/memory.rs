//! What the tests of whole stacks over the in-memory network share.

#![allow(dead_code, reason = "no test uses all of it")]

use std::sync::mpsc::Sender;

use corelane::ring::sim::{SimConfig, SimDevice};
use corelane::stack::{Queue, Service, Socket, Stack, StackConfig};
use corelane::tcp::{CloseReason, Config};
use corelane::time::Instant;
use corelane::wire::{Address, ChecksumPolicy, Link, MacAddr};

pub(crate) const SERVER: Address = Address::from_ipv4([198, 18, 0, 1]);
pub(crate) const CLIENT: Address = Address::from_ipv4([198, 18, 0, 2]);
pub(crate) const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(crate) const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// What is sent where it matters to nobody; more than a segment.
pub(crate) static PLENTY: [u8; 4_096] = [7; 4_096];
/// When a stack is made.
pub(crate) const START: Instant = Instant::from_millis(1);

/// The way of the client's frames.
pub(crate) const LINK: Link = Link {
    local: CLIENT_MAC,
    remote: SERVER_MAC,
    vlan: None,
};

/// How a stack of one queue is made.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) device: SimConfig,
    pub(crate) tcp: Config,
    pub(crate) max_connections: usize,
    pub(crate) other_workers: usize,
    pub(crate) queue_id: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device: SimConfig::default(),
            tcp: Config::default(),
            max_connections: 1_000,
            other_workers: 0,
            queue_id: 0,
        }
    }
}

/// A stack with one queue.
pub(crate) fn stack(mac: MacAddr, settings: &Settings) -> Stack<SimDevice> {
    let config = StackConfig {
        tcp: settings.tcp.clone(),
        max_connections: settings.max_connections,
        secret: [mac.0[5]; 32],
        hash_key: [1, 2],
        other_workers: settings.other_workers,
    };
    let queue = Queue {
        io: SimDevice::new(&settings.device).unwrap(),
        id: settings.queue_id,
        mac,
        mtu: 1500,
        checksums: ChecksumPolicy::Full,
    };
    Stack::new(config, vec![queue], START)
}

/// The device of its queue.
pub(crate) fn io(stack: &mut Stack<SimDevice>) -> &mut SimDevice {
    &mut stack.queues_mut().next().unwrap().io
}

/// A server over memory: whoever drives it gives it frames, has it work, and takes what it sends.
pub(crate) trait Host {
    /// A frame arrives. False if there is no room for it.
    fn receive(&mut self, frame: &[u8]) -> bool;
    /// The server works through what has arrived and sends what it may.
    fn turn(&mut self, now: Instant);
    /// Shows each frame that was sent to `wire`, in order.
    fn take_sent(&mut self, wire: impl FnMut(&[u8]));
}

impl Host for Stack<SimDevice> {
    fn receive(&mut self, frame: &[u8]) -> bool {
        io(self).receive(frame)
    }

    fn turn(&mut self, now: Instant) {
        Self::turn(self, now);
    }

    fn take_sent(&mut self, wire: impl FnMut(&[u8])) {
        io(self).take_sent(wire);
    }
}

/// What a counter says.
pub(crate) fn count(stack: &Stack<SimDevice>, name: &str) -> u64 {
    let counters = stack.counters().stack;
    let found = counters.iter().find(|(counter, _)| *counter == name);
    found.unwrap_or_else(|| panic!("no counter {name}")).1
}

/// Sends back what it gets.
pub(crate) struct Echo;

impl Service for Echo {
    type Connection = ();

    fn on_open(&mut self, socket: &mut Socket<'_>) {
        assert_eq!(socket.token(), None, "it opens nothing");
    }

    fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
        socket.send(data)
    }
}

/// Reads everything, neither speaks nor closes.
pub(crate) struct Silent;

impl Service for Silent {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_peer_close(&mut self, (): &mut (), _: &mut Socket<'_>) {}
}

/// Sends for ever, as fast as it may.
pub(crate) struct Source;

impl Source {
    fn fill(socket: &mut Socket<'_>) {
        socket.send_with(usize::MAX, |room| {
            room.copy_from_slice(&PLENTY[..room.len()]);
            room.len()
        });
    }
}

impl Service for Source {
    type Connection = ();

    fn on_open(&mut self, socket: &mut Socket<'_>) {
        Self::fill(socket);
    }

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_writable(&mut self, (): &mut (), socket: &mut Socket<'_>) {
        Self::fill(socket);
    }
}

/// Closes first, when it hears something.
pub(crate) struct Closes;

impl Service for Closes {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
        socket.close();
        data.len()
    }
}

/// Sends `total` octets of a pattern, checks their echo, and closes.
pub(crate) struct Pattern {
    pub(crate) total: u64,
    /// How many octets came back, and how it ended.
    pub(crate) results: Sender<(u64, CloseReason)>,
}

/// How far [`Pattern`] is.
#[derive(Default)]
pub(crate) struct Progress {
    sent: u64,
    echoed: u64,
}

fn octet(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Service for Pattern {
    type Connection = Progress;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Progress {
        let mut progress = Progress::default();
        self.on_writable(&mut progress, socket);
        progress
    }

    fn on_data(&mut self, progress: &mut Progress, _: &mut Socket<'_>, data: &[u8]) -> usize {
        for &value in data {
            assert_eq!(value, octet(progress.echoed), "octet {}", progress.echoed);
            progress.echoed += 1;
        }
        data.len()
    }

    fn on_writable(&mut self, progress: &mut Progress, socket: &mut Socket<'_>) {
        let left = usize::try_from(self.total - progress.sent).unwrap();
        let at = &mut progress.sent;
        socket.send_with(left, |buffer| {
            for slot in buffer.iter_mut() {
                *slot = octet(*at);
                *at += 1;
            }
            buffer.len()
        });
        if progress.sent == self.total {
            socket.shutdown();
        }
    }

    fn on_close(&mut self, progress: Progress, reason: CloseReason) {
        self.results.send((progress.echoed, reason)).unwrap();
    }
}
