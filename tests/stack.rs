//! The whole stack over the in-memory network: two of them, joined by a wire, on virtual time.

#[path = "support/memory.rs"]
mod memory;

use corelane::ring::PacketIo;
use corelane::ring::sim::{Impairment, SimConfig, SimDevice, Wire};
use corelane::stack::{AddressSet, Service, ServiceId, Socket, Stack};
use corelane::tcp::{CloseReason, Config, State};
use corelane::time::{Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{Flags, Header};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr, Packet, parse};
use memory::{
    CLIENT, CLIENT_MAC, Echo, LINK, Pattern, SERVER, SERVER_MAC, Settings, Silent, count, io,
};

const PORT: u16 = 7;

/// A server and a client on one wire.
struct World {
    now: Instant,
    server: Stack<SimDevice>,
    client: Stack<SimDevice>,
    wire: Wire,
    service: ServiceId,
    results: std::sync::mpsc::Receiver<(u64, CloseReason)>,
}

/// A stack with its own device and protocol.
fn stack(mac: MacAddr, device: &SimConfig, tcp: &Config) -> Stack<SimDevice> {
    memory::stack(mac, &settings(device, tcp))
}

fn settings(device: &SimConfig, tcp: &Config) -> Settings {
    Settings {
        device: device.clone(),
        tcp: tcp.clone(),
        max_connections: 10_000,
        ..Settings::default()
    }
}

impl World {
    fn new(impairment: Impairment, seed: u64, total: u64) -> Self {
        Self::with(
            impairment,
            seed,
            total,
            &SimConfig::default(),
            &Config::default(),
        )
    }

    fn with(
        impairment: Impairment,
        seed: u64,
        total: u64,
        device: &SimConfig,
        tcp: &Config,
    ) -> Self {
        let (sender, results) = std::sync::mpsc::channel();
        let mut server = stack(SERVER_MAC, device, tcp);
        server.listen(&[SERVER], PORT, Echo);
        let mut client = stack(CLIENT_MAC, device, tcp);
        let service = client.host(Pattern {
            total,
            results: sender,
        });
        let wire = Wire::new(impairment, seed);
        Self {
            now: Instant::from_millis(1),
            server,
            client,
            wire,
            service,
            results,
        }
    }

    fn connect(&mut self, local_port: u16) {
        self.connect_from(CLIENT, local_port);
    }

    fn connect_from(&mut self, local: Address, local_port: u16) {
        let key = FlowKey {
            local,
            remote: SERVER,
            local_port,
            remote_port: PORT,
        };
        self.client
            .connect(self.now, key, LINK, 0, self.service)
            .unwrap();
    }

    /// One turn of both; then time jumps to whatever comes next.
    fn step(&mut self) -> bool {
        let a = self.client.turn(self.now);
        let b = self.server.turn(self.now);
        let client = &mut self.client.queues_mut().next().unwrap().io;
        let server = &mut self.server.queues_mut().next().unwrap().io;
        self.wire.step(self.now, client, server);
        if a.frames + b.frames > 0 || client.rx_pending() + server.rx_pending() > 0 {
            self.now += Duration::from_micros(1);
            return true;
        }
        let next = [a.deadline, b.deadline, self.wire.next_event()]
            .into_iter()
            .flatten()
            .min();
        match next {
            Some(next) => {
                self.now = self.now.max(next);
                true
            }
            None => false,
        }
    }

    fn run_until_closed(&mut self, connections: usize, limit: Duration) {
        let end = self.now + limit;
        let mut closed = 0;
        while self.server.live_connections() + self.client.live_connections() > 0 {
            assert!(self.now < end, "{}", self.report());
            assert!(self.step(), "stuck: {}", self.report());
        }
        while let Ok((echoed, reason)) = self.results.try_recv() {
            assert_eq!(reason, CloseReason::Finished);
            assert!(echoed > 0);
            closed += 1;
        }
        assert_eq!(closed, connections);
        assert!(self.client.is_quiet() && self.server.is_quiet());
    }

