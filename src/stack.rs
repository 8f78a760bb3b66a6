//! One core's engine: demultiplexing, TCP, timers and output over any [`PacketIo`]. No threads, no
//! OS: [`Stack::turn`] is called again and again by whoever drives it.
//!
//! | file | what |
//! |---|---|
//! | `demux` | frames in: parse the batch, look it up, give each segment to its connection |
//! | `conversation` | one connection and its application, for the time of one event |
//! | `passive` | SYNs, half-open connections, SYN cookies, Fast Open |
//! | `open`, `steering` | active opens: their ports, and where the answers will arrive |
//! | `output` | segments out, timers, and the end of connections |
//! | `mtu` | what the interface carries, also when that changes |
//! | `reassembly` | fragments become datagrams again |
//! | `port` | a queue and the frames that its connections hold |
//! | `shedding`, `gauges` | who is given up when those run out; what is held now |
//! | `service` | what an application is and what it may do |

mod address_set;
mod arena;
#[cfg(any(test, fuzzing))]
mod check;
mod conversation;
mod counters;
mod demux;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod gauges;
mod mtu;
mod open;
mod output;
mod passive;
mod port;
mod reassembly;
mod service;
mod shedding;
mod steering;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

pub use self::address_set::AddressSet;
use self::arena::Arena;
use self::conversation::{Conversation, Flow};
pub use self::counters::DropReason;
use self::counters::Drops;
use self::demux::{Handle, Waiting};
pub use self::open::{ClientPorts, Destination, Opening};
use self::passive::HalfOpen;
pub use self::passive::SynFlood;
use self::port::Port;
use self::reassembly::Reassembly;
use self::service::{AnyService, Hosted};
pub use self::service::{Service, Socket, Wish};
use self::shedding::Sweep;
pub use self::steering::{Rss, Steering};
use crate::flow_table::{FlowId, FlowTable};
use crate::ring::{PacketIo, RingCounters};
use crate::tcp::{
    self, CloseReason, Core, Info, IsnGenerator, Listener, OptionsId, SocketOptions, SynEntry,
};
use crate::time::{Duration, Instant};
use crate::timer_wheel::TimerWheel;
use crate::wire::{Address, ChecksumPolicy, FlowKey, MacAddr};

/// COMPLETION makes no sound: how long a sleeper may leave frames there, or in a TX ring that the
/// kernel did not empty.
const COMPLETION_POLL: Duration = Duration::from_millis(1);

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
    /// How its checksum is judged, as on the queue that it came from.
    pub checksums: ChecksumPolicy,
    /// How many workers have not known it.
    pub hops: u16,
}

/// What one turn has come to.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Frames received, sent and taken back from the kernel; 0 is an idle turn.
    pub frames: usize,
    /// Whether a connection has more to send and could: do not sleep.
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
    /// Its TCP. Of half-open connections and TIME-WAITs little is known.
    pub info: Info,
}

