//! The retransmission timer (RFC 6298).

use super::*;

fn first<'a>(text: &'a [u8]) -> Seg<'a> {
    Seg {
        text: &text[..1_000],
        ..ACK
    }
}

/// Rules 5.1, 5.4, 5.5 and 5.6.
#[test]
fn what_is_not_acknowledged_comes_again_with_back_off() {
    let mut t = established();
    let text = octets(1_000);
    t.send(&text);
    sent!(t, [first(&text)]);
    advance!(t, 199 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(t, [first(&text)]);
    advance!(t, 399 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(t, [first(&text)]);
    advance!(t, 800 ms);
    sent!(t, [first(&text)]);
    assert_eq!(t.counters().timeouts, 3);
    assert_eq!(t.counters().retrans_segs, 3);
    assert_eq!(t.tcb.info(&t.core, t.now).retransmissions, 3);
}

/// Rules 5.2 and 5.3.
#[test]
fn an_acknowledgment_restarts_the_timer_and_the_last_one_stops_it() {
    let mut t = established();
    let text = octets(5_000);
    t.send(&text);
    assert_eq!(t.sent().len(), 5);
    advance!(t, 150 ms);
    recv!(t, Seg { ack: 1_001, ..ACK });
    // 150 ms have raised the estimate: 1 ms and then 150 ms.
    let rto = t.tcb.info(&t.core, t.now).rto;
    let due = t.tcb.next_deadline().expect("four segments are in flight");
    assert_eq!(due.saturating_since(t.now), rto);
    // RFC 7765: of fewer than four, none waits longer than an RTO.
    recv!(t, Seg { ack: 2_001, ..ACK });
    let rto = t.tcb.info(&t.core, t.now).rto;
    let due = t.tcb.next_deadline().expect("three segments are in flight");
    assert_eq!(
        due.saturating_since(t.now),
        rto - Duration::from_millis(150)
    );
    recv!(t, Seg { ack: 5_001, ..ACK });
    assert_eq!(t.tcb.next_deadline(), None);
    advance!(t, 100 s);
    sent_nothing!(t);
}

#[test]
fn more_text_does_not_restart_the_timer() {
    let mut t = established();
    t.tcb.set_nodelay(true);
    t.send(b"one");
    t.sent_one();
    let due = t.tcb.next_deadline();
    t.now += Duration::from_millis(100);
    t.send(b"two");
    t.sent_one();
    assert_eq!(t.tcb.next_deadline(), due);
}

/// Section 3 (Karn): the round trip of what was sent twice says nothing, and the RTO stays backed
/// off until one has been measured.
#[test]
fn a_retransmission_is_no_measurement_and_the_back_off_stays() {
    let mut t = established();
    let before = t.tcb.info(&t.core, t.now).srtt;
    let text = octets(1_000);
    t.send(&text);
    t.sent_one();
    advance!(t, 200 ms);
    t.sent_one();
    advance!(t, 50 ms);
    recv!(t, Seg { ack: 1_001, ..ACK });
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.srtt, before);
    assert_eq!(info.rto, Duration::from_millis(400));
    // A path of 300 ms: the next segment is not sent twice in vain.
    t.send(&text);
    t.sent_one();
    advance!(t, 300 ms);
    sent_nothing!(t);
    recv!(t, Seg { ack: 2_001, ..ACK });
    let srtt = t.tcb.info(&t.core, t.now).srtt.expect("measured");
    assert!(srtt > Duration::from_millis(30));
}

/// An acknowledgment that a retransmission has set free covers segments that waited for it at the
/// peer: their age is not a round trip.
#[test]
fn what_waited_behind_a_hole_is_no_measurement() {
    let mut t = established();
    let text = octets(3_000);
    t.send(&text);
    assert_eq!(t.sent().len(), 3);
    advance!(t, 200 ms);
    t.sent_one();
    let before = t.tcb.info(&t.core, t.now).srtt;
    recv!(t, Seg { ack: 3_001, ..ACK });
    assert_eq!(t.tcb.info(&t.core, t.now).srtt, before);
}

/// RFC 7323 section 4: with timestamps, it is one.
#[test]
fn with_timestamps_a_retransmission_is_a_measurement() {
    let mut t = Setup::with_options().established();
    // No tail loss probe (RFC 8985).
    t.tcb.sack = false;
    t.send(&octets(1_000));
    t.sent_one();
    advance!(t, 200 ms);
    t.sent_one();
    let echo = t.tsecr;
    advance!(t, 100 ms);
    recv!(
        t,
        Seg {
            ack: 1_001,
            timestamps: Some((900, echo)),
            ..ACK
        }
    );
    let srtt = t.tcb.info(&t.core, t.now).srtt.expect("measured");
    // 1 us at first, then 1/8 of 100 ms.
    assert!(srtt > Duration::from_millis(12) && srtt < Duration::from_millis(14));
}

/// Rule 5.7.
#[test]
fn after_a_lost_syn_text_starts_with_three_seconds() {
    let mut t = Setup::default().connecting();
    t.sent_one();
    advance!(t, 1 s);
    t.sent_one();
    recv!(
        t,
        Seg {
            seq: 0,
            flags: SYN_ACK,
            ..ACK
        }
    );
    t.sent_one();
    t.send(b"x");
    t.sent_one();
    advance!(t, 2999 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    t.sent_one();
}

#[test]
fn after_a_lost_syn_ack_text_starts_with_three_seconds() {
    let mut half = Setup::default().half_open();
    assert!(half.timeout());
    let ack = half.third_ack();
    let t = half.open(&ack, &[]);
    assert_eq!(t.tcb.info(&t.core, t.now).rto, Duration::from_secs(3));
}

#[test]
fn a_dead_peer_is_given_up_after_the_configured_number() {
    let mut t = Setup {
        config: Config {
            retransmissions: 5,
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    t.send(b"anyone?");
    advance!(t, 1000 s);
    assert_eq!(t.sent().len(), 1 + 5);
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::TimedOut);
    t.happened(Events::CLOSED);
    assert!(t.core.is_empty());
    assert_eq!(t.counters().timed_out, 1);
}

/// Progress is progress, measured or not.
#[test]
fn the_count_of_retransmissions_starts_again_with_progress() {
    let mut t = Setup {
        config: Config {
            retransmissions: 3,
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    let text = octets(10_000);
    t.send(&text);
    t.poll();
    for acked in 1..10u32 {
        let due = t.tcb.next_deadline().expect("text is in flight");
        t.advance(due.saturating_since(t.now));
        recv!(
            t,
            Seg {
                ack: 1 + acked * 1_000,
                ..ACK
            }
        );
        t.poll();
        assert_eq!(t.state(), State::Established);
    }
    t.outbox.clear();
}

/// RFC 5681 section 3.1: the loss window, then slow start; nothing is sent twice without need.
#[test]
fn after_a_timeout_everything_goes_again_in_slow_start() {
    let mut t = established();
    let text = octets(8_000);
    let seg = |i: usize| Seg {
        seq: 1 + 1_000 * i as u32,
        text: &text[1_000 * i..1_000 * (i + 1)],
        ..ACK
    };
    t.send(&text);
    assert_eq!(t.sent().len(), 8);
    advance!(t, 200 ms);
    sent!(t, [seg(0)]);
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!((info.cwnd, info.ssthresh), (1_000, Some(4_000)));
    recv!(t, Seg { ack: 1_001, ..ACK });
    sent!(t, [seg(1), seg(2)]);
    // The peer had the rest.
    recv!(t, Seg { ack: 8_001, ..ACK });
    sent_nothing!(t);
    assert_eq!(t.tcb.next_deadline(), None);
}

#[test]
fn what_is_acknowledged_in_part_comes_again_in_part() {
    let mut t = established();
    let text = octets(2_000);
    t.send(&text);
    assert_eq!(t.sent().len(), 2);
    recv!(t, Seg { ack: 401, ..ACK });
    assert_eq!(t.flight(), 1_600);
    advance!(t, 200 ms);
    sent!(
        t,
        [Seg {
            seq: 401,
            text: &text[400..1_000],
            ..ACK
        }]
    );
    recv!(t, Seg { ack: 801, ..ACK });
    sent!(
        t,
        [Seg {
            seq: 1_001,
            text: &text[1_000..],
            ..ACK
        }]
    );
    assert_eq!(t.tcb.send.lost(), 0);
    recv!(t, Seg { ack: 2_001, ..ACK });
    assert_eq!(t.flight(), 0);
}

/// Contract 3 of the design.
#[test]
fn a_retransmission_waits_while_the_kernel_has_the_buffer() {
    let mut t = established();
    t.buffers.hold = true;
    let text = octets(1_000);
    t.send(&text);
    sent!(t, [first(&text)]);
    advance!(t, 200 ms);
    sent_nothing!(t);
    assert!(t.tcb.waits_for_buffer());
    t.send(b"more");
    sent_nothing!(t);
    assert_eq!(t.counters().retransmits_deferred, 1, "counted once");
    assert!(t.tcb.next_deadline().is_some(), "the timer still runs");
    t.buffers.complete();
    sent!(t, [first(&text)]);
    assert!(!t.tcb.waits_for_buffer());
}

#[test]
fn a_buffer_acknowledged_while_with_the_kernel_is_given_back() {
    let mut t = established();
    t.buffers.hold = true;
    t.send(&octets(1_000));
    t.sent_one();
    recv!(t, Seg { ack: 1_001, ..ACK });
    assert!(t.core.segments.is_empty());
    assert_eq!(t.buffers.in_use, 1);
    t.buffers.complete();
    assert_eq!(t.buffers.in_use, 0);
}
