//! Pacing: what leaves when, with Linux's rates (net.ipv4.tcp_pacing_ss_ratio, tcp_pacing_ca_ratio)
//! and the quantum of draft-ietf-ccwg-bbr section 5.6.3.

use super::*;
use crate::tcp::congestion::Algorithm;

fn paced(congestion: Algorithm) -> Setup {
    let mut setup = Setup::default();
    setup.config.options.congestion = congestion;
    setup.config.pacing = true;
    setup
}

/// A window has gone out and come back in `rtt`; it is open for twice as much.
fn after_a_round_trip(setup: Setup, rtt: Duration) -> Host {
    let mut t = setup.established();
    // Not that of the handshake.
    t.tcb.rtt = Default::default();
    t.send(&octets(100_000));
    assert_eq!(t.sent().len(), 10, "the initial window leaves at once");
    t.advance(rtt);
    recv!(t, Seg { ack: 10_001, ..ACK });
    t
}

/// How many segments leave in each millisecond from now on.
fn by_millisecond(t: &mut Host, count: usize) -> Vec<usize> {
    let mut left = vec![t.sent().len()];
    for _ in 1..count {
        advance!(t, 1 ms);
        left.push(t.sent().len());
    }
    left
}

fn acknowledge_all(t: &mut Host) {
    let ack = t.tcb.snd.nxt.since(t.tcb.snd.iss);
    recv!(t, Seg { ack, ..ACK });
}

#[test]
fn in_slow_start_two_windows_leave_per_round_trip() {
    // 20 segments in 100 ms, doubled: a segment each 2.5 ms.
    let mut t = after_a_round_trip(paced(Algorithm::Reno), Duration::from_millis(100));
    assert_eq!(t.tcb.pacing_rate(), Some(400_000));
    let left = by_millisecond(&mut t, 60);
    assert_eq!(left.iter().sum::<usize>(), 20);
    // The first two at once, and then one quantum after the other.
    assert_eq!(left[0], 2);
    assert!(left.iter().all(|&segments| segments <= 2), "{left:?}");
    let end = left.iter().rposition(|&segments| segments > 0);
    assert!(end.is_some_and(|end| (43..=50).contains(&end)), "{left:?}");
}

#[test]
fn nothing_is_sent_before_a_quantum_has_come_together() {
    let mut t = after_a_round_trip(paced(Algorithm::Reno), Duration::from_millis(100));
    assert_eq!(t.sent().len(), 2);
    let release = t.tcb.next_deadline().expect("pacing waits");
    // The schedule is two segments on, one of them on credit, and waits for two more.
    assert_eq!(
        release.saturating_since(t.now),
        Duration::from_micros(5_000)
    );
    t.now = release;
    t.with(|tcb, cx| tcb.handle_timeout(cx));
    assert_eq!(t.sent().len(), 2);
}

/// RFC 6928 section 2 lets a window of ten segments leave at once, also when it is what recovery has
/// left: of three duplicate acknowledgments none may come late.
#[test]
fn a_window_no_larger_than_the_initial_one_leaves_at_once() {
    for (congestion, left) in [(Algorithm::Reno, 4), (Algorithm::Cubic, 6)] {
        let mut t = paced(congestion).established();
        t.tcb.rtt = Default::default();
        t.send(&octets(100_000));
        assert_eq!(t.sent().len(), 10);
        advance!(t, 100 ms);
        recv!(t, Seg { ack: 1_001, ..ACK });
        assert!(t.tcb.pacing_rate().is_some(), "{congestion}: eleven");
        for _ in 0..3 {
            recv!(t, Seg { ack: 1_001, ..ACK });
        }
        advance!(t, 100 ms);
        t.sent();
        let ack = t.tcb.snd.nxt.since(t.tcb.snd.iss);
        recv!(t, Seg { ack, ..ACK });
        let window = t.tcb.info(&t.core, t.now).cwnd / 1_000;
        assert_eq!(window, left, "{congestion}");
        assert_eq!(t.tcb.pacing_rate(), None, "{congestion}");
        assert_eq!(t.sent().len(), window as usize, "{congestion}");
    }
}

