//! Half-open connections and other anomalies (RFC 9293 sections 3.5.1 to 3.5.3, figures 8 to 11).

use super::*;

fn reset_for_it(t: &Host, seg: Seg<'_>) -> Option<Header> {
    reset_for(&Segment {
        header: t.header(&seg),
        payload: seg.text,
    })
}

/// Figure 8, TCP peer B: an old SYN is answered like any other, and the reset that its supposed
/// sender answers with ends the attempt; the listener goes on (MUST-11).
#[test]
fn an_old_duplicate_syn_ends_in_listen() {
    let mut half = Setup {
        irs: 90,
        ..Setup::default()
    }
    .half_open();
    assert_eq!(half.syn_ack.ack, 91);
    let reset = Header {
        seq: half.syn_ack.ack,
        flags: Flags::RST,
        ..Header::default()
    };
    assert!(matches!(half.handle(&reset), SynVerdict::Gone));
    half.listener.forget();
    assert_eq!(half.listener.half_open(), 0);
    assert_eq!(half.core.counters.attempt_fails, 1);
    // Line 6: the true SYN.
    let mut setup = half.setup;
    setup.irs = 100;
    assert_eq!(setup.established().state(), State::Established);
}

/// Figure 8, TCP peer A: the answer to an old SYN of ours acknowledges the wrong number, is reset
/// with that number, and the attempt goes on.
#[test]
fn an_answer_to_an_old_syn_of_ours_is_reset() {
    let mut t = Setup::default().connecting();
    t.sent_one();
    let old = Seg {
        seq: 300,
        ack: 91u32.wrapping_sub(100),
        flags: SYN_ACK,
        ..ACK
    };
    recv!(t, old);
    t.happened(Events::RESET_SENDER);
    assert_eq!(t.state(), State::SynSent);
    let reset = reset_for_it(&t, old).expect("it is no reset itself");
    assert_eq!(
        (reset.seq, reset.flags),
        (t.header(&old).ack, Flags::RST),
        "believable to a peer in SYN-RECEIVED"
    );
    recv!(
        t,
        Seg {
            seq: 0,
            flags: SYN_ACK,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Established);
    sent!(t, [ACK]);
}

/// Figure 9, TCP peer B: the peer has crashed and opens anew. It is told where we are, resets what it
/// does not know, and its next SYN is free.
#[test]
fn a_peer_that_has_crashed_finds_us_half_open() {
    let mut t = established();
    t.send(&octets(299));
    t.sent_one();
    recv!(t, Seg { ack: 300, ..ACK });
    recv!(
        t,
        Seg {
            seq: 400,
            flags: Flags::SYN,
            ..ACK
        }
    );
    sent!(t, [Seg { seq: 300, ..ACK }]);
    // Its reset has the number that we acknowledge.
    recv!(
        t,
        Seg {
            seq: 1,
            flags: Flags::RST,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::Reset);
    t.happened(Events::CLOSED);
    sent_nothing!(t);
}

/// Figure 9, TCP peer A: it is we who have crashed. The old connection's acknowledgment is reset, our
/// SYN comes again, and opens.
#[test]
fn after_a_crash_of_ours_the_peer_is_reset_and_the_syn_comes_again() {
    let mut t = Setup::default().connecting();
    t.sent_one();
    let strange = Seg {
        seq: 300,
        ack: 100,
        ..ACK
    };
    recv!(t, strange);
    t.happened(Events::RESET_SENDER);
    let reset = reset_for_it(&t, strange).expect("a reset");
    assert_eq!(reset.seq, t.header(&strange).ack);
    advance!(t, 1 s);
    assert_eq!(t.sent_one().header.flags, Flags::SYN);
    recv!(
        t,
        Seg {
            seq: 0,
            flags: SYN_ACK,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Established);
    t.sent();
}

/// Figure 10: the peer has crashed, and we are the one that sends.
#[test]
fn text_for_a_peer_that_has_crashed_is_reset() {
    let mut t = established();
    t.send(b"anyone?");
    let text = t.sent_one();
    // What a peer without the connection answers: our acknowledgment number, as a reset.
    recv!(
        t,
        Seg {
            seq: text.ack,
            flags: Flags::RST,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Closed);
    t.happened(Events::CLOSED);
    assert!(t.core.is_empty(), "the text is given up");
}

/// Section 3.5.2, group 1: without a connection everything but a reset is reset, at a number that
/// the sender believes.
#[test]
fn without_a_connection_everything_but_a_reset_is_reset() {
    let header = |flags: Flags| Header {
        seq: 1_000,
        ack: 2_000,
        flags,
        ..Header::default()
    };
    for flags in (0..64).map(Flags) {
        let segment = Segment {
            header: header(flags),
            payload: b"abc",
        };
        let len = 3 + u32::from(flags.contains(Flags::SYN)) + u32::from(flags.contains(Flags::FIN));
        match reset_for(&segment) {
            None => assert!(flags.contains(Flags::RST), "{flags:?}"),
            Some(reset) if flags.contains(Flags::ACK) => {
                assert_eq!((reset.seq, reset.flags), (2_000, Flags::RST), "{flags:?}");
            }
            Some(reset) => {
                assert_eq!(
                    (reset.seq, reset.ack, reset.flags),
                    (0, 1_000 + len, RST_ACK),
                    "{flags:?}"
                );
            }
        }
    }
}

/// Section 3.5.3: a reset in SYN-RECEIVED ends an active open as refused (MUST-11), a passive one
/// goes back to the listener without a word to the application.
#[test]
fn a_reset_in_syn_received_depends_on_who_opened() {
    let mut t = Setup::default().connecting();
    t.sent_one();
    recv!(
        t,
        Seg {
            seq: 0,
            flags: Flags::SYN,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::SynReceived);
    t.sent();
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

    let mut half = Setup::default().half_open();
    let reset = Header {
        seq: 5_001,
        ack: half.syn_ack.seq.wrapping_add(1),
        flags: RST_ACK,
        ..Header::default()
    };
    assert!(matches!(half.handle(&reset), SynVerdict::Gone));
}

/// Section 3.5.2, group 2: in the half-open states an acknowledgment of what was never sent is reset
/// and the attempt goes on, as often as it comes.
#[test]
fn a_bad_acknowledgment_does_not_end_an_attempt() {
    let mut t = Setup::default().connecting();
    t.sent_one();
    recv!(
        t,
        Seg {
            seq: 0,
            flags: Flags::SYN,
            ..ACK
        }
    );
    t.sent();
    for ack in [0, 2, 0x8000_0000] {
        recv!(t, Seg { ack, ..ACK });
        t.happened(Events::RESET_SENDER);
        assert_eq!(t.state(), State::SynReceived);
        sent_nothing!(t);
    }
    recv!(t, ACK);
    assert_eq!(t.state(), State::Established);
}