    fn report(&self) -> String {
        let describe = |stack: &Stack<SimDevice>| {
            let mut lines = String::new();
            for connection in stack.connections(self.now).iter().take(8) {
                lines += &format!(
                    "  {} {} {:?}\n",
                    connection.local, connection.remote, connection.info
                );
            }
            let counters = stack.counters();
            let nonzero: Vec<_> = counters.stack.into_iter().filter(|&(_, n)| n > 0).collect();
            let free: Vec<_> = stack.queues().map(|queue| queue.io.free_frames()).collect();
            format!(
                "{lines}  {nonzero:?}\n  free frames {free:?} {:?}",
                counters.queues
            )
        };
        format!(
            "at {}\nclient\n{}\nserver\n{}",
            self.now,
            describe(&self.client),
            describe(&self.server)
        )
    }
}

#[test]
fn an_echo_over_a_perfect_wire() {
    let mut world = World::new(Impairment::default(), 1, 1_000_000);
    world.connect(40_000);
    world.run_until_closed(1, Duration::from_secs(10));
    let retransmitted = world.server.counters().stack;
    let count = retransmitted
        .iter()
        .find(|(name, _)| *name == "retrans_segs")
        .unwrap()
        .1;
    assert_eq!(count, 0, "nothing was lost: {}", world.report());
}

#[test]
fn many_connections_at_once() {
    let mut world = World::new(Impairment::default(), 1, 20_000);
    for i in 0..500 {
        world.connect(10_000 + i);
    }
    world.run_until_closed(500, Duration::from_secs(60));
}

#[test]
fn echoes_survive_a_bad_network() {
    for seed in 0..40 {
        let impairment = Impairment {
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(1),
            loss: 20_000,
            duplicate: 10_000,
            reorder: 10_000,
            corrupt: 5_000,
            ..Impairment::default()
        };
        let mut world = World::new(impairment, seed, 200_000);
        for i in 0..4 {
            world.connect(10_000 + i);
        }
        world.run_until_closed(4, Duration::from_secs(900));
    }
}

#[test]
fn a_handful_of_frames_is_enough() {
    let device = SimConfig {
        rx_frames: 32,
        tx_frames: 16,
        rx_ring: 16,
        tx_ring: 16,
        ..SimConfig::default()
    };
    let mut world = World::with(
        Impairment {
            delay: Duration::from_micros(50),
            ..Impairment::default()
        },
        3,
        50_000,
        &device,
        &Config::default(),
    );
    for i in 0..40 {
        world.connect(10_000 + i);
    }
    world.run_until_closed(40, Duration::from_secs(900));
}

/// Two workers of one device and a client whose frames the test steers by hand.
struct TwoWorkers {
    now: Instant,
    workers: [Stack<SimDevice>; 2],
    client: Stack<SimDevice>,
    service: ServiceId,
    results: std::sync::mpsc::Receiver<(u64, CloseReason)>,
}

impl TwoWorkers {
    fn new(total: u64) -> Self {
        let (sender, results) = std::sync::mpsc::channel();
        let (device, tcp) = (SimConfig::default(), Config::default());
        let worker = || {
            let settings = Settings {
                other_workers: 1,
                ..settings(&device, &tcp)
            };
            let mut worker = memory::stack(SERVER_MAC, &settings);
            worker.listen(&[SERVER], PORT, Echo);
            worker
        };
        let mut client = stack(CLIENT_MAC, &device, &tcp);
        let service = client.host(Pattern {
            total,
            results: sender,
        });
        let now = Instant::from_millis(1);
        Self {
            now,
            workers: [worker(), worker()],
            client,
            service,
            results,
        }
    }

    /// One turn of all; the client's frames go to the worker that `steer` names for each.
    fn step(&mut self, mut steer: impl FnMut() -> usize) {
        self.now += Duration::from_micros(10);
        self.client.turn(self.now);
        let mut sent: Vec<Vec<u8>> = Vec::new();
        io(&mut self.client).take_sent(|frame| sent.push(frame.to_vec()));
        for frame in sent.drain(..) {
            assert!(io(&mut self.workers[steer()]).receive(&frame));
        }
        for index in [0, 1] {
            self.workers[index].turn(self.now);
            let strays: Vec<_> = self.workers[index].take_strays().collect();
            for stray in strays {
                self.workers[1 - index].handle_stray(self.now, stray);
            }
        }
        for worker in &mut self.workers {
            worker.turn(self.now);
            io(worker).take_sent(|frame| sent.push(frame.to_vec()));
        }
        for frame in sent {
            assert!(io(&mut self.client).receive(&frame));
        }
    }

