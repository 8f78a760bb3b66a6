//! A stack at the mercy of some octets: they say which segments, fragments and ICMP errors arrive,
//! what applications do and how time passes, and [`check`](super::check) looks after each step. For
//! the fuzz target, and for tests that replay what it has found.
//!
//! Two octets in three make a segment that an honest peer could have sent, or nearly: else nothing
//! would ever get beyond the handshake.

mod application;
mod peer;

use std::net::{Ipv4Addr, Ipv6Addr};

use self::application::{Application, act};
use self::peer::Peer;
use super::check::Edges;
use super::demux::Handle;
use super::{ClientPorts, Queue, ServiceId, Socket, Stack, StackConfig, Steering};
use crate::ring::sim::{SimConfig, SimDevice};
use crate::tcp::congestion::Algorithm;
use crate::tcp::{self, BufferLimit, Context, EcnMode, Keepalive, SocketOptions};
use crate::time::{Duration, Instant};
use crate::wire::tcp::Flags;
use crate::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr, Packet, parse};

const PORT: u16 = 80;
const CLIENT_PORTS: std::ops::RangeInclusive<u16> = 61_000..=61_003;
const MTU: u16 = 1_500;
/// Peers: the last one is whom we connect to.
const PEERS: u8 = 6;
/// Steps of one run.
const STEPS: usize = 400;
/// Turns until all timers are done. A connection may try for long, but not for ever.
const LAST_TURNS: usize = 20_000;

/// Octets that are used up one by one; zeros follow.
#[derive(Clone, Debug)]
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn octet(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&octet, rest)) => {
                self.0 = rest;
                octet
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }

    fn below(&mut self, limit: u8) -> u8 {
        self.octet() % limit
    }

    /// Small numbers mostly, any number now and then.
    fn distance(&mut self) -> u32 {
        match self.octet() {
            octet @ 0..0x40 => u32::from(octet),
            octet @ 0x40..0x80 => 0u32.wrapping_sub(u32::from(octet - 0x3f)),
            octet @ 0x80..0xf0 => u32::from(octet - 0x7f) * 97,
            _ => u32::from(self.word()) << 16 | u32::from(self.word()),
        }
    }
}

/// The stack, its peers and the time.
struct World {
    stack: Stack<SimDevice>,
    peers: Vec<Peer>,
    now: Instant,
    edges: Edges,
    draining: bool,
}

