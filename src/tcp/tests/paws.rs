//! Protection against wrapped sequence numbers and the rest of the timestamps' rules (RFC 7323
//! sections 3 to 5).

use super::*;

/// TS.Recent is 1000.
fn with_timestamps() -> Host {
    let mut t = Setup::with_options().established();
    recv!(
        t,
        Seg {
            timestamps: Some((1_000, t.tsecr)),
            ..ACK
        }
    );
    t.tsval = 1_000;
    t
}

const OLD: Option<(u32, u32)> = Some((999, 0));

fn recent(t: &Host) -> u32 {
    t.tcb.timestamps.expect("in use").recent
}

/// Section 5.3, R1: what is rejected acknowledges nothing, moves no window, and is not remembered.
#[test]
fn a_rejected_segment_leaves_no_trace() {
    let mut t = with_timestamps();
    t.send(&octets(500));
    t.sent();
    recv!(
        t,
        Seg {
            ack: 501,
            window: Some(9),
            text: b"old",
            flags: FIN,
            timestamps: OLD,
            ..ACK
        }
    );
    assert_eq!(t.flight(), 500);
    assert_eq!(t.tcb.info(&t.core, t.now).snd_wnd, 0xffff << 3);
    assert_eq!(recent(&t), 1_000);
    assert_eq!(t.state(), State::Established);
    assert!(t.received.is_empty());
    sent!(t, [Seg { seq: 501, ..ACK }]);
}

/// R1 comes before the acceptability of the sequence number.
#[test]
fn paws_comes_first() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            seq: 0x7000_0000,
            text: b"old",
            timestamps: OLD,
            ..ACK
        }
    );
    assert_eq!(t.counters().paws_rejected, 1);
    assert_eq!(t.counters().out_of_window, 0);
    sent!(t, [ACK]);
}

/// An old SYN of the same connection: its sequence number has wrapped into the window.
#[test]
fn an_old_syn_is_rejected_by_its_timestamp() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            flags: Flags::SYN,
            timestamps: OLD,
            ..ACK
        }
    );
    assert_eq!(t.counters().paws_rejected, 1);
    assert_eq!(t.state(), State::Established);
    t.sent();
}

/// Section 5.2: the case that PAWS is for. The same sequence number comes again four gigabytes later,
/// and the duplicate of the first is still in the network.
#[test]
fn a_duplicate_from_before_the_wrap_is_not_taken_for_new_text() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            text: b"generation 1",
            timestamps: Some((1_010, 0)),
            ..ACK
        }
    );
    let first = Seg {
        text: b"generation 1",
        timestamps: Some((1_010, 0)),
        ..ACK
    };
    t.sent();
    advance!(t, 100 ms);
    t.sent();
    // As if 2^32 octets had passed: the window is where it was, the clock is not.
    let wrapped = t.tcb.rcv.irs + 1;
    t.tcb.rcv.nxt = wrapped;
    t.tcb.rcv.acked = wrapped;
    t.tcb.timestamps.as_mut().expect("in use").recent = 50_000;
    recv!(t, first);
    recv!(
        t,
        Seg {
            text: b"generation 2",
            timestamps: Some((50_001, 0)),
            ..ACK
        }
    );
    assert_eq!(t.received, b"generation 1generation 2");
    t.sent();
}

/// Section 4.3, R3's condition: only SEG.SEQ =< Last.ACK.sent, and only what is acceptable.
#[test]
fn what_is_outside_the_window_is_not_remembered() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            text: b"abc",
            timestamps: Some((1_010, 0)),
            ..ACK
        }
    );
    advance!(t, 40 ms);
    t.sent();
    // Wholly old: a duplicate.
    recv!(
        t,
        Seg {
            text: b"abc",
            timestamps: Some((2_000, 0)),
            ..ACK
        }
    );
    assert_eq!(recent(&t), 1_010);
    // Beyond the window.
    recv!(
        t,
        Seg {
            seq: 0x7000_0000,
            timestamps: Some((2_000, 0)),
            ..ACK
        }
    );
    assert_eq!(recent(&t), 1_010);
    t.sent();
}

