//! Windows: silly ones, closed ones, and those that must not shrink (RFC 9293 section 3.8.6).

use super::*;
use crate::tcp::tcb::AckDue;

fn peer_window(window: u16) -> Host {
    let mut t = established();
    recv!(
        t,
        Seg {
            window: Some(window),
            ..ACK
        }
    );
    sent_nothing!(t);
    t.peer_window = window;
    t
}

#[test]
fn the_peers_window_is_never_exceeded() {
    let mut t = peer_window(2_000);
    t.send(&octets(5_000));
    let sent = t.sent();
    assert_eq!(
        sent.iter().map(|sent| sent.text.len()).sum::<usize>(),
        2_000
    );
    recv!(t, Seg { ack: 1_001, ..ACK });
    assert_eq!(t.sent_one().text.len(), 1_000);
}

/// Section 3.8.6.2.1: less than a segment goes only if it is half of the largest window, or when
/// the timer overrides.
#[test]
fn the_sender_avoids_silly_segments() {
    let mut t = established();
    let text = octets(3_000);
    t.send(&text);
    t.sent();
    recv!(
        t,
        Seg {
            ack: 3_001,
            window: Some(10),
            ..ACK
        }
    );
    t.send(&text);
    sent_nothing!(t);
    advance!(t, 199 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    sent!(
        t,
        [Seg {
            seq: 3_001,
            text: &text[..10],
            ..ACK
        }]
    );
    recv!(t, Seg { ack: 3_011, ..ACK });
    sent!(
        t,
        [
            Seg {
                seq: 3_011,
                text: &text[10..1_000],
                ..ACK
            },
            Seg {
                seq: 4_001,
                text: &text[1_000..2_000],
                ..ACK
            },
            Seg {
                seq: 5_001,
                text: &text[2_000..],
                ..ACK
            }
        ]
    );
}

#[test]
fn half_of_a_small_window_is_worth_a_segment() {
    let mut t = Setup {
        window: 600,
        ..Setup::default()
    }
    .established();
    let text = octets(1_000);
    t.send(&text);
    sent!(
        t,
        [Seg {
            text: &text[..600],
            ..ACK
        }]
    );
    recv!(t, Seg { ack: 601, ..ACK });
    sent!(
        t,
        [Seg {
            seq: 601,
            text: &text[600..],
            ..ACK
        }]
    );
}

/// A split needs a buffer; without one the connection must not fall asleep.
#[test]
fn a_split_that_finds_no_buffer_is_tried_again() {
    let mut t = Setup {
        window: 600,
        buffers: 1,
        ..Setup::default()
    }
    .established();
    let text = octets(1_000);
    t.send(&text);
    sent_nothing!(t);
    assert!(t.tcb.next_deadline().is_some());
    t.buffers.limit = 2;
    advance!(t, 1 s);
    assert_eq!(t.sent()[0].text, text[..600]);
}

#[test]
fn a_closed_window_is_probed_with_back_off_for_as_long_as_the_peer_answers() {
    let mut t = established();
    recv!(
        t,
        Seg {
            window: Some(0),
            ..ACK
        }
    );
    t.peer_window = 0;
    t.send(b"waiting");
    sent_nothing!(t);
    let start = t.now;
    let mut probes = Vec::new();
    while probes.len() < 40 {
        let due = t.tcb.next_deadline().expect("the persist timer runs");
        t.advance(due.saturating_since(t.now));
        for sent in t.sent() {
            assert_eq!((sent.seq, sent.text.len()), (0, 0));
            probes.push(t.now.saturating_since(start).as_millis());
            recv!(t, ACK);
        }
    }
    assert_eq!(probes[..5], [200, 600, 1_400, 3_000, 6_200]);
    assert_eq!(probes[39] - probes[38], 60_000, "a minute at most");
    assert_eq!(t.state(), State::Established);
    assert_eq!(t.counters().window_probes, 40);

    t.peer_window = 0xffff;
    recv!(t, ACK);
    sent!(
        t,
        [Seg {
            text: b"waiting",
            ..ACK
        }]
    );
    let rto = t.tcb.next_deadline().expect("in flight");
    assert_eq!(
        rto.saturating_since(t.now),
        Duration::from_millis(200),
        "probing says nothing about the path"
    );
    // The next closed window is probed from the start.
    recv!(
        t,
        Seg {
            ack: 8,
            window: Some(0),
            ..ACK
        }
    );
    t.send(b"again");
    t.poll();
    let due = t.tcb.next_deadline().expect("the persist timer runs");
    assert_eq!(due.saturating_since(t.now), Duration::from_millis(200));
}

/// Section 3.8.6.1 asks for patience with a peer that answers, not with a dead one.
#[test]
fn a_dead_peer_with_a_closed_window_is_given_up() {
    let mut t = established();
    recv!(
        t,
        Seg {
            window: Some(0),
            ..ACK
        }
    );
    t.send(b"waiting");
    advance!(t, 3600 s);
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::TimedOut);
    t.happened(Events::CLOSED);
    assert_eq!(t.sent().len(), 15);
}

