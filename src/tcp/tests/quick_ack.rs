//! Acknowledgments that do not wait: at the beginning, after silence and after a gap, when the peer's
//! window grows with each of them (RFC 5681 sections 3.1 and 4.2).

use super::*;

fn quick() -> Host {
    Setup {
        quick: true,
        ..Setup::default()
    }
    .established()
}

/// Small text arrives; returns whether it was acknowledged at once.
fn is_acknowledged(t: &mut Host) -> bool {
    let seq = t.tcb.rcv.nxt.since(t.tcb.rcv.irs);
    recv!(
        t,
        Seg {
            seq,
            text: b"abc",
            ..ACK
        }
    );
    let at_once = !t.sent().is_empty();
    advance!(t, 50 ms);
    t.sent();
    at_once
}

#[test]
fn the_first_sixteen_acknowledgments_are_quick() {
    let mut t = quick();
    let quick = (0..20).map(|_| is_acknowledged(&mut t)).collect::<Vec<_>>();
    assert_eq!(quick, [[true; 16].as_slice(), &[false; 4]].concat());
}

/// They are for whole batches, not for segments.
#[test]
fn in_one_batch_segments_in_order_share_a_quick_acknowledgment() {
    let mut t = quick();
    for i in 0..4 {
        recv!(
            t,
            Seg {
                seq: 1 + 3 * i,
                text: b"abc",
                ..ACK
            }
        );
    }
    sent!(t, [Seg { ack: 13, ..ACK }]);
}

/// An answer will take the acknowledgment along.
#[test]
fn a_conversation_needs_no_quick_acknowledgments() {
    let mut t = quick();
    recv!(
        t,
        Seg {
            text: b"ask",
            ..ACK
        }
    );
    t.send(b"answer");
    assert_eq!(t.sent_one().text, b"answer");
    recv!(
        t,
        Seg {
            seq: 4,
            ack: 7,
            text: b"ask",
            ..ACK
        }
    );
    sent_nothing!(t);
    // No answer this time: that was no conversation any more.
    advance!(t, 40 ms);
    t.sent_one();
    assert!(is_acknowledged(&mut t));
}

#[test]
fn silence_of_more_than_an_rto_makes_them_quick_again() {
    let mut t = established();
    assert!(!is_acknowledged(&mut t));
    advance!(t, 100 ms);
    assert!(!is_acknowledged(&mut t));
    advance!(t, 1 s);
    assert!(is_acknowledged(&mut t));
}

#[test]
fn a_filled_gap_makes_them_quick_again() {
    let mut t = established();
    assert!(!is_acknowledged(&mut t));
    recv!(
        t,
        Seg {
            seq: 7,
            text: b"ghi",
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            seq: 4,
            text: b"def",
            ..ACK
        }
    );
    t.sent();
    assert!(is_acknowledged(&mut t));
}

#[test]
fn quickack_makes_all_of_them_quick() {
    let mut t = established();
    t.with(|tcb, cx| tcb.update_options(cx, |it| it.quickack = true));
    for _ in 0..40 {
        assert!(is_acknowledged(&mut t));
    }
}

/// What waits already does not wait for the next segment.
#[test]
fn quickack_sends_what_is_delayed() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    sent_nothing!(t);
    t.with(|tcb, cx| tcb.update_options(cx, |it| it.quickack = true));
    sent!(t, [Seg { ack: 4, ..ACK }]);
}
