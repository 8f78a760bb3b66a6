//! A peer's window that closes or shrinks, and ours that stays closed (RFC 9293 sections 3.8.6 and
//! 3.8.6.1).

use super::*;

fn seg(text: &[u8], i: usize) -> Seg<'_> {
    Seg {
        seq: 1 + 1_000 * i as u32,
        text: &text[1_000 * i..1_000 * (i + 1)],
        ..ACK
    }
}

/// SHLD-15: when the window shrinks, nothing new goes beyond its edge; SHLD-16: what was sent is sent
/// again as ever; and when the window is back, so is the stream.
#[test]
fn a_window_that_shrinks_stops_new_text_only() {
    let mut t = Setup {
        window: 3_000,
        ..Setup::default()
    }
    .established();
    let text = octets(6_000);
    t.send(&text);
    sent!(t, [seg(&text, 0), seg(&text, 1), seg(&text, 2)]);
    t.peer_window = 1_000;
    recv!(t, ACK);
    sent_nothing!(t);
    advance!(t, 200 ms);
    sent!(t, [seg(&text, 0)]);
    recv!(t, Seg { ack: 1_001, ..ACK });
    let again = t.sent();
    assert!(
        again.iter().all(|sent| sent.seq < 3_001),
        "{}",
        show(&again)
    );
    recv!(t, Seg { ack: 3_001, ..ACK });
    sent!(t, [seg(&text, 3)]);
    t.peer_window = 5_000;
    recv!(t, Seg { ack: 4_001, ..ACK });
    sent!(t, [seg(&text, 4), seg(&text, 5)]);
}

/// MUST-34: a window that goes left of what is sent makes no arithmetic go wrong; acknowledgments
/// beyond its edge still count.
#[test]
fn an_acknowledgment_beyond_a_shrunk_window_counts() {
    let mut t = established();
    let text = octets(10_000);
    t.send(&text);
    t.sent();
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
            ack: 9_001,
            window: Some(0),
            ..ACK
        }
    );
    assert_eq!(t.flight(), 1_000);
    recv!(t, Seg { ack: 10_001, ..ACK });
    assert_eq!(t.flight(), 0);
    sent_nothing!(t);
}

/// MAY-8, the receiver's side: however long our window is closed, each probe is answered.
#[test]
fn our_window_may_stay_closed() {
    let mut t = Setup {
        config: Config {
            options: SocketOptions {
                receive_buffer: BufferLimit::Fixed(3_000),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: &octets(3_000),
            ..ACK
        }
    );
    t.sent_one();
    for _ in 0..100 {
        advance!(t, 60 s);
        recv!(
            t,
            Seg {
                seq: 3_001,
                text: b"?",
                ..ACK
            }
        );
        sent!(
            t,
            [Seg {
                ack: 3_001,
                window: Some(0),
                ..ACK
            }]
        );
    }
    assert_eq!(t.read(usize::MAX), 3_000);
    sent!(
        t,
        [Seg {
            ack: 3_001,
            window: Some(3_000),
            ..ACK
        }]
    );
}

/// Section 3.8.6.1: with nothing to send there is nothing to probe for.
#[test]
fn a_closed_window_alone_is_not_probed() {
    let mut t = established();
    recv!(
        t,
        Seg {
            window: Some(0),
            ..ACK
        }
    );
    advance!(t, 1000 s);
    sent_nothing!(t);
    assert_eq!(t.tcb.next_deadline(), None);
}

/// SHLD-29: the first probe comes an RTO after the window closed; the round trip is 300 ms here.
#[test]
fn the_first_probe_comes_after_an_rto() {
    let mut half = Setup::default().half_open();
    half.now += Duration::from_millis(300);
    let ack = half.third_ack();
    let mut t = half.open(&ack, &[]);
    let rto = t.tcb.info(&t.core, t.now).rto;
    assert_eq!(rto, Duration::from_millis(900));
    recv!(
        t,
        Seg {
            window: Some(0),
            ..ACK
        }
    );
    t.send(b"x");
    advance!(t, 899 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(t, [Seg { seq: 0, ..ACK }]);
}

/// MUST-37: a peer that answers is not given up for what the congestion window or a timer thinks;
/// after hours, the first update starts the stream again at once.
#[test]
fn hours_of_a_closed_window_end_with_the_update() {
    let mut t = established();
    t.peer_window = 0;
    recv!(t, ACK);
    let text = octets(3_000);
    t.send(&text);
    t.poll();
    for _ in 0..200 {
        let due = t.tcb.next_deadline().expect("the persist timer runs");
        t.advance(due.saturating_since(t.now));
        t.sent_one();
        recv!(t, ACK);
    }
    t.peer_window = 0xffff;
    recv!(t, ACK);
    sent!(t, [seg(&text, 0), seg(&text, 1), seg(&text, 2)]);
}

/// Section 3.8.6.2.1: a window that opens by a sliver is not filled with slivers, one after another.
#[test]
fn slivers_of_window_are_not_filled_one_by_one() {
    let mut t = established();
    let text = octets(10_000);
    t.send(&text[..5_000]);
    t.sent();
    recv!(
        t,
        Seg {
            ack: 5_001,
            window: Some(0),
            ..ACK
        }
    );
    t.send(&text[5_000..]);
    let mut sent = 0;
    for window in (10..600).step_by(10) {
        recv!(
            t,
            Seg {
                ack: 5_001,
                window: Some(window),
                ..ACK
            }
        );
        sent += t.sent().len();
    }
    assert_eq!(sent, 0, "neither a segment nor half of the largest window");
    recv!(
        t,
        Seg {
            ack: 5_001,
            window: Some(1_000),
            ..ACK
        }
    );
    assert_eq!(t.sent_one().text.len(), 1_000);
}
