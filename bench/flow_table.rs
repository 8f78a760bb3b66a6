//! What finding a connection costs, in a table that fits the caches and in one that does not.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

use std::hint::black_box;

use corelane::flow_table::FlowTable;
use corelane::wire::{Address, FlowKey};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const BATCH: usize = 64;

fn key(n: u32, is_ipv4: bool) -> FlowKey {
    let [a, b, c, d] = n.to_be_bytes();
    let (local, remote) = if is_ipv4 {
        (
            Address::from_ipv4([198, 18, 0, 1]),
            Address::from_ipv4([10 + a, b, c, d]),
        )
    } else {
        let mut octets = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d];
        let remote = Address::from_ipv6(octets);
        octets[12..].fill(0xff);
        (Address::from_ipv6(octets), remote)
    };
    FlowKey {
        local,
        remote,
        local_port: 80,
        remote_port: 40_000,
    }
}

/// Batches of keys in an order that no prefetcher knows.
fn batches(flows: u32, is_ipv4: bool) -> impl Iterator<Item = [FlowKey; BATCH]> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        std::array::from_fn(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            key((state >> 33) as u32 % flows, is_ipv4)
        })
    })
}

fn flow_table(c: &mut Criterion) {
    for (version, is_ipv4) in [("ipv4", true), ("ipv6", false)] {
        let mut group = c.benchmark_group(format!("flow_table/{version}"));
        let empty = FlowTable::<u32>::with_capacity(1, [1, 2]);
        group.bench_function("hash", |b| {
            b.iter(|| empty.hash(black_box(&key(1, is_ipv4))));
        });
        for flows in [1_000, 1_000_000, 10_000_000] {
            let mut table = FlowTable::with_capacity(flows as usize, [1, 2]);
            for n in 0..flows {
                table.insert(key(n, is_ipv4), n).expect("there is room");
            }
            group.throughput(Throughput::Elements(BATCH as u64));
            let mut keys = batches(flows, is_ipv4);
            group.bench_function(BenchmarkId::new("lookup 64, each alone", flows), |b| {
                b.iter_batched(
                    || keys.next(),
                    |keys| {
                        keys.iter()
                            .flatten()
                            .filter_map(|key| table.lookup(key))
                            .count()
                    },
                    criterion::BatchSize::SmallInput,
                );
            });
            let mut keys = batches(flows, is_ipv4);
            group.bench_function(BenchmarkId::new("lookup 64, hashed first", flows), |b| {
                b.iter_batched(
                    || keys.next().unwrap_or([key(0, is_ipv4); BATCH]),
                    |keys| {
                        let hashes = keys.map(|key| table.hash(&key));
                        let pairs = hashes.iter().zip(&keys);
                        pairs
                            .filter_map(|(&hash, key)| table.lookup_hashed(hash, key))
                            .count()
                    },
                    criterion::BatchSize::SmallInput,
                );
            });
            group.throughput(Throughput::Elements(1));
            let mut n = 0;
            group.bench_function(BenchmarkId::new("remove and insert", flows), |b| {
                b.iter(|| {
                    n = (n + 7919) % flows;
                    let key = key(n, is_ipv4);
                    let id = table.lookup(&key).expect("it is there");
                    table.remove(id);
                    table.insert(key, n).expect("there is room")
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, flow_table);
criterion_main!(benches);
