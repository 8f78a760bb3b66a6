//! Peers that want to use up what a connection may hold. What one core's connections hold together is
//! in tests/starvation.rs.

use super::*;

fn with_sack() -> Host {
    let mut setup = Setup::with_options();
    setup.syn.timestamps = None;
    setup.syn.mss = Some(1_000);
    setup.established()
}

/// Octets that the scoreboard takes, and its ranges.
fn scoreboard(t: &Host) -> (usize, usize) {
    t.tcb.send.scoreboard_size()
}

#[track_caller]
fn sack(t: &mut Host, ack: u32, blocks: &[(u32, u32)]) {
    recv!(
        t,
        Seg {
            ack,
            sack: Some(blocks),
            ..ACK
        }
    );
}

/// A peer may name single octets of the one segment that there is: nothing is remembered of it.
#[test]
fn a_segment_has_no_more_ranges_than_one() {
    let mut t = with_sack();
    t.send(&octets(1_000));
    t.sent();
    for at in (2..999).step_by(8) {
        let blocks = [0, 2, 4, 6].map(|step| (at + step, at + step + 1));
        sack(&mut t, 1, &blocks);
    }
    assert_eq!(scoreboard(&t).1, 0);
    assert!(t.counters().sack_ranges_refused > 100);
    // An honest one has it whole.
    sack(&mut t, 1, &[(1, 1_001)]);
    assert_eq!(scoreboard(&t).1, 1);
    t.tcb.send.check(&t.core.segments);
}

/// What was remembered of many segments is given back with them.
#[test]
fn ranges_go_with_their_segments() {
    let mut setup = Setup::with_options();
    setup.syn.timestamps = None;
    setup.syn.mss = Some(100);
    setup.buffers = 100_000;
    setup.config.options.send_buffer = BufferLimit::Fixed(2_000_000);
    let mut t = setup.established();
    t.tcb.set_nodelay(true);
    t.send(&octets(600_000));
    let mut sent = VecDeque::from(t.sent());
    while t.flight() < 100_000 {
        let segment = sent.pop_front().expect("the window grows");
        let ack = segment.seq + segment.text.len() as u32;
        recv!(t, Seg { ack, ..ACK });
        sent.extend(t.sent());
    }
    t.sent();
    let una = t.tcb.snd.una.since(t.tcb.snd.iss);
    for i in 1..400 {
        let left = una + 200 * i;
        sack(&mut t, una, &[(left, left + 100)]);
    }
    t.sent();
    let (octets, ranges) = scoreboard(&t);
    assert!(ranges > 300, "{ranges}");
    let segments = t.flight() as usize / 100;
    assert!(octets <= 16 * segments, "{octets} for {segments} segments");
    // All but the last few.
    let nxt = t.tcb.snd.nxt.since(t.tcb.snd.iss);
    recv!(
        t,
        Seg {
            ack: nxt - 1_000,
            ..ACK
        }
    );
    let (octets, _) = scoreboard(&t);
    assert!(octets <= 1_024, "{octets}");
    t.tcb.send.check(&t.core.segments);
    t.sent();
}

/// A receiver that has a part of a segment only says so for nothing, and loses nothing by it.
#[test]
fn half_a_segment_is_remembered_with_the_whole() {
    let mut t = with_sack();
    t.send(&octets(5_000));
    t.sent();
    sack(&mut t, 1, &[(1_001, 1_501)]);
    assert_eq!((scoreboard(&t).1, t.tcb.send.sacked()), (0, 0));
    sack(&mut t, 1, &[(1_001, 2_001)]);
    assert_eq!((scoreboard(&t).1, t.tcb.send.sacked()), (1, 1_000));
    sack(&mut t, 1, &[(1_001, 2_501)]);
    assert_eq!((scoreboard(&t).1, t.tcb.send.sacked()), (1, 1_000));
    sack(&mut t, 1, &[(1_001, 3_001)]);
    assert_eq!((scoreboard(&t).1, t.tcb.send.sacked()), (1, 2_000));
    t.sent();
}

/// Single octets out of order: so many gaps and no more, whatever the peer sends.
#[test]
fn octets_out_of_order_have_a_limit() {
    let mut t = with_sack();
    for i in 0..5_000u32 {
        let seq = 10 + 13 * i % 60_000;
        recv!(
            t,
            Seg {
                seq,
                text: b"x",
                ..ACK
            }
        );
        if i % 50 == 0 {
            t.sent();
        }
    }
    t.sent();
    assert!(t.core.receive_bytes() <= 64 * 2_048);
    assert!(t.counters().out_of_order_dropped > 4_000);
    let id = t.tcb.receive.expect("something is held");
    assert!(t.core.receive.ranges(id).len() <= 64);
}

/// More causes of duplicate ACKs than are remembered cost no memory.
#[test]
fn duplicate_acks_without_end_have_a_limit() {
    let mut t = with_sack();
    for i in 0..40 {
        recv!(
            t,
            Seg {
                seq: 100 + 2 * i,
                text: b"x",
                ..ACK
            }
        );
    }
    assert_eq!(t.counters().duplicate_ack_causes_forgotten, 24);
    assert_eq!(t.sent().len(), 40);
}

/// A peer that takes a little now and then gains nothing by it either: what waits to be sent gets no
/// younger.
#[test]
fn text_gets_no_younger_by_drops() {
    let mut t = Setup {
        window: 1_000,
        ..Setup::default()
    }
    .established();
    assert_eq!(t.tcb.stalled_for(&t.core, t.now), None);
    t.send(&octets(10_000));
    t.sent();
    for segment in 1..=5 {
        advance!(t, 2 s);
        t.sent();
        let ack = 1 + 1_000 * segment;
        recv!(t, Seg { ack, ..ACK });
        t.sent();
    }
    let stalled = t.tcb.stalled_for(&t.core, t.now);
    assert_eq!(stalled, Some(Duration::from_secs(10)));
}

/// Acknowledgments of what was never sent open no window, and are answered within limits.
#[test]
fn optimistic_acknowledgments_gain_nothing() {
    let mut t = established();
    t.send(&octets(20_000));
    let sent = t.sent().len() as u32;
    let (cwnd, una) = (t.tcb.controller.cwnd(), t.tcb.snd.una);
    let nxt = 1 + 1_000 * sent;
    for ahead in 1..200 {
        recv!(
            t,
            Seg {
                ack: nxt + 500 * ahead,
                ..ACK
            }
        );
    }
    assert_eq!((t.tcb.controller.cwnd(), t.tcb.snd.una), (cwnd, una));
    assert_eq!(t.counters().ack_rejected, 199);
    let answers = t.sent();
    assert!(answers.len() <= 1, "one challenge ACK in 500 ms");
}
