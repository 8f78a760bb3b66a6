//! Opening (RFC 9293 section 3.5).

use super::*;

const SYN: Seg<'static> = Seg {
    seq: 0,
    ack: 0,
    flags: Flags::SYN,
    ..ACK
};

#[test]
fn passive_open_is_established_by_the_third_segment() {
    let half = Setup::default().half_open();
    assert_eq!(half.syn_ack.flags, SYN_ACK);
    assert_eq!(half.syn_ack.ack, 5_001);
    let ack = half.third_ack();
    let mut t = half.open(&ack, &[]);
    assert_eq!(t.state(), State::Established);
    t.happened(Events::OPENED | Events::ACCEPTED);
    sent_nothing!(t);
    assert_eq!(t.tcb.next_deadline(), None);
    assert_eq!(t.counters().established, 1);
}

#[test]
fn the_third_segment_may_carry_text_and_fin() {
    let half = Setup::default().half_open();
    let mut ack = half.third_ack();
    ack.flags = FIN;
    let mut t = half.open(&ack, b"hello");
    assert_eq!(t.received, b"hello");
    assert_eq!(t.state(), State::CloseWait);
    sent!(t, [Seg { ack: 7, ..ACK }]);
}

#[test]
fn active_open_sends_syn_and_acknowledges_its_answer() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(
        t,
        Seg {
            flags: SYN_ACK,
            ack: 1,
            ..SYN
        }
    );
    assert_eq!(t.state(), State::Established);
    t.happened(Events::OPENED);
    sent!(t, [ACK]);
    t.send(b"request");
    sent!(
        t,
        [Seg {
            text: b"request",
            ..ACK
        }]
    );
}

#[test]
fn the_answer_to_syn_may_carry_text() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(
        t,
        Seg {
            flags: SYN_ACK,
            ack: 1,
            text: b"220 hello",
            ..SYN
        }
    );
    assert_eq!(t.received, b"220 hello");
    sent!(t, [Seg { ack: 10, ..ACK }]);
}

/// RFC 9293 figure 8, as RFC 1122 section 4.2.2.10 mends it.
#[test]
fn simultaneous_open_is_established_by_the_other_syn_ack() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(t, SYN);
    assert_eq!(t.state(), State::SynReceived);
    sent!(
        t,
        [Seg {
            flags: SYN_ACK,
            ack: 1,
            ..SYN
        }]
    );
    recv!(
        t,
        Seg {
            flags: SYN_ACK,
            ack: 1,
            ..SYN
        }
    );
    assert_eq!(t.state(), State::Established);
    t.happened(Events::OPENED);
    sent!(t, [ACK]);
}

#[test]
fn simultaneous_open_is_established_by_a_plain_ack() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(t, SYN);
    assert_eq!(t.sent_one().header.flags, SYN_ACK);
    recv!(t, ACK);
    assert_eq!(t.state(), State::Established);
    sent_nothing!(t);
}

#[test]
fn a_syn_seen_again_gets_the_syn_ack_again() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(t, SYN);
    assert_eq!(t.sent_one().header.flags, SYN_ACK);
    recv!(t, SYN);
    assert_eq!(t.sent_one().header.flags, SYN_ACK);
    assert_eq!(t.state(), State::SynReceived);
}

/// RFC 9293 section 3.10.4, SYN-RECEIVED: the FIN waits for the handshake.
#[test]
fn close_in_syn_received_waits_for_the_handshake() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(t, SYN);
    assert_eq!(t.sent_one().header.flags, SYN_ACK);
    t.shutdown();
    sent_nothing!(t);
    advance!(t, 1100 ms);
    assert_eq!(t.sent_one().header.flags, SYN_ACK, "the SYN is still due");
    recv!(t, ACK);
    assert_eq!(t.state(), State::FinWait1);
    sent!(t, [Seg { flags: FIN, ..ACK }]);
}

/// RFC 9293 section 3.5.1, figure 9: the peer has crashed and does not know us.
#[test]
fn a_wrong_acknowledgment_in_syn_sent_is_to_be_reset() {
    for ack in [0, 2, 0x8000_0000] {
        let mut t = Setup::default().connecting();
        sent!(t, [SYN]);
        recv!(t, Seg { ack, ..ACK });
        t.happened(Events::RESET_SENDER);
        assert_eq!(t.state(), State::SynSent);
        sent_nothing!(t);
    }
}

