//! Known problems of TCP implementations (RFC 2525), each as the test that would show it.

use super::*;
use crate::tcp::congestion::Algorithm;

fn reno(setup: Setup) -> Setup {
    Setup {
        config: Config {
            options: SocketOptions {
                congestion: Algorithm::Reno,
                ..setup.config.options
            },
            ..setup.config
        },
        ..setup
    }
}

fn seg(text: &[u8], i: usize) -> Seg<'_> {
    Seg {
        seq: 1 + 1_000 * i as u32,
        text: &text[1_000 * i..1_000 * (i + 1)],
        ..ACK
    }
}

fn octets_of(sent: &[Sent]) -> usize {
    sent.iter().map(|sent| sent.text.len()).sum()
}

/// Section 2.1: no initial slow start. The peer's window has room for 65 segments.
#[test]
fn not_everything_that_the_peer_allows_goes_at_once() {
    let mut t = reno(Setup::default()).established();
    t.send(&octets(60_000));
    assert_eq!(octets_of(&t.sent()), 10_000);
}

/// Section 2.2: no slow start after a retransmission timeout.
#[test]
fn after_a_timeout_it_is_one_segment_and_then_two() {
    let mut t = reno(Setup::default()).established();
    // No new text is left for F-RTO to send (RFC 5682).
    let text = octets(12_000);
    t.send(&text);
    t.sent();
    recv!(t, Seg { ack: 2_001, ..ACK });
    let in_flight = 10_000 + octets_of(&t.sent()) - 2_000;
    advance!(t, 200 ms);
    sent!(t, [seg(&text, 2)]);
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.cwnd, 1_000);
    assert_eq!(info.ssthresh, Some(in_flight as u32 / 2));
    recv!(t, Seg { ack: 3_001, ..ACK });
    sent!(t, [seg(&text, 3), seg(&text, 4)]);
}

/// Section 2.3: an uninitialized congestion window, where the answer to a SYN has no MSS option.
#[test]
fn the_congestion_window_needs_no_mss_option() {
    let mut passive = reno(Setup {
        syn: Options::default(),
        ..Setup::default()
    })
    .established();
    let mut active = reno(Setup::default()).connecting();
    active.sent();
    recv!(
        active,
        Seg {
            seq: 0,
            flags: SYN_ACK,
            ..ACK
        }
    );
    active.sent();
    for t in [&mut passive, &mut active] {
        t.send(&octets(30_000));
        assert_eq!(octets_of(&t.sent()), 10 * 536);
    }
}

/// Section 2.4: inconsistent retransmission. Whatever is sent for a sequence number, at whatever
/// time and in whatever pieces, is the same octets.
#[test]
fn an_octet_is_the_same_each_time_it_is_sent() {
    let text = octets(60_000);
    for seed in 0..20 {
        let mut chance = Chance::new(seed);
        let mut t = Setup::default().established();
        t.tcb.set_nodelay(true);
        let (mut written, mut acked) = (0, 0);
        while acked < text.len() {
            let more = (chance.below(3_000) as usize).min(text.len() - written);
            written += t.with(|tcb, cx| tcb.send(cx, &text[written..written + more]));
            for sent in t.sent() {
                let at = sent.seq as usize - 1;
                assert_eq!(sent.text, text[at..at + sent.text.len()], "seed {seed}");
            }
            let flight = t.flight();
            if chance.percent(30) {
                advance!(t, 300 ms);
            } else {
                // In part, and with a window that makes segments be cut.
                acked += chance.below(u64::from(flight) + 1) as usize;
                recv!(
                    t,
                    Seg {
                        ack: 1 + acked as u32,
                        window: Some(200 + chance.below(5_000) as u16),
                        ..ACK
                    }
                );
            }
        }
        t.sent();
    }
}

/// Section 2.5: failure to retain above-sequence data. One lost segment costs one retransmission.
#[test]
fn what_arrives_above_a_gap_is_kept() {
    let mut t = established();
    let text = octets(10_000);
    for i in 1..10 {
        recv!(t, seg(&text, i));
        sent!(t, [ACK]);
    }
    recv!(t, seg(&text, 0));
    sent!(t, [Seg { ack: 10_001, ..ACK }]);
    assert_eq!(t.received, text);
}

