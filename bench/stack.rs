//! What a request and its answer of 64 octets, and a full segment of bulk, cost the server's whole
//! stack: parsing, checksums, look-up, TCP, timers, headers. Over memory, so that no kernel takes
//! part. Beside it the same clients have smoltcp as their server.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

#[path = "../tests/support/crowd.rs"]
mod crowd;
#[path = "../tests/support/memory.rs"]
mod memory;
#[path = "../tests/support/smol.rs"]
mod smol;
#[path = "../tests/support/timed.rs"]
mod timed;

use std::time::Duration as Elapsed;

use corelane::ring::BATCH;
use corelane::services::Discard;
use corelane::time::Duration;
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use crowd::Crowd;
use memory::{Echo, Host, Source};
use smol::{Application, Smol};
use timed::Timed;

const TEXT: [u8; 64] = [7; 64];
const FULL: [u8; 1_460] = [7; 1_460];
/// Segments of bulk in one turn.
const BULK: usize = 32;
/// Clients that may have an answer to acknowledge at once; among more, each sends an acknowledgment
/// of its own, as clients do that are slower than 40 ms. That counts as part of the request.
const FEW: usize = 10_000;

/// How many are connected, and how many of them ask, in turn.
const CROWDS: [(usize, usize); 7] = [
    (1, 1),
    (100, 100),
    (1_000, 1_000),
    (10_000, 10_000),
    (1_000_000, 1),
    (1_000_000, 1_000),
    (1_000_000, 1_000_000),
];

/// smoltcp looks at all of its connections for each segment.
const SMOL_CROWDS: [(usize, usize); 4] = [(1, 1), (100, 100), (1_000, 1), (1_000, 1_000)];
/// Octets of each of a connection's two buffers in smoltcp: for requests, and for bulk.
const SMALL: usize = 4 << 10;
const LARGE: usize = 128 << 10;

/// The order in which clients open their connections: the server has those of neighbours far apart in
/// every table. What clients remember is together, and takes little of the server's cache.
fn far_apart(connected: usize) -> impl Iterator<Item = usize> {
    let distance = if connected > FEW { 1_000 } else { 1 };
    let (rows, columns) = (distance, connected / distance);
    (0..connected).map(move |n| n % rows * columns + n / rows)
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("stack/request_response_64");
    group.sample_size(20);
    request(&mut group, "corelane", &CROWDS, |connected| {
        crowd::server(connected, Echo)
    });
    request(&mut group, "smoltcp", &SMOL_CROWDS, |connected| {
        Smol::new(connected, SMALL, Application::Echo)
    });
    group.finish();
}

fn request<H: Host>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    crowds: &[(usize, usize)],
    server: impl Fn(usize) -> H,
) {
    // Opened when first needed; a filter may want none of them.
    let mut open: Option<(usize, Crowd<Timed<H>>)> = None;
    for &(connected, active) in crowds {
        let id = BenchmarkId::new(name, format!("{active}_of_{connected}"));
        group.bench_function(id, |b| {
            b.iter_custom(|requests| {
                let (_, crowd) = match &mut open {
                    Some(it) if it.0 == connected => it,
                    other => {
                        // One after the other, not beside each other.
                        *other = None;
                        let mut crowd = Crowd::of(Timed::new(server(connected)), connected);
                        crowd.open(far_apart(connected));
                        // Each handshake's timer runs out once.
                        crowd.rest(Duration::from_secs(3));
                        other.insert((connected, crowd))
                    }
                };
                let clients = (0..active).cycle();
                let clients: Vec<usize> = clients.take(requests as usize).collect();
                let before = crowd.server.elapsed;
                for clients in clients.chunks(FEW) {
                    crowd.ask(clients.iter().copied(), &TEXT, active.min(BATCH));
                    // Before that many frames run short.
                    if active > FEW {
                        crowd.acknowledge(clients.iter().copied());
                    }
                }
                let elapsed = crowd.server.elapsed - before;
                // Or the last answers would be sent again while others ask.
                if active <= FEW {
                    crowd.acknowledge(clients.iter().rev().take(active).copied());
                }
                elapsed
            });
        });
    }
}

fn bulk(c: &mut Criterion) {
    let mut group = c.benchmark_group("stack/bulk_1460");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(FULL.len() as u64));
    receive(&mut group, "corelane", || crowd::server(1, Discard));
    receive(&mut group, "smoltcp", || {
        Smol::new(1, LARGE, Application::Discard)
    });
    send(&mut group, "corelane", || crowd::server(1, Source));
    send(&mut group, "smoltcp", || {
        Smol::new(1, LARGE, Application::Source)
    });
    group.finish();
}

/// Full segments come in, and the application consumes them.
fn receive<H: Host>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, server: impl Fn() -> H) {
    let mut open = None;
    group.bench_function(BenchmarkId::new("receive", name), |b| {
        b.iter_custom(|segments| {
            let crowd = open.get_or_insert_with(|| connected(server()));
            timed(crowd, segments, |crowd| {
                crowd.upload(0, &FULL, BULK);
                BULK
            })
        });
    });
}

/// Full segments go out; each second of them is acknowledged.
fn send<H: Host>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, server: impl Fn() -> H) {
    let mut open = None;
    group.bench_function(BenchmarkId::new("send", name), |b| {
        b.iter_custom(|segments| {
            let crowd = open.get_or_insert_with(|| connected(server()));
            timed(crowd, segments, |crowd| {
                crowd.download(0, 2 * FULL.len() as u32)
            })
        });
    });
}

/// A client for bulk, whose window is one turn's.
fn connected<H: Host>(server: H) -> Crowd<Timed<H>> {
    let mut crowd = Crowd::of(Timed::new(server), 1).for_bulk(BULK * FULL.len());
    crowd.connect(0);
    crowd
}

/// How long the server's turns take for so many segments. A turn has as many as it says.
fn timed<H: Host>(
    crowd: &mut Crowd<Timed<H>>,
    segments: u64,
    mut turn: impl FnMut(&mut Crowd<Timed<H>>) -> usize,
) -> Elapsed {
    let before = crowd.server.elapsed;
    let mut done = 0;
    while done < segments {
        let moved = turn(crowd);
        assert!(moved > 0, "nothing moves");
        done += moved as u64;
    }
    (crowd.server.elapsed - before).mul_f64(segments as f64 / done as f64)
}

criterion_group!(benches, requests, bulk);
criterion_main!(benches);
