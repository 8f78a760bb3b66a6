//! Proportional rate reduction on the wire (RFC 9937), with SACK.

use super::*;
use crate::tcp::congestion::Algorithm;

/// Segments of a thousand octets; ten of them are out, and more wait.
fn ten_out(text: &[u8]) -> Host {
    let mut setup = Setup::with_options();
    setup.config.options.congestion = Algorithm::Reno;
    setup.syn.timestamps = None;
    setup.syn.mss = Some(1_000);
    let mut t = setup.established();
    t.send(text);
    assert_eq!(t.sent().len(), 10, "the initial window");
    t
}

/// The peer has everything from `left` up to `right`, counted in segments.
fn block(left: u32, right: u32) -> (u32, u32) {
    (1 + 1_000 * left, 1 + 1_000 * right)
}

fn sent_in_answer(t: &mut Host, seg: Seg<'_>) -> usize {
    recv!(t, seg);
    t.sent().iter().map(|sent| sent.text.len()).sum()
}

/// Section 6.2, the proportional part: one loss, and half of what arrives is replaced, one segment for
/// two, until the flight is halved. No pause of half a round trip, and no burst behind it.
#[test]
fn half_of_what_arrives_is_replaced() {
    let text = octets(40_000);
    let mut t = ten_out(&text);
    let mut total = 0;
    let mut pauses = 0;
    for right in 2..=10 {
        let sent = sent_in_answer(
            &mut t,
            Seg {
                sack: Some(&[block(1, right)]),
                ..ACK
            },
        );
        if t.in_recovery() {
            assert!(sent <= 2_000, "{sent} octets at once");
            pauses = if sent == 0 { pauses + 1 } else { 0 };
            assert!(pauses <= 2, "a pause");
        }
        total += sent;
    }
    // Two of limited transmit; half of ten in recovery.
    assert!((4_000..=8_000).contains(&total), "{total}");
    assert!(t.tcb.pipe() <= 6_000, "{}", t.tcb.pipe());
}

/// RFC 5681 section 3.1, equation 4: half of what was in flight when the acknowledgment came that
/// shows the loss, also if it acknowledges a part of it.
#[test]
fn the_flight_is_what_was_out_before_the_loss_was_found() {
    let text = octets(40_000);
    let mut t = ten_out(&text);
    recv!(
        t,
        Seg {
            ack: 4_001,
            sack: Some(&[block(5, 8)]),
            ..ACK
        }
    );
    assert!(t.in_recovery());
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.ssthresh, Some(5_000), "six are left, but ten were out");
}

/// Section 6.2, the reduction bound: with most of the flight lost there is nothing left to be
/// proportional to. RFC 6675 would send a whole window at once; this sends what arrives, and a
/// segment more for each acknowledgment that shows that all goes well.
#[test]
fn heavy_losses_are_not_followed_by_a_burst() {
    let text = octets(40_000);
    let mut t = ten_out(&text);
    let mut first = 0;
    for right in 8..=10 {
        first = sent_in_answer(
            &mut t,
            Seg {
                sack: Some(&[block(7, right)]),
                ..ACK
            },
        );
    }
    assert_eq!(first, 1_000, "as much as the third block says has arrived");
    for acked in 1..7 {
        let sent = sent_in_answer(
            &mut t,
            Seg {
                ack: 1 + 1_000 * acked,
                sack: Some(&[block(7, 10)]),
                ..ACK
            },
        );
        assert!(sent <= 2_000, "{sent} octets for one segment");
        assert!(t.tcb.pipe() <= 5_000, "no more than ssthresh");
    }
    assert_eq!(t.counters().timeouts, 0);
}

/// Section 6.2: at the end of recovery the window is ssthresh, whatever recovery has made of it.
#[test]
fn recovery_ends_with_a_window_of_ssthresh() {
    for lost in [1, 3, 7] {
        let text = octets(40_000);
        let mut t = ten_out(&text);
        for right in lost + 1..=10 {
            recv!(
                t,
                Seg {
                    sack: Some(&[block(lost, right)]),
                    ..ACK
                }
            );
            t.sent();
        }
        let end = t.tcb.snd.nxt.since(t.tcb.snd.iss);
        recv!(t, Seg { ack: end, ..ACK });
        let info = t.tcb.info(&t.core, t.now);
        assert_eq!(info.ssthresh, Some(5_000), "{lost}");
        assert_eq!(info.cwnd, 5_000, "{lost}");
        t.sent();
    }
}
