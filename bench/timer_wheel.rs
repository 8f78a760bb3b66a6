//! What a timer costs: set, moved, cancelled, expired.

#![allow(missing_docs, reason = "criterion_group! makes a public function")]

use std::hint::black_box;

use corelane::time::{Duration, Instant};
use corelane::timer_wheel::TimerWheel;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

fn timer_wheel(c: &mut Criterion) {
    let mut group = c.benchmark_group("timer_wheel");
    for entries in [1_000u32, 1_000_000] {
        let start = Instant::from_millis(1_000);
        let mut wheel = TimerWheel::new(start);
        // Retransmission timers: spread over one second, from 200 ms on.
        let rto = |n: u32| Duration::from_nanos(200_000_000 + u64::from(n) * 7_919 % 1_000_000_000);
        for index in 0..entries {
            wheel.schedule(index, start + rto(index));
        }
        let mut n = 0u32;
        group.bench_function(BenchmarkId::new("move earlier", entries), |b| {
            b.iter(|| {
                n = (n + 7_919) % entries;
                wheel.schedule(black_box(n), start + rto(n ^ 1));
            });
        });
        group.bench_function(BenchmarkId::new("cancel and schedule", entries), |b| {
            b.iter(|| {
                n = (n + 7_919) % entries;
                wheel.cancel(black_box(n));
                wheel.schedule(n, start + rto(n));
            });
        });
        group.bench_function(BenchmarkId::new("next_deadline", entries), |b| {
            b.iter(|| black_box(&wheel).next_deadline());
        });
        let mut expired = Vec::new();
        let mut now = start;
        group.bench_function(
            BenchmarkId::new("advance a tick, nothing due", entries),
            |b| {
                let mut idle = TimerWheel::new(start);
                for index in 0..entries {
                    idle.schedule(index, start + Duration::from_secs(1 << 30));
                }
                b.iter(|| {
                    now += Duration::from_micros(10);
                    idle.advance(now, &mut expired);
                });
            },
        );
    }
    // Each entry goes through all that a retransmission timer goes through: set, moved down level
    // by level as time passes in turns of 100 us, expired, set again.
    const ENTRIES: u32 = 10_000;
    group.throughput(Throughput::Elements(ENTRIES.into()));
    group.bench_function("life of 10000 timers of 0.2 to 1.2 s", |b| {
        let mut now = Instant::from_millis(1_000);
        let mut wheel = TimerWheel::new(now);
        let mut expired = Vec::with_capacity(ENTRIES as usize);
        b.iter(|| {
            for index in 0..ENTRIES {
                wheel.schedule(
                    index,
                    now + Duration::from_micros(200_000 + u64::from(index) * 100),
                );
            }
            while !wheel.is_empty() {
                now += Duration::from_micros(100);
                wheel.advance(now, &mut expired);
            }
            black_box(expired.len());
            expired.clear();
        });
    });
    group.finish();
}

criterion_group!(benches, timer_wheel);
criterion_main!(benches);
