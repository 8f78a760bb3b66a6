//! Loss by time of transmission (RFC 8985 section 6).

use super::*;
use crate::tcp::loss::Phase;
use crate::tcp::timers::Timer;

/// Segments of a thousand octets, the initial window of ten, and a round trip of 40 ms.
pub(super) fn with_rtt() -> Host {
    let mut setup = Setup::with_options();
    setup.syn.timestamps = None;
    setup.syn.mss = Some(1_000);
    let mut t = setup.established();
    // The handshake took no time at all.
    t.tcb.rtt = Default::default();
    t.tcb.rtt.on_measurement(t.now, Duration::from_millis(40));
    t
}

pub(super) fn seg(text: &[u8], i: usize) -> Seg<'_> {
    Seg {
        seq: 1 + 1_000 * i as u32,
        text: &text[1_000 * i..1_000 * (i + 1)],
        ..ACK
    }
}

/// The peer has everything from `left` up to `right`, counted in segments.
pub(super) fn block(left: u32, right: u32) -> (u32, u32) {
    (1 + 1_000 * left, 1 + 1_000 * right)
}

/// `count` segments leave, a millisecond apart.
fn one_by_one(t: &mut Host, text: &[u8], count: usize) {
    for i in 0..count {
        t.send(&text[1_000 * i..1_000 * (i + 1)]);
        sent!(t, [seg(text, i)]);
        advance!(t, 1 ms);
    }
}

fn sack(t: &mut Host, ack: u32, blocks: &[(u32, u32)]) {
    recv!(
        t,
        Seg {
            ack: 1 + 1_000 * ack,
            sack: Some(blocks),
            ..ACK
        }
    );
}

