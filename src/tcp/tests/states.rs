//! A segment arrives or the application calls, in each synchronized state (RFC 9293 sections 3.10.2
//! to 3.10.5 and 3.10.7.4).

use super::*;

/// Those in which a [`Tcb`] is synchronized and still alive; TIME-WAIT is [`TimeWait`]'s.
pub(super) const SYNCHRONIZED: [State; 6] = [
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
];

/// A connection that has come to `state` by the shortest way; what it sent on that is forgotten.
pub(super) fn in_state(state: State) -> Host {
    let mut t = established();
    let fin = Seg { flags: FIN, ..ACK };
    match state {
        State::Established => {}
        State::FinWait1 => t.shutdown(),
        State::FinWait2 => {
            t.shutdown();
            t.sent();
            recv!(t, Seg { ack: 2, ..ACK });
        }
        State::CloseWait => recv!(t, fin),
        State::Closing => {
            t.shutdown();
            t.sent();
            recv!(t, fin);
        }
        State::LastAck => {
            recv!(t, fin);
            t.shutdown();
        }
        _ => panic!("{state} is not one of them"),
    }
    t.sent();
    assert_eq!(t.state(), state);
    t.events = Events::NONE;
    t
}

/// What we have sent counts to here, in numbers of the tests; and what the peer has.
fn numbers(t: &Host) -> (u32, u32) {
    (
        t.tcb.snd.nxt.since(t.tcb.snd.iss),
        t.tcb.rcv.nxt.since(t.tcb.rcv.irs),
    )
}

/// The segment that says where we are: `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`.
fn where_we_are(t: &Host) -> Seg<'static> {
    let (seq, ack) = numbers(t);
    Seg { seq, ack, ..ACK }
}

/// First check.
#[test]
fn an_unacceptable_segment_is_told_where_we_are() {
    for state in SYNCHRONIZED {
        for flags in [Flags::ACK, FIN] {
            let mut t = in_state(state);
            let (ours, theirs) = numbers(&t);
            recv!(
                t,
                Seg {
                    seq: theirs.wrapping_sub(100),
                    ack: ours,
                    flags,
                    ..ACK
                }
            );
            assert_eq!(t.state(), state, "its acknowledgment does not count");
            let answer = where_we_are(&t);
            sent!(t, [answer]);
        }
    }
}

#[test]
fn an_unacceptable_reset_is_not_answered() {
    for state in SYNCHRONIZED {
        let mut t = in_state(state);
        let (ours, theirs) = numbers(&t);
        for seq in [theirs - 1, theirs.wrapping_add(0x7000_0000)] {
            recv!(
                t,
                Seg {
                    seq,
                    ack: ours,
                    flags: RST_ACK,
                    ..ACK
                }
            );
            assert_eq!(t.state(), state);
            sent_nothing!(t);
        }
    }
}

/// Second check, and SHLD-2: what a reset says in its text is nobody's.
#[test]
fn a_reset_with_text_resets_and_delivers_nothing() {
    for state in SYNCHRONIZED {
        let mut t = in_state(state);
        let (ours, theirs) = numbers(&t);
        recv!(
            t,
            Seg {
                seq: theirs,
                ack: ours,
                flags: RST_ACK,
                text: b"out of memory",
                ..ACK
            }
        );
        assert_eq!(t.state(), State::Closed, "{state}");
        assert!(t.received.is_empty(), "{state}");
        t.happened(Events::CLOSED);
        sent_nothing!(t);
    }
}

/// Fourth check, as RFC 5961 section 4.2 has it: a SYN never ends a synchronized connection, and
/// the answer makes a peer that has crashed reset it.
#[test]
fn a_syn_is_told_where_we_are() {
    for state in SYNCHRONIZED {
        for far in [0, 1, 0x8000_0000] {
            for flags in [Flags::SYN, SYN_ACK] {
                let mut t = in_state(state);
                let (ours, theirs) = numbers(&t);
                recv!(
                    t,
                    Seg {
                        seq: theirs.wrapping_add(far),
                        ack: ours,
                        flags,
                        ..ACK
                    }
                );
                assert_eq!(t.state(), state);
                let answer = where_we_are(&t);
                sent!(t, [answer]);
            }
        }
    }
}

/// Fifth check: without the ACK bit the segment is dropped, whatever else it says.
#[test]
fn a_segment_without_acknowledgment_is_dropped() {
    for state in SYNCHRONIZED {
        for flags in [Flags(0), Flags::FIN, Flags::PSH] {
            let mut t = in_state(state);
            let (_, theirs) = numbers(&t);
            recv!(
                t,
                Seg {
                    seq: theirs,
                    flags,
                    text: b"abc",
                    ..ACK
                }
            );
            assert_eq!(t.state(), state);
            assert!(t.received.is_empty());
            sent_nothing!(t);
        }
    }
}

