//! Loss recovery with the peer's SACK blocks (RFC 6675).

use super::*;

/// Segments are of a thousand octets; the initial window is ten of them.
fn with_sack() -> Host {
    let mut setup = Setup::with_options();
    setup.syn.timestamps = None;
    setup.syn.mss = Some(1_000);
    setup.established()
}

fn seg(text: &[u8], i: usize) -> Seg<'_> {
    Seg {
        seq: 1 + 1_000 * i as u32,
        text: &text[1_000 * i..1_000 * (i + 1)],
        ..ACK
    }
}

/// Ten segments are out, and ten more wait.
fn in_flight(t: &mut Host, text: &[u8]) {
    t.send(text);
    assert_eq!(t.sent().len(), 10, "the initial window");
}

/// The peer has everything from `left` up to `right`, counted in segments.
fn block(left: u32, right: u32) -> (u32, u32) {
    (1 + 1_000 * left, 1 + 1_000 * right)
}

/// Section 5 step 4: two segments behind a hole may be reordering, more are a loss. Each octet that
/// has arrived lets a new one go before that (step 3.1).
#[test]
fn more_than_two_segments_behind_a_hole_make_it_lost() {
    let mut t = with_sack();
    let text = octets(20_000);
    in_flight(&mut t, &text);
    for i in 1..3 {
        recv!(
            t,
            Seg {
                sack: Some(&[block(1, i + 1)]),
                ..ACK
            }
        );
        sent!(t, [seg(&text, 9 + i as usize)]);
    }
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 4)]),
            ..ACK
        }
    );
    sent!(t, [seg(&text, 0)]);
    assert_eq!(t.counters().fast_retransmits, 1);
    let ssthresh = t.tcb.info(&t.core, t.now).ssthresh;
    assert_eq!(ssthresh, Some(5_000), "ten were in flight");
    assert_eq!(t.tcb.pipe(), 9_000);
}

/// What NewReno needs a round trip for each of: three holes, known at once.
#[test]
fn all_holes_are_filled_and_nothing_else_is_sent_again() {
    let mut t = with_sack();
    let text = octets(20_000);
    in_flight(&mut t, &text);
    let blocks = [block(7, 10), block(4, 6), block(1, 3)];
    recv!(
        t,
        Seg {
            sack: Some(&blocks),
            ..ACK
        }
    );
    // Behind each of the three holes enough has arrived; nothing is in the network, and five
    // segments may be.
    let sent: Vec<u32> = t.sent().iter().map(|sent| sent.seq).collect();
    assert_eq!(sent[..3], [1, 3_001, 6_001]);
    assert_eq!(
        sent[3..],
        [10_001, 11_001],
        "new text fills what is left of cwnd"
    );
    recv!(t, Seg { ack: 10_001, ..ACK });
    assert_eq!(t.counters().retrans_segs, 3);
    t.sent();
    recv!(t, Seg { ack: 12_001, ..ACK });
    assert_eq!(t.counters().fast_retransmits, 1);
}

/// Section 5 step C: as octets arrive, others take their place.
#[test]
fn in_recovery_pipe_stays_at_the_congestion_window() {
    let mut t = with_sack();
    let text = octets(20_000);
    in_flight(&mut t, &text);
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 4)]),
            ..ACK
        }
    );
    // Seven are in the network, five may be: three have arrived, two take their place.
    sent!(t, [seg(&text, 0), seg(&text, 10)]);
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 5)]),
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 6)]),
            ..ACK
        }
    );
    sent!(t, [seg(&text, 11)]);
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 7)]),
            ..ACK
        }
    );
    sent_nothing!(t);
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 9)]),
            ..ACK
        }
    );
    sent!(t, [seg(&text, 12)]);
}

/// A block is no news, or lies: nothing is a duplicate acknowledgment by it.
#[test]
fn old_and_incredible_blocks_say_nothing() {
    let mut t = with_sack();
    let text = octets(20_000);
    in_flight(&mut t, &text);
    recv!(t, Seg { ack: 2_001, ..ACK });
    t.sent();
    let lies: [&[(u32, u32)]; 4] = [
        // A duplicate that the peer reports (RFC 2883).
        &[block(0, 1)],
        // Beyond SND.NXT, inside out, empty.
        &[block(13, 40)],
        &[block(8, 4)],
        &[block(5, 5)],
    ];
    for blocks in lies.into_iter().cycle().take(20) {
        recv!(
            t,
            Seg {
                ack: 2_001,
                sack: Some(blocks),
                ..ACK
            }
        );
    }
    sent_nothing!(t);
    assert_eq!(t.counters().fast_retransmits, 0);
    assert_eq!(t.tcb.send.sacked(), 0);
}

/// A block that covers a part of a segment says nothing of the segment.
#[test]
fn half_a_segment_is_not_there() {
    let mut t = with_sack();
    let text = octets(10_000);
    in_flight(&mut t, &text);
    recv!(
        t,
        Seg {
            sack: Some(&[(1_501, 5_501)]),
            ..ACK
        }
    );
    assert_eq!(t.tcb.send.sacked(), 3_000, "segments 2 to 4");
    assert_eq!(t.tcb.pipe(), 5_000, "0 and 1 are lost");
}

