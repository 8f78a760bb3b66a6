//! What each congestion control makes of a path, and how two of them share it.
//!
//! The tables are snapshots: a change of the sender that moves one is meant, or is a mistake.
//! `INSTA_UPDATE=always cargo test --lib goodput` writes them anew; look at the difference.

use std::fmt::Write as _;

use super::bulk::Bulk;
use super::network::{PERCENT, Path};
use super::*;
use crate::tcp::congestion::Algorithm;

/// Shares of packets lost, with their names.
const LOSSES: [(u32, &str); 4] = [
    (0, "0"),
    (PERCENT / 10, "0.1 %"),
    (PERCENT, "1 %"),
    (5 * PERCENT, "5 %"),
];
/// Round trips in milliseconds, and the seconds that show what becomes of a transfer.
const ROUND_TRIPS: [(u64, u64); 3] = [(1, 1), (20, 6), (100, 20)];
/// Bits per second.
const RATE: u64 = 100_000_000;
/// A full frame.
const FRAME: u64 = 1_514;

/// All that there are.
fn algorithms() -> Vec<Algorithm> {
    let names = ["reno", "cubic", "bbr"];
    let known = names.iter().filter_map(|name| name.parse().ok());
    known.collect()
}

/// A bottleneck with a queue for what a round trip brings.
fn bottleneck(rate: u64, round_trip: Duration, loss: u32) -> Path {
    Path {
        rate,
        // Short ones for a burst at least.
        queue: (rate * round_trip.as_micros() / 8_000_000 / FRAME).max(20) as usize,
        delay: round_trip / 2,
        // Two flows that tick alike would meet the same fate for ever.
        jitter: Duration::from_micros(FRAME * 8_000_000 / rate),
        loss,
        ..Path::default()
    }
}

/// Mbit/s of one transfer, the mean of some seeds: as many as it takes to see many packets.
fn goodput(algorithm: Algorithm, round_trip: u64, seconds: u64, loss: u32) -> f64 {
    const SEEDS: u64 = 4;
    const ENOUGH: u64 = 30_000_000;
    let path = bottleneck(RATE, Duration::from_millis(round_trip), loss);
    let (mut seeds, mut received) = (0, 0);
    while seeds < SEEDS && received < ENOUGH {
        let mut bulk = Bulk::new(path, seeds);
        bulk.begin(algorithm);
        bulk.run_for(Duration::from_secs(seconds));
        seeds += 1;
        received += bulk.received()[0];
    }
    received as f64 * 8.0 / 1e6 / (seeds * seconds) as f64
}

