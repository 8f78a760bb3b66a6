//! What a request and its answer of 64 octets cost the server's whole stack: parsing, checksums,
//! look-up, TCP, timers, headers. Over memory, so that no kernel takes part.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

#[path = "../tests/support/crowd.rs"]
mod crowd;
#[path = "../tests/support/memory.rs"]
mod memory;

use corelane::ring::BATCH;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use crowd::Crowd;
use memory::Echo;

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

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("stack/request_response_64");
    group.sample_size(20);
    // Opened when first needed; a filter may want none of them.
    let mut open: Option<(usize, Crowd)> = None;
    for (connected, active) in CROWDS {
        let id = BenchmarkId::from_parameter(format!("{active}_of_{connected}"));
        group.bench_function(id, |b| {
            b.iter_custom(|requests| {
                let (_, crowd) = match &mut open {
                    Some(it) if it.0 == connected => it,
                    other => {
                        let mut crowd = Crowd::new(connected, Echo);
                        crowd.open(0..connected);
                        other.insert((connected, crowd))
                    }
                };
                // Far apart in every table.
                let clients = (0..active).map(|n| n * (connected / active)).cycle();
                let clients: Vec<usize> = clients.take(requests as usize).collect();
                let before = crowd.elapsed;
                for clients in clients.chunks(FEW) {
                    crowd.ask(clients.iter().copied(), &TEXT, active.min(BATCH));
                    // Before that many frames run short.
                    if active > FEW {
                        crowd.acknowledge(clients.iter().copied());
                    }
                }
                let elapsed = crowd.elapsed - before;
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
