//! Receiving text (RFC 9293 section 3.4, table 6, and section 3.10.7.4, seventh check).

use super::*;

const SMALL: u32 = 10_000;

/// A connection that expects octet 1 and has a window of `SMALL` octets.
fn with_small_window() -> Host {
    Setup {
        config: Config {
            options: SocketOptions {
                receive_buffer: BufferLimit::Auto(SMALL),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
    .established()
}

#[test]
fn text_in_order_is_given_to_the_application() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: b"one",
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            seq: 4,
            text: b"two",
            ..ACK
        }
    );
    assert_eq!(t.received, b"onetwo");
    sent_nothing!(t);
    advance!(t, 40 ms);
    sent!(t, [Seg { ack: 7, ..ACK }]);
}

/// All four rows, with a window and without text, at and around both edges. Row 2 also takes an
/// acknowledgment right at the window's end: the peer has sent all that we allow, and some of it
/// is still on its way.
#[test]
fn acceptability_is_table_6() {
    let text = octets(20);
    for (seq, len, acceptable) in [
        (0, 0, false),
        (1, 0, true),
        (SMALL, 0, true),
        (SMALL + 1, 0, true),
        (SMALL + 2, 0, false),
        (1u32.wrapping_sub(10), 10, false),
        (1u32.wrapping_sub(10), 11, true),
        (1, 10, true),
        (SMALL, 10, true),
        (SMALL + 1, 10, false),
        (0x8000_0000, 10, false),
    ] {
        let mut t = with_small_window();
        t.send(b"x");
        t.sent_one();
        recv!(
            t,
            Seg {
                seq,
                ack: 2,
                text: &text[..len],
                ..ACK
            }
        );
        let acknowledged = t.flight() == 0;
        assert_eq!(acknowledged, acceptable, "seq {seq} len {len}");
        if !acceptable {
            sent!(t, [Seg { seq: 2, ..ACK }]);
            assert!(t.received.is_empty());
        }
    }
}

#[test]
fn text_that_covers_the_whole_window_is_cut_on_both_sides() {
    let mut t = with_small_window();
    let text = octets(SMALL as usize + 100);
    recv!(
        t,
        Seg {
            seq: 1u32.wrapping_sub(50),
            text: &text,
            ..ACK
        }
    );
    assert_eq!(t.received, text[50..SMALL as usize + 50]);
}

/// RFC 9293 section 3.10.7.4, rows 1 and 3: with no window, acknowledgments still count, and text
/// is answered (section 3.8.6.1, the receiver of a probe).
#[test]
fn a_closed_window_takes_acknowledgments_and_answers_probes() {
    let mut t = with_small_window();
    t.application = Application::Keeps;
    let text = octets(SMALL as usize);
    recv!(t, Seg { text: &text, ..ACK });
    sent!(
        t,
        [Seg {
            ack: SMALL + 1,
            window: Some(0),
            ..ACK
        }]
    );
    t.send(b"answer");
    t.sent_one();
    let probe = Seg {
        seq: SMALL + 1,
        ack: 7,
        ..ACK
    };
    recv!(t, probe);
    assert_eq!(t.flight(), 0, "the acknowledgment counts");
    sent_nothing!(t);
    recv!(
        t,
        Seg {
            text: b"?",
            ..probe
        }
    );
    sent!(
        t,
        [Seg {
            seq: 7,
            ack: SMALL + 1,
            window: Some(0),
            ..ACK
        }]
    );
    // As Linux probes: an octet that is known already, or none, before the window.
    for text in [&b"?"[..], b""] {
        recv!(
            t,
            Seg {
                seq: SMALL,
                text,
                ..probe
            }
        );
        sent!(
            t,
            [Seg {
                seq: 7,
                ack: SMALL + 1,
                ..ACK
            }]
        );
    }
    assert_eq!(t.read(usize::MAX), SMALL as usize);
}

#[test]
fn text_beyond_the_window_is_cut_and_answered() {
    let mut t = with_small_window();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: &octets(SMALL as usize + 1),
            ..ACK
        }
    );
    sent!(
        t,
        [Seg {
            ack: SMALL + 1,
            window: Some(0),
            ..ACK
        }]
    );
}

/// The FIN takes a sequence number, but no room.
#[test]
fn a_fin_right_behind_a_full_window_is_taken() {
    let mut t = with_small_window();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            flags: FIN,
            text: &octets(SMALL as usize),
            ..ACK
        }
    );
    assert_eq!(t.state(), State::CloseWait);
    sent!(
        t,
        [Seg {
            ack: SMALL + 2,
            window: Some(0),
            ..ACK
        }]
    );
    t.read(usize::MAX);
    t.send(b"bye");
    assert_eq!(t.sent_one().ack, SMALL + 2);
}

