//! Blind attacks (RFC 5961): what an attacker who sees nothing gets for a guess in the window.

use super::*;

const WINDOW: u32 = 10_000;

fn with_window() -> Host {
    Setup {
        config: Config {
            options: SocketOptions {
                receive_buffer: BufferLimit::Fixed(WINDOW),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
    .established()
}

/// Section 3.2: at RCV.NXT it resets, elsewhere in the window it is challenged, outside it is
/// dropped.
#[test]
fn a_reset_is_believed_at_one_number_of_the_window() {
    for (seq, closed, answers) in [
        (1, true, 0),
        (2, false, 1),
        (WINDOW / 2, false, 1),
        (WINDOW, false, 1),
        (0, false, 0),
        (WINDOW + 2, false, 0),
        (0x8000_0001, false, 0),
    ] {
        let mut t = with_window();
        recv!(
            t,
            Seg {
                seq,
                flags: Flags::RST,
                ..ACK
            }
        );
        assert_eq!(t.state() == State::Closed, closed, "{seq}");
        assert_eq!(t.sent().len(), answers, "{seq}");
    }
}

/// The challenge gives nothing away and changes nothing: the connection goes on.
#[test]
fn after_a_challenge_everything_is_as_before() {
    let mut t = established();
    t.send(&octets(1_000));
    t.sent_one();
    let due = t.tcb.next_deadline();
    recv!(
        t,
        Seg {
            seq: 77,
            flags: Flags::RST,
            text: b"forged",
            ..ACK
        }
    );
    sent!(t, [Seg { seq: 1_001, ..ACK }]);
    assert_eq!(t.tcb.next_deadline(), due);
    assert_eq!(t.flight(), 1_000);
    recv!(
        t,
        Seg {
            ack: 1_001,
            text: b"true",
            ..ACK
        }
    );
    assert_eq!(t.received, b"true");
    assert_eq!(t.flight(), 0);
    t.sent();
}

/// Section 3.2, the legitimate peer that lost its place: our challenge tells it the number, and the
/// reset with that number counts.
#[test]
fn the_true_peer_resets_in_a_second_step() {
    let mut t = established();
    recv!(
        t,
        Seg {
            seq: 500,
            flags: Flags::RST,
            ..ACK
        }
    );
    let challenge = t.sent_one();
    recv!(
        t,
        Seg {
            seq: challenge.ack,
            flags: Flags::RST,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::Reset);
}

/// RFC 9293 section 3.10.7.4, MUST-66: a window of zero is no shield from a true reset, and no help
/// for a forged one.
#[test]
fn a_closed_window_takes_a_reset() {
    let full = || {
        let mut t = with_window();
        t.application = Application::Keeps;
        recv!(
            t,
            Seg {
                text: &octets(WINDOW as usize),
                ..ACK
            }
        );
        assert_eq!(t.sent_one().header.window, 0);
        t
    };
    let reset = |seq| Seg {
        seq,
        flags: Flags::RST,
        ..ACK
    };
    for seq in [1, WINDOW, WINDOW + 2] {
        let mut t = full();
        recv!(t, reset(seq));
        assert_eq!(t.state(), State::Established, "{seq}");
        sent_nothing!(t);
    }
    let mut t = full();
    recv!(t, reset(WINDOW + 1));
    assert_eq!(t.state(), State::Closed);
}

/// Section 4.2: the text of a forged SYN is not looked at either, and its options change nothing.
#[test]
fn a_forged_syn_leaves_nothing_behind() {
    let mut t = Setup::with_options().established();
    let before = t.tcb.info(&t.core, t.now);
    let header = Header {
        flags: Flags::SYN | Flags::ACK,
        window: 7,
        options: Options {
            mss: Some(100),
            window_scale: Some(14),
            timestamps: Some(Timestamps {
                tsval: 5_000,
                tsecr: 0,
            }),
            ..Options::default()
        },
        ..t.header(&ACK)
    };
    t.handle(&Segment {
        header,
        payload: b"forged",
    });
    sent!(t, [ACK]);
    assert!(t.received.is_empty());
    let after = t.tcb.info(&t.core, t.now);
    assert_eq!(
        (after.mss, after.window_scale, after.snd_wnd),
        (before.mss, before.window_scale, before.snd_wnd)
    );
    assert_eq!(t.tcb.timestamps.expect("in use").recent, 1);
}

/// Section 5.2: an acknowledgment too old by more than the largest window is a guess, whatever it
/// carries: text, a FIN, a window.
#[test]
fn text_with_a_guessed_acknowledgment_is_dropped() {
    let mut t = established();
    t.send(&octets(1_000));
    t.sent_one();
    recv!(t, Seg { ack: 1_001, ..ACK });
    for ack in [1_002, 1_001u32.wrapping_sub(0x1_0000), 0x8000_0000] {
        advance!(t, 1 s);
        recv!(
            t,
            Seg {
                ack,
                flags: FIN,
                text: b"forged",
                window: Some(1),
                ..ACK
            }
        );
        assert_eq!(t.state(), State::Established);
        sent!(t, [Seg { seq: 1_001, ..ACK }]);
    }
    assert!(t.received.is_empty());
    assert_eq!(t.tcb.info(&t.core, t.now).snd_wnd, 0xffff);
    assert_eq!(t.counters().ack_rejected, 3);
}

/// Section 5.2's MAX.SND.WND is the largest window that the peer has ever offered, not the last one.
#[test]
fn the_range_of_old_acknowledgments_is_that_of_the_largest_window() {
    let mut t = established();
    recv!(
        t,
        Seg {
            window: Some(100),
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            ack: 1u32.wrapping_sub(0xffff),
            text: b"abc",
            ..ACK
        }
    );
    assert_eq!(t.received, b"abc");
    assert_eq!(t.counters().ack_rejected, 0);
    t.sent();
}

/// Section 7: the limit is one of the core, so that many connections do not multiply it; and after a
/// second there is more.
#[test]
fn the_limit_of_challenges_is_refilled_with_time() {
    let mut t = Setup {
        config: Config {
            challenge_acks_per_second: 2,
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    let mut granted = 0;
    for _ in 0..40 {
        recv!(
            t,
            Seg {
                seq: 100,
                flags: Flags::SYN,
                ..ACK
            }
        );
        granted += t.sent().len();
        advance!(t, 250 ms);
    }
    // Ten seconds of one to three each, of which one connection gets two.
    assert!((10..=20).contains(&granted), "{granted}");
    assert_eq!(t.counters().challenge_acks, granted as u64);
}
