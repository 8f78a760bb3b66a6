//! D-SACK: the examples of RFC 2883, section 4, from the receiver's side. Its segments are of 500
//! octets; ours begin with sequence number 1.

use super::rack::with_rtt;
use super::*;

fn with_sack() -> Host {
    let mut setup = Setup::with_options();
    setup.syn.timestamps = None;
    setup.established()
}

fn text(t: &mut Host, from: u32, to: u32) {
    let all = octets(20_000);
    recv!(
        t,
        Seg {
            seq: 1 + from,
            text: &all[from as usize..to as usize],
            ..ACK
        }
    );
}

#[track_caller]
fn acknowledges(t: &mut Host, ack: u32, blocks: &[(u32, u32)]) {
    let blocks: Vec<_> = blocks.iter().map(|b| (1 + b.0, 1 + b.1)).collect();
    sent!(
        t,
        [Seg {
            ack: 1 + ack,
            sack: Some(&blocks),
            ..ACK
        }]
    );
}

/// Section 4.1.1: a duplicate segment, nothing out of order.
#[test]
fn a_duplicate_segment_is_reported() {
    let mut t = with_sack();
    text(&mut t, 0, 500);
    text(&mut t, 500, 1_000);
    t.sent();
    text(&mut t, 500, 1_000);
    acknowledges(&mut t, 1_000, &[(500, 1_000)]);
    assert_eq!(t.counters().dsack_sent, 1);
    // Once: the next acknowledgment does not repeat it.
    text(&mut t, 1_000, 2_000);
    advance!(t, 40 ms);
    acknowledges(&mut t, 2_000, &[]);
}

/// Section 4.1.2: out-of-order segments and a duplicate of what is below.
#[test]
fn a_duplicate_below_comes_before_what_is_above() {
    let mut t = with_sack();
    text(&mut t, 0, 500);
    text(&mut t, 1_000, 1_500);
    t.sent();
    text(&mut t, 0, 500);
    acknowledges(&mut t, 500, &[(0, 500), (1_000, 1_500)]);
}

/// Section 4.1.3: a duplicate of an out-of-order segment is followed by the block it is inside of.
#[test]
fn a_duplicate_above_is_followed_by_its_block() {
    let mut t = with_sack();
    for from in [1_000, 1_500, 3_000] {
        text(&mut t, from, from + 500);
    }
    t.sent();
    text(&mut t, 1_000, 1_500);
    acknowledges(&mut t, 0, &[(1_000, 1_500), (1_000, 2_000), (3_000, 3_500)]);
}

/// Section 4.1.4: the first octets of a segment are old.
#[test]
fn a_part_that_is_old_is_reported() {
    let mut t = with_sack();
    text(&mut t, 0, 500);
    t.sent();
    text(&mut t, 0, 1_000);
    acknowledges(&mut t, 1_000, &[(0, 500)]);
    assert_eq!(t.received.len(), 1_000);
}

/// Section 4.1.5: a segment out of order that covers another one, and only the first such run is
/// reported.
#[test]
fn the_first_run_of_duplicate_octets_is_reported() {
    let mut t = with_sack();
    text(&mut t, 1_000, 1_500);
    text(&mut t, 2_000, 2_500);
    t.sent();
    text(&mut t, 500, 3_000);
    acknowledges(&mut t, 0, &[(1_000, 1_500), (500, 3_000)]);
}

/// Section 4: each duplicate of a batch has a report of its own.
#[test]
fn each_duplicate_of_a_batch_is_reported() {
    let mut t = with_sack();
    text(&mut t, 0, 1_000);
    t.sent();
    text(&mut t, 0, 500);
    text(&mut t, 500, 1_000);
    let sent = t.sent();
    let lefts: Vec<u32> = sent
        .iter()
        .map(|sent| sent.header.options.sack[0].left - t.irs - 1)
        .collect();
    assert_eq!(lefts, [0, 500]);
}

/// Without permission nothing is reported.
#[test]
fn without_sack_a_duplicate_gets_an_acknowledgment_only() {
    let mut t = established();
    text(&mut t, 0, 500);
    t.sent();
    text(&mut t, 0, 500);
    acknowledges(&mut t, 500, &[]);
    assert_eq!(t.counters().dsack_sent, 0);
}

/// Section 5: a report is news of a duplicate and of nothing else; what we have not sent twice is not
/// believed.
#[test]
fn reports_of_what_was_never_sent_twice_gain_nothing() {
    let mut t = with_rtt();
    t.send(&octets(10_000));
    t.sent();
    recv!(t, Seg { ack: 5_001, ..ACK });
    t.sent();
    for _ in 0..10 {
        recv!(
            t,
            Seg {
                ack: 5_001,
                sack: Some(&[(1, 1_001)]),
                ..ACK
            }
        );
    }
    sent_nothing!(t);
    assert_eq!(
        (t.counters().dsack_received, t.counters().dsack_ignored),
        (10, 10)
    );
    assert_eq!(t.tcb.send.sacked(), 0);
}

/// Section 4: a segment that fills a gap has in it what lies behind the gap.
#[test]
fn what_a_segment_in_order_repeats_of_what_is_stored_is_reported() {
    let mut t = with_sack();
    text(&mut t, 0, 500);
    text(&mut t, 1_000, 1_500);
    text(&mut t, 2_000, 2_500);
    t.sent();
    text(&mut t, 500, 1_200);
    acknowledges(&mut t, 1_500, &[(1_000, 1_200), (2_000, 2_500)]);
    text(&mut t, 1_500, 3_000);
    acknowledges(&mut t, 3_000, &[(2_000, 2_500)]);
    assert_eq!(t.counters().dsack_sent, 2);
}
