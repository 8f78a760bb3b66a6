//! Explicit congestion notification (RFC 3168), and that nothing else changes without it.

use super::*;
use crate::wire::ecn::{CE, ECT_0, NOT_ECT};

const ECE: Flags = Flags::ECE;
const CWR: Flags = Flags::CWR;

fn with(mode: EcnMode) -> Setup {
    Setup {
        config: Config {
            ecn: mode,
            ..Config::default()
        },
        ..Setup::default()
    }
}

/// A SYN with these flags more.
fn syn_with(setup: &Setup, flags: Flags) -> Header {
    Header {
        flags: Flags::SYN | flags,
        ..setup.syn()
    }
}

/// Opened passively by a peer whose SYN has `flags`.
fn opened_by(mode: EcnMode, flags: Flags) -> (Header, Host) {
    let setup = Setup {
        syn_flags: flags,
        ..with(mode)
    };
    let half = setup.half_open();
    let syn_ack = half.syn_ack.clone();
    let ack = half.third_ack();
    let mut t = half.open(&ack, &[]);
    t.poll();
    t.outbox.clear();
    (syn_ack, t)
}

fn capable() -> Host {
    let (_, mut t) = opened_by(EcnMode::Passive, ECE | CWR);
    t.tcb.set_nodelay(true);
    t
}

fn flags(sent: &Sent) -> Flags {
    Flags(sent.header.flags.0 & (ECE.0 | CWR.0))
}

/// SND.UNA moves to `ack`.
fn ack(ack: u32) -> Seg<'static> {
    Seg { ack, ..ACK }
}

fn echo(ack: u32) -> Seg<'static> {
    Seg {
        ack,
        flags: Flags::ACK | ECE,
        ..ACK
    }
}

#[test]
fn info_says_whether_it_is_in_use() {
    let t = capable();
    assert!(t.tcb.info(&t.core, t.now).ecn);
    let t = established();
    assert!(!t.tcb.info(&t.core, t.now).ecn);
}

/// Section 6.1.1: only SYN with ECE and CWR asks, only ECE without CWR agrees.
#[test]
fn a_syn_that_asks_is_answered_and_no_other() {
    for (mode, asked, agreed) in [
        (EcnMode::Passive, ECE | CWR, true),
        (EcnMode::On, ECE | CWR, true),
        (EcnMode::Off, ECE | CWR, false),
        (EcnMode::Passive, ECE, false),
        (EcnMode::Passive, CWR, false),
        (EcnMode::On, Flags(0), false),
    ] {
        let (syn_ack, mut t) = opened_by(mode, asked);
        let answer = if agreed { SYN_ACK | ECE } else { SYN_ACK };
        assert_eq!(syn_ack.flags, answer, "{mode:?} {asked:?}");
        t.send(b"text");
        let codepoint = if agreed { ECT_0 } else { NOT_ECT };
        assert_eq!(t.sent_one().ecn, codepoint);
    }
}

#[test]
fn an_active_open_asks_if_it_may_and_takes_only_a_right_answer() {
    for (mode, asks) in [
        (EcnMode::Off, false),
        (EcnMode::Passive, false),
        (EcnMode::On, true),
    ] {
        for (answer, agrees) in [(ECE, true), (ECE | CWR, false), (Flags(0), false)] {
            let mut t = with(mode).connecting();
            let syn = t.sent_one();
            assert_eq!(syn.ecn, NOT_ECT, "section 6.1.1: never on a SYN");
            let expected = if asks { ECE | CWR } else { Flags(0) };
            assert_eq!(flags(&syn), expected);
            recv!(
                t,
                Seg {
                    seq: 0,
                    flags: SYN_ACK | answer,
                    ..ACK
                }
            );
            sent!(t, [ACK]);
            t.send(b"text");
            let codepoint = if asks && agrees { ECT_0 } else { NOT_ECT };
            assert_eq!(t.sent_one().ecn, codepoint, "{mode:?} {answer:?}");
        }
    }
}

/// Section 6.1.1.1, and section 6.1.1: having sent a SYN without, no text is marked.
#[test]
fn a_syn_that_is_sent_again_does_without() {
    let mut t = with(EcnMode::On).connecting();
    assert_eq!(flags(&t.sent_one()), ECE | CWR);
    advance!(t, 1 s);
    assert_eq!(flags(&t.sent_one()), Flags(0));
    recv!(
        t,
        Seg {
            seq: 0,
            flags: SYN_ACK | ECE,
            ..ACK
        }
    );
    sent!(t, [ACK]);
    t.send(b"text");
    assert_eq!(t.sent_one().ecn, NOT_ECT);
}

