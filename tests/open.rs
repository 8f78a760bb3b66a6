//! Active opens of whole stacks over the in-memory network: ports, refusals, several workers.

#[path = "support/memory.rs"]
mod memory;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use corelane::ring::sim::SimDevice;
use corelane::stack::{
    ClientPorts, ConnectError, Destination, Opening, Rss, Service, ServiceId, Socket, Stack,
    Steering,
};
use corelane::tcp::{CloseReason, Config, State};
use corelane::time::{Duration, Instant};
use corelane::wire::{Address, FlowKey, Link};
use memory::{CLIENT, CLIENT_MAC, Echo, LINK, SERVER, SERVER_MAC, Settings, count, io, stack};

const PORT: u16 = 7;
const CLIENT_PORTS: RangeInclusive<u16> = 61_000..=61_003;

/// What a client hears.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Open(u64),
    Failed(SocketAddr, u64, ConnectError),
    Close(CloseReason),
}

/// Says hello, closes when it is answered, and tells what it hears.
struct Greeter {
    heard: Sender<Heard>,
}

impl Service for Greeter {
    type Connection = ();

    fn on_open(&mut self, socket: &mut Socket<'_>) {
        let token = socket.token().expect("it was asked for");
        self.heard.send(Heard::Open(token)).unwrap();
        socket.send(b"hello");
    }

    fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
        if data.ends_with(b"o") {
            socket.close();
        }
        data.len()
    }

    fn on_connect_failed(&mut self, remote: SocketAddr, token: u64, error: ConnectError) {
        self.heard
            .send(Heard::Failed(remote, token, error))
            .unwrap();
    }

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.heard.send(Heard::Close(reason)).unwrap();
    }
}

/// Workers that open, and a server of one worker.
struct World {
    now: Instant,
    clients: Vec<Stack<SimDevice>>,
    server: Stack<SimDevice>,
    heard: Receiver<Heard>,
    /// Whether what the server sends is lost.
    mute: bool,
}

/// The stacks of a [`World`], and how each of its clients is steered.
struct Opens {
    stack: Settings,
    steering: Vec<Steering>,
}

impl Default for Opens {
    fn default() -> Self {
        Self {
            stack: Settings {
                max_connections: 100,
                ..Settings::default()
            },
            steering: vec![Steering::Dealt { index: 0, of: 1 }],
        }
    }
}

/// One client.
fn opens(stack: Settings) -> Opens {
    Opens {
        stack,
        ..Opens::default()
    }
}

/// The first that a client hosts.
const GREETER: ServiceId = ServiceId::nth(0);

fn destination() -> Destination {
    Destination {
        local: CLIENT,
        remote: SERVER,
        port: PORT,
        link: LINK,
        mtu: None,
    }
}

impl World {
    fn new(opens: &Opens) -> Self {
        let (sender, heard) = channel();
        let workers = opens.steering.len();
        let clients = (0..).zip(&opens.steering).map(|(id, steering)| {
            let settings = Settings {
                queue_id: id,
                other_workers: workers - 1,
                ..opens.stack.clone()
            };
            let mut client = stack(CLIENT_MAC, &settings);
            let greeter = Greeter {
                heard: sender.clone(),
            };
            assert_eq!(client.host(greeter), GREETER);
            client.set_client_ports(ClientPorts::new(CLIENT_PORTS, steering.clone(), [3, 4]));
            client
        });
        let clients = clients.collect();
        let mut server = stack(SERVER_MAC, &Settings::default());
        server.listen(&[SERVER], PORT, Echo);
        Self {
            now: Instant::from_millis(1),
            clients,
            server,
            heard,
            mute: false,
        }
    }

    fn open(&mut self, token: u64) -> Result<FlowKey, ConnectError> {
        self.clients[0].open(self.now, &destination(), GREETER, token)
    }