/// Section 5.1: what the peer has said outlives the timer.
#[test]
fn after_a_timeout_only_what_is_missing_is_sent_again() {
    let mut t = with_sack();
    let text = octets(10_000);
    in_flight(&mut t, &text);
    recv!(
        t,
        Seg {
            sack: Some(&[block(2, 4)]),
            ..ACK
        }
    );
    sent_nothing!(t);
    // The reordering window is short; what is sent again is lost again.
    advance!(t, 1 ms);
    sent!(t, [seg(&text, 0)]);
    advance!(t, 199 ms);
    sent!(t, [seg(&text, 0)]);
    recv!(
        t,
        Seg {
            ack: 1_001,
            sack: Some(&[block(2, 4)]),
            ..ACK
        }
    );
    sent!(t, [seg(&text, 1), seg(&text, 4)]);
    recv!(t, Seg { ack: 5_001, ..ACK });
    let rest: Vec<u32> = t.sent().iter().map(|sent| sent.seq).collect();
    assert_eq!(rest[0], 5_001);
    assert_eq!(t.counters().timeouts, 1);
}

/// RFC 2018 section 8: a peer may throw away what it has only SACKed.
#[test]
fn a_peer_that_has_reneged_gets_everything_again() {
    let mut t = with_sack();
    let text = octets(10_000);
    in_flight(&mut t, &text);
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 3)]),
            ..ACK
        }
    );
    // It acknowledges up to what it said it had, and no further.
    recv!(t, Seg { ack: 1_001, ..ACK });
    t.sent();
    assert_eq!(t.tcb.send.sacked(), 2_000);
    advance!(t, 200 ms);
    sent!(t, [seg(&text, 1)]);
    assert_eq!(t.tcb.send.sacked(), 0);
}

/// A hole near the end has too little behind it for RFC 6675 to tell of it.
#[test]
fn the_last_hole_is_found_with_the_first() {
    let mut t = with_sack();
    let text = octets(10_000);
    in_flight(&mut t, &text);
    t.now += Duration::from_millis(20);
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 8), block(9, 10)]),
            ..ACK
        }
    );
    // What was sent last has arrived, and so what was sent before it is lost (RFC 8985).
    sent!(t, [seg(&text, 0), seg(&text, 8)]);
    recv!(
        t,
        Seg {
            ack: 8_001,
            sack: Some(&[block(9, 10)]),
            ..ACK
        }
    );
    sent_nothing!(t);
    recv!(t, Seg { ack: 10_001, ..ACK });
    sent_nothing!(t);
    assert_eq!(t.tcb.next_deadline(), None);
    assert_eq!(t.counters().timeouts, 0);
}

/// A second loss after the first has been mended is a second recovery.
#[test]
fn recovery_ends_and_can_begin_again() {
    let mut t = with_sack();
    let text = octets(30_000);
    in_flight(&mut t, &text);
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 4)]),
            ..ACK
        }
    );
    sent!(t, [seg(&text, 0), seg(&text, 10)]);
    recv!(t, Seg { ack: 10_001, ..ACK });
    let next = t.sent();
    assert_eq!(
        next.len(),
        4,
        "cwnd is what it was halved to, and one is out"
    );
    recv!(
        t,
        Seg {
            ack: 10_001,
            sack: Some(&[block(11, 14)]),
            ..ACK
        }
    );
    let sent = t.sent();
    assert_eq!(sent[0].seq, 10_001);
    assert_eq!(t.counters().fast_retransmits, 2);
}

/// Section 5: what was sent during a recovery, and is lost, is another congestion, also if it was
/// found, and sent again, before the recovery was over.
#[test]
fn a_loss_of_what_recovery_has_sent_begins_another_one() {
    let mut t = rack::with_rtt();
    let text = octets(20_000);
    in_flight(&mut t, &text);
    advance!(t, 40 ms);
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 10)]),
            ..ACK
        }
    );
    let sent: Vec<_> = t.sent().iter().map(|sent| sent.seq).collect();
    assert_eq!(sent, [1, 10_001, 11_001, 12_001, 13_001]);
    // Both the retransmission and the first new segment are lost.
    advance!(t, 40 ms);
    recv!(
        t,
        Seg {
            sack: Some(&[block(11, 14), block(1, 10)]),
            ..ACK
        }
    );
    let sent: Vec<_> = t.sent().iter().map(|sent| sent.seq).collect();
    assert_eq!(sent[..2], [1, 10_001]);
    advance!(t, 40 ms);
    assert_eq!(t.counters().fast_retransmits, 1);
    recv!(
        t,
        Seg {
            ack: 10_001,
            sack: Some(&[block(11, 14)]),
            ..ACK
        }
    );
    assert_eq!(t.counters().fast_retransmits, 2);
    assert!(t.in_recovery());
    let ssthresh = t.tcb.info(&t.core, t.now).ssthresh;
    assert!(ssthresh < Some(5_000), "{ssthresh:?}");
    t.sent();
}
