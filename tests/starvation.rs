//! Peers that want to use up what a worker has: memory, frames, places in the table, its turns. Frame
//! by frame, on virtual time; docs/security.md says which limit holds against which.

#[path = "support/memory.rs"]
mod memory;

use std::collections::HashMap;

use corelane::ring::BATCH;
use corelane::ring::sim::{SimConfig, SimDevice};
use corelane::stack::{ClientPorts, ConnectError, Destination, Service, Socket, Stack, Steering};
use corelane::tcp::{Config, SynCookies};
use corelane::time::{Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{Flags, Header, Options};
use corelane::wire::{ChecksumPolicy, FlowKey, Packet, parse};
use memory::{CLIENT, Closes, Echo, LINK, SERVER, SERVER_MAC, Settings, count, io};

const ECHO: u16 = 7;
const CHARGEN: u16 = 19;
const DEAF: u16 = 99;
const CLOSES: u16 = 80;
/// Octets of a page of receive memory.
const PAGE: usize = 2_048;

/// Writes for ever.
struct Writes;

impl Writes {
    fn write(socket: &mut Socket<'_>) {
        socket.send_with(usize::MAX, |room| room.len());
    }
}

impl Service for Writes {
    type Connection = ();

    fn on_open(&mut self, socket: &mut Socket<'_>) {
        Self::write(socket);
    }

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_writable(&mut self, (): &mut (), socket: &mut Socket<'_>) {
        Self::write(socket);
    }
}

/// Reads nothing.
struct Deaf;

impl Service for Deaf {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, _: &[u8]) -> usize {
        0
    }
}

/// A peer's end of a connection: its port, what it sends next, what it has seen.
#[derive(Clone, Copy, Debug)]
struct Peer {
    key: FlowKey,
    seq: u32,
    ack: u32,
    window: u16,
}

type Answer = (Header, Vec<u8>);

struct World {
    now: Instant,
    stack: Stack<SimDevice>,
    /// What was sent to each port of the client, and not looked at.
    sent: HashMap<u16, Vec<Answer>>,
}

impl World {
    fn new(settings: &Settings) -> Self {
        let mut stack = memory::stack(SERVER_MAC, settings);
        stack.listen(&[SERVER], ECHO, Echo);
        stack.listen(&[SERVER], CHARGEN, Writes);
        stack.listen(&[SERVER], DEAF, Deaf);
        stack.listen(&[SERVER], CLOSES, Closes);
        Self {
            now: Instant::from_millis(10_000),
            stack,
            sent: HashMap::new(),
        }
    }

    /// A segment arrives; nothing is done about it before the next turn.
    fn arrive(&mut self, peer: &Peer, seq: u32, flags: Flags, text: &[u8]) {
        let header = Header {
            seq,
            ack: peer.ack,
            flags,
            window: peer.window,
            options: Options {
                mss: flags.contains(Flags::SYN).then_some(1_460),
                ..Options::default()
            },
            ..Header::default()
        };
        let route = Route {
            link: LINK,
            key: peer.key,
            hop_limit: 64,
            traffic_class: 0,
            identification: 0,
        };
        let mut frame = vec![0; MAX_HEADERS];
        let len = segment_headers(&mut frame, &route, &header, (text.len(), Sum::of(text)));
        frame.extend(text);
        assert!(io(&mut self.stack).receive(&frame[MAX_HEADERS - len..]));
    }

    fn turn(&mut self) {
        self.now += Duration::from_micros(10);
        self.stack.turn(self.now);
        let sent = &mut self.sent;
        io(&mut self.stack).take_sent(|frame| match parse(frame, ChecksumPolicy::Full) {
            Ok(Packet::Tcp { key, segment, .. }) => {
                let answer = (segment.header, segment.payload.to_vec());
                sent.entry(key.local_port).or_default().push(answer);
            }
            other => panic!("{other:?}"),
        });
    }

