//! Closing (RFC 9293 section 3.6).

use super::*;

const PEER_FIN: Seg<'static> = Seg { flags: FIN, ..ACK };

/// Figure 12, our side first.
#[test]
fn normal_close() {
    let mut t = established();
    t.shutdown();
    assert_eq!(t.state(), State::FinWait1);
    sent!(t, [PEER_FIN]);
    recv!(t, Seg { ack: 2, ..ACK });
    assert_eq!(t.state(), State::FinWait2);
    assert_eq!(
        t.tcb.next_deadline(),
        None,
        "half-closed for as long as it takes"
    );
    recv!(t, Seg { ack: 2, ..PEER_FIN });
    assert_eq!(t.state(), State::TimeWait);
    sent!(
        t,
        [Seg {
            seq: 2,
            ack: 2,
            ..ACK
        }]
    );
    assert_eq!(t.tcb.next_deadline(), None);
}

/// Figure 12, the peer's side first.
#[test]
fn normal_close_by_the_peer() {
    let mut t = established();
    recv!(t, PEER_FIN);
    assert_eq!(t.state(), State::CloseWait);
    assert!(t.tcb.is_peer_closed());
    sent!(t, [Seg { ack: 2, ..ACK }]);
    t.close();
    assert_eq!(t.state(), State::LastAck);
    sent!(t, [Seg { ack: 2, ..PEER_FIN }]);
    recv!(
        t,
        Seg {
            seq: 2,
            ack: 2,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::Finished);
    t.happened(Events::CLOSED);
    assert_eq!(t.tcb.next_deadline(), None);
}

/// Figure 13.
#[test]
fn simultaneous_close() {
    let mut t = established();
    t.close();
    sent!(t, [PEER_FIN]);
    recv!(t, PEER_FIN);
    assert_eq!(t.state(), State::Closing);
    sent!(
        t,
        [Seg {
            seq: 2,
            ack: 2,
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
    assert_eq!(t.state(), State::TimeWait);
    sent_nothing!(t);
}

#[test]
fn fin_and_its_acknowledgment_in_one_segment() {
    let mut t = established();
    t.close();
    sent!(t, [PEER_FIN]);
    recv!(t, Seg { ack: 2, ..PEER_FIN });
    assert_eq!(t.state(), State::TimeWait);
    sent!(
        t,
        [Seg {
            seq: 2,
            ack: 2,
            ..ACK
        }]
    );
}

#[test]
fn after_our_fin_the_peer_may_still_send() {
    let mut t = established();
    t.shutdown();
    sent!(t, [PEER_FIN]);
    recv!(t, Seg { ack: 2, ..ACK });
    let text = octets(2_000);
    for at in [0, 1_000] {
        recv!(
            t,
            Seg {
                seq: 1 + at as u32,
                ack: 2,
                text: &text[at..at + 1_000],
                ..ACK
            }
        );
    }
    assert_eq!(t.received, text);
    sent!(
        t,
        [Seg {
            seq: 2,
            ack: 2_001,
            ..ACK
        }]
    );
    assert_eq!(t.with(|tcb, cx| tcb.send(cx, b"late")), 0);
}

#[test]
fn after_the_peers_fin_we_may_still_send() {
    let mut t = established();
    recv!(t, PEER_FIN);
    t.sent_one();
    t.send(b"still here");
    sent!(
        t,
        [Seg {
            ack: 2,
            text: b"still here",
            ..ACK
        }]
    );
    recv!(
        t,
        Seg {
            seq: 2,
            ack: 11,
            ..ACK
        }
    );
    assert_eq!(t.flight(), 0);
}

#[test]
fn fin_rides_on_the_last_text_and_nagle_does_not_hold_it() {
    let mut t = established();
    let text = octets(1_500);
    t.send(&text);
    t.shutdown();
    sent!(
        t,
        [
            Seg {
                text: &text[..1_000],
                ..ACK
            },
            Seg {
                seq: 1_001,
                text: &text[1_000..],
                ..PEER_FIN
            },
        ]
    );
    recv!(t, Seg { ack: 1_501, ..ACK });
    assert_eq!(t.state(), State::FinWait1, "the FIN is not acknowledged");
    recv!(t, Seg { ack: 1_502, ..ACK });
    assert_eq!(t.state(), State::FinWait2);
}

#[test]
fn fin_with_text_counts_after_it() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: b"bye",
            ..PEER_FIN
        }
    );
    assert_eq!(t.received, b"bye");
    assert_eq!(t.state(), State::CloseWait);
    sent!(t, [Seg { ack: 5, ..ACK }]);
}

#[test]
fn a_fin_out_of_order_waits() {
    let mut t = established();
    recv!(t, Seg { seq: 4, ..PEER_FIN });
    assert_eq!(t.state(), State::Established);
    sent!(t, [ACK]);
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    assert_eq!(t.state(), State::CloseWait);
    sent!(t, [Seg { ack: 5, ..ACK }]);
}

#[test]
fn a_fin_with_text_out_of_order_waits() {
    let mut t = established();
    recv!(
        t,
        Seg {
            seq: 4,
            text: b"def",
            ..PEER_FIN
        }
    );
    sent!(t, [ACK]);
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    assert_eq!(t.received, b"abcdef");
    assert_eq!(t.state(), State::CloseWait);
    sent!(t, [Seg { ack: 8, ..ACK }]);
}

#[test]
fn a_fin_seen_again_is_acknowledged_again() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: b"abc",
            ..PEER_FIN
        }
    );
    t.sent_one();
    for seg in [
        Seg {
            text: b"abc",
            ..PEER_FIN
        },
        Seg { seq: 4, ..PEER_FIN },
    ] {
        recv!(t, seg);
        sent!(t, [Seg { ack: 5, ..ACK }]);
    }
    assert_eq!(t.state(), State::CloseWait);
    assert_eq!(t.received, b"abc");
}

