//! What RFC 2018 asks of both sides beyond the order of blocks.

use super::*;

/// Segments of a thousand octets.
fn with_sack() -> Host {
    let mut setup = Setup::with_options();
    setup.syn.timestamps = None;
    setup.syn.mss = Some(1_000);
    setup.established()
}

fn hole(i: u32) -> Seg<'static> {
    Seg {
        seq: 1 + 100 * i,
        text: &[7; 10],
        ..ACK
    }
}

fn blocks(t: &Host, sent: &Sent) -> Vec<(u32, u32)> {
    sent.header
        .options
        .sack
        .iter()
        .map(|block| {
            (
                block.left.wrapping_sub(t.irs),
                block.right.wrapping_sub(t.irs),
            )
        })
        .collect()
}

/// Section 4: every acknowledgment says what lies beyond the gap, with text or without, prompt or
/// delayed, until the gap is filled.
#[test]
fn every_acknowledgment_has_blocks_while_there_is_a_gap() {
    let mut t = with_sack();
    recv!(t, hole(5));
    let sent = t.sent_one();
    assert_eq!(blocks(&t, &sent), [(501, 511)]);
    // In order, before the gap.
    recv!(t, hole(0));
    let sent = t.sent_one();
    assert_eq!((sent.ack, blocks(&t, &sent)), (11, vec![(501, 511)]));
    t.send(b"answer");
    let sent = t.sent_one();
    assert_eq!(blocks(&t, &sent), [(501, 511)]);
    recv!(
        t,
        Seg {
            seq: 11,
            ack: 7,
            text: &[7; 490],
            ..ACK
        }
    );
    let sent = t.sent_one();
    assert_eq!((sent.ack, blocks(&t, &sent)), (511, vec![]));
}

/// Section 4: a block is said in at least three acknowledgments, so that two may be lost.
#[test]
fn each_block_is_said_three_times() {
    for timestamps in [false, true] {
        let mut setup = Setup::with_options();
        if !timestamps {
            setup.syn.timestamps = None;
        }
        let mut t = setup.established();
        let mut said = Vec::new();
        for i in 1..=12 {
            recv!(t, hole(2 * i));
            let sent = t.sent_one();
            said.push(blocks(&t, &sent));
        }
        for i in 1..=10u32 {
            let block = (1 + 200 * i, 11 + 200 * i);
            let times = said.iter().filter(|said| said.contains(&block)).count();
            assert!(times >= 3, "{block:?} {times} times");
        }
    }
}

/// Section 3: blocks are isolated, and above the acknowledgment.
#[test]
fn blocks_are_isolated_and_above_the_acknowledgment() {
    for seed in 0..50 {
        let mut chance = Chance::new(seed);
        let mut t = with_sack();
        for _ in 0..60 {
            let seq = 1 + chance.below(2_000) as u32;
            let len = 1 + chance.below(100) as usize;
            recv!(
                t,
                Seg {
                    seq,
                    text: &octets(2_200)[seq as usize..seq as usize + len],
                    ..ACK
                }
            );
            for sent in t.sent() {
                let said = blocks(&t, &sent);
                // A block at or below it would report a duplicate (RFC 2883), first and alone.
                let mut above: Vec<_> = said
                    .iter()
                    .enumerate()
                    .filter(|(i, block)| *i > 0 || block.0 > sent.ack)
                    .map(|(_, block)| *block)
                    .collect();
                above.sort_unstable();
                above.dedup();
                for block in &above {
                    assert!(sent.ack < block.0 && block.0 < block.1, "{said:?}");
                }
            }
        }
    }
}

/// Section 2: SACK-permitted belongs in SYNs, and nothing else there.
#[test]
fn permission_is_said_in_syns_only() {
    let half = Setup::with_options().half_open();
    assert!(half.syn_ack.options.sack_permitted);
    assert!(half.syn_ack.options.sack.is_empty());
    let mut t = with_sack();
    t.send(b"x");
    recv!(t, hole(2));
    for sent in t.sent() {
        assert!(!sent.header.options.sack_permitted);
    }
}

/// Section 2: blocks of a peer that was not permitted to send any say nothing.
#[test]
fn blocks_without_permission_are_ignored() {
    let mut t = established();
    t.send(&octets(10_000));
    t.sent();
    recv!(
        t,
        Seg {
            ack: 1_001,
            sack: Some(&[(2_001, 9_001)]),
            ..ACK
        }
    );
    assert_eq!(t.tcb.send.sacked(), 0);
    t.sent();
    advance!(t, 200 ms);
    assert_eq!(t.sent()[0].seq, 1_001);
}