/// Plays what `octets` say to the end of all connections, and tells what was counted. Panics if
/// something does not hold.
pub fn play(octets: &[u8]) -> tcp::Counters {
    let mut input = Input(octets);
    let mut world = World::new(&mut input);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.stack.check(&mut world.edges);
    }
    world.end();
    world.stack.core.counters
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let now = Instant::from_millis(1_000 + (u64::from(input.octet()) << 24));
        let device = SimDevice::new(&SimConfig {
            rx_frames: 64,
            tx_frames: 16 << input.below(4),
            rx_ring: 64,
            tx_ring: 8 << input.below(4),
            ..SimConfig::default()
        });
        let queue = Queue {
            io: device.expect("memory can be mapped"),
            id: 0,
            mac: peer::OUR_MAC,
            mtu: MTU,
            checksums: ChecksumPolicy::Full,
        };
        let config = StackConfig {
            tcp: tcp_config(input),
            max_connections: 4 + usize::from(input.below(8)),
            secret: [7; 32],
            hash_key: [1, 2],
            other_workers: usize::from(input.below(2)),
        };
        let mut stack = Stack::new(config, vec![queue], now);
        let script: Vec<u8> = (0..input.below(64)).map(|_| input.octet()).collect();
        let addresses = [v4(1), v6(1)];
        stack.listen(&addresses, PORT, Application::new(script));
        let steering = Steering::Dealt { index: 0, of: 1 };
        stack.set_client_ports(ClientPorts::new(CLIENT_PORTS, steering, [3, 4]));
        let peers = (0..PEERS).map(Peer::new).collect();
        Self {
            stack,
            peers,
            now,
            edges: Edges::default(),
            draining: false,
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.octet();
        let peer = usize::from(choice % PEERS);
        match choice / PEERS {
            0..26 => {
                let frame = self.peers[peer].segment(input, self.now);
                self.receive(&frame);
            }
            26 | 27 => {
                for frame in self.peers[peer].fragments(input, self.now) {
                    self.receive(&frame);
                }
            }
            28 | 29 => {
                let frame = self.peers[peer].icmp(input);
                self.receive(&frame);
            }
            30 => {
                let mut frame = self.peers[peer].segment(input, self.now);
                let at = usize::from(input.word()) % frame.len();
                frame[at] ^= input.octet();
                self.receive(&frame);
            }
            31..34 => self.application_acts(input),
            34 => self.open(peer, input),
            // The batch grows.
            35 => return,
            36..38 => self.now += Duration::from_millis(1 + u64::from(input.octet())),
            38 => self.now += Duration::from_secs(u64::from(input.octet()) * 30),
            39 => {
                let hold = input.octet() & 1 != 0;
                for queue in self.stack.queues_mut() {
                    queue.io.hold_completions(hold);
                }
            }
            40 if input.octet() < 32 => {
                self.draining = true;
                self.stack.drain(self.now);
            }
            42 if choice == 0xff => {
                let remote = self.peers[peer].key.remote;
                let peers = std::iter::once((remote, remote)).collect();
                self.stack.abort_peers(self.now, &peers);
            }
            // To the next timer.
            _ => match self.turn() {
                Some(deadline) => self.now = self.now.max(deadline),
                None => self.now += Duration::from_millis(1),
            },
        }
        // Now and then what follows is of the same batch.
        if choice & 0x80 == 0 || choice & 7 != 0 {
            self.turn();
        }
    }

    fn receive(&mut self, frame: &[u8]) {
        for queue in self.stack.queues_mut() {
            queue.io.receive(frame);
        }
    }

    /// An application acts by itself, as one that is woken up by something else would.
    fn application_acts(&mut self, input: &mut Input<'_>) {
        let flows: Vec<_> = self
            .stack
            .table
            .iter()
            .filter_map(|(id, &key, &handle)| match handle {
                Handle::Flow(index) => Some((id, key, index)),
                _ => None,
            })
            .collect();
        let which = usize::from(input.octet());
        let what = [input.octet(), input.octet()];
        let Some(&(id, key, index)) = flows.get(which % flows.len().max(1)) else {
            return;
        };
        let Some(conversation) = self.stack.conversation(self.now, &key, index) else {
            return;
        };
        let mut socket = Socket {
            tcb: &mut conversation.flow.tcb,
            cx: Context {
                now: self.now,
                buffers: conversation.buffers,
                core: conversation.core,
            },
            key: &key,
            token: None,
        };
        act(&mut socket, what);
        self.stack.mark_dirty(id);
    }

    /// An active open to one of the peers.
    fn open(&mut self, peer: usize, input: &mut Input<'_>) {
        let key = self.peers[peer].key;
        let destination = super::Destination {
            local: key.local,
            remote: key.remote,
            port: key.remote_port,
            link: peer::link(),
            mtu: (input.octet() & 1 != 0).then_some(1_280),
        };
        let early = vec![b'e'; usize::from(input.octet()) * 8];
        let id = ServiceId::default();
        let opened = self.stack.open_with(self.now, &destination, id, 9, &early);
        if let Ok(key) = opened {
            self.peers[peer].key = key;
        }
    }

    /// One turn; everything that is sent must be a segment that a peer would take. Returns when
    /// the next is due.
    fn turn(&mut self) -> Option<Instant> {
        let turn = self.stack.turn(self.now);
        let Self { stack, peers, .. } = self;
        for queue in stack.queues_mut() {
            assert_eq!(queue.io.rx_outstanding(), 0, "all frames are given back");
            queue.io.take_sent(|frame| {
                assert!(frame.len() <= 14 + usize::from(MTU));
                let Ok(Packet::Tcp { key, segment, .. }) = parse(frame, ChecksumPolicy::Full)
                else {
                    panic!("no segment was sent: {frame:02x?}");
                };
                let key = key.reversed();
                if let Some(peer) = peers.iter_mut().find(|peer| peer.key == key) {
                    peer.hear(&segment);
                }
            });
        }
        assert!(stack.take_strays().count() <= 256);
        turn.deadline
    }

    /// Everybody falls silent, and time runs until nothing is left to do; then what is left is
    /// aborted, and nothing remains.
    fn end(&mut self) {
        for queue in self.stack.queues_mut() {
            queue.io.hold_completions(false);
        }
        self.stack.drain(self.now);
        self.run(LAST_TURNS / 10);
        self.stack.abort_all(self.now);
        let is_done = self.run(LAST_TURNS);
        assert!(is_done, "timers for ever");
        self.stack.check_empty();
        for queue in self.stack.queues_mut() {
            assert_eq!(queue.io.tx_outstanding(), 0);
        }
    }

    /// Turns until nothing is due any more, or so many times.
    fn run(&mut self, turns: usize) -> bool {
        for _ in 0..turns {
            match self.turn() {
                Some(deadline) => self.now = self.now.max(deadline),
                None => return true,
            }
        }
        false
    }
}

