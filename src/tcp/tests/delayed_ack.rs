//! When text is acknowledged (RFC 9293 section 3.8.6.3) and when small text is sent (section
//! 3.7.4).

use super::*;

#[test]
fn a_small_segment_is_acknowledged_after_40_ms() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    sent_nothing!(t);
    advance!(t, 39 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(t, [Seg { ack: 4, ..ACK }]);
    advance!(t, 10 s);
    sent_nothing!(t);
}

#[test]
fn the_delay_does_not_start_again_with_more_text() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    advance!(t, 30 ms);
    recv!(
        t,
        Seg {
            seq: 4,
            text: b"def",
            ..ACK
        }
    );
    advance!(t, 10 ms);
    sent!(t, [Seg { ack: 7, ..ACK }]);
}

#[test]
fn every_second_full_segment_is_acknowledged_at_once() {
    let mut t = established();
    let text = octets(1_000);
    recv!(t, Seg { text: &text, ..ACK });
    sent_nothing!(t);
    recv!(
        t,
        Seg {
            seq: 1_001,
            text: &text,
            ..ACK
        }
    );
    sent!(t, [Seg { ack: 2_001, ..ACK }]);
}

/// Full is what the peer sends (RFC 5681 section 4.2), not what we do.
#[test]
fn a_peer_whose_segments_are_smaller_is_not_kept_waiting() {
    let mut t = established();
    let text = octets(700);
    recv!(t, Seg { text: &text, ..ACK });
    sent_nothing!(t);
    recv!(
        t,
        Seg {
            seq: 701,
            text: &text,
            ..ACK
        }
    );
    sent!(t, [Seg { ack: 1_401, ..ACK }]);
}

#[test]
fn an_answer_takes_the_acknowledgment_with_it() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: b"ping",
            ..ACK
        }
    );
    t.send(b"pong");
    sent!(
        t,
        [Seg {
            ack: 5,
            text: b"pong",
            ..ACK
        }]
    );
    assert_eq!(
        t.tcb.timers.next().map(|(timer, _)| timer.name()),
        Some("retransmission")
    );
    recv!(
        t,
        Seg {
            seq: 5,
            ack: 5,
            ..ACK
        }
    );
    advance!(t, 10 s);
    sent_nothing!(t);
}

#[test]
fn nagle_holds_small_text_while_other_text_is_in_flight() {
    let mut t = established();
    t.send(b"one");
    sent!(
        t,
        [Seg {
            text: b"one",
            ..ACK
        }]
    );
    t.send(b"two");
    t.send(b"three");
    sent_nothing!(t);
    recv!(t, Seg { ack: 4, ..ACK });
    sent!(
        t,
        [Seg {
            seq: 4,
            text: b"twothree",
            ..ACK
        }]
    );
}

#[test]
fn nagle_lets_full_segments_go() {
    let mut t = established();
    let text = octets(2_500);
    t.send(b"x");
    t.sent_one();
    t.send(&text);
    sent!(
        t,
        [
            Seg {
                seq: 2,
                text: &text[..1_000],
                ..ACK
            },
            Seg {
                seq: 1_002,
                text: &text[1_000..2_000],
                ..ACK
            }
        ]
    );
    recv!(t, Seg { ack: 2_002, ..ACK });
    assert_eq!(t.sent_one().text, text[2_000..]);
}

#[test]
fn without_nagle_small_text_goes_at_once() {
    let mut t = established();
    t.tcb.set_nodelay(true);
    t.send(b"one");
    t.sent_one();
    t.send(b"two");
    sent!(
        t,
        [Seg {
            seq: 4,
            text: b"two",
            ..ACK
        }]
    );
}

#[test]
fn push_marks_the_last_that_is_written() {
    let mut t = established();
    t.send(&octets(2_000));
    let push: Vec<bool> = t
        .sent()
        .iter()
        .map(|sent| sent.header.flags.contains(Flags::PSH))
        .collect();
    assert_eq!(push, [false, true]);
}