/// Section 3.2: once negotiated, in every segment, of whatever kind.
#[test]
fn every_segment_has_timestamps() {
    let mut t = with_timestamps();
    let mut kinds = Vec::new();
    let mut look = |t: &mut Host, kind: &'static str| {
        let sent = t.sent();
        assert!(!sent.is_empty(), "{kind}");
        for sent in sent {
            let timestamps = sent.header.options.timestamps.expect(kind);
            assert_eq!(timestamps.tsecr, recent(t), "{kind}");
        }
        kinds.push(kind);
    };
    t.send(&octets(1_000));
    look(&mut t, "text");
    advance!(t, 300 ms);
    look(&mut t, "a retransmission");
    recv!(
        t,
        Seg {
            ack: 1_001,
            window: Some(0),
            seq: 50,
            text: b"x",
            ..ACK
        }
    );
    look(&mut t, "a duplicate acknowledgment");
    t.peer_window = 0;
    recv!(
        t,
        Seg {
            ack: 1_001,
            text: &octets(49),
            ..ACK
        }
    );
    look(&mut t, "an acknowledgment");
    t.send(b"x");
    advance!(t, 60 s);
    look(&mut t, "a window probe");
    t.peer_window = 0xffff;
    recv!(
        t,
        Seg {
            seq: 51,
            ack: 1_001,
            ..ACK
        }
    );
    t.shutdown();
    look(&mut t, "a FIN");
    t.abort();
    look(&mut t, "a reset");
    assert_eq!(kinds.len(), 7);
}

/// Section 3.2: TSecr is zero while there is nothing to echo.
#[test]
fn a_syn_echoes_nothing() {
    let mut t = Setup::default().connecting();
    let timestamps = t.sent_one().header.options.timestamps.expect("offered");
    assert_eq!(timestamps.tsecr, 0);
}

/// Section 3.2: who has not offered them is not taken at its word later.
#[test]
fn timestamps_that_were_not_negotiated_are_ignored() {
    let mut t = established();
    let mut header = t.header(&ACK);
    for tsval in [5_000, 1] {
        header.options.timestamps = Some(Timestamps { tsval, tsecr: 9 });
        t.handle(&Segment {
            header: header.clone(),
            payload: b"abc",
        });
        header.seq = header.seq.wrapping_add(3);
    }
    assert_eq!(t.received, b"abcabc");
    assert_eq!(t.counters().paws_rejected, 0);
    advance!(t, 40 ms);
    assert_eq!(t.sent_one().header.options.timestamps, None);
}

/// Section 4.1: an acknowledgment of nothing new is no measurement, whatever it echoes.
#[test]
fn only_an_acknowledgment_of_something_new_is_a_measurement() {
    let mut t = with_timestamps();
    t.send(&octets(1_000));
    t.sent_one();
    let echo = t.tsecr;
    let before = t.tcb.info(&t.core, t.now).srtt;
    advance!(t, 150 ms);
    recv!(
        t,
        Seg {
            timestamps: Some((1_100, echo)),
            text: b"abc",
            ..ACK
        }
    );
    assert_eq!(t.tcb.info(&t.core, t.now).srtt, before);
    recv!(
        t,
        Seg {
            seq: 4,
            ack: 1_001,
            timestamps: Some((1_100, echo)),
            ..ACK
        }
    );
    assert!(t.tcb.info(&t.core, t.now).srtt > before);
    t.sent();
}