    /// So much time passes, with a turn in each step.
    fn pass(&mut self, time: Duration, step: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += step;
            self.turn();
        }
    }

    fn say(&mut self, peer: &mut Peer, flags: Flags, text: &[u8]) -> Vec<Answer> {
        self.arrive(peer, peer.seq, flags, text);
        let numbers = flags.intersects(Flags::SYN | Flags::FIN);
        peer.seq = peer
            .seq
            .wrapping_add(text.len() as u32 + u32::from(numbers));
        self.turn();
        self.heard(peer)
    }

    /// What was sent to this peer since the last look, all of which it has got.
    fn heard(&mut self, peer: &mut Peer) -> Vec<Answer> {
        let answers = self.sent.remove(&peer.key.local_port).unwrap_or_default();
        for (header, text) in &answers {
            let numbers = header.flags.intersects(Flags::SYN | Flags::FIN);
            let end = header
                .seq
                .wrapping_add(text.len() as u32 + u32::from(numbers));
            if end.wrapping_sub(peer.ack) < 1 << 31 || header.flags.contains(Flags::SYN) {
                peer.ack = end;
            }
        }
        answers
    }

    fn peer(local_port: u16, remote_port: u16) -> Peer {
        let key = FlowKey {
            local: CLIENT,
            remote: SERVER,
            local_port,
            remote_port,
        };
        Peer {
            key,
            seq: 1_000,
            ack: 0,
            window: 0xffff,
        }
    }

    /// A connection, if there is an answer to the SYN.
    fn try_open(&mut self, local_port: u16, remote_port: u16, window: u16) -> Option<Peer> {
        let mut peer = Self::peer(local_port, remote_port);
        peer.window = window;
        let answers = self.say(&mut peer, Flags::SYN, &[]);
        assert!(answers.len() <= 1, "{answers:?}");
        let (syn_ack, _) = answers.first()?;
        assert_eq!(syn_ack.flags, Flags::SYN | Flags::ACK);
        self.say(&mut peer, Flags::ACK, &[]);
        Some(peer)
    }

    #[track_caller]
    fn open(&mut self, local_port: u16, remote_port: u16) -> Peer {
        let peer = self.try_open(local_port, remote_port, 0xffff);
        peer.expect("the SYN is answered")
    }

    fn count(&self, name: &str) -> u64 {
        count(&self.stack, name)
    }

    fn gauge(&self, name: &str) -> u64 {
        let gauges = self.stack.counters().gauges;
        let found = gauges.iter().find(|(gauge, _)| *gauge == name);
        found.unwrap_or_else(|| panic!("no gauge {name}")).1
    }

    /// Octets that a peer sends and nobody reads, until so many pages are used.
    fn fill(&mut self, peer: &mut Peer, pages: u64) {
        while self.gauge("receive_memory") < pages * PAGE as u64 {
            let room = pages * PAGE as u64 - self.gauge("receive_memory");
            self.say(peer, Flags::ACK, &vec![7; room.min(1_000) as usize]);
        }
    }
}

fn with_receive_memory(pages: usize) -> World {
    World::new(&Settings {
        tcp: Config {
            receive_memory: pages * PAGE,
            ..Config::default()
        },
        ..Settings::default()
    })
}