/// Two digits that matter.
fn rounded(value: f64) -> String {
    match value {
        10.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A thread for each of `cases`, since all together take some seconds.
fn in_parallel<T: Send, R: Send>(cases: Vec<T>, run: impl Fn(T) -> R + Sync) -> Vec<R> {
    let run = &run;
    std::thread::scope(|scope| {
        let start = |case| scope.spawn(move || run(case));
        let threads: Vec<_> = cases.into_iter().map(start).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, R>| thread.join();
        let results = threads.into_iter().map(join);
        results
            .collect::<Result<_, _>>()
            .expect("its panic has been printed")
    })
}

fn table(algorithm: Algorithm) -> String {
    let columns = in_parallel(ROUND_TRIPS.to_vec(), |(round_trip, seconds)| {
        LOSSES.map(|(loss, _)| goodput(algorithm, round_trip, seconds, loss))
    });
    let mut table = String::from("  loss    1 ms   20 ms  100 ms\n");
    for (row, (_, name)) in LOSSES.into_iter().enumerate() {
        write!(table, "{name:>6}").expect("strings take everything");
        for column in &columns {
            write!(table, "{:>8}", rounded(column[row])).expect("strings take everything");
        }
        table.push('\n');
    }
    table
}

#[test]
fn goodput_by_loss_and_round_trip() {
    for algorithm in algorithms() {
        insta::assert_snapshot!(format!("goodput_{algorithm}"), table(algorithm));
    }
}

/// Whether both must get within a tenth of each other. BBR's probing is slow to even out.
fn is_held([one, other]: [Algorithm; 2]) -> bool {
    one == other && one.name() != "bbr"
}

/// Mbit/s of two transfers that begin one after the other, the means of some seeds.
fn share(algorithms: [Algorithm; 2]) -> [f64; 2] {
    const SECONDS: u64 = 40;
    // Fairness is held to a tenth; the others are for the table.
    let seeds = if is_held(algorithms) { 8 } else { 2 };
    let path = bottleneck(20_000_000, Duration::from_millis(20), 0);
    let mut received = [0; 2];
    for seed in 0..seeds {
        let mut bulk = Bulk::new(path, seed);
        // Each is the first as often as the other.
        let first = seed as usize % 2;
        bulk.begin(algorithms[first]);
        bulk.run_for(Duration::from_millis(500));
        bulk.begin(algorithms[1 - first]);
        bulk.run_for(Duration::from_secs(5));
        let before = bulk.received();
        bulk.run_for(Duration::from_secs(SECONDS));
        for (i, (after, before)) in bulk.received().into_iter().zip(before).enumerate() {
            received[(first + i) % 2] += after - before;
        }
    }
    received.map(|received| received as f64 * 8.0 / 1e6 / (seeds * SECONDS) as f64)
}

/// Both of a kind get within a tenth of each other, and all of it, with Reno and with CUBIC; the
/// table says what comes of the others.
#[test]
fn two_of_a_kind_share_within_a_tenth() {
    let algorithms = algorithms();
    let pairs = algorithms.iter().enumerate();
    let pairs = pairs.flat_map(|(i, &one)| algorithms[i..].iter().map(move |&other| [one, other]));
    let pairs: Vec<_> = pairs.collect();
    let shares = in_parallel(pairs.clone(), share);
    let mut table = String::new();
    for ([one, other], [a, b]) in pairs.into_iter().zip(shares) {
        let names = format!("{:>5} {:>5}", one.name(), other.name());
        writeln!(table, "{names}: {:>4} {:>4}", rounded(a), rounded(b))
            .expect("strings take everything");
        if is_held([one, other]) {
            assert!(a.min(b) > 0.9 * a.max(b), "{table}");
            assert!(a + b > 18.0, "{table}");
        }
    }
    insta::assert_snapshot!("shares", table);
}

/// RFC 3168 section 1: the network says that it is congested without losing anything.
#[test]
fn with_marks_the_bottleneck_is_full_and_drops_nothing() {
    for algorithm in algorithms() {
        let path = bottleneck(20_000_000, Duration::from_millis(20), 0);
        let path = Path {
            mark_at: path.queue / 4,
            // Slow start overshoots by what a round trip brings before the first mark is heard.
            queue: 4 * path.queue,
            ..path
        };
        let mut bulk = Bulk::new(path, 1);
        bulk.begin(algorithm);
        bulk.run_for(Duration::from_secs(10));
        let goodput = bulk.received()[0] * 8 / 10_000_000;
        let counts = bulk.counts();
        assert!(goodput >= 15, "{algorithm}: {goodput} Mbit/s, {counts:?}");
        assert!(counts.marked > 10, "{algorithm}: {counts:?}");
        assert_eq!(counts.overflowed, 0, "{algorithm}: {counts:?}");
    }
}

/// Mathis, Semke, Mahdavi and Ott 1997: MSS / RTT * C / sqrt(p), where C is 1.22 with an
/// acknowledgment for each segment and 0.87 with one for two.
#[test]
fn reno_is_as_fast_as_its_model() {
    for (loss, percent) in [(PERCENT / 10, 0.1), (PERCENT, 1.0)] {
        let model = 1_448.0 * 8.0 / 0.1 / (percent / 100.0_f64).sqrt() / 1e6;
        let measured = goodput(Algorithm::Reno, 100, 100, loss);
        assert!(
            (0.75 * model..1.35 * model).contains(&measured),
            "{percent} %: {measured} Mbit/s, 1/sqrt(p) says {model}"
        );
    }
}

/// RFC 8985 section 3: losses are found by what arrives, or by a probe, and the timer is for the
/// rest. Nor is more sent again than is lost.
#[test]
fn losses_are_found_without_the_timer() {
    for algorithm in algorithms() {
        let path = bottleneck(RATE, Duration::from_millis(20), PERCENT);
        let mut bulk = Bulk::new(path, 1);
        bulk.begin(algorithm);
        bulk.run_for(Duration::from_secs(30));
        let lost = bulk.counts().lost + bulk.counts().overflowed;
        for counters in bulk.senders() {
            assert!(counters.timeouts * 20 < lost, "{algorithm}: {counters:?}");
            let again = counters.retrans_segs;
            assert!(
                again >= lost - 10 && again * 100 <= lost * 105 + 1_000,
                "{algorithm}: {again} for {lost}"
            );
        }
    }
}