#[test]
fn a_window_that_closes_under_text_in_flight_is_probed_once_that_is_acknowledged() {
    let mut t = peer_window(2_000);
    t.send(&octets(3_000));
    assert_eq!(t.sent().len(), 2);
    recv!(
        t,
        Seg {
            ack: 2_001,
            window: Some(0),
            ..ACK
        }
    );
    sent_nothing!(t);
    advance!(t, 200 ms);
    sent!(t, [Seg { seq: 2_000, ..ACK }]);
}

/// Section 3.8.6: text beyond a window that has shrunk is no reason to give up a peer that answers.
#[test]
fn a_window_that_shrinks_to_nothing_under_text_in_flight_does_not_end_the_connection() {
    let mut t = established();
    t.send(b"waiting");
    t.sent_one();
    t.peer_window = 0;
    for _ in 0..40 {
        let due = t.tcb.next_deadline().expect("the timer runs");
        t.advance(due.saturating_since(t.now));
        assert_eq!(t.sent_one().text, b"waiting");
        recv!(t, ACK);
    }
    assert_eq!(t.state(), State::Established);
    advance!(t, 3600 s);
    assert_eq!(t.state(), State::Closed, "a dead peer is given up");
    t.happened(Events::CLOSED);
    t.sent();
}

/// A peer that sends all the time acknowledges all the time.
#[test]
fn acknowledgments_do_not_put_off_the_override() {
    let mut t = established();
    t.send(b"x");
    t.sent();
    t.peer_window = 10;
    recv!(t, Seg { ack: 2, ..ACK });
    t.send(&octets(1_000));
    sent_nothing!(t);
    for i in 0..4 {
        advance!(t, 50 ms);
        recv!(
            t,
            Seg {
                seq: 1 + 10 * i,
                ack: 2,
                text: &octets(10),
                ..ACK
            }
        );
    }
    let sent = t.sent();
    assert_eq!(sent.iter().map(|s| s.text.len()).sum::<usize>(), 10);
}

#[test]
fn a_fin_needs_no_window() {
    let mut t = established();
    recv!(
        t,
        Seg {
            window: Some(0),
            ..ACK
        }
    );
    t.shutdown();
    sent!(t, [Seg { flags: FIN, ..ACK }]);
}

#[test]
fn an_old_segment_does_not_bring_back_an_old_window() {
    let mut t = established();
    recv!(
        t,
        Seg {
            text: &octets(1_000),
            window: Some(5_000),
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            seq: 1_001,
            window: Some(4_000),
            ..ACK
        }
    );
    assert_eq!(t.tcb.info(&t.core, t.now).snd_wnd, 4_000);
    // Sent before, arrives after: in the window because it covers its edge.
    recv!(
        t,
        Seg {
            seq: 500,
            text: &octets(600),
            window: Some(9_000),
            ..ACK
        }
    );
    assert_eq!(t.tcb.info(&t.core, t.now).snd_wnd, 4_000);
    t.sent();
}

