//! Fast retransmit, fast recovery and the congestion window (RFC 5681, RFC 6582).

use super::*;
use crate::tcp::loss::Phase;

const TEXT: usize = 10_000;

/// Ten segments are out; the first `lost` is missing at the peer.
fn in_flight(t: &mut Host, text: &[u8]) {
    t.send(text);
    assert_eq!(t.sent().len(), text.len() / 1_000);
}

fn seg(text: &[u8], i: usize) -> Seg<'_> {
    Seg {
        seq: 1 + 1_000 * i as u32,
        text: &text[1_000 * i..1_000 * (i + 1)],
        ..ACK
    }
}

/// The very first segment too: nothing has been recovered yet (RFC 6582 section 3.2 step 2).
#[test]
fn the_third_duplicate_retransmits_the_first_segment() {
    let mut t = established();
    let text = octets(TEXT);
    in_flight(&mut t, &text);
    recv!(t, ACK);
    recv!(t, ACK);
    sent_nothing!(t);
    recv!(t, ACK);
    sent!(t, [seg(&text, 0)]);
    assert_eq!(t.counters().fast_retransmits, 1);
    assert_eq!(t.tcb.info(&t.core, t.now).ssthresh, Some(5_000));
    assert_eq!(t.tcb.pipe(), 7_000, "three have left, one has come back");
}

/// RFC 3042: the first two duplicates let a new segment go each, beyond the congestion window, and
/// what went that way does not count as flight (RFC 5681 section 3.2 step 2).
#[test]
fn the_first_two_duplicates_let_new_segments_go() {
    let mut t = established();
    let text = octets(2 * TEXT);
    t.send(&text);
    assert_eq!(t.sent().len(), 10, "the initial window");
    for i in 10..12 {
        recv!(t, ACK);
        sent!(t, [seg(&text, i)]);
    }
    recv!(t, ACK);
    sent!(t, [seg(&text, 0)]);
    assert_eq!(t.tcb.info(&t.core, t.now).ssthresh, Some(5_000));
    assert_eq!(t.tcb.pipe(), 9_000);
}

#[test]
fn only_true_duplicates_count() {
    let mut t = established();
    let text = octets(TEXT);
    in_flight(&mut t, &text);
    for _ in 0..3 {
        // With text; with another window.
        recv!(
            t,
            Seg {
                text: b"abc",
                ..ACK
            }
        );
    }
    for window in [100, 200, 300] {
        recv!(
            t,
            Seg {
                seq: 4,
                window: Some(window),
                ..ACK
            }
        );
    }
    assert_eq!(t.counters().fast_retransmits, 0);
    t.sent();
}

#[test]
fn without_anything_in_flight_there_are_no_duplicates() {
    let mut t = established();
    for _ in 0..10 {
        recv!(t, ACK);
    }
    t.send(b"x");
    t.sent_one();
    assert_eq!(t.counters().fast_retransmits, 0);
    assert_eq!(t.tcb.info(&t.core, t.now).ssthresh, None);
}

/// RFC 9937: half of what arrives may be replaced, so that the flight is halved after a round trip.
#[test]
fn every_second_duplicate_in_recovery_lets_a_new_segment_go() {
    let mut t = established();
    let text = octets(2 * TEXT);
    t.send(&text);
    assert_eq!(t.sent().len(), 10, "the initial window");
    for _ in 0..3 {
        recv!(t, ACK);
    }
    sent!(t, [seg(&text, 0)]);
    // The third duplicate has paid for a half of the retransmission, and the fourth does for the rest.
    recv!(t, ACK);
    recv!(t, ACK);
    sent_nothing!(t);
    recv!(t, ACK);
    sent!(t, [seg(&text, 10)]);
    // Full acknowledgment: of all that was out when recovery began.
    recv!(t, Seg { ack: 10_001, ..ACK });
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!((info.cwnd, info.ssthresh), (5_000, Some(5_000)));
    let next: Vec<Seg<'_>> = (11..15).map(|i| seg(&text, i)).collect();
    t.expect(&next);
}