#[test]
fn a_fin_alone_is_taken_by_a_closed_window() {
    let mut t = with_small_window();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: &octets(SMALL as usize),
            ..ACK
        }
    );
    t.sent_one();
    recv!(
        t,
        Seg {
            seq: SMALL + 1,
            flags: FIN,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::CloseWait);
    sent!(
        t,
        [Seg {
            ack: SMALL + 2,
            window: Some(0),
            ..ACK
        }]
    );
}

#[test]
fn text_out_of_order_waits_for_the_gap() {
    let mut t = established();
    let text = octets(3_000);
    for at in [2_000, 1_000] {
        recv!(
            t,
            Seg {
                seq: 1 + at as u32,
                text: &text[at..at + 1_000],
                ..ACK
            }
        );
        sent!(t, [ACK]);
    }
    assert!(t.received.is_empty());
    recv!(
        t,
        Seg {
            text: &text[..1_000],
            ..ACK
        }
    );
    assert_eq!(t.received, text);
    sent!(t, [Seg { ack: 3_001, ..ACK }]);
    assert_eq!(t.core.receive_bytes(), 0);
}

/// RFC 5681 section 4.2: a peer without SACK counts them.
#[test]
fn in_one_batch_each_segment_out_of_order_has_its_own_ack() {
    let mut t = established();
    let text = octets(4_000);
    for at in [1_000, 2_000, 3_000] {
        recv!(
            t,
            Seg {
                seq: 1 + at as u32,
                text: &text[at..at + 1_000],
                ..ACK
            }
        );
    }
    sent!(t, [ACK, ACK, ACK]);
}

#[test]
fn in_one_batch_all_segments_in_order_share_one_ack() {
    let mut t = established();
    let text = octets(10_000);
    for at in (0..10_000).step_by(1_000) {
        recv!(
            t,
            Seg {
                seq: 1 + at as u32,
                text: &text[at..at + 1_000],
                ..ACK
            }
        );
    }
    sent!(t, [Seg { ack: 10_001, ..ACK }]);
    assert_eq!(t.received, text);
}

#[test]
fn a_duplicate_is_acknowledged_at_once_and_not_delivered() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    sent!(t, [Seg { ack: 4, ..ACK }]);
    assert_eq!(t.received, b"abc");
    assert_eq!(t.counters().duplicates, 1);
}

#[test]
fn overlaps_are_delivered_once() {
    let mut t = established();
    let text = octets(100);
    for (from, to) in [(0, 10), (30, 60), (50, 80), (5, 40), (20, 100)] {
        recv!(
            t,
            Seg {
                seq: 1 + from as u32,
                text: &text[from..to],
                ..ACK
            }
        );
    }
    assert_eq!(t.received, text);
}

#[test]
fn numbers_wrap_in_both_directions() {
    // M of the ISN grows by one in four microseconds.
    let first = Setup::default().half_open().syn_ack.seq;
    let wait = u64::from(u32::MAX - first) - 1_500;
    let mut t = Setup {
        irs: u32::MAX - 1_500,
        start: Setup::default().start + Duration::from_micros(4 * wait),
        ..Setup::default()
    }
    .established();
    assert!(t.tcb.snd.una.0 > u32::MAX - 1_600);
    let text = octets(3_000);
    for at in [0, 2_000, 1_000] {
        recv!(
            t,
            Seg {
                seq: 1 + at as u32,
                text: &text[at..at + 1_000],
                ..ACK
            }
        );
    }
    assert_eq!(t.received, text);
    t.sent();
    t.send(&text);
    t.sent();
    assert!(t.tcb.snd.nxt.0 < 2_000);
    recv!(
        t,
        Seg {
            seq: 3_001,
            ack: 3_001,
            ..ACK
        }
    );
    assert_eq!(t.flight(), 0);
}

#[test]
fn a_segment_without_ack_is_ignored() {
    let mut t = established();
    recv!(
        t,
        Seg {
            flags: Flags::PSH,
            text: b"abc",
            ..ACK
        }
    );
    assert!(t.received.is_empty());
    sent_nothing!(t);
}

#[test]
fn what_is_kept_can_be_read_in_pieces() {
    let mut t = established();
    t.application = Application::Keeps;
    let text = octets(5_000);
    for at in (0..5_000).step_by(1_000) {
        recv!(
            t,
            Seg {
                seq: 1 + at as u32,
                text: &text[at..at + 1_000],
                ..ACK
            }
        );
    }
    assert_eq!(t.tcb.unread(&t.core), 5_000);
    while t.read(333) > 0 {}
    assert_eq!(t.received, text);
    t.sent();
}

/// Only a whole hole can be filled when the number of gaps meets its limit, and the text that is
/// next always can.
#[test]
fn many_gaps_do_not_keep_the_next_text_out() {
    let mut t = established();
    t.application = Application::Keeps;
    for i in 1..100 {
        recv!(
            t,
            Seg {
                seq: 1 + 10 * i,
                text: b"x",
                ..ACK
            }
        );
    }
    assert_eq!(t.counters().out_of_order_dropped, 99 - 64);
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    assert_eq!(t.tcb.unread(&t.core), 3);
    t.sent();
}
