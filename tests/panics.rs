//! Applications whose callbacks panic: they lose the connection, and nobody else loses anything. On
//! virtual time.

#[path = "support/memory.rs"]
mod memory;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use corelane::ring::PacketIo as _;
use corelane::ring::sim::{Impairment, SimDevice, Wire};
use corelane::stack::{ConnectError, Service, ServiceId, Socket, Stack};
use corelane::tcp::{BufferLimit, CloseReason, SocketOptions};
use corelane::time::{Duration, Instant};
use corelane::wire::FlowKey;
use memory::{CLIENT, CLIENT_MAC, LINK, Pattern, SERVER, SERVER_MAC, START, Settings, count};

/// Where an echo breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Open,
    Data,
    Fill,
    Writable,
    PeerClose,
    Deadline,
    Timer,
    Close,
    Drop,
}

impl Where {
    const ALL: [Self; 9] = [
        Self::Open,
        Self::Data,
        Self::Fill,
        Self::Writable,
        Self::PeerClose,
        Self::Deadline,
        Self::Timer,
        Self::Close,
        Self::Drop,
    ];

    /// Whether the peer has all that it wants by then.
    fn is_late(self) -> bool {
        matches!(self, Self::Close | Self::Drop)
    }
}

/// An echo that panics for every other of its peers.
struct Brittle {
    breaks: Where,
    alive: Arc<AtomicUsize>,
}

/// What it remembers.
struct Memory {
    breaks: Option<Where>,
    due: Option<Instant>,
    echoed: usize,
    alive: Arc<AtomicUsize>,
}

impl Memory {
    fn reach(&self, here: Where) {
        assert_ne!(self.breaks, Some(here), "on purpose");
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
        self.reach(Where::Drop);
    }
}

impl Service for Brittle {
    type Connection = Memory;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Memory {
        let is_odd = !socket.key().remote_port.is_multiple_of(2);
        assert!(!(is_odd && self.breaks == Where::Open), "on purpose");
        self.alive.fetch_add(1, Ordering::Relaxed);
        Memory {
            breaks: is_odd.then_some(self.breaks),
            due: (self.breaks == Where::Timer).then(|| socket.now() + Duration::from_micros(10)),
            echoed: 0,
            alive: Arc::clone(&self.alive),
        }
    }

    fn on_data(&mut self, memory: &mut Memory, socket: &mut Socket<'_>, data: &[u8]) -> usize {
        memory.reach(Where::Data);
        let mut sent = 0;
        socket.send_with(data.len(), |room| {
            // A frame is in its hands, and others are queued.
            if memory.echoed > 0 {
                memory.reach(Where::Fill);
            }
            let part = room.len().min(data.len() - sent);
            room[..part].copy_from_slice(&data[sent..sent + part]);
            sent += part;
            memory.echoed += part;
            part
        })
    }

    fn on_writable(&mut self, memory: &mut Memory, _: &mut Socket<'_>) {
        memory.reach(Where::Writable);
    }

    fn on_peer_close(&mut self, memory: &mut Memory, socket: &mut Socket<'_>) {
        memory.reach(Where::PeerClose);
        socket.close();
    }

    fn deadline(&self, memory: &Memory) -> Option<Instant> {
        memory.reach(Where::Deadline);
        memory.due
    }

    fn on_timer(&mut self, memory: &mut Memory, _: &mut Socket<'_>) {
        memory.due = None;
        memory.reach(Where::Timer);
    }

    fn on_close(&mut self, memory: Memory, _: CloseReason) {
        // A panic that drops what panics once more would be the process's end, as anywhere in Rust.
        memory.reach(Where::Close);
    }
}

struct World {
    now: Instant,
    server: Stack<SimDevice>,
    client: Stack<SimDevice>,
    wire: Wire,
    service: ServiceId,
    results: Receiver<(u64, CloseReason)>,
}

