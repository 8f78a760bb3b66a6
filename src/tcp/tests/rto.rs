//! The retransmission timeout as a sender's peer sees it (RFC 6298).

use super::*;

/// The handshake takes `rtt`, which is the first measurement.
fn with_round_trip(rtt: Duration) -> Host {
    let mut half = Setup::default().half_open();
    half.now += rtt;
    let ack = half.third_ack();
    let mut t = half.open(&ack, &[]);
    t.events = Events::NONE;
    t
}

fn rto(t: &Host) -> Duration {
    t.tcb.info(&t.core, t.now).rto
}

/// One segment, and its acknowledgment after `rtt`.
fn round_trip(t: &mut Host, rtt: Duration) {
    t.send(&octets(1_000));
    t.sent_one();
    t.advance(rtt);
    let ack = 1 + t.flight() + t.tcb.snd.una.since(t.tcb.snd.iss + 1);
    recv!(t, Seg { ack, ..ACK });
    sent_nothing!(t);
}

/// Rule 2.2: SRTT is R, RTTVAR is R / 2, RTO is SRTT + 4 * RTTVAR.
#[test]
fn the_first_measurement_sets_the_timeout() {
    let t = with_round_trip(Duration::from_millis(120));
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.srtt, Some(Duration::from_millis(120)));
    assert_eq!(info.rttvar, Duration::from_millis(60));
    assert_eq!(info.rto, Duration::from_millis(360));
}

/// Rule 2.3, with a second measurement of 200 ms after one of 120 ms:
/// RTTVAR = 3/4 * 60 + 1/4 * 80, SRTT = 7/8 * 120 + 1/8 * 200.
#[test]
fn each_measurement_moves_the_estimate() {
    let mut t = with_round_trip(Duration::from_millis(120));
    round_trip(&mut t, Duration::from_millis(200));
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.rttvar, Duration::from_millis(65));
    assert_eq!(info.srtt, Some(Duration::from_millis(130)));
    assert_eq!(info.rto, Duration::from_millis(130 + 4 * 65));
}

/// Section 3: at least one measurement in a round trip; here each segment is one.
#[test]
fn every_segment_that_was_sent_once_is_measured() {
    let mut t = with_round_trip(Duration::from_millis(1));
    for _ in 0..40 {
        round_trip(&mut t, Duration::from_millis(100));
    }
    let srtt = t.tcb.info(&t.core, t.now).srtt.expect("measured");
    assert!(srtt > Duration::from_millis(98) && srtt <= Duration::from_millis(100));
}

/// Section 4 and rule 2.4: the timer never fires before a delayed acknowledgment of a steady path.
#[test]
fn on_a_steady_path_a_delayed_acknowledgment_is_in_time() {
    let mut t = with_round_trip(Duration::from_millis(50));
    for _ in 0..50 {
        round_trip(&mut t, Duration::from_millis(50));
    }
    assert!(rto(&t) >= Duration::from_millis(250));
    t.send(b"x");
    t.sent_one();
    advance!(t, 240 ms);
    sent_nothing!(t);
    assert_eq!(t.counters().timeouts, 0);
}

/// Rule 5.4: the earliest segment, and that alone; the others follow as acknowledgments allow.
#[test]
fn the_earliest_segment_is_sent_again() {
    let mut t = established();
    let text = octets(5_000);
    t.send(&text);
    t.sent();
    recv!(t, Seg { ack: 2_001, ..ACK });
    advance!(t, 200 ms);
    sent!(
        t,
        [Seg {
            seq: 2_001,
            text: &text[2_000..3_000],
            ..ACK
        }]
    );
}

/// Rules 5.1 to 5.3: the timer runs exactly while something is in flight.
#[test]
fn the_timer_runs_while_something_is_in_flight() {
    let mut t = established();
    assert_eq!(t.tcb.next_deadline(), None);
    t.send(&octets(6_000));
    assert_eq!(t.tcb.next_deadline(), None, "nothing is sent yet");
    t.sent();
    for ack in [1_001, 2_001] {
        advance!(t, 10 ms);
        recv!(t, Seg { ack, ..ACK });
        let due = t.tcb.next_deadline().expect("in flight");
        assert_eq!(due, t.now + rto(&t), "restarted");
    }
    recv!(t, Seg { ack: 6_001, ..ACK });
    assert_eq!(t.tcb.next_deadline(), None);
}

/// Rule 5.3: only an acknowledgment of something new restarts it, or duplicates would put it off for
/// ever.
#[test]
fn duplicates_do_not_put_off_the_timer() {
    let mut t = established();
    t.send(&octets(1_000));
    t.sent();
    let due = t.tcb.next_deadline();
    for _ in 0..2 {
        t.now += Duration::from_millis(50);
        recv!(t, ACK);
    }
    assert_eq!(t.tcb.next_deadline(), due);
}

/// Rule 5.5's back-off ends with a new measurement (section 5).
#[test]
fn a_new_measurement_ends_the_back_off() {
    let mut t = established();
    t.send(&octets(1_000));
    t.sent();
    advance!(t, 600 ms);
    assert_eq!(rto(&t), Duration::from_millis(800));
    t.sent();
    recv!(t, Seg { ack: 1_001, ..ACK });
    assert_eq!(rto(&t), Duration::from_millis(800), "Karn's algorithm");
    round_trip(&mut t, Duration::from_millis(1));
    assert!(rto(&t) < Duration::from_millis(210));
}

/// Rule 2.5: no more than a minute, however long the round trip.
#[test]
fn the_timeout_is_at_most_a_minute() {
    let mut t = with_round_trip(Duration::from_secs(100));
    assert_eq!(rto(&t), Duration::from_secs(60));
    t.send(b"x");
    t.sent();
    advance!(t, 59 s);
    sent_nothing!(t);
    advance!(t, 1 s);
    t.sent_one();
}

/// Rule 2.1, and an active open's own round trip.
#[test]
fn an_active_open_measures_its_syn() {
    let mut t = Setup::default().connecting();
    assert_eq!(rto(&t), Duration::from_secs(1));
    t.sent_one();
    advance!(t, 70 ms);
    recv!(
        t,
        Seg {
            seq: 0,
            flags: SYN_ACK,
            ..ACK
        }
    );
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.srtt, Some(Duration::from_millis(70)));
    t.sent();
}

/// Section 3 (Karn): a SYN that was sent twice is no measurement.
#[test]
fn a_syn_that_was_sent_twice_is_not_measured() {
    let mut t = Setup::default().connecting();
    t.sent_one();
    advance!(t, 1200 ms);
    t.sent_one();
    recv!(
        t,
        Seg {
            seq: 0,
            flags: SYN_ACK,
            ..ACK
        }
    );
    assert_eq!(t.tcb.info(&t.core, t.now).srtt, None);
    t.sent();
}

/// The echo of a timestamp tells whole milliseconds: what it measures is never less than the path
/// takes, or the least round trip would be none at all.
#[test]
fn an_echo_never_measures_less_than_the_round_trip() {
    let mut t = Setup::with_options().established();
    t.tcb.sack = false;
    let real = Duration::from_micros(300);
    t.tcb.rtt = Default::default();
    t.tcb.rtt.on_measurement(t.now, real);
    t.send(&octets(1_000));
    t.sent();
    let due = t.tcb.next_deadline().expect("something is out");
    t.advance(due.saturating_since(t.now));
    assert_eq!(t.sent().len(), 1);
    recv!(t, Seg { ack: 1_001, ..ACK });
    assert_eq!(t.tcb.min_rtt(), Some(real));
}
