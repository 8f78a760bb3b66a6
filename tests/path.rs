//! Two stacks with a router between them that fragments, drops what is too big, or marks, on virtual
//! time.

#[path = "support/fragment.rs"]
mod fragment;
#[path = "support/memory.rs"]
mod memory;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};

use corelane::ring::sim::{SimConfig, SimDevice};
use corelane::stack::{ServiceId, Stack};
use corelane::tcp::{CloseReason, Config, EcnMode};
use corelane::time::{Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::{Address, FlowKey, MacAddr};
use fragment::{ETHERNET, IPV4, checksum_v4, fragments, is_v4};
use memory::{CLIENT_MAC, Echo, LINK, Pattern, SERVER_MAC, Settings, count, io};

const PORT: u16 = 7;

fn server(v6: bool) -> Address {
    address(v6, 1)
}

fn client(v6: bool) -> Address {
    address(v6, 2)
}

fn address(v6: bool, last: u8) -> Address {
    if v6 {
        let mut octets = [0; 16];
        (octets[0], octets[15]) = (0xfd, last);
        Address::from_ipv6(octets)
    } else {
        Address::from_ipv4([198, 18, 0, last])
    }
}

/// What the router does with each frame: yields what goes on, and what goes back.
type Router = Box<dyn FnMut(&[u8]) -> (Vec<Vec<u8>>, Option<Vec<u8>>)>;

struct World {
    now: Instant,
    v6: bool,
    server: Stack<SimDevice>,
    client: Stack<SimDevice>,
    service: ServiceId,
    port: u16,
    results: Receiver<(u64, CloseReason)>,
    router: Router,
}

fn stack(mac: MacAddr, tcp: &Config, other_workers: usize) -> Stack<SimDevice> {
    // A window in small pieces is many frames.
    let device = SimConfig {
        rx_frames: 8_192,
        rx_ring: 4_096,
        ..SimConfig::default()
    };
    let settings = Settings {
        device,
        tcp: tcp.clone(),
        other_workers,
        ..Settings::default()
    };
    memory::stack(mac, &settings)
}

impl World {
    fn new(v6: bool, total: u64, tcp: &Config, router: Router) -> Self {
        let (sender, results) = channel();
        let mut server_stack = stack(SERVER_MAC, tcp, 0);
        server_stack.listen(&[server(v6)], PORT, Echo);
        let mut client_stack = stack(CLIENT_MAC, tcp, 0);
        let service = client_stack.host(Pattern {
            total,
            results: sender,
        });
        Self {
            now: Instant::from_millis(1),
            v6,
            server: server_stack,
            client: client_stack,
            service,
            port: 1_000,
            results,
            router,
        }
    }

    fn connect(&mut self) {
        let key = FlowKey {
            local: client(self.v6),
            remote: server(self.v6),
            local_port: self.port,
            remote_port: PORT,
        };
        self.port += 1;
        let (now, service) = (self.now, self.service);
        self.client.connect(now, key, LINK, 0, service).unwrap();
    }

    /// Until the client's connection has ended; returns how many octets came back.
    #[track_caller]
    fn run(&mut self) -> u64 {
        self.connect();
        for _ in 0..200_000 {
            if let Ok((echoed, reason)) = self.results.try_recv() {
                assert_eq!(reason, CloseReason::Finished);
                return echoed;
            }
            let a = self.client.turn(self.now);
            let b = self.server.turn(self.now);
            let moved = self.carry();
            self.now += Duration::from_micros(100);
            if a.frames + b.frames + moved == 0 {
                let next = [a.deadline, b.deadline].into_iter().flatten().min();
                self.now = self.now.max(next.expect("somebody waits for something"));
            }
        }
        panic!("{:?}", self.client.connections(self.now));
    }

    /// Both directions through the router.
    fn carry(&mut self) -> usize {
        let mut frames = VecDeque::new();
        io(&mut self.client).take_sent(|frame| frames.push_back((true, frame.to_vec())));
        io(&mut self.server).take_sent(|frame| frames.push_back((false, frame.to_vec())));
        let moved = frames.len();
        for (from_client, frame) in frames {
            let (on, back) = (self.router)(&frame);
            let (near, far) = if from_client {
                (&mut self.client, &mut self.server)
            } else {
                (&mut self.server, &mut self.client)
            };
            for frame in on {
                assert!(io(far).receive(&frame));
            }
            if let Some(frame) = back {
                assert!(io(near).receive(&frame));
            }
        }
        moved
    }
}

/// A router's word that `frame` is larger than `mtu`.
fn too_big(frame: &[u8], mtu: u16) -> Vec<u8> {
    let v4 = is_v4(frame);
    let quote = &frame[ETHERNET..ETHERNET + if v4 { IPV4 + 8 } else { 600 }];
    let mut message = if v4 {
        vec![3, 4, 0, 0, 0, 0]
    } else {
        vec![2, 0, 0, 0, 0, 0]
    };
    message.extend(mtu.to_be_bytes());
    message.extend(quote);
    let mut back = [&frame[6..12], &frame[..6], &frame[12..14]].concat();
    let mut sum = Sum::of(&message);
    if v4 {
        let mut ip = vec![0x45, 0];
        ip.extend(((IPV4 + message.len()) as u16).to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 1, 0, 0, 198, 18, 0, 254]);
        ip.extend(&frame[ETHERNET + 12..ETHERNET + 16]);
        checksum_v4(&mut ip);
        back.extend(ip);
    } else {
        let router = address(true, 254);
        let source = &frame[ETHERNET + 8..ETHERNET + 24];
        let len = (message.len() as u32).to_be_bytes();
        sum = sum
            .plus(Sum::of(router.octets()))
            .plus(Sum::of(source))
            .plus(Sum::of(&len))
            .plus(Sum::of(&[0, 0, 0, 58]));
        back.extend([0x60, 0, 0, 0, len[2], len[3], 58, 64]);
        back.extend(router.octets());
        back.extend(source);
    }
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    back.extend(message);
    back
}

