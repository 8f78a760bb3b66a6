//! The SACK blocks that we send (RFC 2018 sections 3 and 4).

use super::*;

fn with_sack(timestamps: bool) -> Host {
    let mut setup = Setup::with_options();
    if !timestamps {
        setup.syn.timestamps = None;
        setup.syn.mss = Some(1_000);
    }
    setup.established()
}

fn hole(i: u32) -> Seg<'static> {
    Seg {
        seq: 1 + 100 * i,
        text: &[7; 10],
        ..ACK
    }
}

#[test]
fn the_first_block_is_that_of_the_latest_segment() {
    let mut t = with_sack(false);
    for i in [2, 6, 4] {
        recv!(t, hole(i));
    }
    let sent = t.sent();
    assert_eq!(sent.len(), 3);
    let last: &[(u32, u32)] = &[(401, 411), (601, 611), (201, 211)];
    assert!(
        t.is(
            &sent[2],
            &Seg {
                sack: Some(last),
                ..ACK
            }
        ),
        "{:?}",
        sent[2]
    );
    // A duplicate of an old block brings it to the front, behind the report of it (RFC 2883).
    recv!(t, hole(6));
    sent!(
        t,
        [Seg {
            sack: Some(&[(601, 611), (601, 611), (401, 411), (201, 211)]),
            ..ACK
        }]
    );
}

/// RFC 2018 section 4: the first block is that of the segment that has caused the acknowledgment,
/// also when more of them have arrived before it could go out.
#[test]
fn each_acknowledgment_of_a_batch_begins_with_the_block_of_its_own_segment() {
    let mut t = with_sack(false);
    for i in [2, 6, 4, 2] {
        recv!(t, hole(i));
    }
    let firsts: Vec<_> = t.sent().iter().map(first_block).collect();
    assert_eq!(firsts, [201, 601, 401, 201]);
    assert!(t.core.causes.is_empty());
}

/// A batch that is larger than what is remembered: none of its acknowledgments is lost.
#[test]
fn more_causes_than_are_remembered_fall_back_to_the_latest_block() {
    let mut t = with_sack(false);
    for i in 1..=40 {
        recv!(t, hole(2 * i));
    }
    let firsts: Vec<_> = t.sent().iter().map(first_block).collect();
    let own = (1..=16).map(|i| 200 * i + 1);
    let latest = [8_001; 24];
    assert_eq!(firsts, own.chain(latest).collect::<Vec<_>>());
}

/// An acknowledgment of more says it all; what was owed before would pass for its duplicate.
#[test]
fn a_gap_that_is_filled_in_the_same_batch_leaves_one_acknowledgment() {
    let mut t = with_sack(false);
    for i in [1, 3, 0] {
        recv!(t, hole(i));
    }
    recv!(
        t,
        Seg {
            seq: 11,
            text: &[7; 90],
            ..ACK
        }
    );
    sent!(
        t,
        [Seg {
            ack: 111,
            sack: Some(&[(301, 311)]),
            ..ACK
        }]
    );
    assert!(t.core.causes.is_empty());
}

fn first_block(sent: &Sent) -> u32 {
    sent.header.options.sack[0].left.wrapping_sub(5_000)
}

#[test]
fn a_block_grows_in_both_directions() {
    let mut t = with_sack(true);
    recv!(t, hole(2));
    recv!(
        t,
        Seg {
            seq: 211,
            ..hole(2)
        }
    );
    recv!(
        t,
        Seg {
            seq: 191,
            ..hole(2)
        }
    );
    let sent = t.sent();
    assert!(t.is(
        &sent[2],
        &Seg {
            sack: Some(&[(191, 221)]),
            ..ACK
        }
    ));
}

#[test]
fn there_is_room_for_four_blocks_or_three_with_timestamps() {
    for (timestamps, room) in [(false, 4), (true, 3)] {
        let mut t = with_sack(timestamps);
        for i in 1..=6 {
            recv!(t, hole(2 * i));
        }
        let sent = t.sent();
        assert_eq!(sent[5].header.options.sack.len(), room);
    }
}

#[test]
fn blocks_never_make_a_segment_too_long() {
    let mut t = with_sack(false);
    for i in 1..=6 {
        recv!(t, hole(2 * i));
    }
    t.sent();
    t.tcb.set_nodelay(true);
    for (len, blocks) in [(1_000, 0), (980, 2), (988, 1), (989, 0), (900, 4)] {
        t.send(&octets(len));
        let sent = t.sent_one();
        assert_eq!(sent.text.len(), len);
        assert_eq!(sent.header.options.sack.len(), blocks, "{len}");
    }
}

#[test]
fn without_permission_there_are_no_blocks() {
    let mut t = established();
    recv!(t, hole(2));
    sent!(
        t,
        [Seg {
            sack: Some(&[]),
            ..ACK
        }]
    );
}

#[test]
fn filled_gaps_are_not_named_any_more() {
    let mut t = with_sack(false);
    recv!(t, Seg { seq: 11, ..hole(0) });
    recv!(t, hole(3));
    t.sent();
    recv!(t, hole(0));
    sent!(
        t,
        [Seg {
            ack: 21,
            sack: Some(&[(301, 311)]),
            ..ACK
        }]
    );
}

/// In order, but not consumed, is acknowledged and not selected.
#[test]
fn text_that_waits_for_the_application_is_no_block() {
    let mut t = with_sack(false);
    t.application = Application::Keeps;
    recv!(t, hole(0));
    recv!(t, hole(2));
    sent!(
        t,
        [Seg {
            ack: 11,
            sack: Some(&[(201, 211)]),
            ..ACK
        }]
    );
}