    /// Some turns; what the server sends goes to the client worker that `steer` names.
    fn turns(&mut self, count: usize, step: Duration, mut steer: impl FnMut() -> usize) {
        for _ in 0..count {
            self.now += step;
            let mut sent: Vec<Vec<u8>> = Vec::new();
            for index in 0..self.clients.len() {
                let client = &mut self.clients[index];
                client.turn(self.now);
                io(client).take_sent(|frame| sent.push(frame.to_vec()));
                let strays: Vec<_> = client.take_strays().collect();
                let next = (index + 1) % self.clients.len();
                for stray in strays {
                    self.clients[next].handle_stray(self.now, stray);
                }
            }
            for frame in sent.drain(..) {
                assert!(io(&mut self.server).receive(&frame));
            }
            self.server.turn(self.now);
            io(&mut self.server).take_sent(|frame| sent.push(frame.to_vec()));
            for frame in sent.drain(..).filter(|_| !self.mute) {
                assert!(io(&mut self.clients[steer()]).receive(&frame));
            }
        }
    }

    fn run(&mut self) {
        self.turns(50, Duration::from_micros(100), || 0);
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.try_iter().collect()
    }
}

#[test]
fn an_open_chooses_a_port_and_says_how_it_went() {
    let mut world = World::new(&Opens::default());
    let key = world.open(5).unwrap();
    assert!(CLIENT_PORTS.contains(&key.local_port));
    assert_eq!((key.remote, key.remote_port), (SERVER, PORT));
    world.run();
    assert_eq!(
        world.heard(),
        [Heard::Open(5), Heard::Close(CloseReason::Finished)]
    );
}

#[test]
fn a_refusal_and_silence_are_told_with_the_token() {
    let mut world = World::new(&Opens::default());
    let closed = Destination {
        port: 9,
        ..destination()
    };
    world.clients[0]
        .open(world.now, &closed, GREETER, 6)
        .unwrap();
    world.run();
    let refused = ConnectError::Failed(CloseReason::Refused);
    let nine = "198.18.0.1:9".parse().unwrap();
    assert_eq!(world.heard(), [Heard::Failed(nine, 6, refused)]);
    world.mute = true;
    world.open(7).unwrap();
    world.turns(400, Duration::from_secs(1), || 0);
    let timed_out = ConnectError::Failed(CloseReason::TimedOut);
    let seven = "198.18.0.1:7".parse().unwrap();
    assert_eq!(world.heard(), [Heard::Failed(seven, 7, timed_out)]);
    assert!(world.clients[0].is_quiet());
}

#[test]
fn what_is_no_way_is_told_to_the_service_too() {
    let mut world = World::new(&Opens::default());
    let remote = "198.18.0.1:7".parse().unwrap();
    let opening = Opening {
        service: GREETER,
        token: 8,
        early: Arc::default(),
        remote,
        way: Err(ConnectError::NoRoute),
    };
    world.clients[0].handle_opening(world.now, &opening);
    // Of a service that nobody has heard of, there is nobody to tell.
    let nobodys = Opening {
        service: ServiceId::nth(77),
        ..opening.clone()
    };
    world.clients[0].handle_opening(world.now, &nobodys);
    assert_eq!(
        world.heard(),
        [Heard::Failed(remote, 8, ConnectError::NoRoute)]
    );
}

#[test]
fn when_all_ports_are_taken_the_next_open_says_so() {
    let mut world = World::new(&Opens::default());
    world.mute = true;
    let mut ports: Vec<u16> = (0..4).map(|n| world.open(n).unwrap().local_port).collect();
    ports.sort_unstable();
    assert_eq!(ports, CLIENT_PORTS.collect::<Vec<_>>());
    assert_eq!(world.open(4), Err(ConnectError::PortsExhausted));
    assert_eq!(count(&world.clients[0], "client_ports_exhausted"), 1);
    // Another peer has all ports before it.
    let elsewhere = Destination {
        port: PORT + 1,
        ..destination()
    };
    assert!(
        world.clients[0]
            .open(world.now, &elsewhere, GREETER, 5)
            .is_ok()
    );
}

/// As Linux does it (`net.ipv4.tcp_tw_reuse`): with timestamps, and after a second.
#[test]
fn a_port_in_time_wait_serves_again_after_a_second() {
    let mut world = World::new(&Opens::default());
    for token in 0..4 {
        world.open(token).unwrap();
        world.run();
    }
    let waiting = |world: &World| {
        let connections = world.clients[0].connections(world.now);
        let all = connections.len();
        let waiting = connections
            .iter()
            .filter(|it| it.info.state == State::TimeWait);
        assert_eq!(waiting.count(), all);
        all
    };
    assert_eq!(waiting(&world), 4, "the client has closed first");
    assert_eq!(world.open(4), Err(ConnectError::PortsExhausted));
    world.turns(2, Duration::from_millis(600), || 0);
    world.heard();
    world.open(5).unwrap();
    assert_eq!(count(&world.clients[0], "time_wait_recycled"), 1);
    world.run();
    assert_eq!(
        world.heard(),
        [Heard::Open(5), Heard::Close(CloseReason::Finished)]
    );
    assert_eq!(waiting(&world), 4);
}