/// Section 5.4: our clock may wrap between a segment and its acknowledgment.
#[test]
fn our_clock_may_wrap() {
    let mut t = with_timestamps();
    // No tail loss probe (RFC 8985).
    t.tcb.sack = false;
    let now = t.now.as_millis() as u32;
    // 50 ms before the wrap.
    t.tcb.timestamps.as_mut().expect("in use").offset = 0u32.wrapping_sub(now).wrapping_sub(50);
    t.send(&octets(1_000));
    let sent = t.sent_one().header.options.timestamps.expect("in use");
    assert_eq!(sent.tsval, u32::MAX - 49);
    advance!(t, 200 ms);
    let again = t.sent_one().header.options.timestamps.expect("in use");
    assert_eq!(again.tsval, 150);
    advance!(t, 100 ms);
    let before = t.tcb.info(&t.core, t.now).srtt.expect("measured");
    // The first transmission was not lost: 300 ms.
    recv!(
        t,
        Seg {
            ack: 1_001,
            timestamps: Some((1_300, sent.tsval)),
            ..ACK
        }
    );
    let after = t.tcb.info(&t.core, t.now).srtt.expect("measured");
    assert!(after > before + Duration::from_millis(30), "{after:?}");
}

/// Section 5.3: a segment with the timestamp of the last one is not old, so that segments of one
/// tick may be reordered.
#[test]
fn segments_of_one_tick_may_be_reordered() {
    let mut t = with_timestamps();
    let text = octets(3_000);
    for (i, tsval) in [(2, 1_001), (1, 1_001), (0, 1_001)] {
        recv!(
            t,
            Seg {
                seq: 1 + 1_000 * i as u32,
                text: &text[1_000 * i..1_000 * (i + 1)],
                timestamps: Some((tsval, 0)),
                ..ACK
            }
        );
    }
    assert_eq!(t.received, text);
    t.sent();
}

/// The examples of section 4.3: segments A to E of a thousand octets, each with its own timestamp,
/// and what is echoed for them.
fn echoes(arrivals: &[(u32, u32)], expected: &[(u32, u32)]) {
    let mut t = Setup::with_options().established();
    for (&(segment, tsval), &(ack, echo)) in arrivals.iter().zip(expected) {
        recv!(
            t,
            Seg {
                seq: 1 + 1_000 * segment,
                text: &[7; 1_000],
                timestamps: Some((tsval, 0)),
                ..ACK
            }
        );
        if ack == 0 {
            sent_nothing!(t);
            continue;
        }
        let sent = t.sent_one();
        let timestamps = sent.header.options.timestamps.expect("in use");
        assert_eq!(
            ((sent.ack - 1) / 1_000, timestamps.tsecr),
            (ack, echo),
            "after segment {segment}"
        );
    }
}

const A: u32 = 0;
const B: u32 = 1;
const C: u32 = 2;
const D: u32 = 3;
const E: u32 = 4;

/// (A) Delayed acknowledgments: the earliest of those that one covers.
#[test]
fn a_delayed_acknowledgment_echoes_the_first_segment() {
    echoes(
        &[(A, 1), (B, 2), (C, 3), (D, 4)],
        &[(0, 0), (2, 1), (0, 0), (4, 3)],
    );
}

/// (B) and (C): a hole, and another one behind it, with their segments late.
#[test]
fn holes_echo_the_last_segment_that_advanced_the_window() {
    let mut t = Setup::with_options().established();
    let mut arrive = |segment: u32, tsval: u32| {
        recv!(
            t,
            Seg {
                seq: 1 + 1_000 * segment,
                text: &[7; 1_000],
                timestamps: Some((tsval, 0)),
                ..ACK
            }
        );
        advance!(t, 40 ms);
        let sent = t.sent_one();
        let timestamps = sent.header.options.timestamps.expect("in use");
        ((sent.ack - 1) / 1_000, timestamps.tsecr)
    };
    assert_eq!(arrive(A, 1), (1, 1));
    assert_eq!(arrive(C, 3), (1, 1));
    assert_eq!(arrive(B, 2), (3, 2));
    assert_eq!(arrive(E, 5), (3, 2));
    assert_eq!(arrive(D, 4), (5, 4));
}
