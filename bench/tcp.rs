//! What one segment costs in TCP alone: no frames, no checksums of headers, no rings.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use corelane::tcp::{
    Buffer, BufferId, Buffers, Config, Context, Core, IsnGenerator, Listener, SynVerdict, Tcb,
};
use corelane::time::{Clock, Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::tcp::{Flags, Header, Options, Segment, Timestamps};
use corelane::wire::{Address, FlowKey};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const FULL: usize = 1_448;
const CAPACITY: usize = 1_460;
/// Segments that go one way before the other side is heard: fewer than the initial window (RFC 6928).
const GROUP: u64 = 8;

/// Buffers that are always idle, as if the kernel were infinitely fast.
struct Memory {
    octets: Vec<[u8; CAPACITY]>,
    lens: Vec<usize>,
    free: Vec<u32>,
}

impl Memory {
    fn new(count: u32) -> Self {
        Self {
            octets: vec![[0; CAPACITY]; count as usize],
            lens: vec![0; count as usize],
            free: (0..count).collect(),
        }
    }
}

impl Buffers for Memory {
    fn allocate(&mut self) -> Option<Buffer> {
        let id = self.free.pop()?;
        self.lens[id as usize] = 0;
        Some(Buffer::new(BufferId(id)))
    }

    fn available(&self) -> usize {
        self.free.len()
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }

    fn room(&self, buffer: BufferId) -> usize {
        CAPACITY - self.lens[buffer.0 as usize]
    }

    fn append_with(
        &mut self,
        buffer: BufferId,
        room: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> usize {
        let index = buffer.0 as usize;
        let held = self.lens[index];
        let end = CAPACITY.min(held + room);
        let written = fill(&mut self.octets[index][held..end]);
        self.lens[index] += written;
        written
    }

    fn append(&mut self, buffer: BufferId, data: &[u8]) -> usize {
        self.append_with(buffer, data.len(), &mut |room| {
            let len = room.len();
            black_box(Sum::of_copy(room, &data[..len]));
            len
        })
    }

    fn split(&mut self, _: BufferId, _: usize) -> Option<Buffer> {
        None
    }

    fn checksum(&mut self, buffer: BufferId, skip: usize) -> Sum {
        let index = buffer.0 as usize;
        Sum::of(&self.octets[index][skip..self.lens[index]])
    }

    fn is_idle(&self, _: BufferId) -> bool {
        true
    }

    fn release(&mut self, buffer: Buffer) {
        self.free.push(buffer.id().0);
    }
}

/// An established connection of a server, and the peer's side of its sequence numbers.
struct Server {
    core: Core,
    memory: Memory,
    tcb: Tcb,
    now: Instant,
    peer: Header,
}

impl Server {
    fn new() -> Self {
        let mut core = Core::new(Config::default(), IsnGenerator::new([7; 32]));
        let mut memory = Memory::new(1_024);
        let now = Instant::from_millis(10_000);
        let key = FlowKey {
            local: Address::from_ipv4([198, 18, 0, 1]),
            remote: Address::from_ipv4([198, 18, 0, 2]),
            local_port: 80,
            remote_port: 40_000,
        };
        let mut peer = Header {
            seq: 1_000,
            flags: Flags::SYN,
            window: 0xffff,
            options: Options {
                mss: Some(1_460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some(Timestamps { tsval: 1, tsecr: 0 }),
                ..Options::default()
            },
            ..Header::default()
        };
        let mut cx = Context {
            now,
            buffers: &mut memory,
            core: &mut core,
        };
        let syn = Segment {
            header: peer.clone(),
            payload: &[],
        };
        let mut entry = Listener::default()
            .handle_syn(&mut cx, &key, &syn, 1_460, None)
            .expect("the queue is empty");
        let syn_ack = entry.syn_ack(&mut cx, &key);
        peer = Header {
            seq: peer.seq + 1,
            ack: syn_ack.seq.wrapping_add(1),
            flags: Flags::ACK,
            window: 0xffff,
            urgent: 0,
            options: Options {
                timestamps: Some(Timestamps { tsval: 1, tsecr: 0 }),
                ..Options::default()
            },
        };
        let ack = Segment {
            header: peer.clone(),
            payload: &[],
        };
        let SynVerdict::Opens(mut tcb) = entry.handle_segment(&mut cx, &key, &ack) else {
            panic!("the handshake is right");
        };
        tcb.handle_segment(&mut cx, &ack);
        tcb.update_options(&mut cx, |options| options.nodelay = true);
        Self {
            core,
            memory,
            tcb,
            now,
            peer,
        }
    }

    /// The peer sends `text`, and the application consumes it.
    fn receive(&mut self, text: &[u8]) {
        self.now += Duration::from_micros(10);
        let mut cx = Context {
            now: self.now,
            buffers: &mut self.memory,
            core: &mut self.core,
        };
        let segment = Segment {
            header: self.peer.clone(),
            payload: text,
        };
        let arrival = self.tcb.handle_segment(&mut cx, &segment);
        let text = arrival.text;
        if !text.is_empty() {
            self.tcb.handle_text(&mut cx, black_box(text), text.len());
        }
        self.peer.seq = self.peer.seq.wrapping_add(segment.payload.len() as u32);
    }

    fn send(&mut self, text: &[u8]) {
        let mut cx = Context {
            now: self.now,
            buffers: &mut self.memory,
            core: &mut self.core,
        };
        assert_eq!(self.tcb.send(&mut cx, text), text.len());
    }

    /// Sends what is due; the peer will acknowledge it with its next segment.
    fn transmit(&mut self) -> usize {
        let mut segments = 0;
        let mut cx = Context {
            now: self.now,
            buffers: &mut self.memory,
            core: &mut self.core,
        };
        while let Some(transmit) = self.tcb.poll_transmit(&mut cx) {
            segments += 1;
            if let Some(payload) = transmit.payload {
                self.peer.ack = transmit.header.seq.wrapping_add(u32::from(payload.len));
            }
            black_box(transmit);
        }
        segments
    }
}

fn request_response(c: &mut Criterion) {
    let mut server = Server::new();
    let text = [b'x'; 64];
    let mut group = c.benchmark_group("tcp");
    group.throughput(Throughput::Elements(1));
    group.bench_function("request_response_64", |b| {
        b.iter(|| {
            server.receive(&text);
            server.send(&text);
            assert_eq!(server.transmit(), 1);
        });
    });
    group.finish();
}

fn bulk(c: &mut Criterion) {
    let text = vec![b'x'; FULL];
    let mut group = c.benchmark_group("tcp");
    // Per two segments, which share one acknowledgment.
    group.throughput(Throughput::Bytes(2 * FULL as u64));
    let mut server = Server::new();
    group.bench_function("receive_two_segments", |b| {
        b.iter(|| {
            server.receive(&text);
            server.receive(&text);
            assert_eq!(server.transmit(), 1);
        });
    });
    let mut server = Server::new();
    group.bench_function("send_two_segments", |b| {
        b.iter(|| {
            server.send(&text);
            server.send(&text);
            assert_eq!(server.transmit(), 2);
            server.receive(&[]);
        });
    });
    group.finish();
}

/// One segment one way: what it causes the other way is not timed.
fn one_way(c: &mut Criterion) {
    let mut group = c.benchmark_group("tcp");
    for (size, text) in [("64", &[b'x'; FULL][..64]), ("full", &[b'x'; FULL])] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut server = Server::new();
        group.bench_function(BenchmarkId::new("receive_segment", size), |b| {
            b.iter_custom(|segments| {
                timed(
                    &mut server,
                    segments,
                    |server| server.receive(text),
                    // Small segments may wait for more before they are acknowledged.
                    |server| assert!(server.transmit() <= 1),
                )
            });
        });
        let mut server = Server::new();
        group.bench_function(BenchmarkId::new("send_segment", size), |b| {
            b.iter_custom(|segments| {
                timed(
                    &mut server,
                    segments,
                    |server| {
                        server.send(text);
                        assert_eq!(server.transmit(), 1);
                    },
                    |server| server.receive(&[]),
                )
            });
        });
    }
    group.finish();
}

/// How long `work` takes so many times, without `rest`, which follows each few of them.
fn timed(
    server: &mut Server,
    times: u64,
    work: impl Fn(&mut Server),
    rest: impl Fn(&mut Server),
) -> std::time::Duration {
    let clock = Clock::start();
    let mut elapsed = 0;
    // The last group may be larger than what is left: then it counts for its part.
    for _ in 0..times.div_ceil(GROUP) {
        let before = clock.now();
        for _ in 0..GROUP {
            work(server);
        }
        elapsed += clock.now().saturating_since(before).as_nanos();
        rest(server);
    }
    std::time::Duration::from_nanos(elapsed)
        .mul_f64(times as f64 / (times.div_ceil(GROUP) * GROUP) as f64)
}

criterion_group!(benches, request_response, bulk, one_way);
criterion_main!(benches);