#[test]
fn without_timestamps_time_wait_keeps_its_port() {
    let mut world = World::new(&opens(Settings {
        tcp: Config {
            timestamps: false,
            ..Config::default()
        },
        ..Settings::default()
    }));
    for token in 0..4 {
        world.open(token).unwrap();
        world.run();
    }
    world.turns(2, Duration::from_secs(10), || 0);
    assert_eq!(world.open(4), Err(ConnectError::PortsExhausted));
    world.turns(2, Duration::from_secs(40), || 0);
    assert!(world.open(5).is_ok());
}

#[test]
fn a_full_table_gives_up_its_oldest_time_wait() {
    let mut world = World::new(&opens(Settings {
        max_connections: 2,
        ..Settings::default()
    }));
    for token in 0..3 {
        world.open(token).unwrap();
        world.run();
    }
    assert_eq!(count(&world.clients[0], "time_wait_evicted"), 1);
    world.mute = true;
    world.open(4).unwrap();
    world.open(5).unwrap();
    assert_eq!(world.open(6), Err(ConnectError::Full));
    assert_eq!(count(&world.clients[0], "flow_table_full"), 1);
}

#[test]
fn what_is_not_there_is_named_and_nothing_panics() {
    let mut world = World::new(&Opens::default());
    let now = world.now;
    let client = &mut world.clients[0];
    let key = FlowKey {
        local: CLIENT,
        remote: SERVER,
        local_port: 1,
        remote_port: PORT,
    };
    assert_eq!(
        client.connect(now, key, LINK, 9, GREETER),
        Err(ConnectError::NoSuchQueue)
    );
    assert_eq!(
        client.connect(now, key, LINK, 0, ServiceId::nth(1)),
        Err(ConnectError::NoSuchService)
    );
    assert_eq!(client.connect(now, key, LINK, 0, GREETER), Ok(()));
    assert_eq!(
        client.connect(now, key, LINK, 0, GREETER),
        Err(ConnectError::InUse)
    );
    // RFC 9293 section 3.9.2.3, MUST-46.
    let everyone = Destination {
        remote: Address::from_ipv4([224, 0, 0, 1]),
        ..destination()
    };
    assert_eq!(
        client.open(now, &everyone, GREETER, 0),
        Err(ConnectError::NoPeer)
    );
    assert_eq!(
        world.server.open(now, &destination(), GREETER, 0),
        Err(ConnectError::NoClientPorts)
    );
}

#[test]
fn draining_opens_nothing_and_gives_up_what_is_unanswered() {
    let mut world = World::new(&Opens::default());
    world.mute = true;
    world.open(1).unwrap();
    world.run();
    world.clients[0].drain(world.now);
    assert_eq!(world.open(2), Err(ConnectError::Draining));
    world.run();
    let aborted = ConnectError::Failed(CloseReason::Aborted);
    let remote = "198.18.0.1:7".parse().unwrap();
    assert_eq!(world.heard(), [Heard::Failed(remote, 1, aborted)]);
    assert_eq!(world.clients[0].live_connections(), 0);
}

#[test]
fn a_route_with_a_smaller_mtu_makes_smaller_segments() {
    let mut world = World::new(&Opens::default());
    let narrow = Destination {
        mtu: Some(1_000),
        ..destination()
    };
    world.clients[0]
        .open(world.now, &narrow, GREETER, 1)
        .unwrap();
    world.turns(3, Duration::from_micros(100), || 0);
    let server = &world.server.connections(world.now)[0];
    // 1000 less 40 of headers and 12 of timestamps.
    assert_eq!(server.info.mss, 948);
}

fn two_dealt() -> Opens {
    Opens {
        steering: vec![
            Steering::Dealt { index: 0, of: 2 },
            Steering::Dealt { index: 1, of: 2 },
        ],
        ..Opens::default()
    }
}

