//! The whole stack over the in-memory network: two of them, joined by a wire, on virtual time.

use corelane::ring::PacketIo;
use corelane::ring::sim::{Impairment, SimConfig, SimDevice, Wire};
use corelane::stack::{Queue, Service, ServiceId, Socket, Stack, StackConfig};
use corelane::tcp::{CloseReason, Config};
use corelane::time::{Duration, Instant};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr};

const SERVER: Address = Address::from_ipv4([198, 18, 0, 1]);
const CLIENT: Address = Address::from_ipv4([198, 18, 0, 2]);
const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const PORT: u16 = 7;

/// Sends back what it gets.
struct Echo;

impl Service for Echo {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
        socket.send(data)
    }
}

/// Sends `total` octets of a pattern, checks their echo, and closes.
struct Pattern {
    total: u64,
    results: std::sync::mpsc::Sender<(u64, CloseReason)>,
}

#[derive(Default)]
struct Progress {
    sent: u64,
    echoed: u64,
}

fn octet(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

impl Pattern {
    fn send(&self, progress: &mut Progress, socket: &mut Socket<'_>) {
        let left = self.total - progress.sent;
        let at = &mut progress.sent;
        socket.send_with(usize::try_from(left).unwrap(), |buffer| {
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
}

impl Service for Pattern {
    type Connection = Progress;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Progress {
        let mut progress = Progress::default();
        self.send(&mut progress, socket);
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
        self.send(progress, socket);
    }

    fn on_close(&mut self, progress: Progress, reason: CloseReason) {
        self.results.send((progress.echoed, reason)).unwrap();
    }
}

/// A server and a client on one wire.
struct World {
    now: Instant,
    server: Stack<SimDevice>,
    client: Stack<SimDevice>,
    wire: Wire,
    service: ServiceId,
    results: std::sync::mpsc::Receiver<(u64, CloseReason)>,
}

fn stack(mac: MacAddr, device: &SimConfig, tcp: &Config) -> Stack<SimDevice> {
    let config = StackConfig {
        tcp: tcp.clone(),
        max_connections: 10_000,
        secret: [mac.0[5]; 32],
        hash_key: [1, 2],
        other_workers: 0,
    };
    let queue = Queue {
        io: SimDevice::new(device).unwrap(),
        id: 0,
        mac,
        mtu: 1500,
        checksums: ChecksumPolicy::Full,
    };
    Stack::new(config, vec![queue], Instant::from_millis(1))
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
        let key = FlowKey {
            local: CLIENT,
            remote: SERVER,
            local_port,
            remote_port: PORT,
        };
        let link = Link {
            local: CLIENT_MAC,
            remote: SERVER_MAC,
            vlan: None,
        };
        self.client
            .connect(self.now, key, link, 0, self.service)
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