#[test]
fn a_stream_in_fragments_arrives() {
    for v6 in [false, true] {
        let mut id = 0;
        let router = move |frame: &[u8]| {
            id += 1;
            let mut pieces = fragments(frame, 488, id);
            if id % 3 == 0 {
                pieces.reverse();
            }
            if id % 4 == 0 {
                // One of them comes twice.
                pieces.insert(0, pieces[0].clone());
            }
            (pieces, None)
        };
        let mut world = World::new(v6, 300_000, &Config::default(), Box::new(router));
        assert_eq!(world.run(), 300_000);
        for stack in [&world.server, &world.client] {
            assert!(count(stack, "fragments_reassembled") > 100);
            assert!(count(stack, "fragment_duplicate") > 10);
            assert_eq!(count(stack, "fragment_overlap"), 0);
        }
        assert_eq!(count(&world.client, "retrans_segs"), 0);
    }
}

#[test]
fn a_lost_fragment_costs_its_segment_and_no_more() {
    for v6 in [false, true] {
        let mut id = 0;
        let router = move |frame: &[u8]| {
            id += 1;
            let mut pieces = fragments(frame, 488, id);
            if id % 20 == 0 {
                pieces.truncate(1);
            }
            (pieces, None)
        };
        let mut world = World::new(v6, 100_000, &Config::default(), Box::new(router));
        assert_eq!(world.run(), 100_000);
        assert!(count(&world.client, "retrans_segs") > 0);
    }
}

/// The worker that has the fragments passes the segment on as a frame.
#[test]
fn a_segment_of_fragments_finds_the_worker_that_has_its_connection() {
    for v6 in [false, true] {
        let router = |frame: &[u8]| (vec![frame.to_vec()], None);
        let mut world = World::new(v6, 50_000, &Config::default(), Box::new(router));
        let mut other = stack(SERVER_MAC, &Config::default(), 1);
        let mut id = 0;
        world.connect();
        let mut results = Vec::new();
        for _ in 0..100_000 {
            results.extend(world.results.try_iter());
            if !results.is_empty() {
                break;
            }
            world.now += Duration::from_micros(100);
            world.client.turn(world.now);
            io(&mut world.client).take_sent(|frame| {
                id += 1;
                let pieces = fragments(frame, 488, id);
                let whole = pieces.len() == 1;
                for piece in pieces {
                    let to = if whole { &mut world.server } else { &mut other };
                    assert!(io(to).receive(&piece));
                }
            });
            other.turn(world.now);
            let strays: Vec<_> = other.take_strays().collect();
            for stray in strays {
                world.server.handle_stray(world.now, stray);
            }
            world.server.turn(world.now);
            io(&mut world.server).take_sent(|frame| assert!(io(&mut world.client).receive(frame)));
        }
        assert_eq!(results, [(50_000, CloseReason::Finished)]);
        assert!(count(&other, "stray_passed_on") > 20);
        assert!(count(&world.server, "stray_taken") > 20);
    }
}

#[test]
fn a_path_that_says_how_narrow_it_is_is_followed_at_once() {
    for v6 in [false, true] {
        let router = |frame: &[u8]| {
            if frame.len() > ETHERNET + 1_300 {
                (Vec::new(), Some(too_big(frame, 1_300)))
            } else {
                (vec![frame.to_vec()], None)
            }
        };
        let mut world = World::new(v6, 300_000, &Config::default(), Box::new(router));
        let start = world.now;
        assert_eq!(world.run(), 300_000);
        for stack in [&world.server, &world.client] {
            assert_eq!(count(stack, "path_mtu_lowered"), 1);
            assert_eq!(count(stack, "timeouts"), 0);
            assert_eq!(count(stack, "icmp_ignored"), 0);
        }
        assert!(world.now.saturating_since(start) < Duration::from_millis(500));
        // The next connection knows already.
        world.run();
        assert_eq!(count(&world.client, "path_mtu_lowered"), 1);
    }
}