#[test]
fn an_acknowledgment_of_what_was_never_sent_is_told_where_we_are() {
    for state in SYNCHRONIZED {
        let mut t = in_state(state);
        let (ours, theirs) = numbers(&t);
        recv!(
            t,
            Seg {
                seq: theirs,
                ack: ours + 1,
                text: b"abc",
                ..ACK
            }
        );
        assert_eq!(t.state(), state);
        assert!(t.received.is_empty());
        let answer = where_we_are(&t);
        sent!(t, [answer]);
    }
}

/// An acknowledgment that is older than SND.UNA says nothing, but its segment's text counts.
#[test]
fn an_old_acknowledgment_is_ignored_and_its_text_is_not() {
    let mut t = established();
    t.send(&octets(500));
    t.sent();
    recv!(t, Seg { ack: 501, ..ACK });
    recv!(
        t,
        Seg {
            ack: 200,
            text: b"abc",
            ..ACK
        }
    );
    assert_eq!(t.received, b"abc");
    assert_eq!(t.tcb.snd.una.since(t.tcb.snd.iss), 501);
    assert_eq!(t.counters().ack_rejected, 0);
}

/// What each state makes of the acknowledgment of our FIN.
#[test]
fn the_acknowledgment_of_our_fin_moves_on_where_it_is_awaited() {
    for (state, next) in [
        (State::FinWait1, State::FinWait2),
        (State::Closing, State::TimeWait),
        (State::LastAck, State::Closed),
    ] {
        let mut t = in_state(state);
        let (ours, theirs) = numbers(&t);
        let ack = |ack| Seg {
            seq: theirs,
            ack,
            ..ACK
        };
        recv!(t, ack(ours - 1));
        assert_eq!(t.state(), state, "not yet");
        recv!(t, ack(ours));
        assert_eq!(t.state(), next);
        sent_nothing!(t);
        assert_eq!(t.tcb.next_deadline(), None);
    }
}

/// Seventh check: where text is expected, and where the peer has said that there is no more.
#[test]
fn text_counts_until_the_peers_fin() {
    for state in SYNCHRONIZED {
        let mut t = in_state(state);
        let (ours, theirs) = numbers(&t);
        recv!(
            t,
            Seg {
                seq: theirs,
                ack: ours,
                text: b"abc",
                ..ACK
            }
        );
        let expected: &[u8] = if state.may_receive() { b"abc" } else { b"" };
        assert_eq!(t.received, expected, "{state}");
        t.sent();
    }
}

/// Eighth check.
#[test]
fn a_fin_moves_on_and_is_acknowledged() {
    for (state, acked, next) in [
        (State::Established, true, State::CloseWait),
        (State::FinWait1, false, State::Closing),
        (State::FinWait1, true, State::TimeWait),
        (State::FinWait2, true, State::TimeWait),
    ] {
        let mut t = in_state(state);
        let (ours, theirs) = numbers(&t);
        recv!(
            t,
            Seg {
                seq: theirs,
                ack: if acked { ours } else { ours - 1 },
                flags: FIN,
                ..ACK
            }
        );
        assert_eq!(t.state(), next, "{state}");
        assert!(t.tcb.is_peer_closed());
        sent!(
            t,
            [Seg {
                seq: ours,
                ack: theirs + 1,
                ..ACK
            }]
        );
    }
}

#[test]
fn a_fin_that_comes_again_changes_nothing() {
    for state in [State::CloseWait, State::Closing, State::LastAck] {
        let mut t = in_state(state);
        let (_, theirs) = numbers(&t);
        recv!(
            t,
            Seg {
                seq: theirs - 1,
                flags: FIN,
                ..ACK
            }
        );
        assert_eq!(t.state(), state);
        let answer = where_we_are(&t);
        sent!(t, [answer]);
    }
}

/// Section 3.10.2 (SEND): an error where the application has said that there is no more.
#[test]
fn after_close_nothing_more_can_be_sent() {
    for state in SYNCHRONIZED {
        let mut t = in_state(state);
        let sent = t.with(|tcb, cx| tcb.send(cx, b"more"));
        assert_eq!(sent, if state.may_send() { 4 } else { 0 }, "{state}");
        t.sent();
    }
}

/// Section 3.10.4 (CLOSE): once.
#[test]
fn close_sends_one_fin() {
    for state in SYNCHRONIZED {
        let mut t = in_state(state);
        let (ours, theirs) = numbers(&t);
        t.shutdown();
        t.shutdown();
        if state.may_send() {
            sent!(
                t,
                [Seg {
                    seq: ours,
                    ack: theirs,
                    flags: FIN,
                    ..ACK
                }]
            );
        } else {
            sent_nothing!(t);
            assert_eq!(t.state(), state);
        }
    }
}