/// A copy of a stack's counters.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Names and values: drops by reason, then TCP's, then those of services; what several services
    /// count by one name is there several times.
    pub stack: Vec<(&'static str, u64)>,
    /// Queue number and counters of its rings.
    pub queues: Vec<(u32, RingCounters)>,
    /// What it holds now, and how much of it there may be.
    pub gauges: Vec<(&'static str, u64)>,
}

/// A [`Service`] that a stack hosts; by default the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceId(u16);

impl ServiceId {
    /// The service that a stack has [hosted](Stack::host) behind `index` others.
    pub const fn nth(index: u16) -> Self {
        Self(index)
    }
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The stack has as many connections as it may.
    #[error("the flow table is full: raise max_connections")]
    Full,
    /// Connections hold nearly all of the receive memory that they may have.
    #[error("the worker's receive memory is nearly used up: raise [tcp] receive-memory")]
    MemoryShort,
    /// There is a connection between these endpoints.
    #[error("there is a connection between these endpoints already")]
    InUse,
    /// Every client port has a connection to this peer.
    #[error("every client port has a connection to this peer: widen the range of client ports")]
    PortsExhausted,
    /// The stack was given no ports for active opens.
    #[error("no client ports were given")]
    NoClientPorts,
    /// A multicast, broadcast or unspecified address, or port 0 (RFC 9293 section 3.9.2.3).
    #[error("no peer can have this address and port")]
    NoPeer,
    /// The stack hosts no service of this id.
    #[error("there is no such service")]
    NoSuchService,
    /// The stack has no queue of this number.
    #[error("there is no such queue")]
    NoSuchQueue,
    /// The server is ending.
    #[error("the server is ending")]
    Draining,
    /// Too many opens wait already.
    #[error("too many opens are under way")]
    Busy,
    /// The kernel has no route to the peer.
    #[error("no route to the peer")]
    NoRoute,
    /// The kernel's route leads through another interface, or the address is this host's own.
    #[error("the route to the peer does not lead through this interface")]
    OtherInterface,
    /// None of the addresses that are served can talk to the peer.
    #[error("none of the addresses that are served can be used towards the peer")]
    NoSource,
    /// The next hop does not answer ARP or neighbour discovery.
    #[error("the neighbour does not answer")]
    NeighbourSilent,
    /// The handshake failed.
    #[error("the handshake failed: {0:?}")]
    Failed(CloseReason),
}

/// See the module.
#[expect(missing_debug_implementations, reason = "services need not have one")]
pub struct Stack<P: PacketIo> {
    ports: Vec<Port<P>>,
    core: Core,
    table: FlowTable<Handle>,
    flows: Arena<Flow>,
    half_open: Arena<HalfOpen>,
    waiting: Arena<Waiting>,
    /// TIME-WAITs and when to look whether they have ended, in the order of that.
    expiring: VecDeque<(Instant, FlowId)>,
    wheel: TimerWheel,
    expired: Vec<u32>,
    services: Vec<Box<dyn AnyService>>,
    /// Those that connections of each service begin with.
    service_options: Vec<OptionsId>,
    listeners: HashMap<(Address, u16), (ServiceId, Listener)>,
    /// Flows that may have something to send or a timer to set.
    dirty: Vec<FlowId>,
    /// Those of this turn, while the next turn's gather.
    sending: Vec<FlowId>,
    /// Flows whose application waits for frames that others hold.
    starved: VecDeque<FlowId>,
    /// How far the search for those is that have held them longest.
    sweep: Sweep,
    strays: VecDeque<Stray>,
    reassembly: Reassembly,
    /// Datagrams that have become whole in this batch, as frames.
    reassembled: Vec<Box<[u8]>>,
    client_ports: Option<ClientPorts>,
    /// Services that open connections by themselves.
    openers: Vec<ServiceId>,
    /// When to ask them again at the latest.
    openers_due: Option<Instant>,
    other_workers: usize,
    draining: bool,
    /// A listener sends SYN cookies, or has until [`take_floods`](Self::take_floods) was last called.
    flooded: bool,
    drops: Drops,
    /// Frames received and sent in this turn.
    frames: usize,
}

impl<P: PacketIo> Stack<P> {
    /// A stack that serves `queues`, which all belong to one device. Panics if there are more than
    /// 256, since flows name theirs by an octet.
    pub fn new(config: StackConfig, queues: Vec<Queue<P>>, now: Instant) -> Self {
        assert!(queues.len() <= 256, "a stack serves at most 256 queues");
        Self {
            ports: queues.into_iter().map(Port::new).collect(),
            core: Core::new(config.tcp, IsnGenerator::new(config.secret)),
            table: FlowTable::with_capacity(config.max_connections, config.hash_key),
            flows: Arena::new(),
            half_open: Arena::new(),
            waiting: Arena::new(),
            expiring: VecDeque::new(),
            wheel: TimerWheel::new(now),
            expired: Vec::new(),
            services: Vec::new(),
            service_options: Vec::new(),
            listeners: HashMap::new(),
            dirty: Vec::new(),
            sending: Vec::new(),
            starved: VecDeque::new(),
            sweep: Sweep::default(),
            strays: VecDeque::new(),
            reassembly: Reassembly::default(),
            reassembled: Vec::new(),
            client_ports: None,
            openers: Vec::new(),
            openers_due: None,
            other_workers: config.other_workers,
            draining: false,
            flooded: false,
            drops: Drops::new(),
            frames: 0,
        }
    }

    /// The options that connections begin with unless their service says otherwise.
    pub fn default_options(&self) -> &SocketOptions {
        &self.core.config.options
    }

    /// Hosts `service`, whose connections begin with the default options.
    pub fn host<S: Service>(&mut self, service: S) -> ServiceId {
        let options = self.default_options().clone();
        self.host_with(options, service)
    }

    /// Hosts `service`, whose connections begin with `options`.
    pub fn host_with<S: Service>(&mut self, options: SocketOptions, service: S) -> ServiceId {
        self.service_options.push(self.core.add_options(options));
        self.services.push(Box::new(Hosted::new(service)));
        // A handful: one per listener or client.
        ServiceId((self.services.len() - 1) as u16)
    }

    /// Has `service` take the connections to `port` of any of `addresses`.
    pub fn listen<S: Service>(&mut self, addresses: &[Address], port: u16, service: S) {
        let options = self.default_options().clone();
        self.listen_with(addresses, port, options, service);
    }

    /// Has `service` take the connections to `port` of any of `addresses`, which begin with
    /// `options`.
    pub fn listen_with<S: Service>(
        &mut self,
        addresses: &[Address],
        port: u16,
        options: SocketOptions,
        service: S,
    ) {
        let id = self.host_with(options, service);
        let options = self.service_options[usize::from(id.0)];
        for &address in addresses {
            self.listeners
                .insert((address, port), (id, Listener::new(options)));
        }
    }

    /// One turn: receive, process, timers, send.
    pub fn turn(&mut self, now: Instant) -> Turn {
        self.frames = 0;
        for queue in 0..self.ports.len() {
            self.frames += self.ports[queue].reap();
            self.receive(now, queue);
        }
        self.handle_timers(now);
        self.shed_stalled(now);
        self.feed_starved(now);
        self.ask_openers(now);
        let busy = self.send(now);
        for port in &mut self.ports {
            port.queue.io.flush();
            let compaction = port.compact();
            let counters = &mut self.core.counters;
            counters.texts_compacted += compaction.moved;
            counters.compact_memory_exhausted += u64::from(compaction.is_full);
        }
        Turn {
            frames: self.frames,
            busy,
            deadline: self.next_deadline(now),
        }
    }

    /// The stray frames that this stack has not known; to be given to the next worker. Bounded.
    pub fn take_strays(&mut self) -> impl Iterator<Item = Stray> + '_ {
        self.strays.drain(..)
    }

    /// Refuses new connections from now on: SYNs are answered with a reset. Connections on which
    /// nothing is on its way are closed, and forgotten when the peer has acknowledged that. To be
    /// called again now and then, for those that have become so.
    ///
    /// Half-open connections get no second SYN-ACK any more: a peer that does not answer must not
    /// hold up the end.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.forget_half_opens(|_, entry| entry.info(now).retransmissions > 0);
        self.for_each_flow(now, |_| true, |conversation| conversation.wind_down());
    }

    /// Resets every connection; the resets go out with the next turns. Forgets half-open ones.
    pub fn abort_all(&mut self, now: Instant) {
        self.draining = true;
        self.forget_half_opens(|_, _| true);
        self.for_each_flow(now, |_| true, |conversation| conversation.abort());
    }

    /// Resets the connections with `peers`, as [`abort_all`](Self::abort_all) does all; others may
    /// come.
    pub fn abort_peers(&mut self, now: Instant, peers: &AddressSet) {
        self.forget_half_opens(|key, _| peers.contains(key.remote));
        self.for_each_flow(
            now,
            |key| peers.contains(key.remote),
            |conversation| conversation.abort(),
        );
    }

    /// Connections that are not closed, TIME-WAITs not counted.
    pub fn live_connections(&self) -> usize {
        self.flows.len() + self.half_open.len()
    }

    /// All connections, half-open ones and TIME-WAITs included.
    pub fn connections(&self, now: Instant) -> Vec<Connection> {
        self.table
            .iter()
            .filter_map(|(_, key, &handle)| self.describe(now, key, handle))
            .collect()
    }

    /// What has been counted: by the stack itself, by its TCP, and per queue by its rings.
    pub fn counters(&self) -> Counters {
        Counters {
            stack: self
                .drops
                .named()
                .chain(self.core.counters.named())
                .chain([("application_panics", self.application_panics())])
                .chain(self.services.iter().flat_map(|service| service.counters()))
                .collect(),
            queues: self
                .ports
                .iter()
                .map(|port| (port.queue.id, port.queue.io.counters()))
                .collect(),
            gauges: self.gauges(),
        }
    }

    /// Callbacks of applications that have panicked.
    pub fn application_panics(&self) -> u64 {
        self.services.iter().map(|service| service.panics()).sum()
    }

    /// The queues.
    pub fn queues(&self) -> impl Iterator<Item = &Queue<P>> {
        self.ports.iter().map(|port| &port.queue)
    }

    /// The queues, to drive what is behind them.
    pub fn queues_mut(&mut self) -> impl Iterator<Item = &mut Queue<P>> {
        self.ports.iter_mut().map(|port| &mut port.queue)
    }

    /// Whether no memory is held for any connection but TIME-WAITs.
    pub fn is_quiet(&self) -> bool {
        self.live_connections() == 0 && self.core.is_empty()
    }

    /// When to turn again if nothing arrives.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let never = Instant::FAR_FUTURE;
        let awaits_frames = !self.starved.is_empty()
            || !self.dirty.is_empty()
            || self.ports.iter().any(Port::awaits_completion);
        let look_again = if awaits_frames {
            now + COMPLETION_POLL
        } else {
            never
        };
        let time_wait = self.expiring.front().map_or(never, |&(due, _)| due);
        let least = look_again
            .min(time_wait)
            .min(self.wheel.next_deadline().unwrap_or(never))
            .min(self.reassembly.next_deadline().unwrap_or(never))
            .min(self.openers_due.unwrap_or(never));
        (least != never).then_some(least)
    }

    /// The parts of the stack that an event of the flow at `index` concerns.
    fn conversation<'a>(
        &'a mut self,
        now: Instant,
        key: &'a FlowKey,
        index: u32,
    ) -> Option<Conversation<'a>> {
        let flow = self.flows.get_mut(index)?;
        let buffers = self.ports.get_mut(usize::from(flow.queue))?;
        let service = self.services.get_mut(usize::from(flow.service))?;
        Some(Conversation {
            key,
            service: &mut **service,
            buffers,
            core: &mut self.core,
            now,
            flow,
        })
    }

    fn forget_half_opens(&mut self, which: impl Fn(&FlowKey, &SynEntry) -> bool) {
        let half_opens: Vec<(FlowId, FlowKey, u32)> = self
            .table
            .iter()
            .filter_map(|(id, &key, &handle)| match handle {
                Handle::HalfOpen(index) => Some((id, key, index)),
                _ => None,
            })
            .filter(|(_, key, index)| {
                let half_open = self.half_open.get(*index);
                half_open.is_some_and(|it| which(key, &it.entry))
            })
            .collect();
        for (id, key, index) in half_opens {
            self.forget_half_open(id, &key, index);
        }
    }

    fn for_each_flow(
        &mut self,
        now: Instant,
        which: impl Fn(&FlowKey) -> bool,
        act: impl Fn(&mut Conversation<'_>),
    ) {
        let flows: Vec<(FlowId, FlowKey, u32)> = self
            .table
            .iter()
            .filter_map(|(id, &key, &handle)| match handle {
                Handle::Flow(index) if which(&key) => Some((id, key, index)),
                _ => None,
            })
            .collect();
        for (id, key, index) in flows {
            if let Some(mut conversation) = self.conversation(now, &key, index) {
                act(&mut conversation);
                self.mark_dirty(id);
            }
        }
    }

    fn describe(&self, now: Instant, key: &FlowKey, handle: Handle) -> Option<Connection> {
        let (queue, info) = match handle {
            Handle::Flow(index) => {
                let flow = self.flows.get(index)?;
                (flow.queue, flow.tcb.info(&self.core, now))
            }
            Handle::HalfOpen(index) => {
                let half_open = self.half_open.get(index)?;
                (half_open.queue, half_open.entry.info(now))
            }
            Handle::Waiting(index) => {
                let waiting = self.waiting.get(index)?;
                (waiting.queue, waiting.time_wait.info(now))
            }
        };
        Some(Connection {
            local: key.local_addr(),
            remote: key.remote_addr(),
            queue: self.ports.get(usize::from(queue))?.queue.id,
            info,
        })
    }
}
