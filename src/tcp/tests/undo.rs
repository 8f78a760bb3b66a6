//! What was retransmitted in vain is taken back: F-RTO (RFC 5682), Eifel (RFC 3522, RFC 4015), D-SACK
//! (RFC 2883).

use super::rack::{block, seg, with_rtt};
use super::*;
use crate::tcp::loss::Phase;
use crate::tcp::timers::Timer;

fn windows(t: &Host) -> (u32, Option<u32>) {
    let info = t.tcb.info(&t.core, t.now);
    (info.cwnd, info.ssthresh)
}

fn time_out(t: &mut Host) {
    // A probe may come first.
    while t.counters().timeouts == 0 {
        let due = t.tcb.timers.deadline(Timer::Retransmission);
        t.advance(due.saturating_since(t.now));
    }
    assert_eq!(t.counters().timeouts, 1);
}

/// RFC 5682 section 2: a delay of the whole flight. The first acknowledgment lets new text go, and the
/// second one, of what was sent once, proves that nothing was lost.
#[test]
fn frto_without_sack_undoes_a_timeout_that_was_a_delay() {
    let mut t = established();
    let text = octets(30_000);
    t.send(&text);
    t.sent();
    time_out(&mut t);
    sent!(t, [seg(&text, 0)]);
    assert_eq!(windows(&t), (1_000, Some(5_000)));
    recv!(t, Seg { ack: 1_001, ..ACK });
    // Step 2b: new text, and nothing again.
    sent!(t, [seg(&text, 10), seg(&text, 11)]);
    recv!(t, Seg { ack: 2_001, ..ACK });
    assert_eq!(t.counters().spurious_rtos, 1);
    assert_eq!(t.counters().frto_undos, 1);
    assert_eq!(t.tcb.recovery.phase(), Phase::Open);
    assert_eq!(windows(&t).1, None, "as before");
    assert!(windows(&t).0 >= 10_000);
    assert!(t.sent().iter().all(|sent| sent.seq > 12_000));
    assert_eq!(t.counters().retrans_segs, 1);
}

/// RFC 5682 section 2 step 3a: a duplicate says that the loss was real; what is missing goes again.
#[test]
fn frto_without_sack_gives_up_at_a_duplicate() {
    let mut t = established();
    let text = octets(30_000);
    t.send(&text);
    t.sent();
    time_out(&mut t);
    t.sent();
    recv!(t, Seg { ack: 1_001, ..ACK });
    sent!(t, [seg(&text, 10), seg(&text, 11)]);
    recv!(t, Seg { ack: 1_001, ..ACK });
    let sent = t.sent();
    assert!(sent.iter().all(|sent| sent.seq == 1_001), "{sent:?}");
    recv!(t, Seg { ack: 2_001, ..ACK });
    assert_eq!(t.sent()[0].seq, 2_001);
    assert_eq!(t.counters().spurious_rtos, 0);
}

/// RFC 5682 section 3 step 3b: a SACK of what was sent once.
#[test]
fn frto_with_sack_sees_originals_arrive() {
    let mut t = with_rtt();
    let text = octets(30_000);
    t.send(&text);
    t.sent();
    // The probe, and then the timer.
    time_out(&mut t);
    t.sent();
    recv!(t, Seg { ack: 1_001, ..ACK });
    let sent = t.sent();
    assert!(sent.iter().all(|sent| sent.seq > 10_000), "{sent:?}");
    recv!(
        t,
        Seg {
            ack: 1_001,
            sack: Some(&[block(2, 3)]),
            ..ACK
        }
    );
    assert_eq!(t.counters().frto_undos, 1);
    t.sent();
}

/// RFC 5682 section 2.1 step 1: not when the timer expires again within the recovery.
#[test]
fn a_second_timeout_does_without_frto() {
    let mut t = established();
    let text = octets(30_000);
    t.send(&text);
    t.sent();
    advance!(t, 600 ms);
    assert_eq!(t.counters().timeouts, 2);
    t.sent();
    recv!(t, Seg { ack: 1_001, ..ACK });
    sent!(t, [seg(&text, 1), seg(&text, 2)]);
}

fn with_timestamps() -> Host {
    let mut t = Setup::with_options().established();
    t.tcb.sack = false;
    t
}

/// RFC 3522 section 3.2: the acknowledgment echoes the time of the original.
#[test]
fn eifel_undoes_at_the_first_acknowledgment() {
    let mut t = with_timestamps();
    t.send(&octets(30_000));
    t.sent();
    let original = t.tsecr;
    time_out(&mut t);
    t.sent();
    recv!(
        t,
        Seg {
            ack: 1_001,
            timestamps: Some((500, original)),
            ..ACK
        }
    );
    assert_eq!(
        (t.counters().eifel_undos, t.counters().spurious_rtos),
        (1, 1)
    );
    assert_eq!(t.tcb.recovery.phase(), Phase::Open);
    assert!(windows(&t).0 >= 10_000);
    assert_eq!(windows(&t).1, None);
    // RFC 4015: nothing that is in flight is sent again.
    assert!(t.sent().iter().all(|sent| sent.seq > 10_000));
}

/// And that of the retransmission tells of a loss.
#[test]
fn the_echo_of_the_retransmission_undoes_nothing() {
    let mut t = with_timestamps();
    t.send(&octets(10_000));
    t.sent();
    time_out(&mut t);
    t.sent();
    let again = t.tsecr;
    recv!(
        t,
        Seg {
            ack: 1_001,
            timestamps: Some((500, again)),
            ..ACK
        }
    );
    assert_eq!(t.counters().eifel_undos, 0);
    assert_eq!(t.tcb.recovery.phase(), Phase::Loss);
    t.sent();
}