/// Section 2.6: an extra additive constant in congestion avoidance. A window's worth of
/// acknowledgments is worth one segment, not one and an eighth of the window.
#[test]
fn congestion_avoidance_adds_one_segment_per_round_trip() {
    let mut t = reno(Setup::default()).established();
    t.send(&octets(200_000));
    t.sent();
    // A loss, and out of it: cwnd and ssthresh are near each other.
    for _ in 0..3 {
        recv!(t, ACK);
    }
    let mut acked = 0;
    let round_trip = |t: &mut Host, acked: &mut u32| {
        let flight = t.flight();
        for _ in 0..flight / 1_000 {
            *acked += 1_000;
            recv!(
                t,
                Seg {
                    ack: 1 + *acked,
                    ..ACK
                }
            );
            t.sent();
        }
        t.tcb.info(&t.core, t.now)
    };
    t.sent();
    let mut info = t.tcb.info(&t.core, t.now);
    while info.cwnd < info.ssthresh.expect("a loss") + 1_000 || t.in_recovery() {
        info = round_trip(&mut t, &mut acked);
    }
    let start = info.cwnd;
    for _ in 0..5 {
        let before = info.cwnd;
        info = round_trip(&mut t, &mut acked);
        assert!(info.cwnd <= before + 1_000, "{before} and {}", info.cwnd);
    }
    assert!(info.cwnd >= start + 4_000, "{start} and {}", info.cwnd);
}