/// Unread text costs new peers first, and those that there are last.
#[test]
fn memory_is_shed_in_its_order() {
    let mut world = with_receive_memory(64);
    let steering = Steering::Dealt { index: 0, of: 1 };
    let ports = ClientPorts::new(50_000..=50_100, steering, [3, 4]);
    world.stack.set_client_ports(ports);
    let client = world.stack.host(Deaf);
    let destination = Destination {
        local: SERVER,
        remote: CLIENT,
        port: 9,
        link: LINK,
        mtu: None,
    };
    let [mut hog, mut other] = [1_000, 1_001].map(|port| world.open(port, DEAF));
    let mut honest = world.open(1_002, ECHO);
    world.fill(&mut hog, 23);
    world.open(1_003, ECHO);
    assert_eq!(world.count("syn_cookies_sent"), 0);

    // 3/8: cookies, with which peers that are there get their connection.
    world.fill(&mut hog, 24);
    world.open(1_004, ECHO);
    assert_eq!(world.count("syn_cookies_sent"), 1);
    assert_eq!(world.count("memory_syn_cookies"), 1);
    assert_eq!(world.count("syn_cookies_recv"), 1);
    assert!(world.stack.take_floods(world.now).is_empty(), "no flood");
    let mut late = World::peer(1_005, ECHO);
    let syn_ack = world.say(&mut late, Flags::SYN, &[]);
    assert_eq!(syn_ack.len(), 1);

    // 3/4: no text beyond a gap.
    world.fill(&mut other, 47);
    let far = |peer: &Peer| peer.seq.wrapping_add(10_000);
    world.arrive(&honest, far(&honest), Flags::ACK, b"x");
    world.turn();
    assert_eq!(world.gauge("receive_memory"), 48 * PAGE as u64);
    world.arrive(&honest, far(&honest) + 5_000, Flags::ACK, b"x");
    world.turn();
    assert_eq!(world.count("memory_out_of_order_refused"), 1);
    assert_eq!(world.count("out_of_order_queued"), 1);
    world.heard(&mut honest);

    // 7/8: nobody new, neither by SYN nor by cookie nor by our own wish; and no reset.
    world.fill(&mut other, 56);
    let resets = world.count("out_rsts");
    assert!(world.try_open(1_006, ECHO, 0xffff).is_none());
    assert_eq!(world.say(&mut late, Flags::ACK, &[]).len(), 0);
    let opened = world.stack.open(world.now, &destination, client, 1);
    assert_eq!(opened, Err(ConnectError::MemoryShort));
    assert_eq!(world.count("memory_connections_refused"), 3);
    assert_eq!(world.count("out_rsts"), resets);

    // Those that there are go on.
    let answers = world.say(&mut honest, Flags::ACK, b"hello");
    assert!(
        answers.iter().any(|(_, text)| text == b"hello"),
        "{answers:?}"
    );

    // And new ones as soon as there is room.
    world.say(&mut hog, Flags::RST, &[]);
    assert!(world.gauge("receive_memory") < 56 * PAGE as u64);
    let answers = world.say(&mut late, Flags::ACK, b"late");
    assert!(
        answers.iter().any(|(_, text)| text == b"late"),
        "{answers:?}"
    );
    assert!(world.stack.open(world.now, &destination, client, 1).is_ok());
}

#[test]
fn without_cookies_short_memory_asks_for_none() {
    let mut world = World::new(&Settings {
        tcp: Config {
            receive_memory: 64 * PAGE,
            syn_cookies: SynCookies::Off,
            ..Config::default()
        },
        ..Settings::default()
    });
    let mut hog = world.open(1_000, DEAF);
    world.fill(&mut hog, 30);
    world.open(1_001, ECHO);
    assert_eq!(world.count("syn_cookies_sent"), 0);
}

/// A SYN that reopens a TIME-WAIT is new, too; what it meets goes on.
#[test]
fn short_memory_leaves_a_time_wait() {
    let mut world = with_receive_memory(64);
    let mut peer = world.open(1_000, CLOSES);
    world.say(&mut peer, Flags::ACK, b"x");
    world.say(&mut peer, Flags::ACK | Flags::FIN, &[]);
    assert_eq!(world.gauge("time_wait"), 1);
    let [mut hog, mut other] = [1_001, 1_002].map(|port| world.open(port, DEAF));
    world.fill(&mut hog, 28);
    world.fill(&mut other, 56);
    peer.seq = peer.seq.wrapping_add(1_000_000);
    assert_eq!(world.say(&mut peer, Flags::SYN, &[]).len(), 0);
    assert_eq!(world.gauge("time_wait"), 1);
    world.say(&mut hog, Flags::RST, &[]);
    peer.seq = peer.seq.wrapping_sub(1);
    let answers = world.say(&mut peer, Flags::SYN, &[]);
    assert_eq!(answers[0].0.flags, Flags::SYN | Flags::ACK);
    assert_eq!(world.gauge("time_wait"), 0);
}

fn with_frames(frames: u32) -> World {
    World::new(&Settings {
        device: SimConfig {
            tx_frames: frames,
            ..SimConfig::default()
        },
        ..Settings::default()
    })
}

/// Until the honest client gets its answer, at most so many seconds. How long it took.
fn wait_for_answer(
    world: &mut World,
    honest: &mut Peer,
    most: u64,
    mut meanwhile: impl FnMut(&mut World),
) -> Option<u64> {
    for tenth in 0..10 * most {
        meanwhile(world);
        world.pass(Duration::from_millis(100), Duration::from_millis(1));
        let answers = world.heard(honest);
        let reset = answers.iter().any(|(it, _)| it.flags.contains(Flags::RST));
        assert!(!reset, "the honest one is not given up");
        if answers.iter().any(|(_, text)| text == b"hello") {
            return Some(tenth / 10);
        }
    }
    None
}