#[test]
fn text_after_the_peers_fin_is_ignored() {
    let mut t = established();
    recv!(t, PEER_FIN);
    t.sent_one();
    recv!(
        t,
        Seg {
            seq: 2,
            text: b"liar",
            ..ACK
        }
    );
    assert!(t.received.is_empty());
}

/// RFC 9293 section 3.6.1, SHLD-3.
#[test]
fn text_after_close_resets() {
    let mut t = established();
    t.close();
    t.sent_one();
    recv!(
        t,
        Seg {
            ack: 2,
            text: b"unwanted",
            ..ACK
        }
    );
    t.happened(Events::CLOSED);
    let reset = t.sent_one();
    assert_eq!((reset.seq, reset.header.flags), (2, RST_ACK));
    assert!(t.tcb.is_done());
    assert_eq!(t.counters().aborts_on_data, 1);
    assert_eq!(t.counters().out_rsts, 1);
}

/// RFC 2525 section 2.17.
#[test]
fn close_with_unread_text_resets() {
    let mut t = established();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: b"unread",
            ..ACK
        }
    );
    t.close();
    let reset = t.sent_one();
    assert_eq!((reset.seq, reset.header.flags), (1, RST_ACK));
    assert_eq!(t.tcb.close_reason(), CloseReason::Aborted);
    assert_eq!(t.core.receive_bytes(), 0);
}

#[test]
fn abort_resets_and_gives_everything_back() {
    let mut t = established();
    t.send(&octets(5_000));
    t.sent();
    t.abort();
    let reset = t.sent_one();
    assert_eq!((reset.seq, reset.header.flags), (5_001, RST_ACK));
    assert!(t.tcb.is_done());
    assert!(t.core.is_empty());
    sent_nothing!(t);
}

#[test]
fn abort_in_time_wait_is_silent() {
    let mut t = established();
    t.close();
    t.sent_one();
    recv!(t, Seg { ack: 2, ..PEER_FIN });
    t.sent_one();
    t.abort();
    sent_nothing!(t);
    assert!(t.tcb.is_done());
}

#[test]
fn a_lost_fin_comes_again_and_stops_when_it_is_acknowledged() {
    let mut t = established();
    t.shutdown();
    sent!(t, [PEER_FIN]);
    advance!(t, 200 ms);
    sent!(t, [PEER_FIN]);
    advance!(t, 400 ms);
    sent!(t, [PEER_FIN]);
    recv!(t, Seg { ack: 2, ..ACK });
    advance!(t, 900 s);
    sent_nothing!(t);
    assert_eq!(t.state(), State::FinWait2);
}

/// The timer has fired, and the acknowledgment comes before the FIN has gone out again.
#[test]
fn an_acknowledged_fin_is_not_sent_again() {
    let mut t = established();
    t.shutdown();
    sent!(t, [PEER_FIN]);
    t.now = t
        .tcb
        .next_deadline()
        .expect("the retransmission timer runs");
    t.with(|tcb, cx| tcb.handle_timeout(cx));
    recv!(t, Seg { ack: 2, ..ACK });
    sent_nothing!(t);
    assert_eq!(t.tcb.next_deadline(), None);
}

