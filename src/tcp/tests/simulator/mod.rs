//! Many connections between two sides, through one bottleneck each way and a network that loses,
//! doubles, damages, delays and reorders whole frames, all by a seed.
//!
//! Whatever it does, all streams arrive whole, all ends close, and nothing is left.
//!
//! `CORELANE_SEED=7` or `CORELANE_SEED=0..10000` chooses the seeds of a run.

mod bulk;
mod end;
mod frame;
mod goodput;
mod network;

use std::collections::BTreeMap;

use self::end::{End, Side, Stage, later};
use self::frame::Frame;
use self::network::{Counts, Link, PERCENT, Path};
use super::*;
use crate::tcp::receive_queue::ReceiveMemory;
use crate::wire::Packet;

const SEEDS: u64 = 300;
/// Enough for the worst seed; a stall would reach it.
const PATIENCE: Duration = Duration::from_secs(3_000);
/// The first port of the clients; connection `i` has the `i`th.
const FIRST_PORT: u16 = 40_000;
/// Both ways between the sides: 0 is the clients', 1 the servers'. `links[i]` leads away from
/// `sides[i]`.
const SIDES: [usize; 2] = [0, 1];

struct Simulator {
    now: Instant,
    chance: Chance,
    /// Percent of the turns in which the kernel gives its buffers back.
    completion: u64,
    sides: [Side; 2],
    links: [Link<Frame>; 2],
    connections: Vec<[End; 2]>,
}

/// A path in bad weather.
fn path(chance: &mut Chance) -> Path {
    let percent = |share: u64| share as u32 * PERCENT;
    let milliseconds = Duration::from_millis;
    Path {
        rate: [0, 2_000_000, 10_000_000, 100_000_000][chance.below(4) as usize],
        queue: 5 + chance.below(100) as usize,
        queue_octets: 8_000 << chance.below(8),
        mark_at: 2 + chance.below(40) as usize,
        // IPv6's least MTU gets through.
        largest: if chance.percent(10) {
            14 + 1_280 + chance.below(150) as usize
        } else {
            usize::MAX
        },
        delay: milliseconds(chance.below(60)),
        jitter: milliseconds(chance.below(3)),
        loss: percent(chance.below(4) * chance.below(4)),
        bursts: percent(chance.below(5)) / 10,
        burst_length: milliseconds(1 + chance.below(50)),
        reordering: percent(chance.below(20)),
        lateness: milliseconds(1 + chance.below(10)),
        duplication: percent(chance.below(5)),
        corruption: percent(chance.below(3)),
    }
}