/// Windows that stay closed pin frames, then the heap, and when that is full as well whoever sits there
/// longest is reset (CVE-2008-4609).
#[test]
fn closed_windows_do_not_pin_all_frames_for_ever() {
    let mut world = with_frames(64);
    for port in 0..30 {
        world.try_open(1_000 + port, CHARGEN, 0);
        world.pass(Duration::from_millis(10), Duration::from_millis(1));
    }
    assert!(world.count("texts_compacted") > 0);
    assert!(world.count("compact_memory_exhausted") > 0);
    assert!(world.gauge("compact_memory") <= world.gauge("compact_memory_limit"));
    let mut honest = world.open(2_000, ECHO);
    let answers = world.say(&mut honest, Flags::ACK, b"hello");
    assert!(answers.iter().all(|(_, text)| text.is_empty()), "no frame");
    // Nobody is given up before others may have been slow and no more.
    world.pass(Duration::from_secs(14), Duration::from_millis(10));
    assert_eq!(world.count("stalled_resets"), 0);
    let waited = wait_for_answer(&mut world, &mut honest, 10, |_| ());
    assert!(waited.is_some(), "{:?}", world.stack.counters());
    let given_up = world.count("stalled_resets");
    assert!(
        (1..30).contains(&given_up),
        "{given_up}: no more than needed"
    );
}

/// A window that opens a little at a time is no better: what waits to be sent gets no younger.
#[test]
fn windows_that_open_by_drops_do_not_either() {
    let mut world = with_frames(64);
    let mut drips: Vec<Peer> = (0..30)
        .filter_map(|port| world.try_open(1_000 + port, CHARGEN, 0))
        .collect();
    world.pass(Duration::from_millis(500), Duration::from_millis(1));
    assert!(world.count("compact_memory_exhausted") > 0);
    let mut honest = world.open(2_000, ECHO);
    world.say(&mut honest, Flags::ACK, b"hello");
    let mut tenth = 0u32;
    let waited = wait_for_answer(&mut world, &mut honest, 60, |world| {
        tenth += 1;
        if tenth.is_multiple_of(20) {
            // Each takes a segment every two seconds, and so makes progress.
            for drip in &mut drips {
                drip.window = 1_460;
                world.say(drip, Flags::ACK, &[]);
                world.pass(Duration::from_millis(1), Duration::from_millis(1));
                world.heard(drip);
                drip.window = 0;
                world.say(drip, Flags::ACK, &[]);
            }
        }
    });
    assert!(waited.is_some(), "{:?}", world.stack.counters());
}

/// A table full of TIME-WAITs takes every new connection.
#[test]
fn a_flood_of_time_waits_keeps_nobody_out() {
    let mut world = World::new(&Settings {
        max_connections: 10,
        ..Settings::default()
    });
    for port in 0..100 {
        let mut peer = world.open(1_000 + port, CLOSES);
        world.say(&mut peer, Flags::ACK, b"x");
        world.say(&mut peer, Flags::ACK | Flags::FIN, &[]);
    }
    assert_eq!(world.gauge("time_wait"), 10);
    assert_eq!(world.count("time_wait_evicted"), 90);
    assert_eq!(world.count("flow_table_full"), 0);
}

/// Whatever one peer puts into a batch, what others have in it is answered in the same turn.
#[test]
fn a_batch_full_of_one_flow_keeps_nobody_waiting() {
    let mut world = World::new(&Settings::default());
    let mut honest = world.open(1_000, ECHO);
    let mut hogs = [ECHO, CHARGEN, DEAF].map(|port| world.open(2_000 + port, port));
    for round in 0..200 {
        for index in 0..BATCH as u32 - 1 {
            let hog = hogs[round % 3];
            // Each wants an answer of its own.
            let seq = hog.seq.wrapping_add(2 + 3 * index);
            world.arrive(&hog, seq, Flags::ACK, b"x");
        }
        let answers = world.say(&mut honest, Flags::ACK, b"hello");
        assert!(answers.iter().any(|(_, text)| text == b"hello"), "{round}");
        for hog in &mut hogs {
            world.heard(hog);
        }
    }
}