#[test]
fn a_reset_refuses_only_if_it_acknowledges_our_syn() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(
        t,
        Seg {
            flags: Flags::RST,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::SynSent);
    recv!(
        t,
        Seg {
            flags: RST_ACK,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::Refused);
    t.happened(Events::CLOSED);
    sent_nothing!(t);
    assert!(t.tcb.is_done());
}

#[test]
fn in_syn_sent_nothing_but_syn_and_reset_counts() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(
        t,
        Seg {
            text: b"early",
            ..ACK
        }
    );
    recv!(t, Seg { flags: FIN, ..ACK });
    assert_eq!(t.state(), State::SynSent);
    sent_nothing!(t);
}

#[test]
fn an_unanswered_syn_comes_again_and_is_given_up() {
    let mut t = Setup::default().connecting();
    let mut at = Vec::new();
    let start = t.now;
    while t.state() == State::SynSent {
        for sent in t.sent() {
            assert_eq!(sent.header.flags, Flags::SYN);
            at.push(t.now.saturating_since(start).as_millis());
        }
        t.now = t.tcb.next_deadline().expect("a timer runs");
        let events = t.with(|tcb, cx| tcb.handle_timeout(cx));
        t.events |= events;
    }
    assert_eq!(
        at,
        [0, 1_000, 3_000, 7_000, 15_000, 31_000, 63_000, 123_000]
    );
    let lasted = t.now.saturating_since(start);
    assert!(
        lasted >= Duration::from_secs(180),
        "RFC 9293 section 3.8.3, MUST-23"
    );
    assert_eq!(t.tcb.close_reason(), CloseReason::TimedOut);
    t.happened(Events::CLOSED);
}

#[test]
fn closing_an_unanswered_open_leaves_nothing() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    t.close();
    assert!(t.tcb.is_done());
    sent_nothing!(t);
    assert_eq!(t.counters().attempt_fails, 1);
}

#[test]
fn aborting_in_syn_received_resets() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    recv!(t, SYN);
    t.abort();
    sent!(
        t,
        [Seg {
            flags: RST_ACK,
            ..ACK
        }]
    );
    assert!(t.tcb.is_done());
}

#[test]
fn a_bad_acknowledgment_in_syn_received_is_to_be_reset() {
    for ack in [0, 2] {
        let half = Setup::default().half_open();
        let mut header = half.third_ack();
        header.ack = half.syn_ack.seq.wrapping_add(ack);
        let mut t = half.open(&header, &[]);
        assert_eq!(t.state(), State::SynReceived, "it folds back");
        t.happened(Events::RESET_SENDER);
        sent_nothing!(t);
    }
}

/// Karn's algorithm: the acknowledgment may be of either SYN.
#[test]
fn a_syn_that_was_sent_again_tells_no_round_trip_and_counts_as_a_retransmission() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    advance!(t, 1100 ms);
    assert_eq!(t.sent_one().header.flags, Flags::SYN);
    assert_eq!(t.counters().retrans_segs, 1);
    recv!(
        t,
        Seg {
            flags: SYN_ACK,
            ack: 1,
            ..SYN
        }
    );
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.srtt, None);
    // RFC 6298 rule 5.7.
    assert_eq!(info.rto, Duration::from_secs(3));
    sent!(t, [ACK]);
}

/// Our SYN and our SYN-ACK have the same number: which of them was acknowledged, nobody knows.
#[test]
fn a_simultaneous_open_tells_no_round_trip() {
    let mut t = Setup::default().connecting();
    sent!(t, [SYN]);
    t.now += Duration::from_millis(500);
    recv!(t, SYN);
    assert_eq!(t.sent_one().header.flags, SYN_ACK);
    t.now += Duration::from_millis(20);
    recv!(t, ACK);
    assert_eq!(t.state(), State::Established);
    assert_eq!(t.tcb.info(&t.core, t.now).srtt, None);
}
