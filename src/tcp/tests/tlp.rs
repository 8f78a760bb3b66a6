//! Tail loss probes (RFC 8985 section 7).

use super::rack::{block, seg, with_rtt};
use super::*;
use crate::tcp::loss::Phase;

/// Two segments are out, and the PTO is 2 * 40 + 2 ms.
fn two_out(text: &[u8]) -> Host {
    let mut t = with_rtt();
    t.send(&text[..2_000]);
    assert_eq!(t.sent().len(), 2);
    t
}

/// Section 7.2: 2 * SRTT, and the last segment goes again (section 7.3).
#[test]
fn the_last_segment_is_sent_again_after_two_round_trips() {
    let text = octets(2_000);
    let mut t = two_out(&text);
    advance!(t, 81 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(t, [seg(&text, 1)]);
    assert_eq!((t.counters().loss_probes, t.counters().timeouts), (1, 0));
    assert_eq!(t.tcb.info(&t.core, t.now).cwnd, 10_000);
}

/// Section 7.2: a single segment may wait for a delayed acknowledgment.
#[test]
fn a_single_segment_leaves_time_for_a_delayed_acknowledgment() {
    let mut t = with_rtt();
    let text = octets(1_000);
    t.send(&text);
    t.sent();
    advance!(t, 129 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(t, [seg(&text, 0)]);
}

/// Section 7.3: new text is better, and the congestion window does not matter.
#[test]
fn new_text_is_the_probe_if_there_is_any() {
    let mut t = with_rtt();
    let text = octets(12_000);
    t.send(&text);
    assert_eq!(t.sent().len(), 10, "the window is full");
    advance!(t, 82 ms);
    sent!(t, [seg(&text, 10)]);
    assert_eq!(t.counters().retrans_segs, 0);
}

/// But that of the peer does.
#[test]
fn the_peers_window_is_obeyed() {
    let mut t = with_rtt();
    t.tcb.snd.wnd = 2_000;
    let text = octets(4_000);
    t.send(&text);
    assert_eq!(t.sent().len(), 2);
    advance!(t, 82 ms);
    sent!(t, [seg(&text, 1)]);
}

/// Section 7.3: after a probe there is the retransmission timer, and no second probe.
#[test]
fn after_a_probe_comes_the_retransmission_timer() {
    let text = octets(2_000);
    let mut t = two_out(&text);
    advance!(t, 82 ms);
    t.sent_one();
    let rto = t.tcb.info(&t.core, t.now).rto;
    assert_eq!(t.tcb.next_deadline(), Some(t.now + rto));
    t.advance(rto);
    sent!(t, [seg(&text, 0)]);
    assert_eq!((t.counters().loss_probes, t.counters().timeouts), (1, 1));
}

/// Section 7.2: the PTO is never later than the RTO.
#[test]
fn the_pto_is_at_most_the_rto() {
    let mut t = with_rtt();
    for _ in 0..50 {
        t.tcb.rtt.on_measurement(t.now, Duration::from_secs(1));
    }
    t.send(&octets(2_000));
    t.sent();
    let rto = t.tcb.info(&t.core, t.now).rto;
    assert!(rto < Duration::from_secs(2));
    assert_eq!(t.tcb.next_deadline(), Some(t.now + rto));
}

/// Section 7.2: each new segment starts it again.
#[test]
fn more_text_puts_the_probe_off() {
    let mut t = with_rtt();
    t.tcb.set_nodelay(true);
    let text = octets(4_000);
    for i in 0..3 {
        t.send(&text[1_000 * i..1_000 * (i + 1)]);
        sent!(t, [seg(&text, i)]);
        advance!(t, 60 ms);
    }
    assert_eq!(t.counters().loss_probes, 0);
    advance!(t, 22 ms);
    assert_eq!(t.counters().loss_probes, 1);
    t.sent();
}

/// Section 7.4.1: the SACK that the probe brings finds the other losses of the tail.
#[test]
fn the_probes_sack_starts_recovery() {
    let text = octets(5_000);
    let mut t = with_rtt();
    t.send(&text);
    assert_eq!(t.sent().len(), 5);
    advance!(t, 82 ms);
    sent!(t, [seg(&text, 4)]);
    advance!(t, 40 ms);
    recv!(
        t,
        Seg {
            sack: Some(&[block(4, 5)]),
            ..ACK
        }
    );
    let sent = t.sent();
    assert_eq!(sent[0].seq, 1, "{sent:?}");
    assert_eq!(t.tcb.recovery.phase(), Phase::Recovery);
    assert_eq!(t.counters().timeouts, 0);
}

/// Section 7.4.2: the probe has repaired a loss of which nothing else tells: the window shrinks.
#[test]
fn a_loss_that_the_probe_repairs_is_a_loss() {
    let text = octets(10_000);
    let mut t = with_rtt();
    t.send(&text);
    t.sent();
    advance!(t, 82 ms);
    t.sent_one();
    recv!(t, Seg { ack: 10_001, ..ACK });
    assert_eq!(t.tcb.info(&t.core, t.now).ssthresh, None, "not known yet");
    t.send(&text);
    t.sent();
    recv!(t, Seg { ack: 12_001, ..ACK });
    assert!(t.tcb.info(&t.core, t.now).ssthresh.is_some());
    assert_eq!(t.counters().loss_probe_recoveries, 1);
    assert_eq!(t.tcb.recovery.phase(), Phase::Open);
    t.sent();
}

/// Section 7.4.2: the peer has got the probe twice: only an acknowledgment was lost or late.
#[test]
fn a_probe_that_was_a_duplicate_changes_nothing() {
    let text = octets(10_000);
    let mut t = with_rtt();
    t.send(&text);
    t.sent();
    advance!(t, 82 ms);
    t.sent_one();
    recv!(t, Seg { ack: 10_001, ..ACK });
    recv!(
        t,
        Seg {
            ack: 10_001,
            sack: Some(&[block(9, 10)]),
            ..ACK
        }
    );
    t.send(&text);
    t.sent();
    recv!(t, Seg { ack: 12_001, ..ACK });
    assert_eq!(t.tcb.info(&t.core, t.now).ssthresh, None);
    assert_eq!(t.counters().loss_probe_recoveries, 0);
    t.sent();
}

/// Section 7: without SACK there are no probes.
#[test]
fn without_sack_there_are_no_probes() {
    let mut t = established();
    let text = octets(2_000);
    t.send(&text);
    t.sent();
    advance!(t, 199 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(t, [seg(&text, 0)]);
    assert_eq!(t.counters().loss_probes, 0);
}

/// The last segment may be a FIN.
#[test]
fn a_lost_fin_is_probed_for() {
    let mut t = with_rtt();
    t.shutdown();
    let fin = Seg { flags: FIN, ..ACK };
    sent!(t, [fin]);
    advance!(t, 130 ms);
    sent!(t, [fin]);
    assert_eq!((t.counters().loss_probes, t.counters().timeouts), (1, 0));
    recv!(t, Seg { ack: 2, ..ACK });
    assert_eq!(t.state(), State::FinWait2);
}

/// Section 7.3: until a round trip has been measured again there is no other probe, so that probes do
/// not keep the RTO from following the path.
#[test]
fn the_next_probe_waits_for_a_round_trip() {
    let mut t = with_rtt();
    let text = octets(3_000);
    t.send(&text[..1_000]);
    t.sent();
    advance!(t, 130 ms);
    sent!(t, [seg(&text, 0)]);
    // Karn: this tells no round trip.
    recv!(t, Seg { ack: 1_001, ..ACK });
    t.send(&text[1_000..2_000]);
    t.sent();
    advance!(t, 200 ms);
    assert_eq!((t.counters().loss_probes, t.counters().timeouts), (1, 0));
    advance!(t, 100 ms);
    assert_eq!((t.counters().loss_probes, t.counters().timeouts), (1, 1));
    t.sent();
    recv!(t, Seg { ack: 2_001, ..ACK });
    t.send(&text[2_000..]);
    t.sent();
    advance!(t, 40 ms);
    recv!(t, Seg { ack: 3_001, ..ACK });
    assert!(t.tcb.rtt.srtt().is_some());
    t.send(&text[..1_000]);
    t.sent();
    advance!(t, 200 ms);
    assert_eq!(t.counters().loss_probes, 2);
}