/// Section 3.3.1's reason: an application-limited flight of three segments has too few behind the
/// loss for three duplicates. A quarter of the round trip after the next one has arrived, it is lost.
#[test]
fn a_loss_in_a_short_flight_is_found_without_three_duplicates() {
    let mut t = with_rtt();
    let text = octets(10_000);
    one_by_one(&mut t, &text, 3);
    advance!(t, 39 ms);
    // 42 ms: segment 2 is 40 ms old.
    sack(&mut t, 0, &[block(2, 3)]);
    sent_nothing!(t);
    // reo_wnd = min_RTT / 4 = 10 ms, and RACK.rtt = 40 ms: 52 ms after segment 2 has left.
    advance!(t, 9 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(t, [seg(&text, 0)]);
    assert_eq!(t.tcb.recovery.phase(), Phase::Recovery);
    assert_eq!(t.counters().fast_retransmits, 1);
    sack(&mut t, 1, &[block(2, 3)]);
    sent!(t, [seg(&text, 1)]);
}

/// Section 6.2 step 4: with three segments SACKed and no reordering seen, nobody waits.
#[test]
fn three_segments_behind_a_hole_make_it_lost_at_once() {
    let mut t = with_rtt();
    let text = octets(10_000);
    one_by_one(&mut t, &text, 5);
    advance!(t, 39 ms);
    sack(&mut t, 0, &[block(1, 3)]);
    sent_nothing!(t);
    sack(&mut t, 0, &[block(1, 4)]);
    sent!(t, [seg(&text, 0)]);
}

/// Section 3.3.3: a retransmission that is lost again is found by what was sent after it, and not by
/// the retransmission timer.
#[test]
fn a_lost_retransmission_is_sent_again_within_a_round_trip() {
    let mut t = with_rtt();
    let text = octets(20_000);
    t.send(&text);
    assert_eq!(t.sent().len(), 10);
    advance!(t, 40 ms);
    sack(&mut t, 0, &[block(1, 10)]);
    // The retransmission, and new text behind it.
    let sent = t.sent();
    assert_eq!((sent[0].seq, sent[1].seq), (1, 10_001), "{sent:?}");
    advance!(t, 40 ms);
    sack(&mut t, 0, &[block(1, 11)]);
    assert_eq!(t.sent()[0].seq, 1);
    assert_eq!(t.counters().lost_retransmits, 1);
    assert_eq!(t.counters().timeouts, 0);
    assert_eq!(
        t.counters().fast_retransmits,
        1,
        "one reduction of the window"
    );
}

/// Section 6.2 step 2: an acknowledgment that comes back too soon is that of the original, and says
/// nothing of what was sent before the retransmission.
#[test]
fn the_acknowledgment_of_an_original_is_not_taken_for_that_of_its_retransmission() {
    let mut t = with_rtt();
    let text = octets(20_000);
    t.send(&text);
    t.sent();
    advance!(t, 40 ms);
    sack(&mut t, 0, &[block(1, 10)]);
    t.sent();
    advance!(t, 5 ms);
    // 5 ms are less than the least round trip: new text, sent at the same time, is not lost.
    recv!(t, Seg { ack: 10_001, ..ACK });
    assert_eq!(t.tcb.send.lost(), 0);
    advance!(t, 1 ms);
    assert!(t.sent().iter().all(|sent| sent.seq > 10_000));
}

/// Section 6.2 steps 3 and 4: after reordering has been seen, three segments behind a hole are not
/// enough; a quarter of the round trip must pass.
#[test]
fn once_reordering_is_seen_detection_waits() {
    let mut t = with_rtt();
    let text = octets(30_000);
    one_by_one(&mut t, &text, 3);
    advance!(t, 39 ms);
    sack(&mut t, 0, &[block(2, 3)]);
    // The first two were late, not lost.
    recv!(t, Seg { ack: 3_001, ..ACK });
    assert_eq!(t.tcb.reord_seen(), 1);
    assert_eq!(t.counters().sack_reordering, 1);
    assert_eq!(t.tcb.recovery.phase(), Phase::Open);

    for i in 3..8 {
        t.send(&text[1_000 * i..1_000 * (i + 1)]);
        sent!(t, [seg(&text, i)]);
    }
    advance!(t, 40 ms);
    sack(&mut t, 3, &[block(4, 8)]);
    sent_nothing!(t);
    advance!(t, 9 ms);
    sent_nothing!(t);
    advance!(t, 2 ms);
    sent!(t, [seg(&text, 3)]);
}

/// Section 6.2 step 4: a D-SACK widens the window once per round trip, and sixteen recoveries
/// without one narrow it again.
#[test]
fn duplicates_that_the_peer_reports_widen_the_window() {
    let mut t = with_rtt();
    t.tcb.recovery.see_reordering();
    let quarter = Duration::from_millis(10);
    assert_eq!(t.tcb.reo_wnd(), quarter);
    let text = octets(10_000);
    t.send(&text);
    t.sent();
    advance!(t, 40 ms);
    t.tcb.retransmits = 100;
    recv!(t, Seg { ack: 5_001, ..ACK });
    for left in [0, 1] {
        sack(&mut t, 5, &[block(left, left + 1)]);
        assert_eq!(t.tcb.reo_wnd(), quarter * 2, "once per round trip");
    }
    recv!(t, Seg { ack: 10_001, ..ACK });
    t.send(&text[..1_000]);
    t.sent();
    sack(&mut t, 10, &[block(3, 4)]);
    assert_eq!(t.tcb.reo_wnd(), quarter * 3);
    assert_eq!(t.tcb.dsack_dups(), 3);
    for _ in 0..16 {
        assert_eq!(t.tcb.reo_wnd(), quarter * 3);
        t.tcb.on_recovery_over();
    }
    assert_eq!(t.tcb.reo_wnd(), quarter);
}

/// It is never more than the smoothed round trip.
#[test]
fn the_reordering_window_is_bounded() {
    let mut t = with_rtt();
    t.tcb.recovery.see_reordering();
    t.send(&octets(1_000));
    t.sent();
    recv!(t, Seg { ack: 1_001, ..ACK });
    t.tcb.retransmits = 1_000;
    for i in 0..300u32 {
        t.send(&octets(1_000));
        t.sent();
        sack(&mut t, 1 + i, &[block(i, i + 1)]);
        recv!(
            t,
            Seg {
                ack: 2_001 + 1_000 * i,
                ..ACK
            }
        );
    }
    assert!(Some(t.tcb.reo_wnd()) <= t.tcb.info(&t.core, t.now).srtt);
}

/// Section 6.3: a timeout takes for lost what is overdue, and leaves in the network what was sent
/// less than a round trip ago.
#[test]
fn a_timeout_does_not_resend_what_has_just_been_sent() {
    let mut t = with_rtt();
    let text = octets(4_000);
    one_by_one(&mut t, &text, 2);
    let due = t.tcb.timers.deadline(Timer::Retransmission);
    t.now = due;
    t.send(&text[2_000..3_000]);
    sent!(t, [seg(&text, 2)]);
    t.tcb.timers.stop(Timer::LossDetection);
    t.with(|tcb, cx| tcb.handle_timeout(cx));
    assert_eq!(t.tcb.send.lost(), 2_000);
    t.sent();
}

/// Blocks in any order, again, and in parts.
#[test]
fn any_order_of_blocks_gives_the_same_scoreboard() {
    let mut t = with_rtt();
    t.peer_window = 0xffff;
    let text = octets(10_000);
    t.send(&text);
    t.sent();
    for i in (1..10).rev().step_by(2).chain((1..10).step_by(2)) {
        sack(&mut t, 0, &[block(i, i + 1)]);
        t.tcb.send.check(&t.core.segments);
        t.sent();
    }
    assert_eq!(t.tcb.send.sacked_segments(), 5);
    // Halves of segments count when both are there.
    sack(&mut t, 0, &[(2_501, 3_001)]);
    assert_eq!(t.tcb.send.sacked_segments(), 5);
    sack(&mut t, 0, &[(2_001, 2_501)]);
    assert_eq!(t.tcb.send.sacked_segments(), 6);
    t.tcb.send.check(&t.core.segments);
    recv!(t, Seg { ack: 10_001, ..ACK });
    t.tcb.send.check(&t.core.segments);
    t.sent();
}

/// Ranges are bounded, counted, and their refusal costs no more than a retransmission.
#[test]
fn a_connection_remembers_so_many_ranges() {
    let mut t = with_rtt();
    let text = octets(10_000);
    t.send(&text);
    t.sent();
    for i in 0..600 {
        let left = 1_001 + 10 * i;
        recv!(
            t,
            Seg {
                sack: Some(&[(left, left + 1)]),
                ..ACK
            }
        );
    }
    // No segment is whole in any of them.
    assert_eq!(t.counters().sack_ranges_refused, 600);
    assert_eq!(t.tcb.send.sacked(), 0);
    t.tcb.send.check(&t.core.segments);
    t.sent();
}