impl World {
    fn new(total: u64) -> Self {
        let (sender, results) = channel();
        let mut client = memory::stack(CLIENT_MAC, &Settings::default());
        let service = client.host(Pattern {
            total,
            results: sender,
        });
        Self {
            now: START,
            server: memory::stack(SERVER_MAC, &Settings::default()),
            client,
            wire: Wire::new(Impairment::default(), 1),
            service,
            results,
        }
    }

    fn connect(&mut self, local_port: u16, remote_port: u16) {
        let key = FlowKey {
            local: CLIENT,
            remote: SERVER,
            local_port,
            remote_port,
        };
        self.client
            .connect(self.now, key, LINK, 0, self.service)
            .unwrap();
    }

    fn run(&mut self) {
        let end = self.now + Duration::from_secs(60);
        while self.server.live_connections() + self.client.live_connections() > 0 {
            assert!(self.now < end, "{:?}", self.server.connections(self.now));
            let a = self.client.turn(self.now);
            let b = self.server.turn(self.now);
            let client = &mut self.client.queues_mut().next().unwrap().io;
            let server = &mut self.server.queues_mut().next().unwrap().io;
            self.wire.step(self.now, client, server);
            if a.frames + b.frames > 0 || client.rx_pending() + server.rx_pending() > 0 {
                self.now += Duration::from_micros(1);
                continue;
            }
            let next = [a.deadline, b.deadline, self.wire.next_event()];
            let next = next.into_iter().flatten().min();
            self.now = self.now.max(next.expect("somebody waits for something"));
        }
    }
}

#[test]
fn a_panic_in_any_callback_costs_its_connection_alone() {
    const PAIRS: u16 = 5;
    const TOTAL: u64 = 400_000;
    for breaks in Where::ALL {
        let mut world = World::new(TOTAL);
        let alive = Arc::default();
        let service = Brittle {
            breaks,
            alive: Arc::clone(&alive),
        };
        // Small, so that room to write has to be waited for.
        let options = SocketOptions {
            send_buffer: BufferLimit::Fixed(20_000),
            ..world.server.default_options().clone()
        };
        world.server.listen_with(&[SERVER], 7, options, service);
        let frames = |stack: &Stack<SimDevice>| -> usize {
            stack.queues().map(|queue| queue.io.free_frames()).sum()
        };
        let free = frames(&world.server);
        for port in 0..2 * PAIRS {
            world.connect(1_000 + port, 7);
        }
        world.run();
        let (mut served, mut reset) = (0, 0);
        for (echoed, reason) in world.results.try_iter() {
            match reason {
                CloseReason::Finished => {
                    assert_eq!(echoed, TOTAL);
                    served += 1;
                }
                CloseReason::Reset => reset += 1,
                other => panic!("{breaks:?}: {other:?}"),
            }
        }
        let broken = if breaks.is_late() { 0 } else { PAIRS };
        assert_eq!((served, reset), (2 * PAIRS - broken, broken), "{breaks:?}");
        let panics = count(&world.server, "application_panics");
        assert_eq!(panics, u64::from(PAIRS), "{breaks:?}");
        assert_eq!(world.server.application_panics(), panics);
        assert_eq!(alive.load(Ordering::Relaxed), 0, "{breaks:?}");
        assert!(world.server.is_quiet(), "{breaks:?}");
        assert_eq!(frames(&world.server), free, "{breaks:?}");
        // The worker and the service go on.
        world.connect(2_000, 7);
        world.run();
        let after = world.results.try_iter().last();
        assert_eq!(after, Some((TOTAL, CloseReason::Finished)), "{breaks:?}");
    }
}

/// Opens what nobody answers, and cannot bear it.
struct Hopeful;

impl Service for Hopeful {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_connect_failed(&mut self, remote: SocketAddr, _: u64, error: ConnectError) {
        panic!("on purpose: {remote} {error}");
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_over_a_failed_open_is_counted() {
    let mut world = World::new(1);
    world.service = world.client.host(Hopeful);
    // Nobody listens there.
    world.connect(1_000, 9);
    world.run();
    assert_eq!(count(&world.client, "application_panics"), 1);
    assert!(world.client.is_quiet());
}