fn tcp_config(input: &mut Input<'_>) -> tcp::Config {
    let bits = input.octet();
    let options = SocketOptions {
        nodelay: bits & 1 != 0,
        keepalive: (bits & 2 != 0).then(Keepalive::default),
        receive_buffer: BufferLimit::Auto(1_000 << input.below(12)),
        send_buffer: BufferLimit::Fixed(1_000 << input.below(10)),
        congestion: Algorithm::ALL[usize::from(input.below(3))],
        ..SocketOptions::default()
    };
    tcp::Config {
        options,
        receive_memory: 2_048 * usize::from(input.octet()),
        retransmissions: 1 + input.below(6),
        syn_retransmissions: 2,
        syn_ack_retransmissions: 2,
        syn_queue: 1 + usize::from(input.below(4)),
        fast_open_queue: usize::from(input.below(3)),
        sack: bits & 4 == 0,
        timestamps: bits & 8 == 0,
        window_scale: bits & 16 == 0,
        mtu_probing: bits & 32 == 0,
        pacing: bits & 64 == 0,
        ecn: if bits & 128 == 0 {
            EcnMode::On
        } else {
            EcnMode::Passive
        },
        ..tcp::Config::default()
    }
}

fn v4(last: u8) -> Address {
    Address::from_ipv4(Ipv4Addr::new(198, 18, 0, last).octets())
}

fn v6(last: u8) -> Address {
    Address::from_ipv6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).octets())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::play;

    /// Octets of no meaning (xorshift64).
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    /// And what it does is worth doing: noise alone gets far beyond the handshake.
    #[test]
    fn nothing_that_a_peer_does_breaks_a_stack() {
        let mut sums = BTreeMap::new();
        for seed in 0..400 {
            for (name, count) in play(&noise(seed, 2_000)).named() {
                *sums.entry(name).or_insert(0) += count;
            }
        }
        for name in [
            "active_opens",
            "challenge_acks",
            "duplicates",
            "ecn_ce_packets",
            "established",
            "fast_open_cookies",
            "frto_undos",
            "icmp_out_of_window",
            "keepalive_probes",
            "out_of_order_queued",
            "paws_rejected",
            "retrans_segs",
            "time_wait",
            "timeouts",
            "window_probes",
        ] {
            assert!(sums[name] > 10, "{name} in {sums:#?}");
        }
    }
}