#[test]
fn a_lost_fin_never_overtakes_lost_text() {
    let mut t = established();
    let text = octets(3_000);
    t.send(&text);
    t.shutdown();
    assert_eq!(t.sent().len(), 3);
    advance!(t, 200 ms);
    sent!(
        t,
        [Seg {
            text: &text[..1_000],
            ..ACK
        }]
    );
    recv!(t, Seg { ack: 1_001, ..ACK });
    sent!(
        t,
        [
            Seg {
                seq: 1_001,
                text: &text[1_000..2_000],
                ..ACK
            },
            Seg {
                seq: 2_001,
                text: &text[2_000..],
                ..PEER_FIN
            },
        ]
    );
    recv!(t, Seg { ack: 3_002, ..ACK });
    assert_eq!(t.state(), State::FinWait2);
    assert_eq!(t.tcb.next_deadline(), None);
}

#[test]
fn a_fast_retransmission_of_the_last_segment_carries_the_fin() {
    let mut t = established();
    let text = octets(4_000);
    t.send(&text[..3_000]);
    t.sent();
    recv!(t, Seg { ack: 3_001, ..ACK });
    t.send(&text);
    t.shutdown();
    assert_eq!(t.sent().len(), 4);
    recv!(t, Seg { ack: 6_001, ..ACK });
    for _ in 0..3 {
        recv!(t, Seg { ack: 6_001, ..ACK });
    }
    sent!(
        t,
        [Seg {
            seq: 6_001,
            text: &text[3_000..],
            ..PEER_FIN
        }]
    );
}

#[test]
fn an_orphan_in_fin_wait_2_is_given_up() {
    let mut t = established();
    t.close();
    t.sent_one();
    recv!(t, Seg { ack: 2, ..ACK });
    advance!(t, 59 s);
    assert_eq!(t.state(), State::FinWait2);
    advance!(t, 1 s);
    assert_eq!(t.state(), State::Closed);
    t.happened(Events::CLOSED);
}

#[test]
fn close_after_shutdown_starts_the_orphans_timer() {
    let mut t = established();
    t.shutdown();
    t.sent_one();
    recv!(t, Seg { ack: 2, ..ACK });
    assert_eq!(t.tcb.next_deadline(), None);
    t.close();
    assert!(t.tcb.next_deadline().is_some());
}

/// The end of the connection is not the end of what the peer has sent on it.
#[test]
fn text_can_be_read_after_both_sides_have_finished() {
    let mut t = established();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: b"last words",
            ..PEER_FIN
        }
    );
    t.shutdown();
    t.sent();
    recv!(
        t,
        Seg {
            seq: 12,
            ack: 2,
            ..ACK
        }
    );
    t.happened(Events::CLOSED);
    assert_eq!(t.state(), State::Closed);
    t.read(4);
    assert_eq!(t.tcb.unread(&t.core), 6);
    t.read(usize::MAX);
    assert_eq!(t.received, b"last words");
    assert!(t.core.is_empty());
}

#[test]
fn closing_it_instead_gives_the_text_up() {
    let mut t = established();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: b"last words",
            ..PEER_FIN
        }
    );
    t.shutdown();
    t.sent();
    recv!(
        t,
        Seg {
            seq: 12,
            ack: 2,
            ..ACK
        }
    );
    t.close();
    assert!(t.tcb.is_done());
    assert!(t.core.is_empty());
    sent_nothing!(t);
}

#[test]
fn unacknowledged_text_is_delivered_after_close() {
    let mut t = established();
    t.send(b"last words");
    t.close();
    sent!(
        t,
        [Seg {
            text: b"last words",
            ..PEER_FIN
        }]
    );
    advance!(t, 200 ms);
    sent!(
        t,
        [Seg {
            text: b"last words",
            ..PEER_FIN
        }]
    );
    recv!(
        t,
        Seg {
            ack: 12,
            ..PEER_FIN
        }
    );
    assert_eq!(t.state(), State::TimeWait);
    t.sent_one();
}

/// A peer that takes its FIN back has not closed.
#[test]
fn text_where_an_early_fin_was_said_to_be_takes_its_place() {
    let mut t = established();
    recv!(t, Seg { seq: 4, ..PEER_FIN });
    recv!(
        t,
        Seg {
            text: b"abcdef",
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Established);
    assert!(!t.tcb.is_peer_closed());
    recv!(t, Seg { seq: 7, ..PEER_FIN });
    assert!(t.tcb.is_peer_closed());
    t.sent();
}
