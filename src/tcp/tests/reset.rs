//! Blind attacks (RFC 5961): resets, SYNs and acknowledgments that may be forged.

use super::*;

const RST: Seg<'static> = Seg {
    flags: Flags::RST,
    ack: 0,
    ..ACK
};

#[test]
fn a_reset_exactly_at_rcv_nxt_resets() {
    let mut t = established();
    recv!(t, RST);
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::Reset);
    t.happened(Events::CLOSED);
    sent_nothing!(t);
    assert_eq!(t.counters().established_resets, 1);
}

#[test]
fn a_reset_elsewhere_in_the_window_is_challenged() {
    let mut t = established();
    recv!(t, Seg { seq: 2, ..RST });
    assert_eq!(t.state(), State::Established);
    sent!(t, [ACK]);
    assert_eq!(t.counters().rst_challenged, 1);
}

#[test]
fn a_reset_outside_the_window_is_ignored() {
    for seq in [0, 0x8000_0000] {
        let mut t = established();
        recv!(t, Seg { seq, ..RST });
        assert_eq!(t.state(), State::Established);
        sent_nothing!(t);
    }
}

#[test]
fn a_reset_in_every_later_state_ends_it() {
    let close_wait = |t: &mut Host| recv!(t, Seg { flags: FIN, ..ACK });
    let fin_wait_1 = |t: &mut Host| t.close();
    #[expect(clippy::type_complexity, reason = "a table of paths")]
    let paths: [(State, &dyn Fn(&mut Host), CloseReason); 6] = [
        (State::CloseWait, &close_wait, CloseReason::Reset),
        (State::FinWait1, &fin_wait_1, CloseReason::Reset),
        (
            State::FinWait2,
            &|t| {
                fin_wait_1(t);
                t.sent();
                recv!(t, Seg { ack: 2, ..ACK });
            },
            CloseReason::Reset,
        ),
        (
            State::Closing,
            &|t| {
                fin_wait_1(t);
                t.sent();
                close_wait(t);
            },
            CloseReason::Finished,
        ),
        (
            State::LastAck,
            &|t| {
                close_wait(t);
                t.close();
            },
            CloseReason::Finished,
        ),
        (State::Established, &|_| {}, CloseReason::Reset),
    ];
    for (state, path, reason) in paths {
        let mut t = established();
        path(&mut t);
        t.sent();
        assert_eq!(t.state(), state);
        let seq = t.tcb.rcv.nxt.since(t.tcb.rcv.irs);
        recv!(t, Seg { seq, ..RST });
        assert_eq!(t.state(), State::Closed, "{state}");
        assert_eq!(t.tcb.close_reason(), reason, "{state}");
        assert_eq!(t.tcb.next_deadline(), None, "{state}");
        sent_nothing!(t);
    }
}

#[test]
fn a_syn_is_challenged_wherever_it_is() {
    for seq in [1, 500, 0x8000_0000] {
        let mut t = established();
        recv!(
            t,
            Seg {
                seq,
                flags: Flags::SYN,
                ..ACK
            }
        );
        assert_eq!(t.state(), State::Established);
        sent!(t, [ACK]);
    }
}

/// Section 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
#[test]
fn acknowledgments_outside_their_range_are_challenged() {
    for (ack, fine) in [
        (1_001, true),
        (1_002, false),
        (1, true),
        (1u32.wrapping_sub(0xffff), true),
        (0u32.wrapping_sub(0xffff), false),
        (0x8000_0000, false),
    ] {
        let mut t = established();
        t.send(&octets(1_000));
        t.sent_one();
        recv!(
            t,
            Seg {
                ack,
                text: b"abc",
                ..ACK
            }
        );
        assert_eq!(t.received.is_empty(), !fine, "{ack:#x}");
        assert_eq!(t.counters().ack_rejected, u64::from(!fine), "{ack:#x}");
        if !fine {
            sent!(t, [Seg { seq: 1_001, ..ACK }]);
        }
        t.sent();
    }
}

/// Section 7, for the whole core; and text elsewhere, of which one peer may send any amount, must
/// not use up what others need.
#[test]
fn challenges_are_limited_and_counted() {
    let mut t = Setup {
        config: Config {
            challenge_acks_per_second: 1,
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    for _ in 0..50 {
        recv!(
            t,
            Seg {
                seq: 0x7000_0000,
                text: b"abc",
                ..ACK
            }
        );
    }
    assert_eq!(t.sent().len(), 50);
    assert_eq!(t.counters().challenge_acks, 0);
    for granted in [1, 0, 1] {
        for _ in 0..5 {
            recv!(
                t,
                Seg {
                    seq: 100,
                    flags: Flags::RST,
                    ..ACK
                }
            );
        }
        assert_eq!(t.sent().len(), granted);
        advance!(t, 500 ms);
    }
    assert_eq!(t.counters().challenge_acks, 2);
    assert_eq!(t.counters().challenge_acks_suppressed, 13);
}

/// Two ends that each take the other's numbers for wrong answer each acknowledgment with one.
#[test]
fn two_confused_peers_fall_silent() {
    let mut t = established();
    let confused = Seg {
        seq: 0x7000_0000,
        ..ACK
    };
    let mut answers = 0;
    for _ in 0..100 {
        recv!(t, confused);
        answers += t.sent().len();
        advance!(t, 10 ms);
    }
    assert_eq!(answers, 2, "in one second");
    assert_eq!(t.counters().challenge_acks_suppressed, 98);
}