#[test]
fn a_peer_that_asks_again_without_ecn_gets_none() {
    let setup = Setup {
        syn_flags: ECE | CWR,
        ..with(EcnMode::Passive)
    };
    let plain = with(EcnMode::Passive).syn();
    let mut half = setup.half_open();
    assert!(half.syn_ack.flags.contains(ECE));
    assert!(matches!(half.handle(&plain), SynVerdict::SynAckAgain));
    let third = half.third_ack();
    let mut t = half.open(&third, &[]);
    t.send(b"text");
    assert_eq!(t.sent_one().ecn, NOT_ECT);
}

#[test]
fn syns_that_cross_agree() {
    let setup = with(EcnMode::On);
    let mut t = setup.clone().connecting();
    t.sent_one();
    let header = syn_with(&setup, ECE | CWR);
    t.handle(&Segment {
        header,
        payload: &[],
    });
    assert_eq!(flags(&t.sent_one()), ECE);
    recv!(
        t,
        Seg {
            seq: 0,
            flags: SYN_ACK | ECE,
            ..ACK
        }
    );
    t.poll();
    t.outbox.clear();
    assert_eq!(t.counters().ecn_reductions, 0, "this ECE is no echo");
    t.send(b"text");
    assert_eq!(t.sent_one().ecn, ECT_0);
}

/// Sections 6.1.4, 6.1.5 and 6.1.6.
#[test]
fn only_new_text_is_marked_as_capable() {
    let mut t = capable();
    recv!(
        t,
        Seg {
            text: b"hello",
            ..ACK
        }
    );
    advance!(t, 40 ms);
    assert_eq!(t.sent_one().ecn, NOT_ECT, "an acknowledgment");
    t.send(b"text");
    assert_eq!(t.sent_one().ecn, ECT_0);
    advance!(t, 1 s);
    for again in t.sent() {
        assert_eq!((again.seq, again.ecn), (1, NOT_ECT), "a retransmission");
    }
    recv!(
        t,
        Seg {
            seq: 6,
            ack: 5,
            window: Some(0),
            ..ACK
        }
    );
    t.send(b"more");
    advance!(t, 5 s);
    let probes = t.sent();
    assert!(!probes.is_empty());
    assert!(probes.iter().all(|probe| probe.ecn == NOT_ECT));
}

/// Section 6.1.3.
#[test]
fn a_mark_is_echoed_until_the_peer_has_reduced_its_window() {
    let mut t = capable();
    t.ecn = CE;
    let text = |seq, flags| Seg {
        seq,
        flags: Flags::ACK | flags,
        text: b"0123456789",
        ..ACK
    };
    recv!(t, text(1, Flags(0)));
    advance!(t, 40 ms);
    assert_eq!(flags(&t.sent_one()), ECE);
    t.ecn = ECT_0;
    recv!(t, text(11, Flags(0)));
    advance!(t, 40 ms);
    assert_eq!(flags(&t.sent_one()), ECE, "still");
    t.send(b"text");
    assert_eq!(flags(&t.sent_one()), ECE, "text acknowledges, too");
    recv!(t, text(21, CWR));
    advance!(t, 40 ms);
    assert!(t.sent().iter().all(|sent| flags(sent) == Flags(0)));
    // A mark on the segment with CWR is a new one.
    t.ecn = CE;
    recv!(t, text(31, CWR));
    advance!(t, 40 ms);
    assert_eq!(flags(&t.sent()[0]), ECE);
    assert_eq!(t.tcb.ce_packets(), 2);
    assert_eq!(t.counters().ecn_ce_packets, 2);
    assert_eq!(t.counters().ecn_ce_octets, 20);
}

/// Section 6.1.5: a forger outside of the window slows nobody.
#[test]
fn a_mark_outside_of_the_window_counts_for_nothing() {
    let mut t = capable();
    recv!(
        t,
        Seg {
            text: b"0123456789",
            ..ACK
        }
    );
    t.ecn = CE;
    recv!(
        t,
        Seg {
            text: b"0123456789",
            ..ACK
        }
    );
    t.poll();
    assert!(t.sent().iter().all(|sent| flags(sent) == Flags(0)));
    assert_eq!(t.counters().ecn_ce_packets, 0);
}