    fn connect(&mut self) {
        let key = FlowKey {
            local: CLIENT,
            remote: SERVER,
            local_port: 40_000,
            remote_port: PORT,
        };
        self.client
            .connect(self.now, key, LINK, 0, self.service)
            .unwrap();
    }
}

#[test]
fn segments_that_reach_the_wrong_worker_find_the_right_one() {
    let mut world = TwoWorkers::new(300_000);
    world.connect();
    let mut turn = 0;
    for _ in 0..20_000 {
        world.step(|| {
            // The SYN decides for worker 0; afterwards the hash is all over the place.
            turn += 1;
            usize::from(turn > 1 && turn % 3 != 0)
        });
        if let Ok(result) = world.results.try_recv() {
            assert_eq!(result, (300_000, CloseReason::Finished));
            assert!(count(&world.workers[1], "stray_passed_on") > 100);
            assert!(count(&world.workers[0], "stray_taken") > 100);
            assert_eq!(count(&world.workers[1], "passive_opens"), 0);
            assert_eq!(count(&world.workers[0], "out_rsts"), 0);
            return;
        }
    }
    panic!("never finished");
}

#[test]
fn only_the_last_worker_resets_a_stranger() {
    let mut world = TwoWorkers::new(10_000_000);
    world.connect();
    for _ in 0..10 {
        world.step(|| 0);
    }
    assert_eq!(world.workers[0].live_connections(), 1);
    // The server has lost its memory: what the client sends next is nobody's.
    let forgetful = TwoWorkers::new(1_000);
    world.workers = forgetful.workers;
    for _ in 0..100 {
        world.step(|| 0);
        if let Ok((_, reason)) = world.results.try_recv() {
            assert_eq!(reason, CloseReason::Reset);
            assert_eq!(count(&world.workers[0], "no_connection"), 0);
            assert!(count(&world.workers[1], "no_connection") > 0);
            return;
        }
        world.now += Duration::from_millis(100);
    }
    panic!("the client was never told");
}

#[test]
fn a_closed_port_is_refused_at_once() {
    let mut world = World::new(Impairment::default(), 1, 100);
    let key = FlowKey {
        local: CLIENT,
        remote: SERVER,
        local_port: 1_000,
        remote_port: PORT + 1,
    };
    world
        .client
        .connect(world.now, key, LINK, 0, world.service)
        .unwrap();
    while world.client.live_connections() > 0 {
        assert!(world.step(), "{}", world.report());
    }
    assert!(world.now < Instant::from_millis(10), "no timer was needed");
    assert_eq!(count(&world.client, "attempt_fails"), 1);
}

#[test]
fn draining_refuses_the_new_and_closes_the_idle() {
    // The client never closes by itself: its octets do not all come back.
    let mut world = World::new(Impairment::default(), 1, 5_000);
    world.server = stack(SERVER_MAC, &SimConfig::default(), &Config::default());
    world.server.listen(&[SERVER], PORT, Silent);
    world.connect(1_000);
    for _ in 0..200 {
        world.step();
    }
    assert_eq!(world.server.live_connections(), 1, "{}", world.report());
    world.server.drain(world.now);
    world.connect(1_001);
    for _ in 0..200 {
        world.step();
    }
    assert_eq!(count(&world.server, "draining"), 1);
    assert_eq!(world.server.live_connections(), 0, "{}", world.report());
}

/// A peer that never closes its side does not hold up the end.
#[test]
fn draining_does_not_wait_for_the_peers_fin() {
    let mut world = World::new(Impairment::default(), 1, 5_000);
    world.service = world.client.host(Silent);
    world.connect(1_000);
    for _ in 0..100 {
        world.step();
    }
    world.server.drain(world.now);
    // A few turns, not the minute of the FIN-WAIT-2 timer.
    for _ in 0..8 {
        world.step();
    }
    assert_eq!(world.server.live_connections(), 1, "{}", world.report());
    world.server.drain(world.now);
    world.server.turn(world.now);
    assert_eq!(world.server.live_connections(), 0, "{}", world.report());
    for _ in 0..8 {
        world.step();
    }
    assert_eq!(world.client.live_connections(), 1, "it was not reset");
}

#[test]
fn aborting_resets_every_peer() {
    let mut world = World::new(Impairment::default(), 1, 100_000_000);
    for port in 0..10 {
        world.connect(1_000 + port);
    }
    for _ in 0..300 {
        world.step();
    }
    assert_eq!(world.server.live_connections(), 10);
    world.server.abort_all(world.now);
    for _ in 0..100 {
        world.step();
    }
    assert!(
        world.server.is_quiet() && world.client.is_quiet(),
        "{}",
        world.report()
    );
    let reasons: Vec<_> = world.results.try_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [CloseReason::Reset; 10]);
}