impl Simulator {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let now = Instant::from_nanos(1_000_000_000 + chance.below(20_000_000_000_000));
        let count = if chance.percent(60) {
            1
        } else {
            2 + chance.below(5)
        };
        let sides = SIDES.map(|_| Side::new(&mut chance, count as usize));
        let links = SIDES.map(|_| {
            let path = path(&mut chance);
            Link::new(path, Chance::new(chance.next()))
        });
        let mut connection = |i: u64| {
            let setup = Setup {
                ipv6: chance.percent(30),
                ..Setup::default()
            };
            let key = FlowKey {
                local_port: FIRST_PORT + i as u16,
                remote_port: 80,
                ..setup.key()
            };
            let mut client = End::new(&mut chance, key, 150_000 / count);
            let server = End::new(&mut chance, key.reversed(), 150_000 / count);
            client.waits_for_peer &= !server.waits_for_peer;
            client.stage = Stage::Closed;
            client.connects_at = if i == 0 {
                Some(now)
            } else {
                later(&mut chance, now)
            };
            [client, server]
        };
        let connections = (0..count).map(&mut connection).collect();
        Self {
            now,
            completion: 2 + chance.below(99),
            chance,
            sides,
            links,
            connections,
        }
    }

    /// Clients know the servers' cookies, and send text with their SYNs.
    fn open_fast(&mut self) {
        let [clients, servers] = &mut self.sides;
        servers.core.config.fast_open_queue = 1 + self.chance.below(4) as usize;
        for [client, server] in &mut self.connections {
            let cookie = servers.core.isn.fast_open_cookie(&server.key, self.now);
            clients.core.cookies.put(client.key.remote, cookie, 1_400);
            client.opens_fast = true;
        }
    }

    /// A segment enters the network.
    fn send(&mut self, from: usize, connection: usize, header: &Header, ecn: u8, text: &[u8]) {
        let key = &self.connections[connection][from].key;
        self.links[from].send(self.now, Frame::new(key, ecn, header, text));
    }

    fn poll(&mut self, from: usize, connection: usize) {
        while self.connections[connection][from].is_open() {
            let (end, side) = (
                &mut self.connections[connection][from],
                &mut self.sides[from],
            );
            let Some(transmit) = end.with(side, self.now, |tcb, cx| tcb.poll_transmit(cx)) else {
                break;
            };
            let text = transmit
                .payload
                .map_or_else(Vec::new, |payload| side.buffers.emit(&payload));
            self.send(from, connection, &transmit.header, transmit.ecn, &text);
        }
        self.connections[connection][from].check_progress(&self.sides[from]);
        self.connections[connection][from].retire(&mut self.sides[from], self.now);
    }

    /// A frame leaves the network at side `to`.
    fn receive(&mut self, to: usize, frame: &Frame) {
        let Some(packet) = frame.parse() else {
            return;
        };
        let Packet::Tcp {
            key, segment, ecn, ..
        } = packet
        else {
            panic!("{packet:?}");
        };
        let client_port = key.local_port.max(key.remote_port);
        let connection = usize::from(client_port - FIRST_PORT);
        let end = &mut self.connections[connection][to];
        assert_eq!(end.key, key);
        let answer = end.handle(
            &mut self.sides[to],
            self.now,
            (&segment, ecn),
            &mut self.chance,
        );
        if let Some(answer) = answer {
            self.send(to, connection, &answer, 0, &[]);
        }
    }

    /// Everything that is due now.
    fn turn(&mut self) {
        for side in &mut self.sides {
            if self.chance.percent(self.completion) {
                side.buffers.complete();
            }
            side.buffers.hold = self.chance.percent(50);
        }
        for to in SIDES {
            while let Some(frame) = self.links[1 - to].receive(self.now) {
                self.receive(to, &frame);
            }
        }
        for connection in 0..self.connections.len() {
            for i in SIDES {
                let (end, side) = (&mut self.connections[connection][i], &mut self.sides[i]);
                let answer = end.handle_timeout(side, self.now);
                end.run(side, self.now, &mut self.chance);
                if let Some(answer) = answer {
                    self.send(i, connection, &answer, 0, &[]);
                }
                self.poll(i, connection);
            }
        }
    }

    fn next(&self) -> Option<Instant> {
        let arrival = self.links.iter().filter_map(Link::next).min();
        let ends = || {
            self.connections
                .iter()
                .flat_map(|ends| ends.iter().zip(&self.sides))
        };
        let timers = ends().filter_map(|(end, _)| end.deadline()).min();
        let busy = ends()
            .any(|(end, side)| end.is_busy(side))
            .then_some(self.now + Duration::from_millis(5));
        [arrival, timers, busy].into_iter().flatten().min()
    }

    /// Runs to the end, at which nothing may be left.
    fn run(mut self) -> Outcome {
        let start = self.now;
        self.turn();
        while let Some(next) = self.next() {
            self.now = self.now.max(next);
            let elapsed = self.now.saturating_since(start);
            assert!(elapsed < PATIENCE, "a stall: {:#?}", self.connections);
            self.turn();
        }
        for [client, server] in &self.connections {
            client.check(server);
            server.check(client);
        }
        for side in &mut self.sides {
            assert!(side.core.is_empty());
            assert!(side.core.options.is_idle());
            assert_eq!(side.listener.half_open(), 0);
            side.buffers.complete();
            assert_eq!(side.buffers.in_use, 0);
        }
        Outcome {
            counters: self.sides.map(|side| side.core.counters),
            round_trip: self.links[0].path.delay + self.links[1].path.delay,
            network: self.links.map(|link| link.counts),
            elapsed: self.now.saturating_since(start),
        }
    }
}

/// What both sides and both directions have counted, and how long it took.
struct Outcome {
    counters: [Counters; 2],
    network: [Counts; 2],
    elapsed: Duration,
    /// Without queues.
    round_trip: Duration,
}

/// Runs each seed, changed by `prepare`, and gives what came of it to `check`.
fn each_seed(prepare: impl Fn(&mut Simulator), mut check: impl FnMut(Outcome)) {
    for seed in seeds(SEEDS) {
        let _replay = Replay {
            seed,
            of: "simulator",
        };
        let mut simulator = Simulator::new(seed);
        prepare(&mut simulator);
        check(simulator.run());
    }
}