/// On both of two workers, whichever of them the device gives the answers to.
#[test]
fn answers_at_the_wrong_worker_are_handed_over() {
    for opener in [0, 1] {
        for arrives in [0, 1] {
            let mut world = World::new(&two_dealt());
            let key = world.clients[opener].open(world.now, &destination(), GREETER, 9);
            assert_eq!(usize::from(key.unwrap().local_port) % 2, opener);
            world.turns(50, Duration::from_micros(100), || arrives);
            assert_eq!(
                world.heard(),
                [Heard::Open(9), Heard::Close(CloseReason::Finished)]
            );
            let taken = count(&world.clients[opener], "stray_taken");
            assert_eq!(taken > 0, opener != arrives, "{opener} {arrives}");
            for client in &world.clients {
                assert_eq!(count(client, "out_rsts"), 0);
            }
        }
    }
}

/// RFC 9293 section 3.5, MUST-10. The peer's SYN is a stray as well if it is for a client port.
#[test]
fn a_simultaneous_open_succeeds_at_the_wrong_worker_too() {
    for arrives in [0, 1] {
        let mut world = World::new(&two_dealt());
        let key = world.clients[0]
            .open(world.now, &destination(), GREETER, 9)
            .unwrap();
        let (sender, heard) = channel();
        // The server opens the same connection from its end, before it hears of ours.
        let greeter = world.server.host(Greeter { heard: sender });
        let link = Link {
            local: SERVER_MAC,
            remote: CLIENT_MAC,
            vlan: None,
        };
        world
            .server
            .connect(world.now, key.reversed(), link, 0, greeter)
            .unwrap();
        world.turns(50, Duration::from_micros(100), || arrives);
        assert_eq!(world.heard()[0], Heard::Open(9));
        assert_eq!(heard.try_iter().next(), Some(Heard::Open(0)));
        for client in &world.clients {
            assert_eq!(count(client, "out_rsts"), 0);
        }
    }
}

/// The device's hash is known: every answer arrives at the worker that asked.
#[test]
fn ports_are_chosen_so_that_answers_arrive_where_they_are_awaited() {
    let key: Vec<u8> = (0..40_u8).map(|at| at.wrapping_mul(151) ^ 0x5a).collect();
    let rss = Arc::new(Rss::new(&key, &[0, 1]).unwrap());
    let mut world = World::new(&Opens {
        steering: vec![
            Steering::Hashed(Arc::clone(&rss)),
            Steering::Hashed(Arc::clone(&rss)),
        ],
        ..Opens::default()
    });
    world.mute = true;
    let mut ports = Vec::new();
    for index in [0, 1] {
        let client = &mut world.clients[index];
        while let Ok(key) = client.open(world.now, &destination(), GREETER, 0) {
            assert_eq!(rss.queue(&key) as usize, index);
            ports.push(key.local_port);
        }
    }
    ports.sort_unstable();
    assert_eq!(
        ports,
        CLIENT_PORTS.collect::<Vec<_>>(),
        "no port twice, and none left out"
    );
}

/// RFC 7413: the first open asks for a cookie, the next has its text on the SYN, and the server's
/// application has it before the handshake ends.
#[test]
fn text_goes_with_the_syn_from_the_second_open_on() {
    let tcp = Config {
        fast_open_queue: 1,
        ..Config::default()
    };
    let settings = Settings {
        tcp,
        ..Settings::default()
    };
    let mut world = World::new(&opens(settings.clone()));
    world.server = stack(SERVER_MAC, &settings);
    world.server.listen(&[SERVER], PORT, Echo);
    for round in 0..4 {
        let opened = world.clients[0].open_with(world.now, &destination(), GREETER, round, b"hel");
        opened.unwrap();
        world.run();
        assert_eq!(
            world.heard(),
            [Heard::Open(round), Heard::Close(CloseReason::Finished)]
        );
        assert_eq!(count(&world.clients[0], "fast_open_active"), round);
        // Each was no longer pending when the next came.
        assert_eq!(count(&world.server, "fast_open_passive"), round);
        assert_eq!(count(&world.clients[0], "fast_open_active_fails"), 0);
    }
    world.turns(2, Duration::from_secs(61), || 0);
    assert!(world.server.is_quiet() && world.clients[0].is_quiet());
}