#[test]
fn aborting_some_peers_leaves_the_others() {
    let other = Address::from_ipv4([198, 18, 0, 77]);
    let mut world = World::new(Impairment::default(), 1, 100_000_000);
    world.connect(1_000);
    world.connect_from(other, 1_001);
    for _ in 0..300 {
        world.step();
    }
    // And one that is half open.
    world.connect(1_002);
    world.client.turn(world.now);
    carry(&mut world.client, &mut world.server, |_| ());
    world.server.turn(world.now);
    assert_eq!(world.server.live_connections(), 3);
    let peers: AddressSet = [(CLIENT, CLIENT)].into_iter().collect();
    world.server.abort_peers(world.now, &peers);
    assert_eq!(world.server.live_connections(), 2, "half open no more");
    for _ in 0..100 {
        world.step();
    }
    let left = world.server.connections(world.now);
    let left: Vec<_> = left.iter().map(|it| it.remote.ip()).collect();
    assert_eq!(left, [other.to_ip()], "{}", world.report());
    let reasons: Vec<_> = world.results.try_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [CloseReason::Reset; 2]);
    // It may come again: that is for others to decide.
    world.connect(1_003);
    for _ in 0..100 {
        world.step();
    }
    assert_eq!(world.server.live_connections(), 2, "{}", world.report());
}

#[test]
fn a_service_that_does_not_read_closes_the_window_and_loses_nothing() {
    let mut world = World::new(Impairment::default(), 1, 3_000_000);
    world.server = stack(SERVER_MAC, &SimConfig::default(), &Config::default());
    world.server.listen(
        &[SERVER],
        PORT,
        Reluctant {
            stop: Instant::from_millis(5_000),
        },
    );
    world.connect(1_000);
    while world.now < Instant::from_millis(4_000) {
        world.step();
    }
    let connections = world.server.connections(world.now);
    // The window of an application that reads nothing does not grow; its unit is 128 octets here.
    let limit = 64 * 1024;
    assert!((limit..limit + 128).contains(&connections[0].info.receive_queue));
    world.run_until_closed(1, Duration::from_secs(600));
}

/// Both sides have closed before the server's application has read: it still gets all of it.
#[test]
fn what_is_unread_at_the_end_is_offered_a_last_time() {
    let (sender, results) = std::sync::mpsc::channel();
    let mut world = World::new(Impairment::default(), 1, 5_000);
    world.server = stack(SERVER_MAC, &SimConfig::default(), &Config::default());
    world.server.listen(&[SERVER], PORT, Late { read: sender });
    world.connect(1_000);
    while world.server.live_connections() + world.client.live_connections() > 0
        || world.now == Instant::from_millis(1)
    {
        assert!(world.step(), "{}", world.report());
    }
    assert_eq!(results.try_recv(), Ok(5_000));
}

/// Half-closes at once, and reads nothing before its own side is closed for good.
struct Late {
    read: std::sync::mpsc::Sender<usize>,
}

impl Service for Late {
    type Connection = usize;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> usize {
        socket.shutdown();
        0
    }

    fn on_data(&mut self, read: &mut usize, socket: &mut Socket<'_>, data: &[u8]) -> usize {
        if !matches!(socket.state(), State::TimeWait | State::Closed) {
            return 0;
        }
        *read += data.len();
        data.len()
    }

    fn on_close(&mut self, read: usize, reason: CloseReason) {
        assert_eq!(reason, CloseReason::Finished);
        self.read.send(read).unwrap();
    }
}

/// Echoes, but not before `stop` has come.
struct Reluctant {
    stop: Instant,
}

impl Service for Reluctant {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
        if socket.now() < self.stop {
            0
        } else {
            socket.send(data)
        }
    }
}

/// Moves what one has sent to the other; shows each frame to `see` on the way.
fn carry(from: &mut Stack<SimDevice>, to: &mut Stack<SimDevice>, mut see: impl FnMut(&[u8])) {
    io(from).take_sent(|frame| {
        see(frame);
        assert!(io(to).receive(frame));
    });
}