/// Section 3.10.5 (ABORT): `<SEQ=SND.NXT><CTL=RST>`. In CLOSING and LAST-ACK the RFC says nothing to
/// the peer, which would then wait for an acknowledgment that never comes.
#[test]
fn abort_resets_in_every_state() {
    for state in SYNCHRONIZED {
        let mut t = in_state(state);
        let (seq, ack) = numbers(&t);
        t.abort();
        assert_eq!(t.state(), State::Closed);
        assert_eq!(t.tcb.close_reason(), CloseReason::Aborted);
        sent!(
            t,
            [Seg {
                seq,
                ack,
                flags: RST_ACK,
                ..ACK
            }]
        );
        assert!(t.tcb.is_done());
        assert_eq!(t.tcb.next_deadline(), None);
    }
}

#[test]
fn abort_throws_away_what_is_queued() {
    for state in [State::Established, State::CloseWait] {
        let mut t = in_state(state);
        t.send(&octets(50_000));
        t.sent();
        t.abort();
        assert_eq!(t.sent_one().header.flags, RST_ACK);
        assert!(t.core.is_empty());
    }
}

/// Section 3.10.3 (RECEIVE): what came before the peer's FIN is still there in CLOSE-WAIT, and then
/// there is no more.
#[test]
fn in_close_wait_the_rest_can_be_received() {
    let mut t = established();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: b"the rest",
            flags: FIN,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::CloseWait);
    assert_eq!(t.read(usize::MAX), 8);
    assert!(t.tcb.is_peer_closed());
    assert_eq!(t.read(usize::MAX), 0);
    t.sent();
}

/// Section 3.10.4: what was given to SEND goes before the FIN, also when it has to wait.
#[test]
fn close_sends_what_is_queued_first() {
    let mut t = in_state(State::CloseWait);
    recv!(
        t,
        Seg {
            seq: 2,
            window: Some(1_500),
            ..ACK
        }
    );
    t.peer_window = 1_500;
    let text = octets(4_000);
    t.send(&text);
    t.shutdown();
    assert_eq!(t.state(), State::LastAck);
    let mut arrived = Vec::new();
    let mut fins = 0;
    while fins == 0 {
        for sent in t.sent() {
            assert_eq!(sent.seq as usize, 1 + arrived.len());
            arrived.extend_from_slice(&sent.text);
            fins += u32::from(sent.header.flags.contains(Flags::FIN));
        }
        let ack = 1 + arrived.len() as u32;
        recv!(t, Seg { seq: 2, ack, ..ACK });
    }
    assert_eq!(arrived, text);
    recv!(
        t,
        Seg {
            seq: 2,
            ack: 4_002,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::Finished);
}

/// SND.WND changes only by a segment that is newer: SND.WL1 < SEG.SEQ, or the same and
/// SND.WL2 =< SEG.ACK.
#[test]
fn the_send_window_is_taken_from_the_newest_segment() {
    let window = |t: &Host| t.tcb.info(&t.core, t.now).snd_wnd;
    let mut t = established();
    t.send(&octets(2_000));
    t.sent();
    recv!(
        t,
        Seg {
            ack: 1_001,
            window: Some(5_000),
            ..ACK
        }
    );
    assert_eq!(window(&t), 5_000, "a newer acknowledgment");
    recv!(
        t,
        Seg {
            ack: 501,
            window: Some(100),
            ..ACK
        }
    );
    assert_eq!(window(&t), 5_000, "an older acknowledgment");
    recv!(
        t,
        Seg {
            ack: 1_001,
            window: Some(6_000),
            ..ACK
        }
    );
    assert_eq!(window(&t), 6_000, "the same once more");
    recv!(
        t,
        Seg {
            text: b"x",
            ack: 1_001,
            window: Some(7_000),
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            seq: 2,
            ack: 1_001,
            window: Some(8_000),
            ..ACK
        }
    );
    assert_eq!(window(&t), 8_000, "a newer sequence number");
    recv!(
        t,
        Seg {
            ack: 2_001,
            text: b"x",
            window: Some(100),
            ..ACK
        }
    );
    assert_eq!(window(&t), 8_000, "a duplicate");
    recv!(
        t,
        Seg {
            ack: 2_001,
            text: b"xyz",
            window: Some(100),
            ..ACK
        }
    );
    assert_eq!(window(&t), 8_000, "an old sequence number with new text");
    assert_eq!(t.received, b"xyz");
    t.sent();
}