/// Section 3.8.6.2.2.
#[test]
fn the_receiver_offers_more_only_if_it_is_worth_it() {
    let mut t = Setup {
        config: Config {
            options: SocketOptions {
                receive_buffer: BufferLimit::Auto(10_000),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    t.application = Application::Keeps;
    for i in 0..10 {
        recv!(
            t,
            Seg {
                seq: 1 + 1_000 * i,
                text: &octets(1_000),
                ..ACK
            }
        );
    }
    sent!(
        t,
        [Seg {
            ack: 10_001,
            window: Some(0),
            ..ACK
        }]
    );
    t.read(999);
    sent_nothing!(t);
    t.read(1);
    sent!(
        t,
        [Seg {
            ack: 10_001,
            window: Some(1_000),
            ..ACK
        }]
    );
    t.read(usize::MAX);
    let update = t.sent_one();
    assert_eq!(update.header.window, 10_000);
}

/// Section 3.8.6 (SHLD-14), with a unit of 16 octets. Only when the buffer is full may the header
/// say less, by a part of its unit (RFC 7323 section 2.4); what lies there is still taken.
#[test]
fn the_right_edge_never_moves_left() {
    let mut t = Setup::with_options().established();
    t.application = Application::Keeps;
    let shift = t.tcb.rcv.shift;
    let mut chance = Chance::new(1);
    let mut edge = 0;
    let mut seq = 1;
    for _ in 0..2_000 {
        let len = 1 + chance.below(999) as usize;
        let room = t.tcb.rcv.edge.since(t.tcb.rcv.nxt) as usize;
        recv!(
            t,
            Seg {
                seq,
                text: &octets(len.min(room)),
                ..ACK
            }
        );
        seq += len.min(room) as u32;
        if chance.percent(40) {
            t.read(chance.below(4_000) as usize);
        }
        if chance.percent(20) {
            advance!(t, 40 ms);
        }
        for sent in t.sent() {
            let right = sent.ack + (u32::from(sent.header.window) << shift);
            assert!(right + (1 << shift) > edge, "{right} is left of {edge}");
            edge = edge.max(right);
            assert!(t.tcb.rcv.edge.since(t.tcb.rcv.irs) >= edge);
        }
    }
    assert!(seq > 100_000);
}

/// Without window scale 64 KiB is all that can be said; reading says nothing new beyond.
#[test]
fn without_scale_reading_does_not_chatter() {
    let mut t = established();
    t.application = Application::Keeps;
    recv!(
        t,
        Seg {
            text: &octets(5_000),
            ..ACK
        }
    );
    t.sent_one();
    let mut updates = 0;
    while t.read(100) > 0 {
        updates += t.sent().len();
    }
    assert!(updates <= 5, "{updates} updates for 5000 octets");
}

/// The rounding to the unit of the scale must not lift the window beyond the buffer.
#[test]
fn small_segments_do_not_lift_the_window_beyond_the_buffer() {
    let mut t = Setup {
        config: Config {
            options: SocketOptions {
                receive_buffer: BufferLimit::Fixed(100_000),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::with_options()
    }
    .established();
    t.application = Application::Keeps;
    let shift = t.tcb.rcv.shift;
    assert!(shift > 0);
    for seq in 1..5_000 {
        recv!(
            t,
            Seg {
                seq,
                text: b"x",
                ..ACK
            }
        );
        t.tcb.pending.ack = AckDue::Now;
        let sent = t.sent_one();
        let right = sent.ack + (u32::from(sent.header.window) << shift);
        assert!(right <= 1 + 100_000 + (1 << shift), "{right} at {seq}");
    }
}