impl World {
    /// Some turns of both on a perfect wire; yields what the server sends to `see`.
    fn turns(&mut self, count: usize, mut see: impl FnMut(&[u8])) {
        for _ in 0..count {
            self.now += Duration::from_micros(10);
            self.client.turn(self.now);
            carry(&mut self.client, &mut self.server, |_| ());
            self.server.turn(self.now);
            carry(&mut self.server, &mut self.client, &mut see);
        }
    }
}

/// A peer that repeats its FIN prolongs its own TIME-WAIT and no other.
#[test]
fn one_time_wait_does_not_keep_the_others() {
    let mut world = World::new(Impairment::default(), 1, 1_000);
    let mut fin = Vec::new();
    world.connect(1_000);
    world.turns(100, |frame| {
        // Behind Ethernet and IPv4.
        if frame[14 + 20 + 13] & 1 != 0 {
            fin = frame.to_vec();
        }
    });
    assert!(!fin.is_empty());
    world.connect(1_001);
    world.turns(100, |_| ());
    let waiting = |world: &World| world.client.connections(world.now).len();
    assert_eq!(waiting(&world), 2, "{}", world.report());

    world.now += Duration::from_secs(50);
    assert!(io(&mut world.client).receive(&fin));
    world.client.turn(world.now);
    world.now += Duration::from_secs(15);
    world.client.turn(world.now);
    let left = world.client.connections(world.now);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].local.port(), 1_000);
    world.now += Duration::from_secs(50);
    world.client.turn(world.now);
    assert_eq!(waiting(&world), 0);
}

/// A SYN that nobody would take does not end the TIME-WAIT that it meets: an active open of ours has
/// no listener.
#[test]
fn a_syn_that_nobody_takes_leaves_a_time_wait() {
    let mut world = World::new(Impairment::default(), 1, 1_000);
    world.connect(1_000);
    let mut fin = Vec::new();
    world.turns(100, |frame| {
        // Behind Ethernet and IPv4.
        if frame[14 + 20 + 13] & 1 != 0 {
            fin = frame.to_vec();
        }
    });
    let Ok(Packet::Tcp {
        link, key, segment, ..
    }) = parse(&fin, ChecksumPolicy::FullOrPartial)
    else {
        panic!("no FIN");
    };
    let route = Route {
        link: Link {
            local: link.remote,
            remote: link.local,
            vlan: link.vlan,
        },
        key: key.reversed(),
        hop_limit: 64,
        traffic_class: 0,
        identification: 0,
    };
    let syn = Header {
        seq: segment.header.seq.wrapping_add(1_000_000),
        flags: Flags::SYN,
        ..Header::default()
    };
    let mut frame = vec![0; MAX_HEADERS];
    let len = segment_headers(&mut frame, &route, &syn, (0, Sum::default()));
    let recycled = count(&world.client, "time_wait_recycled");
    assert!(io(&mut world.client).receive(&frame[MAX_HEADERS - len..]));
    world.client.turn(world.now);
    assert_eq!(world.client.connections(world.now).len(), 1);
    assert_eq!(count(&world.client, "time_wait_recycled"), recycled);
    let mut answer = Flags(0);
    io(&mut world.client).take_sent(|frame| {
        answer = Flags(frame[14 + 20 + 13]);
    });
    assert_eq!(answer, Flags::ACK);
}

#[test]
fn segments_are_as_large_as_the_path_allows() {
    let mut world = World::new(Impairment::default(), 1, 100_000);
    world.connect(1_000);
    let mut largest = 0;
    world.turns(300, |frame| largest = largest.max(frame.len()));
    assert_eq!(largest, 14 + 1_500);
}

/// A peer that never answers our SYN-ACK does not hold up the end.
#[test]
fn draining_does_not_wait_for_half_open_connections() {
    let mut world = World::new(Impairment::default(), 1, 1_000);
    let half_open = |world: &mut World, port| {
        world.connect(port);
        world.client.turn(world.now);
        carry(&mut world.client, &mut world.server, |_| ());
        world.server.turn(world.now);
    };
    half_open(&mut world, 1_000);
    world.now += Duration::from_millis(2_000);
    half_open(&mut world, 1_001);
    assert_eq!(world.server.live_connections(), 2);
    // One has had its SYN-ACK twice, the other may yet answer.
    world.server.drain(world.now);
    assert_eq!(world.server.live_connections(), 1);
    world.now += Duration::from_millis(1_001);
    world.server.turn(world.now);
    assert_eq!(world.server.live_connections(), 0);

    let mut world = World::new(Impairment::default(), 1, 1_000);
    half_open(&mut world, 1_000);
    world.server.abort_all(world.now);
    assert_eq!(world.server.live_connections(), 0);
}