/// Section 2.7: an initial RTO that is too low.
#[test]
fn the_first_timeout_is_a_second() {
    let mut t = Setup::default().connecting();
    t.sent_one();
    advance!(t, 999 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    t.sent_one();

    let mut half = Setup::default().half_open();
    let start = half.now;
    assert!(half.timeout());
    assert_eq!(half.now.saturating_since(start), Duration::from_secs(1));
}

/// Section 2.8: failure of window deflation after loss recovery.
#[test]
fn what_recovery_has_inflated_is_taken_back() {
    let mut t = reno(Setup::default()).established();
    t.send(&octets(60_000));
    t.sent();
    for _ in 0..9 {
        recv!(t, ACK);
    }
    t.sent();
    assert!(t.in_recovery());
    let all = 1 + t.flight();
    recv!(t, Seg { ack: all, ..ACK });
    let info = t.tcb.info(&t.core, t.now);
    assert!(info.cwnd <= info.ssthresh.expect("a loss"));
    let burst = octets_of(&t.sent());
    assert!(burst <= 5_000, "{burst} octets at once");
}

/// Sections 2.9 and 2.11: keepalive probes that start too early, come too fast, or give up after one.
#[test]
fn keepalive_is_patient_by_default() {
    let mut t = established();
    t.with(|tcb, cx| tcb.update_options(cx, |it| it.keepalive = Some(Keepalive::default())));
    let start = t.now;
    let mut at = Vec::new();
    while t.state() == State::Established {
        let due = t.tcb.next_deadline().expect("the keepalive timer runs");
        t.advance(due.saturating_since(t.now));
        at.extend(
            t.sent()
                .iter()
                .map(|_| t.now.saturating_since(start).as_millis() / 1_000),
        );
    }
    assert_eq!(at[..2], [7_200, 7_275], "two hours (RFC 9293 MUST-28)");
    assert_eq!(at.len(), 9);
    assert_eq!(
        t.now.saturating_since(start).as_millis() / 1_000,
        7_200 + 9 * 75
    );
}

/// Section 2.10: failure to back off the retransmission timeout. The default also lasts for longer
/// than the 100 seconds of RFC 9293 section 3.8.3, SHLD-11.
#[test]
fn the_timeout_doubles_to_a_minute_and_lasts() {
    let mut t = established();
    t.send(b"x");
    t.sent();
    let mut at = vec![t.now];
    while t.state() == State::Established {
        let due = t.tcb.next_deadline().expect("the timer runs");
        t.advance(due.saturating_since(t.now));
        at.push(t.now);
        t.sent();
    }
    let waits: Vec<u64> = at
        .windows(2)
        .map(|pair| pair[1].saturating_since(pair[0]).as_millis())
        .collect();
    assert_eq!(waits[..5], [200, 400, 800, 1_600, 3_200]);
    assert!(
        waits
            .windows(2)
            .all(|pair| pair[1] == (2 * pair[0]).min(60_000))
    );
    assert!(t.now.saturating_since(at[0]) > Duration::from_secs(100));
}

/// Section 2.12: window probe deadlock. The update that opens the window is lost, and so is the first
/// probe; text that cannot go and a FIN behind it make no difference.
#[test]
fn a_lost_window_update_does_not_stop_the_stream() {
    let mut t = established();
    recv!(
        t,
        Seg {
            window: Some(0),
            ..ACK
        }
    );
    let text = octets(2_000);
    t.send(&text);
    t.shutdown();
    sent_nothing!(t);
    advance!(t, 200 ms);
    sent!(t, [Seg { seq: 0, ..ACK }]);
    advance!(t, 400 ms);
    sent!(t, [Seg { seq: 0, ..ACK }]);
    recv!(t, ACK);
    sent!(
        t,
        [
            seg(&text, 0),
            Seg {
                flags: FIN,
                ..seg(&text, 1)
            }
        ]
    );
}

/// Section 2.13: stretch acknowledgments. Each turn brings one segment.
#[test]
fn every_second_segment_has_its_acknowledgment() {
    let mut t = established();
    let text = octets(20_000);
    let mut acks = 0;
    for i in 0..20 {
        recv!(t, seg(&text, i));
        acks += t.sent().len();
    }
    assert_eq!(acks, 10);
}

/// Section 2.14: a retransmission is one packet, by the timer and by duplicates.
#[test]
fn a_retransmission_is_one_segment() {
    let text = octets(10_000);
    for by_timer in [true, false] {
        let mut t = reno(Setup::default()).established();
        t.send(&text);
        t.sent();
        if by_timer {
            advance!(t, 200 ms);
        } else {
            for _ in 0..3 {
                recv!(t, ACK);
            }
        }
        sent!(t, [seg(&text, 0)]);
    }
}

/// Section 2.15: failure to send the FIN promptly. Neither text in flight nor Nagle holds it, nor the
/// timer of a delayed acknowledgment.
#[test]
fn a_fin_goes_at_once() {
    let mut t = established();
    t.send(b"one");
    t.sent_one();
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    t.shutdown();
    sent!(
        t,
        [Seg {
            seq: 4,
            ack: 4,
            flags: FIN,
            ..ACK
        }]
    );
}

/// Section 2.16: failure to send a reset after a half duplex close, in each state that it can meet.
#[test]
fn text_that_nobody_will_read_is_reset() {
    for acknowledged in [false, true] {
        let mut t = established();
        t.close();
        t.sent_one();
        let ack = if acknowledged { 2 } else { 1 };
        recv!(t, Seg { ack, ..ACK });
        recv!(
            t,
            Seg {
                ack,
                text: b"for nobody",
                ..ACK
            }
        );
        t.happened(Events::CLOSED);
        assert_eq!(t.sent_one().header.flags, RST_ACK);
        assert!(t.tcb.is_done());
    }
}

/// Section 2.17: failure to reset on close with data pending, in order or not, seen or not.
#[test]
fn closing_over_unread_text_is_a_reset_and_no_fin() {
    let mut t = established();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: b"read and unread",
            ..ACK
        }
    );
    t.read(4);
    t.sent();
    t.close();
    assert_eq!(t.sent_one().header.flags, RST_ACK);
    assert_eq!(t.core.receive_bytes(), 0);
}

/// Section 2.18: options missing from the calculation of the MSS.
#[test]
fn options_and_text_together_fit_the_mss() {
    let mut t = Setup::with_options().established();
    // Gaps, so that blocks would have something to say.
    for i in 1..=4 {
        recv!(
            t,
            Seg {
                seq: 1 + 100 * i,
                text: b"x",
                ..ACK
            }
        );
    }
    t.sent();
    t.tcb.set_nodelay(true);
    for len in [1_000, 999, 990, 960, 10] {
        t.send(&octets(len));
    }
    for sent in t.sent() {
        let len = sent.header.options.len() + sent.text.len();
        assert!(len <= 1_012, "{len}");
    }
}