#[test]
fn all_streams_arrive_whole_and_nothing_is_left() {
    let mut happened = BTreeMap::new();
    each_seed(
        |_| {},
        |outcome| {
            for (name, count) in outcome.counters.iter().flat_map(Counters::named) {
                *happened.entry(name).or_insert(0) += count;
            }
            for counts in outcome.network {
                for (name, count) in [
                    ("lost in bursts", counts.lost_in_bursts),
                    ("overflowed", counts.overflowed),
                    ("corrupted", counts.corrupted),
                    ("marked", counts.marked),
                    ("swallowed", counts.swallowed),
                ] {
                    *happened.entry(name).or_insert(0) += count;
                }
            }
        },
    );
    if std::env::var("CORELANE_SEED").is_ok() {
        return;
    }
    // What the weather is for has happened.
    for name in [
        "retrans_segs",
        "timeouts",
        "fast_retransmits",
        "retransmits_deferred",
        "syn_ack_retransmits",
        "listen_overflows",
        "out_of_order_queued",
        "duplicates",
        "window_probes",
        "time_wait",
        "lost in bursts",
        "overflowed",
        "corrupted",
        "marked",
        "swallowed",
        "black_holes",
        "dsack_undos",
        "eifel_undos",
        "loss_probes",
        "loss_probe_recoveries",
        "sack_reordering",
        "lost_retransmits",
        "ecn_reductions",
    ] {
        assert!(happened[name] > 1, "{name}: {happened:?}");
    }
}

/// Both ends open at the same time (RFC 9293 section 3.5, figure 8).
#[test]
fn simultaneous_opens_arrive_whole_too() {
    each_seed(
        |simulator| {
            for ends in &mut simulator.connections {
                ends[1].connects_at = ends[0].connects_at;
            }
        },
        |_| {},
    );
}

/// Text on SYNs (RFC 7413), which are lost, doubled and held up like everything else.
#[test]
fn text_on_syns_arrives_whole_too() {
    let mut happened = BTreeMap::new();
    each_seed(Simulator::open_fast, |outcome| {
        for (name, count) in outcome.counters.iter().flat_map(Counters::named) {
            *happened.entry(name).or_insert(0) += count;
        }
    });
    if std::env::var("CORELANE_SEED").is_ok() {
        return;
    }
    for (name, least) in [
        ("fast_open_active", 200),
        ("fast_open_passive", 200),
        ("fast_open_active_fails", 2),
        ("fast_open_overflows", 2),
        ("syn_ack_retransmits", 2),
    ] {
        assert!(happened[name] >= least, "{name}: {happened:?}");
    }
}

/// Nothing is lost on the way, no queue overflows, and applications read at once.
fn make_fair(simulator: &mut Simulator) {
    for link in &mut simulator.links {
        link.path = Path {
            delay: link.path.delay,
            ..Path::default()
        };
    }
    simulator.completion = 100;
    for side in &mut simulator.sides {
        *side.core.options.defaults_mut() = SocketOptions {
            receive_buffer: BufferLimit::Fixed(1 << 19),
            ..SocketOptions::default()
        };
        side.core.config.syn_queue = 100;
        side.core.receive = ReceiveMemory::new(1 << 22);
    }
    for end in simulator.connections.iter_mut().flatten() {
        end.eagerness = 100;
    }
}

#[track_caller]
fn check_fair(outcome: &Outcome) {
    for counters in outcome.counters {
        assert_eq!(counters.retrans_segs, 0, "{counters:?}");
        assert_eq!(counters.timeouts, 0, "{counters:?}");
        assert_eq!(counters.duplicates, 0, "{counters:?}");
    }
    // At 4 segments a round trip at the least, with delayed acknowledgments, 2MSL, and
    // half a second until the last client connects.
    let round_trip = outcome.round_trip.as_millis();
    let limit = Duration::from_millis(62_500 + 60 * (round_trip + 45));
    assert!(outcome.elapsed < limit, "{}", outcome.elapsed);
}

/// Nothing is sent twice without a reason, and nobody waits for a timer.
#[test]
fn in_fair_weather_nothing_is_sent_twice() {
    each_seed(make_fair, |outcome| check_fair(&outcome));
}

/// Nor where nothing is kept of a half-open connection. (In bad weather one whose client has nothing
/// to say may wait for ever: RFC 4987 section 3.6.)
#[test]
fn in_fair_weather_cookies_do_as_well() {
    each_seed(
        |simulator| {
            make_fair(simulator);
            for side in &mut simulator.sides {
                side.core.config.syn_cookies = SynCookies::Always;
            }
        },
        |outcome| {
            check_fair(&outcome);
            let [_, server] = outcome.counters;
            assert!(server.established > 0);
            assert_eq!(server.syn_cookies_sent, server.established);
            assert_eq!(server.syn_cookies_recv, server.established);
        },
    );
}
