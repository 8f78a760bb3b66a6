//! One core's engine: demultiplexing, TCP, timers and output over any [`PacketIo`]. No threads, no
//! OS: [`Stack::turn`] is called again and again by whoever drives it.

mod service;

use std::net::SocketAddr;

pub use self::service::{Service, Socket};
use crate::ring::{PacketIo, RingCounters};
use crate::tcp::{self, Info};
use crate::time::{Duration, Instant};
use crate::wire::{Address, ChecksumPolicy, FlowKey, MacAddr};

/// Settings of one core's stack.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Settings of its TCP.
    pub tcp: tcp::Config,
    /// Connections, half-open ones and TIME-WAITs included, that it may have.
    pub max_connections: usize,
    /// The secret of initial sequence numbers; the same on every core.
    pub secret: [u8; 32],
    /// The key of the flow table's hash; best different on every core.
    pub hash_key: [u64; 2],
    /// Other workers that a segment without a connection may belong to.
    pub other_workers: usize,
}

/// A queue of a device that a stack serves.
#[derive(Debug)]
pub struct Queue<P> {
    /// Its rings.
    pub io: P,
    /// Its number on the device.
    pub id: u32,
    /// The device's address.
    pub mac: MacAddr,
    /// The device's MTU: octets of the largest IP packet.
    pub mtu: u16,
    /// How received checksums are judged.
    pub checksums: ChecksumPolicy,
}

/// A frame that has reached the wrong worker, on its way round.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Its octets.
    pub frame: Box<[u8]>,
    /// How many workers have not known it.
    pub hops: u8,
}

/// What one turn has come to.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Frames received and sent; 0 is an idle turn.
    pub frames: usize,
    /// Whether output still waits (for frames, for room): do not sleep.
    pub busy: bool,
    /// When the next timer is due at the earliest.
    pub deadline: Option<Instant>,
}

/// One connection as `ss` shows it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The queue of the device that it uses.
    pub queue: u32,
    /// Its TCP. Half-open connections and TIME-WAITs have one with what they know.
    pub info: Info,
}

/// The signatures that the worker uses while the engine is being written.
#[expect(missing_debug_implementations, reason = "skeleton")]
pub struct Stack<P: PacketIo> {
    queues: Vec<Queue<P>>,
}

impl<P: PacketIo> Stack<P> {
    /// A stack that serves `queues`, which all belong to one device.
    pub fn new(config: StackConfig, queues: Vec<Queue<P>>, now: Instant) -> Self {
        let _ = (config, now);
        Self { queues }
    }

    /// Has `service` take the connections to `port` of any of `addresses`.
    pub fn listen<S: Service>(&mut self, addresses: &[Address], port: u16, service: S) {
        let _ = (addresses, port, service);
    }

    /// One turn: receive, process, timers, send.
    pub fn turn(&mut self, now: Instant) -> Turn {
        let _ = now;
        Turn {
            frames: 0,
            busy: false,
            deadline: None,
        }
    }

    /// The stray frames that this stack has not known; to be given to the next worker. Bounded.
    pub fn take_strays(&mut self) -> impl Iterator<Item = Stray> + '_ {
        std::iter::empty()
    }

    /// A stray frame from another worker. Part of the next turn's work.
    pub fn handle_stray(&mut self, now: Instant, stray: Stray) {
        let _ = (now, stray);
    }

    /// Refuses new connections from now on: SYNs are answered with a reset. Connections that are
    /// idle (nothing unread, nothing unacknowledged) are closed gracefully.
    pub fn drain(&mut self, now: Instant) {
        let _ = now;
    }

    /// Resets every connection. The resets go out with the next turn.
    pub fn abort_all(&mut self, now: Instant) {
        let _ = now;
    }

    /// Connections that are not closed, TIME-WAITs not counted.
    pub fn live_connections(&self) -> usize {
        0
    }

    /// All connections, half-open ones and TIME-WAITs included.
    pub fn connections(&self, now: Instant) -> Vec<Connection> {
        let _ = now;
        Vec::new()
    }

    /// What has been counted: by the stack itself, by its TCP, and per queue by its rings.
    pub fn counters(&self) -> Counters {
        Counters {
            stack: Vec::new(),
            queues: Vec::new(),
        }
    }

    /// The queues.
    pub fn queues(&self) -> &[Queue<P>] {
        &self.queues
    }
}

/// A copy of a stack's counters.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Names and values: drops by reason, then TCP's.
    pub stack: Vec<(&'static str, u64)>,
    /// Queue number and counters of its rings.
    pub queues: Vec<(u32, RingCounters)>,
}

#[expect(dead_code, reason = "skeleton")]
fn unused(_: Duration, _: FlowKey) {}
