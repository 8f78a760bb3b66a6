//! What a request and its answer of 64 octets cost the server's whole stack: parsing, checksums,
//! look-up, TCP, timers, headers. Over memory, so that no kernel takes part.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

#[path = "../tests/support/crowd.rs"]
mod crowd;
#[path = "../tests/support/memory.rs"]
mod memory;
#[path = "../tests/support/timed.rs"]
mod timed;

use corelane::ring::BATCH;
use corelane::ring::sim::SimDevice;
use corelane::stack::Stack;
use corelane::time::Duration;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use crowd::Crowd;
use memory::Echo;
use timed::Timed;

const TEXT: [u8; 64] = [7; 64];
/// Clients that may have an answer to acknowledge at once; among more, each sends an acknowledgment
/// of its own, as clients do that are slower than 40 ms. That counts as part of the request.
const FEW: usize = 10_000;

/// How many are connected, and how many of them ask, in turn.
const CROWDS: [(usize, usize); 6] = [
    (1, 1),
    (100, 100),
    (1_000, 1_000),
    (10_000, 10_000),
    (1_000_000, 1_000),
    (1_000_000, 1_000_000),
];

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
    // Opened when first needed; a filter may want none of them.
    let mut open: Option<(usize, Crowd<Timed<Stack<SimDevice>>>)> = None;
    for (connected, active) in CROWDS {
        let id = BenchmarkId::from_parameter(format!("{active}_of_{connected}"));
        group.bench_function(id, |b| {
            b.iter_custom(|requests| {
                let (_, crowd) = match &mut open {
                    Some(it) if it.0 == connected => it,
                    other => {
                        let server = Timed::new(crowd::server(connected, Echo));
                        let mut crowd = Crowd::of(server, connected);
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

criterion_group!(benches, requests);
criterion_main!(benches);