#[test]
fn a_path_that_says_nothing_is_found_out() {
    for v6 in [false, true] {
        let router = |frame: &[u8]| {
            let fits = frame.len() <= ETHERNET + 1_350;
            (fits.then(|| frame.to_vec()).into_iter().collect(), None)
        };
        let mut world = World::new(v6, 2_000_000, &Config::default(), Box::new(router));
        assert_eq!(world.run(), 2_000_000);
        for stack in [&world.server, &world.client] {
            assert_eq!(count(stack, "black_holes"), 1);
            assert!(count(stack, "mtu_probes_acked") > 0);
            assert!(count(stack, "mtu_probes_lost") > 0);
        }
    }
}

/// The ECN field of an IP header, set to "congestion experienced" if it was capable.
fn mark(frame: &mut [u8]) -> bool {
    let v4 = is_v4(frame);
    let ip = &mut frame[ETHERNET..];
    let capable = if v4 {
        ip[1] & 3 == 2
    } else {
        ip[1] >> 4 & 3 == 2
    };
    if capable && v4 {
        ip[1] |= 3;
        checksum_v4(&mut ip[..IPV4]);
    } else if capable {
        ip[1] |= 3 << 4;
    }
    capable
}

#[test]
fn marks_slow_the_sender_without_a_loss() {
    for v6 in [false, true] {
        let mut number = 0;
        let router = move |frame: &[u8]| {
            let mut frame = frame.to_vec();
            number += 1;
            if number % 50 == 0 {
                mark(&mut frame);
            }
            (vec![frame], None)
        };
        let tcp = Config {
            ecn: EcnMode::On,
            ..Config::default()
        };
        let mut world = World::new(v6, 500_000, &tcp, Box::new(router));
        assert_eq!(world.run(), 500_000);
        for stack in [&world.server, &world.client] {
            assert!(count(stack, "ecn_ce_packets") > 0);
            assert!(count(stack, "ecn_reductions") > 0);
            assert_eq!(count(stack, "retrans_segs"), 0);
        }
    }
}

#[test]
fn an_interface_that_carries_less_makes_segments_smaller_at_once() {
    const MTU: u16 = 1_300;
    for v6 in [false, true] {
        let narrow = Rc::new(Cell::new(false));
        let is_narrow = Rc::clone(&narrow);
        let router = move |frame: &[u8]| {
            let fits = !is_narrow.get() || frame.len() <= ETHERNET + usize::from(MTU);
            (fits.then(|| frame.to_vec()).into_iter().collect(), None)
        };
        let mut world = World::new(v6, 3_000_000, &Config::default(), Box::new(router));
        world.connect();
        for _ in 0..12 {
            world.client.turn(world.now);
            world.server.turn(world.now);
            world.carry();
            world.now += Duration::from_micros(100);
        }
        assert!(world.results.try_recv().is_err(), "it is in the middle");
        narrow.set(true);
        world.client.set_mtu(world.now, MTU);
        world.server.set_mtu(world.now, MTU);
        let changed = world.now;
        // With another connection, which begins with the new MTU.
        assert_eq!(world.run(), 3_000_000);
        assert_eq!(world.run(), 3_000_000);
        for stack in [&world.server, &world.client] {
            assert_eq!(count(stack, "black_holes"), 0);
            assert!(count(stack, "timeouts") <= 1, "what was on the wire");
        }
        assert!(world.now.saturating_since(changed) < Duration::from_secs(5));
    }
}

/// More than frames hold is not used, and less than IPv6 needs is not less.
#[test]
fn an_mtu_beyond_reason_is_not_used() {
    for (v6, mtu, mss) in [
        (false, u16::MAX, 1_448),
        (true, u16::MAX, 1_428),
        (false, 0, 16),
        (true, 0, 1_208),
    ] {
        let router = |frame: &[u8]| (vec![frame.to_vec()], None);
        let mut world = World::new(v6, 2_000_000, &Config::default(), Box::new(router));
        for stack in [&mut world.client, &mut world.server] {
            stack.set_mtu(world.now, mtu);
        }
        world.connect();
        for _ in 0..6 {
            world.client.turn(world.now);
            world.server.turn(world.now);
            world.carry();
            world.now += Duration::from_micros(100);
        }
        let connections = world.server.connections(world.now);
        assert_eq!(connections[0].info.mss, mss);
    }
}

#[test]
fn an_interface_that_carries_less_counts_for_half_open_connections() {
    let router = |frame: &[u8]| (vec![frame.to_vec()], None);
    let mut world = World::new(false, 200_000, &Config::default(), Box::new(router));
    world.connect();
    world.client.turn(world.now);
    world.carry();
    world.server.turn(world.now);
    world.server.set_mtu(world.now, 1_300);
    for _ in 0..4 {
        world.carry();
        world.client.turn(world.now);
        world.carry();
        world.server.turn(world.now);
    }
    let connections = world.server.connections(world.now);
    assert_eq!(connections[0].info.mss, 1_300 - 40 - 12);
}
