//! Limits: receive memory and send buffers.

use super::*;

fn with_pages(pages: usize) -> Host {
    let mut t = Setup {
        config: Config {
            receive_memory: pages * 2_048,
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    t.application = Application::Keeps;
    t
}

/// Whatever was acknowledged is there; the rest comes again.
#[test]
fn exhausted_memory_never_loses_acknowledged_text() {
    let mut t = with_pages(2);
    let text = octets(10_000);
    let mut next = 0;
    for _ in 0..200 {
        let end = text.len().min(next + 1_000);
        recv!(
            t,
            Seg {
                seq: 1 + next as u32,
                text: &text[next..end],
                ..ACK
            }
        );
        advance!(t, 40 ms);
        let before = next;
        if let Some(sent) = t.sent().last() {
            next = sent.ack as usize - 1;
        }
        if next == before {
            t.read(1_700);
        }
    }
    t.read(usize::MAX);
    assert_eq!(next, text.len());
    assert_eq!(t.received, text);
    assert!(t.counters().receive_memory_exhausted > 0);
    t.sent();
}

#[test]
fn a_fin_behind_refused_text_does_not_count() {
    let mut t = with_pages(1);
    recv!(
        t,
        Seg {
            flags: FIN,
            text: &octets(3_000),
            ..ACK
        }
    );
    assert_eq!(t.state(), State::Established);
    t.read(usize::MAX);
    recv!(
        t,
        Seg {
            seq: 2_049,
            flags: FIN,
            text: &octets(3_000)[2_048..],
            ..ACK
        }
    );
    assert_eq!(t.state(), State::CloseWait);
    t.read(usize::MAX);
    assert_eq!(t.received, octets(3_000));
    t.sent();
}

#[test]
fn text_out_of_order_is_dropped_and_counted_without_memory() {
    let mut t = with_pages(0);
    recv!(
        t,
        Seg {
            seq: 100,
            text: b"abc",
            ..ACK
        }
    );
    sent!(t, [ACK]);
    assert_eq!(t.counters().out_of_order_dropped, 1);
    assert!(t.core.is_empty());
}

/// What is out of order would wait for ever for the text that it keeps out (RFC 2018 section 8
/// lets a receiver take back what it has selectively acknowledged).
#[test]
fn text_in_order_takes_the_place_of_text_out_of_order() {
    let mut t = with_pages(9);
    let text = octets(40_000);
    for at in (8_000..40_000).step_by(1_000) {
        recv!(
            t,
            Seg {
                seq: 1 + at as u32,
                text: &text[at..at + 1_000],
                ..ACK
            }
        );
    }
    t.sent();
    assert!(t.counters().out_of_order_dropped > 0);
    let mut at = 0;
    while at < 16_000 {
        recv!(
            t,
            Seg {
                seq: 1 + at as u32,
                text: &text[at..at + 1_000],
                ..ACK
            }
        );
        advance!(t, 40 ms);
        let acked = t.sent().last().expect("an answer").ack as usize - 1;
        assert!(acked > at, "no progress at {at}");
        at = acked;
    }
    assert!(t.counters().out_of_order_pruned > 0);
    t.read(usize::MAX);
    assert_eq!(t.received, text[..at]);
}

#[test]
fn text_out_of_order_leaves_some_memory_to_text_in_order() {
    let mut t = with_pages(16);
    for i in 0..16 {
        recv!(
            t,
            Seg {
                seq: 10_000 + 4_096 * i,
                text: b"x",
                ..ACK
            }
        );
    }
    t.sent();
    assert_eq!(t.core.receive_bytes(), 12 * 2_048);
    assert_eq!(t.counters().memory_out_of_order_refused, 2);
}

/// With its own text consumed at once, a connection needs no memory at all.
#[test]
fn text_that_is_consumed_needs_no_memory() {
    let mut t = with_pages(0);
    t.application = Application::Consumes;
    recv!(
        t,
        Seg {
            text: b"abc",
            ..ACK
        }
    );
    assert_eq!(t.received, b"abc");
}

#[test]
fn a_connection_has_a_limit_of_buffers_and_hears_when_there_is_room() {
    let mut t = Setup {
        config: Config {
            options: SocketOptions {
                send_buffer: BufferLimit::Fixed(4_000),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    let sent = t.with(|tcb, cx| tcb.send(cx, &octets(10_000)));
    assert_eq!(sent, 4_000);
    t.sent();
    assert!(!t.events.contains(Events::WRITABLE));
    recv!(t, Seg { ack: 2_001, ..ACK });
    t.happened(Events::WRITABLE);
    assert_eq!(t.with(|tcb, cx| tcb.send(cx, &octets(10_000))), 2_000);
    t.sent();
}

#[test]
fn one_connection_does_not_take_the_last_buffers() {
    let mut t = Setup {
        buffers: 8,
        ..Setup::default()
    }
    .established();
    let sent = t.with(|tcb, cx| tcb.send(cx, &octets(100_000)));
    assert!(sent <= 4_000, "{sent}");
    assert!(t.buffers.available() >= 4);
}

#[test]
fn without_buffers_the_connection_is_starved_and_says_so() {
    let mut t = Setup {
        buffers: 0,
        ..Setup::default()
    }
    .established();
    assert_eq!(t.with(|tcb, cx| tcb.send(cx, b"abc")), 0);
    assert!(t.tcb.is_starved());
    t.buffers.limit = 10;
    t.send(b"abc");
    assert!(!t.tcb.is_starved());
    t.sent_one();
}

#[test]
fn send_with_writes_straight_into_segments() {
    let mut t = established();
    let text = octets(2_500);
    let mut at = 0;
    let total = t.with(|tcb, cx| {
        tcb.send_with(cx, 10_000, &mut |room| {
            let len = room.len().min(2_500 - at);
            room[..len].copy_from_slice(&text[at..at + len]);
            at += len;
            len
        })
    });
    assert_eq!(total, 2_500);
    t.tcb.set_nodelay(true);
    let sent: Vec<u8> = t.sent().into_iter().flat_map(|sent| sent.text).collect();
    assert_eq!(sent, text);
}

/// When frames run short, an unsent segment that is not full moves to where nothing can be added.
#[test]
fn text_goes_on_behind_a_segment_that_takes_no_more() {
    let mut t = Setup::default().established();
    t.send(&octets(1_000));
    t.sent_one();
    t.send(&octets(100));
    sent_nothing!(t);
    t.buffers.compact = true;
    let mut fill = |room: &mut [u8]| room.len();
    assert_eq!(t.with(|tcb, cx| tcb.send_with(cx, 2_000, &mut fill)), 2_000);
    t.buffers.limit = t.buffers.in_use;
    assert_eq!(t.with(|tcb, cx| tcb.send_with(cx, 2_000, &mut fill)), 0);
    recv!(t, Seg { ack: 1_001, ..ACK });
    t.happened(Events::WRITABLE);
}
