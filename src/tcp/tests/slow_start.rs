//! Slow start beside HyStart++ and pacing (RFC 9406, RFC 5681 section 3.1).

use super::*;
use crate::tcp::congestion::Algorithm;

/// A connection whose window fills, acknowledged a segment at a time, each with this round trip.
fn round(t: &mut Host, rtt: Duration) {
    let una = t.tcb.snd.una.since(t.tcb.snd.iss);
    t.advance(rtt);
    t.sent();
    let flight = t.flight();
    for acked in 1..=flight / 1_000 {
        recv!(
            t,
            Seg {
                ack: una + acked * 1_000,
                ..ACK
            }
        );
        t.send_more();
        t.sent();
    }
}

impl Host {
    /// The application always has something to send.
    fn send_more(&mut self) {
        while self.with(|tcb, cx| tcb.send(cx, &[7; 1_000])) > 0 {}
    }
}

fn host(algorithm: Algorithm) -> Host {
    let mut setup = Setup::default();
    setup.config.options.congestion = algorithm;
    let mut t = setup.established();
    t.send_more();
    t.sent();
    t
}

fn threshold(t: &Host) -> Option<u32> {
    t.tcb.info(&t.core, t.now).ssthresh
}

/// RFC 9406 section 4.2: while the round trip grows, slow start ends without a loss.
#[test]
fn a_growing_round_trip_ends_slow_start() {
    for algorithm in [Algorithm::Reno, Algorithm::Cubic] {
        let mut t = host(algorithm);
        for _ in 0..2 {
            round(&mut t, Duration::from_millis(20));
        }
        assert_eq!(threshold(&t), None);
        for i in 0..12 {
            round(&mut t, Duration::from_millis(40 + 2 * i));
        }
        assert!(threshold(&t).is_some(), "{algorithm}");
        assert_eq!(t.counters().fast_retransmits + t.counters().timeouts, 0);
    }
}

/// Section 4.3: a later slow start has a threshold, and ends there.
#[test]
fn hystart_is_for_the_first_slow_start() {
    for algorithm in [Algorithm::Reno, Algorithm::Cubic] {
        let mut t = host(algorithm);
        for _ in 0..3 {
            round(&mut t, Duration::from_millis(20));
        }
        advance!(t, 400 ms);
        t.sent();
        let end = t.tcb.snd.nxt.since(t.tcb.snd.iss);
        let found = threshold(&t).expect("a timeout");
        assert_eq!(t.tcb.info(&t.core, t.now).cwnd, 1_000);
        recv!(t, Seg { ack: end, ..ACK });
        t.send_more();
        t.sent();
        for i in 0..7 {
            round(&mut t, Duration::from_millis(20 + 20 * i));
        }
        assert_eq!(threshold(&t), Some(found), "{algorithm}");
        let cwnd = t.tcb.info(&t.core, t.now).cwnd;
        assert!(
            cwnd >= found && found > 30_000,
            "{algorithm}: {cwnd} of {found}"
        );
    }
}
