//! Sequence numbers wrap (RFC 9293 section 3.4): what works in the middle works across 2^32.

use super::*;

/// Both sides' numbers wrap after `left` octets.
fn near_the_wrap(setup: Setup, left: u32) -> Setup {
    // M of the ISN grows by one in four microseconds.
    let first = setup.clone().half_open().syn_ack.seq;
    let wait = u64::from((u32::MAX - left).wrapping_sub(first));
    Setup {
        irs: u32::MAX - left,
        start: setup.start + Duration::from_micros(4 * wait),
        ..setup
    }
}

/// The wrap is at each of the interesting places of the first segments.
const PLACES: [u32; 8] = [0, 1, 2, 500, 999, 1_000, 1_001, 2_500];

fn seg(text: &[u8], i: usize) -> Seg<'_> {
    Seg {
        seq: 1 + 1_000 * i as u32,
        text: &text[1_000 * i..1_000 * (i + 1)],
        ..ACK
    }
}

#[test]
fn the_handshake_and_both_fins_may_wrap() {
    for left in 0..4 {
        let mut t = near_the_wrap(Setup::default(), left).established();
        assert_eq!(t.tcb.snd.iss.0, u32::MAX - left);
        recv!(t, Seg { flags: FIN, ..ACK });
        assert_eq!(t.state(), State::CloseWait);
        sent!(t, [Seg { ack: 2, ..ACK }]);
        t.shutdown();
        sent!(
            t,
            [Seg {
                ack: 2,
                flags: FIN,
                ..ACK
            }]
        );
        recv!(
            t,
            Seg {
                seq: 2,
                ack: 2,
                ..ACK
            }
        );
        assert_eq!(t.state(), State::Closed);
    }
}

#[test]
fn an_active_open_may_wrap() {
    for left in 0..3 {
        let mut t = near_the_wrap(Setup::default(), left).connecting();
        assert_eq!(t.sent_one().header.seq, u32::MAX - left);
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
}

#[test]
fn a_gap_may_lie_across_the_wrap() {
    let text = octets(4_000);
    for left in PLACES {
        let mut t = near_the_wrap(Setup::with_options(), left).established();
        for i in [3, 1, 2] {
            recv!(t, seg(&text, i));
        }
        let sent = t.sent();
        let last = Seg {
            sack: Some(&[(1_001, 4_001)]),
            ..ACK
        };
        assert!(t.is(&sent[2], &last), "{left}: {}", show(&sent));
        recv!(t, seg(&text, 0));
        assert_eq!(t.received, text);
        sent!(t, [Seg { ack: 4_001, ..ACK }]);
    }
}

#[test]
fn a_timeout_across_the_wrap_sends_all_again() {
    let text = octets(4_000);
    for left in PLACES {
        let mut t = near_the_wrap(Setup::default(), left).established();
        t.send(&text);
        t.sent();
        advance!(t, 200 ms);
        sent!(t, [seg(&text, 0)]);
        recv!(t, Seg { ack: 1_001, ..ACK });
        sent!(t, [seg(&text, 1), seg(&text, 2)]);
        recv!(t, Seg { ack: 4_001, ..ACK });
        assert_eq!(t.flight(), 0);
        assert_eq!(t.tcb.next_deadline(), None);
    }
}

#[test]
fn a_recovery_may_lie_across_the_wrap() {
    let text = octets(10_000);
    for left in PLACES {
        let mut t = near_the_wrap(Setup::default(), left).established();
        t.send(&text);
        t.sent();
        for _ in 0..3 {
            recv!(t, ACK);
        }
        sent!(t, [seg(&text, 0)]);
        recv!(t, Seg { ack: 2_001, ..ACK });
        sent!(t, [seg(&text, 2)]);
        recv!(t, Seg { ack: 10_001, ..ACK });
        assert!(!t.in_recovery());
        assert_eq!(t.flight(), 0);
    }
}

#[test]
fn the_peers_blocks_may_lie_across_the_wrap() {
    let text = octets(10_000);
    for left in PLACES {
        let mut setup = Setup::with_options();
        setup.syn.timestamps = None;
        setup.syn.mss = Some(1_000);
        let mut t = near_the_wrap(setup, left).established();
        t.send(&text);
        t.sent();
        recv!(
            t,
            Seg {
                sack: Some(&[(1_001, 4_001)]),
                ..ACK
            }
        );
        assert_eq!(t.tcb.send.sacked(), 3_000);
        assert_eq!(t.sent()[0].seq, 1);
        recv!(t, Seg { ack: 10_001, ..ACK });
        assert_eq!(t.tcb.send.sacked(), 0);
        t.sent();
    }
}

#[test]
fn a_window_may_end_beyond_the_wrap() {
    for left in PLACES {
        let setup = Setup {
            window: 2_000,
            config: Config {
                options: SocketOptions {
                    receive_buffer: BufferLimit::Fixed(1_500),
                    ..SocketOptions::default()
                },
                ..Config::default()
            },
            ..Setup::default()
        };
        let mut t = near_the_wrap(setup, left).established();
        t.send(&octets(4_000));
        let sent: usize = t.sent().iter().map(|sent| sent.text.len()).sum();
        assert_eq!(sent, 2_000, "the peer's");
        recv!(
            t,
            Seg {
                text: &octets(1_600),
                ..ACK
            }
        );
        assert_eq!(t.received.len(), 1_500, "ours");
        t.sent();
    }
}

#[test]
fn resets_and_acknowledgments_are_judged_across_the_wrap() {
    for left in [0, 1, 2, 100] {
        let mut t = near_the_wrap(Setup::default(), left).established();
        t.send(&octets(200));
        t.sent();
        for (seq, ack) in [(1, 202), (0u32.wrapping_sub(5), 1)] {
            recv!(
                t,
                Seg {
                    seq,
                    ack,
                    text: b"abc",
                    ..ACK
                }
            );
        }
        assert!(t.received.is_empty());
        t.sent();
        recv!(
            t,
            Seg {
                seq: 200,
                flags: Flags::RST,
                ..ACK
            }
        );
        assert_eq!(t.state(), State::Established);
        t.sent();
        recv!(
            t,
            Seg {
                flags: Flags::RST,
                ..ACK
            }
        );
        assert_eq!(t.state(), State::Closed);
    }
}