#[test]
fn an_answer_that_fits_a_quantum_never_waits() {
    for congestion in Algorithm::ALL {
        let mut t = after_a_round_trip(paced(congestion), Duration::from_millis(100));
        t.with(|tcb, _| tcb.set_nodelay(true));
        for _ in 0..20 {
            advance!(t, 400 ms);
            t.sent();
            acknowledge_all(&mut t);
        }
        assert_eq!(t.flight(), 0);
        for _ in 0..3 {
            advance!(t, 50 ms);
            t.send(&octets(1_500));
            assert_eq!(t.sent().len(), 2, "{congestion}");
            acknowledge_all(&mut t);
        }
    }
}

#[test]
fn a_local_path_is_not_paced() {
    let mut t = after_a_round_trip(paced(Algorithm::Cubic), Duration::from_micros(900));
    assert_eq!(t.tcb.pacing_rate(), None);
    assert_eq!(t.sent().len(), 18);
}

#[test]
fn pacing_can_be_off_but_not_for_bbr() {
    for (congestion, is_paced) in [
        (Algorithm::Reno, false),
        (Algorithm::Cubic, false),
        (Algorithm::Bbr, true),
    ] {
        let mut setup = paced(congestion);
        setup.config.pacing = false;
        let mut t = after_a_round_trip(setup, Duration::from_millis(100));
        assert_eq!(t.tcb.pacing_rate().is_some(), is_paced, "{congestion}");
        assert_eq!(t.sent().len() > 10, !is_paced);
    }
}

#[test]
fn a_limit_of_the_application_holds_from_the_first_segment_on() {
    let mut setup = paced(Algorithm::Cubic);
    setup.config.pacing = false;
    let mut t = setup.established();
    t.with(|tcb, cx| tcb.update_options(cx, |it| it.max_pacing_rate = Some(100_000)));
    t.send(&octets(10_000));
    let left = by_millisecond(&mut t, 100);
    // A segment each 10 ms, a quantum of two at first.
    assert_eq!(left[0], 2);
    assert_eq!(left[..50].iter().sum::<usize>(), 6);
    assert_eq!(left.iter().sum::<usize>(), 10);
    assert_eq!(t.tcb.pacing_rate(), Some(100_000));
    let delivered = t.tcb.info(&t.core, t.now).delivered;
    assert_eq!(delivered, Some(0), "counted since there is a rate");
    t.with(|tcb, cx| tcb.update_options(cx, |it| it.max_pacing_rate = None));
    assert_eq!(t.tcb.pacing_rate(), None);
}

#[test]
fn what_waits_for_its_time_does_not_keep_acknowledgments_waiting() {
    let mut t = after_a_round_trip(paced(Algorithm::Reno), Duration::from_millis(100));
    t.sent();
    let text = octets(1_000);
    recv!(
        t,
        Seg {
            ack: 10_001,
            text: &text,
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            seq: 1_001,
            ack: 10_001,
            text: &text,
            ..ACK
        }
    );
    let sent = t.sent_one();
    assert_eq!((sent.ack, sent.text.len()), (2_001, 0));
}

/// What a bulk transfer has delivered is measured, with and without pacing.
#[test]
fn a_bulk_transfer_knows_its_delivery_rate() {
    for pacing in [false, true] {
        let mut setup = paced(Algorithm::Cubic);
        setup.config.pacing = pacing;
        let mut t = after_a_round_trip(setup, Duration::from_millis(100));
        // The first window left before anything was measured, but for its last segment.
        assert_eq!(t.tcb.delivery_rate(), Some((100_000, false)));
        t.sent();
    }
    let mut t = established();
    t.send(&octets(1_000));
    t.sent();
    recv!(t, Seg { ack: 1_001, ..ACK });
    assert!(t.tcb.bulk.is_none(), "not for a request");
}