/// RFC 6582 section 3.2 step 3.
#[test]
fn a_partial_acknowledgment_retransmits_the_next_hole() {
    let mut t = established();
    let text = octets(TEXT);
    in_flight(&mut t, &text);
    for _ in 0..3 {
        recv!(t, ACK);
    }
    sent!(t, [seg(&text, 0)]);
    recv!(t, Seg { ack: 4_001, ..ACK });
    sent!(t, [seg(&text, 4)]);
    recv!(t, Seg { ack: 7_001, ..ACK });
    sent!(t, [seg(&text, 7)]);
    recv!(t, Seg { ack: 10_001, ..ACK });
    sent_nothing!(t);
    assert_eq!(t.counters().fast_retransmits, 1, "one recovery");
    assert_eq!(t.tcb.next_deadline(), None);
}

/// RFC 6582 section 3.2 step 2, and section 4.1.
#[test]
fn duplicates_after_a_timeout_do_not_start_another_recovery() {
    let mut t = established();
    let text = octets(TEXT);
    in_flight(&mut t, &text);
    advance!(t, 200 ms);
    sent!(t, [seg(&text, 0)]);
    recv!(t, Seg { ack: 5_001, ..ACK });
    t.sent();
    for _ in 0..5 {
        recv!(t, Seg { ack: 5_001, ..ACK });
    }
    assert_eq!(t.counters().fast_retransmits, 0);
    recv!(t, Seg { ack: 10_001, ..ACK });
    // Beyond `recover`, it works again.
    t.send(&text[..5_000]);
    t.advance(Duration::ZERO);
    t.sent();
    recv!(t, Seg { ack: 11_001, ..ACK });
    t.sent();
    for _ in 0..3 {
        recv!(t, Seg { ack: 11_001, ..ACK });
    }
    assert_eq!(t.counters().fast_retransmits, 1);
}

#[test]
fn the_initial_window_is_ten_segments_and_slow_start_doubles() {
    let mut t = established();
    t.send(&octets(100_000));
    assert_eq!(t.sent().len(), 10);
    for i in 1..=5 {
        recv!(
            t,
            Seg {
                ack: 1 + 2_000 * i,
                ..ACK
            }
        );
        assert_eq!(t.sent().len(), 4, "two for two acknowledged, and two more");
    }
    assert_eq!(t.tcb.info(&t.core, t.now).cwnd, 20_000);
}

/// RFC 5681 section 4.1.
#[test]
fn after_idle_it_starts_from_the_initial_window() {
    let mut t = established();
    t.send(&octets(100_000));
    let mut acked = 0;
    while acked < 100_000 {
        let sent = t.sent();
        acked += sent.iter().map(|sent| sent.text.len() as u32).sum::<u32>();
        recv!(
            t,
            Seg {
                ack: 1 + acked,
                ..ACK
            }
        );
    }
    assert!(t.tcb.info(&t.core, t.now).cwnd > 10_000);
    advance!(t, 1 s);
    t.send(&octets(60_000));
    assert_eq!(t.sent().len(), 10);
}

#[test]
fn a_recovery_that_fails_ends_in_a_timeout() {
    let mut t = established();
    let text = octets(TEXT);
    in_flight(&mut t, &text);
    for _ in 0..3 {
        recv!(t, ACK);
    }
    sent!(t, [seg(&text, 0)]);
    advance!(t, 200 ms);
    sent!(t, [seg(&text, 0)]);
    assert_eq!(t.counters().timeouts, 1);
    assert_eq!(t.tcb.recovery.phase(), Phase::Loss);
}

/// However much was sent since the last recovery: sequence numbers wrap.
#[test]
fn a_loss_is_found_after_two_gigabytes_without_one() {
    let mut t = established();
    let long_ago = t.tcb.snd.una - ((1 << 31) - 50_000);
    t.tcb.recovery.set_recover(long_ago);
    for i in 1..=10 {
        t.send(&octets(10_000));
        t.sent();
        recv!(
            t,
            Seg {
                ack: 1 + i * 10_000,
                ..ACK
            }
        );
    }
    t.send(&octets(10_000));
    t.sent();
    for _ in 0..3 {
        recv!(
            t,
            Seg {
                ack: 100_001,
                ..ACK
            }
        );
    }
    assert_eq!(t.counters().fast_retransmits, 1);
    t.sent();
}
