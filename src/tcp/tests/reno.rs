//! Congestion control by the book (RFC 5681, RFC 6582, RFC 3042, RFC 3465, RFC 6928): Reno, without
//! SACK.

use super::*;
use crate::tcp::congestion::Algorithm;

fn setup() -> Setup {
    Setup {
        config: Config {
            options: SocketOptions {
                congestion: Algorithm::Reno,
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
}

fn seg(text: &[u8], i: usize) -> Seg<'_> {
    Seg {
        seq: 1 + 1_000 * i as u32,
        text: &text[1_000 * i..1_000 * (i + 1)],
        ..ACK
    }
}

fn windows(t: &Host) -> (u32, Option<u32>) {
    let info = t.tcb.info(&t.core, t.now);
    (info.cwnd, info.ssthresh)
}

fn octets_of(sent: &[Sent]) -> usize {
    sent.iter().map(|sent| sent.text.len()).sum()
}

/// RFC 6928 section 2: ten segments, 14600 octets, or two segments, whichever is right.
#[test]
fn the_initial_window_is_rfc_6928s() {
    for (mss, window) in [
        (536, 5_360),
        (1_460, 14_600),
        (4_000, 14_600),
        (8_960, 17_920),
    ] {
        let mut t = Setup {
            path_mss: 8_960,
            syn: Options {
                mss: Some(mss),
                ..Options::default()
            },
            ..setup()
        }
        .established();
        t.buffers.capacity = 9_000;
        assert_eq!(windows(&t), (window, None), "ssthresh is arbitrarily high");
        t.send(&octets(60_000));
        let sent = octets_of(&t.sent());
        assert!(sent <= window as usize && sent + usize::from(mss) > window as usize);
    }
}

/// RFC 6928 section 2: a SYN that was sent again may have been lost for any reason, two tell of a
/// path that is congested. Whoever opens.
#[test]
fn two_lost_syns_make_the_initial_window_one_segment() {
    for (lost, window) in [(0, 10_000), (1, 10_000), (2, 1_000), (4, 1_000)] {
        let mut t = setup().connecting();
        t.sent();
        for _ in 0..lost {
            let due = t.tcb.next_deadline().expect("the SYN is due again");
            t.advance(due.saturating_since(t.now));
        }
        let header = Header {
            flags: SYN_ACK,
            ack: t.tcb.snd.nxt.0,
            ..setup().syn()
        };
        t.handle(&Segment {
            header,
            payload: &[],
        });
        assert_eq!(windows(&t), (window, None), "{lost} SYNs");
        t.sent();

        let mut half = setup().half_open();
        for _ in 0..lost {
            assert!(half.timeout());
        }
        let ack = half.third_ack();
        let t = half.open(&ack, &[]);
        assert_eq!(windows(&t), (window, None), "{lost} SYN-ACKs");
    }
}

/// RFC 5681 section 3.1: the acknowledgment of the SYN does not enlarge the window.
#[test]
fn the_handshake_does_not_enlarge_the_window() {
    let mut t = setup().connecting();
    t.sent_one();
    let header = Header {
        flags: SYN_ACK,
        ack: t.tcb.snd.nxt.0,
        ..setup().syn()
    };
    t.handle(&Segment {
        header,
        payload: &[],
    });
    assert_eq!(windows(&t).0, 10_000);
    t.sent();
}

/// RFC 5681 section 3.1: the lesser of the congestion window and the peer's.
#[test]
fn the_lesser_of_both_windows_limits() {
    for (window, segments) in [(3_000, 3), (0xffff, 10)] {
        let mut t = Setup { window, ..setup() }.established();
        t.send(&octets(50_000));
        assert_eq!(t.sent().len(), segments);
    }
}

/// RFC 5681 section 3.1, equation 2; RFC 3465 section 2.1: octets count, so that an acknowledgment
/// cut in pieces is worth no more than a whole one.
#[test]
fn an_acknowledgment_in_pieces_gains_nothing() {
    let mut t = setup().established();
    t.send(&octets(50_000));
    t.sent();
    for i in 1..=100 {
        recv!(
            t,
            Seg {
                ack: 1 + 10 * i,
                ..ACK
            }
        );
    }
    assert_eq!(windows(&t).0, 11_000);
    t.sent();
}

/// RFC 3465 section 2.2, with RFC 9406's limit: an acknowledgment of much is worth eight segments.
#[test]
fn a_stretch_acknowledgment_is_worth_eight_segments() {
    let mut t = setup().established();
    t.send(&octets(50_000));
    t.sent();
    recv!(t, Seg { ack: 10_001, ..ACK });
    assert_eq!(windows(&t).0, 18_000);
    t.sent();
}

/// RFC 5681 section 3.1, equation 4: half of what was in flight, which may be less than the window;
/// at least two segments.
#[test]
fn the_threshold_is_half_of_the_flight() {
    for (segments, threshold) in [(8, 4_000), (6, 3_000), (3, 2_000), (1, 2_000)] {
        let mut t = setup().established();
        t.send(&octets(1_000 * segments));
        t.sent();
        advance!(t, 200 ms);
        assert_eq!(windows(&t), (1_000, Some(threshold)), "{segments}");
        t.sent();
    }
}

/// The same segment's second timeout leaves the threshold alone.
#[test]
fn the_second_timeout_of_a_segment_does_not_halve_again() {
    let mut t = setup().established();
    t.send(&octets(10_000));
    t.sent();
    advance!(t, 200 ms);
    t.sent();
    advance!(t, 400 ms);
    assert_eq!(t.counters().timeouts, 2);
    assert_eq!(windows(&t), (1_000, Some(5_000)));
    t.sent();
}

/// After a timeout it is slow start up to the threshold, and avoidance from there.
#[test]
fn slow_start_ends_at_the_threshold() {
    let mut t = setup().established();
    // No new text is left for F-RTO to send (RFC 5682).
    t.send(&octets(10_000));
    t.sent();
    advance!(t, 200 ms);
    t.sent();
    assert_eq!(windows(&t), (1_000, Some(5_000)));
    let mut acked = 0;
    let mut grown = Vec::new();
    for _ in 0..8 {
        acked += 1_000;
        let before = windows(&t).0;
        recv!(
            t,
            Seg {
                ack: 1 + acked,
                ..ACK
            }
        );
        t.sent();
        grown.push(windows(&t).0 - before);
    }
    assert_eq!(grown[..4], [1_000; 4], "slow start");
    assert!(grown[4..].iter().sum::<u32>() <= 1_000, "{grown:?}");
}

/// RFC 5681 section 2: a duplicate has no text, no SYN or FIN, the same window, SND.UNA, and there is
/// something in flight. These are almost: none of them counts.
#[test]
fn what_is_almost_a_duplicate_is_none() {
    let almost: [(&str, Seg<'_>); 4] = [
        ("text", Seg { text: b"x", ..ACK }),
        ("a FIN", Seg { flags: FIN, ..ACK }),
        (
            "a window update",
            Seg {
                window: Some(50_000),
                ..ACK
            },
        ),
        ("older", Seg { ack: 0, ..ACK }),
    ];
    for (what, seg) in almost {
        let mut t = setup().established();
        t.send(&octets(10_000));
        t.sent();
        recv!(t, ACK);
        recv!(t, ACK);
        recv!(t, seg);
        assert_eq!(t.counters().fast_retransmits, 0, "{what}");
        t.sent();
    }
}

/// RFC 5681 section 3.2, steps 2 to 6, on one loss out of ten segments. Steps 3 and 4 are PRR's (RFC
/// 9937): new text takes the place of half of what leaves the network.
#[test]
fn fast_retransmit_and_fast_recovery() {
    let mut t = setup().established();
    let text = octets(30_000);
    t.send(&text);
    t.sent();
    recv!(t, ACK);
    recv!(t, ACK);
    t.sent();
    assert_eq!(windows(&t), (10_000, None), "two say nothing");
    recv!(t, ACK);
    assert_eq!(windows(&t).1, Some(5_000), "half of what was in flight");
    sent!(t, [seg(&text, 0)]);
    for _ in 0..6 {
        recv!(t, ACK);
    }
    let sent = t.sent();
    assert!(!sent.is_empty() && sent.iter().all(|sent| sent.seq > 10_000));
    let all = 1 + t.flight();
    recv!(t, Seg { ack: all, ..ACK });
    assert!(windows(&t).0 <= 5_000, "deflated");
    assert!(!t.in_recovery());
    t.sent();
}

/// RFC 5681 section 3.2: the retransmission goes before any new segment.
#[test]
fn the_lost_segment_goes_first() {
    let mut t = setup().established();
    let text = octets(30_000);
    t.send(&text);
    t.sent();
    for _ in 0..8 {
        recv!(t, ACK);
    }
    assert_eq!(t.sent()[0].seq, 1);
}

/// RFC 6582 section 3.2 step 3: a partial acknowledgment retransmits, deflates, and restarts the
/// timer; recovery lasts until all is acknowledged that was out when it began.
#[test]
fn recovery_lasts_through_partial_acknowledgments() {
    let mut t = setup().established();
    let text = octets(10_000);
    t.send(&text);
    t.sent();
    for _ in 0..3 {
        recv!(t, ACK);
    }
    sent!(t, [seg(&text, 0)]);
    for i in [2, 5, 9] {
        advance!(t, 20 ms);
        recv!(
            t,
            Seg {
                ack: 1 + 1_000 * i as u32,
                ..ACK
            }
        );
        sent!(t, [seg(&text, i)]);
        assert!(t.in_recovery());
        let due = t.tcb.next_deadline().expect("the timer runs");
        assert_eq!(due, t.now + t.tcb.info(&t.core, t.now).rto);
    }
    recv!(t, Seg { ack: 10_001, ..ACK });
    assert!(!t.in_recovery());
    assert_eq!(t.counters().fast_retransmits, 1);
    assert_eq!(t.counters().timeouts, 0);
}

/// RFC 6582 section 3.2 step 2: one window of losses is one halving.
#[test]
fn losses_of_one_window_halve_once() {
    let mut t = setup().established();
    t.send(&octets(10_000));
    t.sent();
    for _ in 0..5 {
        recv!(t, ACK);
    }
    t.sent();
    for i in 1..9 {
        for _ in 0..3 {
            recv!(
                t,
                Seg {
                    ack: 1 + 1_000 * i,
                    ..ACK
                }
            );
        }
        t.sent();
        assert_eq!(windows(&t).1, Some(5_000));
    }
}

/// RFC 3042: no more than two segments beyond the window, however many duplicates come, and none if
/// the peer's window has no room.
#[test]
fn limited_transmit_is_limited() {
    let mut t = setup().established();
    let text = octets(30_000);
    t.send(&text);
    t.sent();
    recv!(t, ACK);
    recv!(t, ACK);
    sent!(t, [seg(&text, 10), seg(&text, 11)]);
    assert_eq!(windows(&t).0, 10_000, "cwnd is what it was");

    let mut t = Setup {
        window: 10_000,
        ..setup()
    }
    .established();
    t.send(&text);
    assert_eq!(t.sent().len(), 10);
    recv!(t, ACK);
    recv!(t, ACK);
    sent_nothing!(t);
}

/// RFC 5681 section 4.1: what has not been used for an RTO is not proven any more; what is shorter
/// than that is.
#[test]
fn a_short_pause_is_not_idleness() {
    for (pause, burst) in [(100, 20_000), (5_000, 10_000)] {
        let mut t = setup().established();
        t.send(&octets(30_000));
        let mut acked = 0;
        while acked < 30_000 {
            acked += octets_of(&t.sent()) as u32;
            recv!(
                t,
                Seg {
                    ack: 1 + acked,
                    ..ACK
                }
            );
        }
        let grown = windows(&t).0;
        t.advance(Duration::from_millis(pause));
        t.send(&octets(60_000));
        let sent = octets_of(&t.sent());
        if pause < 200 {
            assert_eq!(sent as u32, grown - grown % 1_000);
        } else {
            assert_eq!(sent, burst);
        }
    }
}

/// RFC 5681 section 4.2: a segment that fills a gap, all of it or a part, is acknowledged at once.
#[test]
fn a_filled_gap_is_acknowledged_at_once() {
    let mut t = setup().established();
    let text = octets(6_000);
    for i in [2, 4] {
        recv!(t, seg(&text, i));
        sent!(t, [ACK]);
    }
    recv!(t, seg(&text, 0));
    sent!(t, [Seg { ack: 1_001, ..ACK }]);
    recv!(t, seg(&text, 1));
    sent!(t, [Seg { ack: 3_001, ..ACK }]);
    recv!(t, seg(&text, 3));
    sent!(t, [Seg { ack: 5_001, ..ACK }]);
    // After the quick acknowledgments that follow a gap.
    t.tcb.quick_acks = 0;
    recv!(t, seg(&text, 5));
    sent_nothing!(t);
}

/// RFC 5681 section 4.2: a receiver never acknowledges an octet twice to speed up its peer, and never
/// what it has not got.
#[test]
fn each_segment_has_at_most_one_acknowledgment() {
    let mut t = setup().established();
    let text = octets(20_000);
    let mut acks = 0;
    for i in [0, 1, 2, 5, 4, 3, 3, 6, 9, 8, 7] {
        recv!(t, seg(&text, i));
        let sent = t.sent();
        assert!(sent.len() <= 1);
        for sent in &sent {
            assert!(sent.ack as usize <= 1 + t.received.len());
        }
        acks += sent.len();
    }
    assert!(acks <= 11);
}