#[test]
fn without_agreement_marks_and_echoes_mean_nothing() {
    let mut t = established();
    t.ecn = CE;
    recv!(
        t,
        Seg {
            text: b"0123456789",
            ..ACK
        }
    );
    advance!(t, 40 ms);
    assert_eq!(flags(&t.sent_one()), Flags(0));
    let cwnd = t.tcb.controller.cwnd();
    t.send(&octets(5_000));
    t.poll();
    recv!(
        t,
        Seg {
            seq: 11,
            ..echo(2_001)
        }
    );
    assert!(t.tcb.controller.cwnd() >= cwnd);
}

/// Section 6.1.2: once per window of data, and CWR on the first new text.
#[test]
fn an_echo_halves_the_window_once_per_window_of_data() {
    let mut t = capable();
    t.send(&octets(30_000));
    assert_eq!(t.sent().len(), 10);
    recv!(t, echo(1_001));
    // CUBIC's half.
    assert_eq!(t.tcb.controller.cwnd(), 7_000);
    assert_eq!(t.counters().ecn_reductions, 1);
    for acked in 2..=10 {
        recv!(t, echo(acked * 1_000 + 1));
    }
    assert_eq!(t.counters().ecn_reductions, 1, "the same window");
    let sent = t.sent();
    assert_eq!(flags(&sent[0]), CWR);
    assert!(sent[1..].iter().all(|sent| flags(sent) == Flags(0)));
    assert_eq!(t.counters().retrans_segs, 0);
    // The next window.
    let cwnd = t.tcb.controller.cwnd();
    recv!(t, echo(11_001));
    assert_eq!(t.counters().ecn_reductions, 2);
    assert!(t.tcb.controller.cwnd() < cwnd);
    t.poll();
}

#[test]
fn a_loss_in_a_window_that_a_mark_has_reduced_reduces_it_no_further() {
    let mut t = capable();
    t.send(&octets(30_000));
    assert_eq!(t.sent().len(), 10);
    recv!(t, echo(1_001));
    let ssthresh = t.tcb.controller.ssthresh();
    for _ in 0..3 {
        recv!(t, echo(1_001));
    }
    assert_eq!(t.sent()[0].seq, 1_001, "sent again nevertheless");
    assert_eq!(t.tcb.controller.ssthresh(), ssthresh);
}

#[test]
fn an_echo_in_a_window_that_a_loss_has_reduced_reduces_it_no_further() {
    let mut t = capable();
    t.send(&octets(30_000));
    assert_eq!(t.sent().len(), 10);
    recv!(t, ack(1_001));
    t.poll();
    for _ in 0..3 {
        recv!(t, ack(1_001));
    }
    let ssthresh = t.tcb.controller.ssthresh();
    assert!(ssthresh < 10_000);
    recv!(t, echo(5_001));
    assert_eq!(t.counters().ecn_reductions, 0);
    assert_eq!(t.tcb.controller.ssthresh(), ssthresh);
    t.outbox.clear();
    t.poll();
}

/// Section 6.1.2: CWR after every reduction, whatever its reason.
#[test]
fn new_text_after_a_timeout_says_that_the_window_was_reduced() {
    let mut t = capable();
    t.send(b"text");
    t.poll();
    t.outbox.clear();
    advance!(t, 1 s);
    assert_eq!(flags(&t.sent()[0]), Flags(0), "a retransmission is not new");
    recv!(t, ack(5));
    t.send(b"text");
    assert_eq!(flags(&t.sent_one()), CWR);
}

/// With SACK; a round trip takes 40 ms. Ten segments are out, and a mark of the first is known.
fn marked(text: &[u8]) -> Host {
    let mut setup = Setup::with_options();
    setup.config.ecn = EcnMode::Passive;
    setup.syn_flags = ECE | CWR;
    setup.syn.timestamps = None;
    setup.syn.mss = Some(1_000);
    let mut t = setup.established();
    t.tcb.rtt = Default::default();
    t.tcb.rtt.on_measurement(t.now, Duration::from_millis(40));
    t.send(text);
    assert_eq!(t.sent().len(), 10);
    advance!(t, 40 ms);
    recv!(t, echo(1_001));
    assert_eq!(windows(&t), (5_000, Some(5_000)));
    t.sent();
    t
}

fn windows(t: &Host) -> (u32, Option<u32>) {
    let info = t.tcb.info(&t.core, t.now);
    (info.cwnd, info.ssthresh)
}

