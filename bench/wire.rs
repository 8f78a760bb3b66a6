//! What one frame costs: checksums, parsing, emitting headers.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

use std::hint::black_box;

use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{Flags, Header, Options, Timestamps};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr, parse};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [usize; 4] = [32, 64, 1460, 4096];

fn checksum(c: &mut Criterion) {
    let bytes: Vec<u8> = (0..4096u32).map(|n| (n * 31) as u8).collect();
    let mut copy = vec![0; 4096];
    let mut group = c.benchmark_group("checksum");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("of", size), |b| {
            b.iter(|| Sum::of(black_box(&bytes[..size])));
        });
        group.bench_function(BenchmarkId::new("of_copy", size), |b| {
            b.iter(|| Sum::of_copy(black_box(&mut copy), black_box(&bytes[..size])));
        });
        group.bench_function(BenchmarkId::new("copy_then_of", size), |b| {
            b.iter(|| {
                black_box(&mut copy)[..size].copy_from_slice(black_box(&bytes[..size]));
                Sum::of(&copy[..size])
            });
        });
    }
    group.finish();
}

fn route(is_ipv4: bool) -> Route {
    let (local, remote) = if is_ipv4 {
        (
            Address::from_ipv4([198, 18, 0, 1]),
            Address::from_ipv4([198, 18, 0, 2]),
        )
    } else {
        (
            Address::from_ipv6([0xfd; 16]),
            Address::from_ipv6([0xfc; 16]),
        )
    };
    Route {
        link: Link {
            local: MacAddr([2, 0, 0, 0, 0, 1]),
            remote: MacAddr([2, 0, 0, 0, 0, 2]),
            vlan: None,
        },
        key: FlowKey {
            local,
            remote,
            local_port: 80,
            remote_port: 40_000,
        },
        hop_limit: 64,
        traffic_class: 0,
        identification: 0,
    }
}

fn header() -> Header {
    Header {
        seq: 1,
        ack: 2,
        flags: Flags::ACK,
        window: 1000,
        urgent: 0,
        options: Options {
            timestamps: Some(Timestamps { tsval: 3, tsecr: 4 }),
            ..Options::default()
        },
    }
}

fn frame(route: &Route, payload_len: usize) -> Vec<u8> {
    let mut frame = vec![0x5a; MAX_HEADERS + payload_len];
    let (headroom, payload) = frame.split_at_mut(MAX_HEADERS);
    let len = segment_headers(headroom, route, &header(), (payload_len, Sum::of(payload)));
    frame.split_off(MAX_HEADERS - len)
}

fn segments(c: &mut Criterion) {
    for (version, is_ipv4) in [("ipv4", true), ("ipv6", false)] {
        let route = route(is_ipv4);
        let mut group = c.benchmark_group(version);
        for payload_len in [0, 64, 1440] {
            let frame = frame(&route, payload_len);
            group.bench_function(BenchmarkId::new("parse", payload_len), |b| {
                b.iter(|| parse(black_box(&frame), ChecksumPolicy::Full).is_ok());
            });
        }
        let header = header();
        let mut headroom = [0; MAX_HEADERS];
        group.bench_function("emit", |b| {
            b.iter(|| {
                let payload = black_box((1440, Sum(0x1234)));
                segment_headers(
                    black_box(&mut headroom),
                    black_box(&route),
                    &header,
                    payload,
                )
            });
        });
        group.finish();
    }
}

criterion_group!(benches, checksum, segments);
criterion_main!(benches);