/// Sends for ever.
struct Flood;

impl Flood {
    fn send(socket: &mut Socket<'_>) {
        socket.send_with(usize::MAX, |room| room.len());
    }
}

impl Service for Flood {
    type Connection = ();

    fn on_open(&mut self, socket: &mut Socket<'_>) {
        Self::send(socket);
    }

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_writable(&mut self, (): &mut (), socket: &mut Socket<'_>) {
        Self::send(socket);
    }
}

/// Nothing is queued on a connection that got no frame, but it is not idle.
#[test]
fn draining_closes_no_connection_that_waits_for_frames() {
    let few = SimConfig {
        tx_frames: 16,
        ..SimConfig::default()
    };
    let mut world = World::new(Impairment::default(), 1, 1_000);
    world.server = stack(SERVER_MAC, &few, &Config::default());
    world.server.listen(&[SERVER], PORT, Flood);
    world.service = world.client.host(Silent);
    for port in 0..40 {
        world.connect(1_000 + port);
        world.client.turn(world.now);
        carry(&mut world.client, &mut world.server, |_| ());
        world.server.turn(world.now);
        // The SYN-ACK arrives, and nothing after it.
        carry(&mut world.server, &mut world.client, |_| ());
        world.client.turn(world.now);
        carry(&mut world.client, &mut world.server, |_| ());
        for _ in 0..4 {
            world.server.turn(world.now);
            io(&mut world.server).take_sent(|_| ());
        }
    }
    let connections = world.server.connections(world.now);
    let starved = |connections: &[corelane::stack::Connection]| {
        let starved = connections.iter().filter(|it| it.info.send_queue == 0);
        starved
            .filter(|it| it.info.state == State::Established)
            .count()
    };
    let before = starved(&connections);
    assert!(before > 0, "{}", world.report());
    world.server.drain(world.now);
    assert_eq!(starved(&world.server.connections(world.now)), before);
}

/// What the kernel never gives back keeps no worker awake and no timer from its work.
#[test]
fn frames_that_stay_with_the_kernel_keep_nobody_awake() {
    let tcp = Config {
        retransmissions: 3,
        ..Config::default()
    };
    let wire = Impairment::default();
    let mut world = World::with(wire, 1, 5_000, &SimConfig::default(), &tcp);
    world.connect(1_000);
    world.turns(1, |_| ());
    io(&mut world.client).hold_completions(true);
    let end = world.now + Duration::from_secs(30);
    let mut turns = 0;
    while world.client.live_connections() > 0 {
        let turn = world.client.turn(world.now);
        io(&mut world.client).take_sent(|_| ());
        assert!(!turn.busy);
        turns += 1;
        let next = turn.deadline.expect("it does not wait for ever");
        world.now = next.max(world.now + Duration::from_nanos(1));
        assert!(world.now < end, "{}", world.report());
    }
    let results: Vec<_> = world.results.try_iter().collect();
    assert_eq!(results[0].1, CloseReason::TimedOut);
    assert!(turns < 31_000, "{turns}");
    assert!(count(&world.client, "retransmits_deferred") < 10);
}

/// Two connections that could each fill TX in every turn share it.
#[test]
fn a_full_tx_ring_is_shared() {
    let device = SimConfig {
        rx_frames: 2048,
        rx_ring: 2048,
        tx_frames: 4096,
        tx_ring: 64,
        ..SimConfig::default()
    };
    let (total, tcp) = (8_000_000, Config::default());
    let mut world = World::with(Impairment::default(), 1, total, &device, &tcp);
    world.server = stack(SERVER_MAC, &device, &tcp);
    world.server.listen(&[SERVER], PORT, Silent);
    world.connect(1_000);
    world.connect(1_001);
    for _ in 0..100 {
        world.turns(1, |_| ());
    }
    let sent: Vec<u32> = world
        .client
        .connections(world.now)
        .iter()
        .map(|it| it.info.cwnd)
        .collect();
    assert!(sent[0] / 2 < sent[1] && sent[1] / 2 < sent[0], "{sent:?}");
}