/// Section 8: what is SACKed may be taken back, so it is kept until it is acknowledged.
#[test]
fn what_is_sacked_is_kept_until_it_is_acknowledged() {
    let mut t = with_sack();
    t.send(&octets(10_000));
    t.sent();
    recv!(
        t,
        Seg {
            sack: Some(&[(1_001, 10_001)]),
            ..ACK
        }
    );
    assert_eq!(t.buffers.in_use, 10);
    t.sent();
    recv!(t, Seg { ack: 10_001, ..ACK });
    assert_eq!(t.buffers.in_use, 0);
}

/// Section 5: what the peer says it has is not sent again while others are missing.
#[test]
fn what_is_sacked_is_not_sent_again() {
    for seed in 0..50 {
        let mut chance = Chance::new(seed);
        let mut t = with_sack();
        t.send(&octets(10_000));
        t.sent();
        let there: Vec<bool> = (0..10).map(|i| i > 0 && chance.percent(60)).collect();
        let mut said: Vec<(u32, u32)> = Vec::new();
        for i in (1..10u32).filter(|&i| there[i as usize]) {
            let block = (1 + 1_000 * i, 1_001 + 1_000 * i);
            said.insert(0, block);
            said.truncate(4);
            recv!(
                t,
                Seg {
                    sack: Some(&said),
                    ..ACK
                }
            );
            for sent in t.sent() {
                let i = (sent.seq - 1) / 1_000;
                assert!(i >= 10 || !there[i as usize], "seed {seed}: {i}");
            }
        }
    }
}

/// Section 7's examples: the left edge of the window is 5000, eight segments of 500 octets follow,
/// and some of them are lost. Each arrival's acknowledgment and blocks.
fn example(arrivals: &[u32], expected: &[(u32, &[(u32, u32)])]) {
    let mut setup = Setup::with_options();
    setup.syn.timestamps = None;
    setup.irs = 4_999;
    let mut t = setup.established();
    assert_eq!(arrivals.len(), expected.len());
    for (&seq, &(ack, said)) in arrivals.iter().zip(expected) {
        recv!(
            t,
            Seg {
                seq: seq - 4_999,
                text: &[7; 500],
                ..ACK
            }
        );
        advance!(t, 40 ms);
        let sent = t.sent_one();
        assert_eq!(sent.ack + 4_999, ack, "after {seq}");
        let absolute: Vec<_> = blocks(&t, &sent)
            .iter()
            .map(|(left, right)| (left + 4_999, right + 4_999))
            .collect();
        assert_eq!(absolute, said, "after {seq}");
    }
}

/// Case 1: the last four are lost. There is nothing to select.
#[test]
fn example_1_of_rfc_2018() {
    example(
        &[5_000, 5_500, 6_000, 6_500],
        &[(5_500, &[]), (6_000, &[]), (6_500, &[]), (7_000, &[])],
    );
}

/// Case 2: the first is lost.
#[test]
fn example_2_of_rfc_2018() {
    example(
        &[5_500, 6_000, 6_500, 7_000, 7_500, 8_000, 8_500],
        &[
            (5_000, &[(5_500, 6_000)]),
            (5_000, &[(5_500, 6_500)]),
            (5_000, &[(5_500, 7_000)]),
            (5_000, &[(5_500, 7_500)]),
            (5_000, &[(5_500, 8_000)]),
            (5_000, &[(5_500, 8_500)]),
            (5_000, &[(5_500, 9_000)]),
        ],
    );
}

/// Case 3: the second, fourth, sixth and eighth are lost; then the fourth arrives, and the second.
#[test]
fn example_3_of_rfc_2018() {
    example(
        &[5_000, 6_000, 7_000, 8_000, 6_500, 5_500],
        &[
            (5_500, &[]),
            (5_500, &[(6_000, 6_500)]),
            (5_500, &[(7_000, 7_500), (6_000, 6_500)]),
            (5_500, &[(8_000, 8_500), (7_000, 7_500), (6_000, 6_500)]),
            (5_500, &[(6_000, 7_500), (8_000, 8_500)]),
            (7_500, &[(8_000, 8_500)]),
        ],
    );
}
