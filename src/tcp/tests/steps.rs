//! What a hostile peer's SACK blocks cost, in steps: each acknowledgment a few searches, and a few
//! steps for each segment that it changes, however large the flight is.

use std::collections::VecDeque;

use super::*;
use crate::tcp::steps::taken;

/// Octets in a segment.
const LEN: u32 = 100;
/// Segments in flight.
const FLIGHT: u32 = 4_000;

/// So many tiny segments in flight, as slow start brings them there.
fn large_flight() -> Host {
    let mut setup = Setup::with_options();
    setup.syn.timestamps = None;
    setup.syn.mss = Some(LEN as u16);
    setup.buffers = 100_000;
    setup.config.options.send_buffer = BufferLimit::Fixed(2_000_000);
    let mut t = setup.established();
    t.tcb.set_nodelay(true);
    t.send(&octets(1_200_000));
    let mut sent: VecDeque<Sent> = t.sent().into();
    while t.flight() < LEN * FLIGHT {
        let segment = sent.pop_front().expect("the window grows");
        let ack = segment.seq + segment.text.len() as u32;
        recv!(t, Seg { ack, ..ACK });
        sent.extend(t.sent());
    }
    assert_eq!(t.counters().retrans_segs, 0);
    taken();
    t
}

fn una(t: &Host) -> u32 {
    t.tcb.snd.una.since(t.tcb.snd.iss)
}

/// Segments that have been acknowledged, SACKed, and found lost.
fn changed(t: &Host) -> [u64; 3] {
    [
        u64::from(una(t) / LEN),
        u64::from(t.tcb.send.sacked_segments()),
        u64::from(t.tcb.send.lost() / LEN),
    ]
}

/// An acknowledgment with `blocks`, which must cost no more than the segments that it changes and a
/// search among `FLIGHT` of them, or among the ranges, for each edge.
#[track_caller]
fn cheap(t: &mut Host, ack: u32, blocks: &[(u32, u32)]) {
    let before = changed(t);
    taken();
    recv!(
        t,
        Seg {
            ack,
            sack: Some(blocks),
            ..ACK
        }
    );
    let steps = taken();
    let changes: u64 = changed(t)
        .iter()
        .zip(before)
        .map(|(now, before)| now.abs_diff(before))
        .sum();
    let search = u64::from(FLIGHT.ilog2() + 2);
    let bound = 4 * changes + (3 * blocks.len() as u64 + 1) * search + 20;
    assert!(steps <= bound, "{steps} steps for {changes} segments");
}

/// Every other segment, in the worst order, so that each is a range of its own until there are too
/// many; with a duplicate reported each time.
#[test]
fn scattered_blocks_cost_a_search_each() {
    let mut t = large_flight();
    let base = una(&t);
    let mut chance = Chance::new(1);
    let mut order: Vec<u32> = (1..FLIGHT / 2).map(|i| 2 * i).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, chance.below(i as u64 + 1) as usize);
    }
    let block = |i: u32| (base + LEN * i, base + LEN * (i + 1));
    // The scoreboard is made once, of what is in flight.
    recv!(
        t,
        Seg {
            ack: base,
            sack: Some(&[block(FLIGHT - 1)]),
            ..ACK
        }
    );
    assert!(taken() <= 4 * u64::from(FLIGHT));
    for three in order.chunks(3) {
        let duplicate = (base - LEN, base);
        let mut blocks = vec![duplicate];
        blocks.extend(three.iter().map(|&i| block(i)));
        cheap(&mut t, base, &blocks);
        // And once more, which changes nothing.
        cheap(&mut t, base, &blocks);
    }
    assert!(t.counters().sack_ranges_refused > 0, "all 512 of them");
    assert!(t.counters().dsack_received > 0);
    t.tcb.send.check(&t.core.segments);
}

/// Single octets complete no segment, however many there are.
#[test]
fn slivers_cost_a_search_each() {
    let mut t = large_flight();
    let base = una(&t);
    recv!(
        t,
        Seg {
            ack: base,
            sack: Some(&[(base + LEN, base + 2 * LEN)]),
            ..ACK
        }
    );
    let mut chance = Chance::new(2);
    for _ in 0..2_000 {
        let mut sliver = || {
            let at = base + chance.below(u64::from(LEN * (FLIGHT - 1))) as u32;
            (at, at + 1)
        };
        let blocks = [sliver(), sliver(), sliver(), sliver()];
        cheap(&mut t, base, &blocks);
    }
    t.tcb.send.check(&t.core.segments);
}

/// A block that grows by a segment, from either side, does not look again at what it covered.
#[test]
fn growing_blocks_look_at_what_is_new() {
    let mut t = large_flight();
    let base = una(&t);
    let middle = base + LEN * (FLIGHT / 2);
    recv!(
        t,
        Seg {
            ack: base,
            sack: Some(&[(middle, middle + LEN)]),
            ..ACK
        }
    );
    for i in 1..FLIGHT / 2 - 1 {
        let block = (middle - LEN * i, middle + LEN * i);
        // What is acknowledged moves, too, and stays before the block.
        let ack = if i < FLIGHT / 4 {
            base + LEN * (i / 2)
        } else {
            una(&t)
        };
        cheap(&mut t, ack, &[block]);
        if i % 100 == 0 {
            t.poll();
            t.outbox.clear();
        }
    }
    t.tcb.send.check(&t.core.segments);
}

/// An undo takes back what was lost, and does not look at what was not.
#[test]
fn an_undo_costs_what_it_takes_back() {
    let mut t = large_flight();
    let base = una(&t);
    // The first three are late; what was sent behind them is not overdue.
    t.now += Duration::from_millis(20);
    recv!(
        t,
        Seg {
            ack: base,
            sack: Some(&[(base + 3 * LEN, base + 6 * LEN)]),
            ..ACK
        }
    );
    let lost = u64::from(t.tcb.send.lost() / LEN);
    assert!((1..=3).contains(&lost), "{lost}");
    taken();
    t.tcb.send.take_back_lost(&mut t.core.segments);
    assert_eq!(t.tcb.send.lost(), 0);
    assert!(taken() <= 2 * lost + 2);
    t.tcb.send.check(&t.core.segments);
}

/// Also when the first of them was sent again, after all others.
#[test]
fn an_undo_takes_back_in_the_order_of_transmission() {
    let mut t = large_flight();
    let base = una(&t);
    t.now += Duration::from_millis(20);
    let all_but_first = (base + LEN * (FLIGHT - 5), base + LEN * FLIGHT);
    recv!(
        t,
        Seg {
            ack: base,
            sack: Some(&[all_but_first]),
            ..ACK
        }
    );
    assert!(t.tcb.send.lost() / LEN >= FLIGHT - 10, "all before it");
    // Some go again, and are lost again, the first one with them.
    t.now += Duration::from_millis(1);
    let again = t.sent().len();
    assert!(again > 0);
    t.tcb.send.mark_head_lost(&mut t.core.segments);
    t.tcb.send.mark_oldest_lost(&mut t.core.segments);
    taken();
    t.tcb.send.take_back_lost(&mut t.core.segments);
    assert!(taken() <= 4 * u64::from(FLIGHT));
    t.tcb.send.check(&t.core.segments);
    let times = t.tcb.send.in_flight_since(&t.core.segments);
    assert!(times.is_sorted(), "{times:?}");
}