/// Section 6.1.2: nor when it is the reordering timer that finds it.
#[test]
fn a_loss_that_a_timer_finds_in_a_marked_window_reduces_nothing() {
    let mut t = marked(&octets(10_000));
    recv!(
        t,
        Seg {
            ack: 1_001,
            sack: Some(&[(2_001, 3_001)]),
            ..ACK
        }
    );
    assert!(!t.in_recovery());
    advance!(t, 11 ms);
    assert!(t.in_recovery());
    assert_eq!(windows(&t), (5_000, Some(5_000)));
    t.sent();
}

/// Section 6.1.2: what was sent after the reduction, and is lost, is another congestion; also the
/// very first of it.
#[test]
fn the_first_segment_after_a_reduction_may_reduce_again() {
    let mut t = marked(&octets(20_000));
    recv!(t, ack(10_001));
    assert!(t.sent().len() >= 5);
    advance!(t, 40 ms);
    recv!(
        t,
        Seg {
            ack: 10_001,
            sack: Some(&[(11_001, 15_001)]),
            ..ACK
        }
    );
    assert!(t.in_recovery());
    assert!(windows(&t).1 < Some(5_000), "{:?}", windows(&t));
    t.sent();
}

/// A loss in a marked window that was none gives back nothing: the mark stays.
#[test]
fn what_a_mark_has_reduced_is_not_undone() {
    let mut t = marked(&octets(10_000));
    recv!(
        t,
        Seg {
            ack: 1_001,
            sack: Some(&[(2_001, 9_001)]),
            ..ACK
        }
    );
    assert_eq!(t.sent_one().seq, 1_001);
    recv!(t, ack(10_001));
    recv!(
        t,
        Seg {
            ack: 10_001,
            sack: Some(&[(1_001, 2_001)]),
            ..ACK
        }
    );
    assert_eq!(t.counters().dsack_undos, 1);
    assert_eq!(windows(&t).1, Some(5_000));
    assert!(windows(&t).0 < 10_000);
}

/// Nor by reports about a recovery before it.
#[test]
fn what_a_mark_reduces_after_a_recovery_is_not_undone() {
    let mut t = marked(&octets(20_000));
    recv!(t, ack(10_001));
    t.sent();
    advance!(t, 40 ms);
    let end = t.tcb.snd.nxt.since(t.tcb.snd.iss);
    recv!(
        t,
        Seg {
            ack: 10_001,
            sack: Some(&[(11_001, end)]),
            ..ACK
        }
    );
    assert_eq!(t.sent()[0].seq, 10_001);
    advance!(t, 40 ms);
    recv!(t, ack(end + 1_000));
    t.sent();
    advance!(t, 40 ms);
    let reduced = windows(&t);
    recv!(t, echo(end + 2_000));
    assert_eq!(t.counters().ecn_reductions, 2);
    recv!(
        t,
        Seg {
            ack: end + 2_000,
            sack: Some(&[(10_001, 11_001)]),
            ..ACK
        }
    );
    assert_eq!(t.counters().dsack_undos, 0);
    assert!(windows(&t).0 <= reduced.0);
    t.sent();
}

/// However much is sent between two marks: sequence numbers wrap.
#[test]
fn a_mark_is_obeyed_after_two_gigabytes_without_one() {
    let mut t = capable();
    let long_ago = t.tcb.snd.una - ((1 << 31) - 50_000);
    t.tcb.ecn.set_reduced(long_ago);
    for i in 1..=10 {
        t.send(&octets(10_000));
        t.sent();
        recv!(t, ack(1 + i * 10_000));
    }
    t.send(&octets(10_000));
    t.sent();
    recv!(t, echo(101_001));
    assert_eq!(t.counters().ecn_reductions, 1);
    t.sent();
}

/// What `ss` says: acknowledgments that echo a mark count for all that they deliver, as in Linux.
#[test]
fn what_is_delivered_with_an_echo_is_counted() {
    let mut t = capable();
    let delivered = |t: &Host| {
        let info = t.tcb.info(&t.core, t.now);
        (info.delivered, info.delivered_ce)
    };
    assert_eq!(delivered(&t), (None, None));
    t.send(&octets(30_000));
    t.sent();
    recv!(t, ack(2_001));
    assert_eq!(delivered(&t), (Some(2_000), Some(0)));
    recv!(t, echo(5_001));
    recv!(t, echo(6_001));
    recv!(t, ack(8_001));
    assert_eq!(delivered(&t), (Some(8_000), Some(4_000)));
}