/// A fast retransmission, too, may be one of reordering.
#[test]
fn eifel_undoes_a_fast_retransmission() {
    let mut t = with_timestamps();
    t.send(&octets(10_000));
    t.sent();
    let original = t.tsecr;
    advance!(t, 20 ms);
    for _ in 0..3 {
        recv!(t, ACK);
    }
    t.sent_one();
    assert_eq!(windows(&t).1, Some(5_000));
    recv!(
        t,
        Seg {
            ack: 4_001,
            timestamps: Some((500, original)),
            ..ACK
        }
    );
    assert_eq!(t.counters().eifel_undos, 1);
    assert_eq!(windows(&t).1, None);
    assert_eq!(t.tcb.recovery.phase(), Phase::Open);
    sent_nothing!(t);
}

/// All that was sent again is reported as duplicate, in recovery and after it.
#[test]
fn reports_of_all_retransmissions_undo_a_recovery() {
    let mut t = with_rtt();
    let text = octets(10_000);
    t.send(&text);
    t.sent();
    advance!(t, 40 ms);
    recv!(
        t,
        Seg {
            sack: Some(&[block(2, 10)]),
            ..ACK
        }
    );
    let again = t.sent();
    assert_eq!(
        again.iter().map(|sent| sent.seq).collect::<Vec<_>>(),
        [1, 1_001]
    );
    assert_eq!(windows(&t).1, Some(5_000));
    recv!(t, Seg { ack: 10_001, ..ACK });
    for left in [0, 1] {
        assert_eq!(t.counters().dsack_undos, 0);
        recv!(
            t,
            Seg {
                ack: 10_001,
                sack: Some(&[block(left, left + 1)]),
                ..ACK
            }
        );
    }
    assert_eq!(t.counters().dsack_undos, 1);
    assert_eq!(windows(&t).1, None);
    assert!(windows(&t).0 >= 10_000);
}

/// One of two is a loss.
#[test]
fn a_report_of_one_of_two_undoes_nothing() {
    let mut t = with_rtt();
    t.send(&octets(10_000));
    t.sent();
    advance!(t, 40 ms);
    recv!(
        t,
        Seg {
            sack: Some(&[block(2, 10)]),
            ..ACK
        }
    );
    t.sent();
    recv!(t, Seg { ack: 10_001, ..ACK });
    // Of what was not sent again, there is nothing to report.
    for left in [1, 5, 6] {
        recv!(
            t,
            Seg {
                ack: 10_001,
                sack: Some(&[block(left, left + 1)]),
                ..ACK
            }
        );
    }
    assert_eq!(t.counters().dsack_undos, 0);
    assert_eq!(windows(&t).1, Some(5_000));
}

/// Nor does the same report again, or in parts: a peer must not undo by repeating itself.
#[test]
fn a_report_that_is_repeated_counts_once() {
    for again in [(1, 1_001), (1, 501), (501, 1_001)] {
        let mut t = with_rtt();
        t.send(&octets(10_000));
        t.sent();
        advance!(t, 40 ms);
        recv!(
            t,
            Seg {
                sack: Some(&[block(2, 10)]),
                ..ACK
            }
        );
        assert_eq!(t.sent().len(), 2);
        t.tcb.retransmits = 10;
        recv!(t, Seg { ack: 10_001, ..ACK });
        for report in [block(0, 1), again, again] {
            recv!(
                t,
                Seg {
                    ack: 10_001,
                    sack: Some(&[report]),
                    ..ACK
                }
            );
        }
        assert_eq!(t.counters().dsack_undos, 0, "{again:?}");
        // The rest of it, in parts.
        for report in [(1_501, 2_001), (1_001, 1_601)] {
            assert_eq!(t.counters().dsack_undos, 0);
            recv!(
                t,
                Seg {
                    ack: 10_001,
                    sack: Some(&[report]),
                    ..ACK
                }
            );
        }
        assert_eq!(t.counters().dsack_undos, 1);
    }
}

/// An echo from before the original is not the original's.
#[test]
fn an_echo_of_something_older_undoes_nothing() {
    let mut t = with_timestamps();
    t.send(&octets(10_000));
    t.sent();
    let older = t.tsecr.wrapping_sub(1);
    time_out(&mut t);
    t.sent();
    recv!(
        t,
        Seg {
            ack: 1_001,
            timestamps: Some((500, older)),
            ..ACK
        }
    );
    assert_eq!(t.counters().eifel_undos, 0);
    assert_eq!(t.tcb.recovery.phase(), Phase::Loss);
    t.sent();
}

/// Step 2b needs new text that may leave: what is corked does not, and nobody would send what is
/// missing before the next timeout.
#[test]
fn frto_does_not_wait_for_corked_text() {
    let mut t = established();
    t.with(|tcb, cx| tcb.update_options(cx, |it| (it.cork, it.nodelay) = (true, true)));
    let text = octets(10_100);
    t.send(&text);
    assert_eq!(t.sent().len(), 10, "the rest is corked");
    time_out(&mut t);
    sent!(t, [seg(&text, 0)]);
    recv!(t, Seg { ack: 1_001, ..ACK });
    sent!(t, [seg(&text, 1), seg(&text, 2)]);
}
