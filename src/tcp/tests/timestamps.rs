//! Timestamps and PAWS (RFC 7323 sections 3 to 5).

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

fn echo(t: &mut Host) -> u32 {
    t.sent_one()
        .header
        .options
        .timestamps
        .expect("timestamps are in use")
        .tsecr
}

#[test]
fn an_old_timestamp_is_rejected_and_answered() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            text: b"old",
            timestamps: Some((999, 0)),
            ..ACK
        }
    );
    assert!(t.received.is_empty());
    sent!(t, [ACK]);
    assert_eq!(t.counters().paws_rejected, 1);
}

#[test]
fn equal_and_newer_timestamps_pass_also_across_their_wrap() {
    for (recent, next) in [(1_000, 1_000), (1_000, 1_001), (u32::MAX - 1, 3)] {
        let mut t = Setup::with_options().established();
        t.tcb.timestamps.as_mut().expect("in use").recent = recent;
        recv!(
            t,
            Seg {
                text: b"new",
                timestamps: Some((next, 0)),
                ..ACK
            }
        );
        assert_eq!(t.received, b"new", "{recent} {next}");
    }
}

#[test]
fn after_24_days_an_old_timestamp_is_believed() {
    let mut t = with_timestamps();
    t.now += Duration::from_secs(24 * 24 * 3_600 - 1);
    let old = Seg {
        text: b"old",
        timestamps: Some((999, 0)),
        ..ACK
    };
    recv!(t, old);
    assert!(t.received.is_empty());
    t.now += Duration::from_secs(2);
    recv!(t, old);
    assert_eq!(t.received, b"old");
}

/// Section 3.2: silently.
#[test]
fn a_segment_without_its_timestamps_is_dropped() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            text: b"abc",
            no_timestamps: true,
            ..ACK
        }
    );
    assert!(t.received.is_empty());
    sent_nothing!(t);
    assert_eq!(t.counters().timestamps_missing, 1);
}

#[test]
fn a_reset_needs_no_timestamps() {
    for no_timestamps in [true, false] {
        let mut t = with_timestamps();
        recv!(
            t,
            Seg {
                flags: Flags::RST,
                no_timestamps,
                timestamps: Some((1, 0)),
                ..ACK
            }
        );
        assert_eq!(t.state(), State::Closed);
    }
}

/// Section 4.3: only from a segment that is at or before what was last acknowledged, so that the
/// echo is that of the earliest segment that an acknowledgment covers.
#[test]
fn the_echo_is_that_of_the_first_segment_not_yet_acknowledged() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            text: b"one",
            timestamps: Some((1_010, 0)),
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            seq: 4,
            text: b"two",
            timestamps: Some((1_020, 0)),
            ..ACK
        }
    );
    advance!(t, 40 ms);
    assert_eq!(echo(&mut t), 1_010);
    recv!(
        t,
        Seg {
            seq: 7,
            text: b"three",
            timestamps: Some((1_030, 0)),
            ..ACK
        }
    );
    advance!(t, 40 ms);
    assert_eq!(echo(&mut t), 1_030);
}

#[test]
fn the_echo_is_not_taken_from_beyond_a_gap() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            seq: 100,
            text: b"later",
            timestamps: Some((1_050, 0)),
            ..ACK
        }
    );
    assert_eq!(echo(&mut t), 1_000);
    recv!(
        t,
        Seg {
            text: &octets(99),
            timestamps: Some((1_060, 0)),
            ..ACK
        }
    );
    assert_eq!(echo(&mut t), 1_060);
}

#[test]
fn an_echo_of_what_was_never_sent_is_no_measurement() {
    for tsecr in [0, 1, 0x7000_0000] {
        let mut t = with_timestamps();
        // No tail loss probe (RFC 8985).
        t.tcb.sack = false;
        t.send(&octets(1_000));
        t.sent_one();
        advance!(t, 200 ms);
        t.sent_one();
        let before = t.tcb.info(&t.core, t.now).srtt;
        let tsecr = if tsecr == 0 {
            0
        } else {
            t.tsecr.wrapping_add(tsecr)
        };
        recv!(
            t,
            Seg {
                ack: 1_001,
                timestamps: Some((2_000, tsecr)),
                ..ACK
            }
        );
        assert_eq!(t.flight(), 0);
        assert_eq!(t.tcb.info(&t.core, t.now).srtt, before);
    }
}

#[test]
fn our_clock_ticks_in_milliseconds() {
    let mut t = with_timestamps();
    // No tail loss probe (RFC 8985).
    t.tcb.sack = false;
    t.tcb.set_nodelay(true);
    t.send(b"a");
    let first = t
        .sent_one()
        .header
        .options
        .timestamps
        .expect("in use")
        .tsval;
    advance!(t, 150 ms);
    t.send(b"b");
    let second = t
        .sent_one()
        .header
        .options
        .timestamps
        .expect("in use")
        .tsval;
    assert_eq!(second.wrapping_sub(first), 150);
}

/// RFC 5961 section 5.2 comes first: who cannot know our numbers must not set TS.Recent, or PAWS
/// drops all that the peer sends.
#[test]
fn a_timestamp_with_an_acknowledgment_out_of_range_is_not_remembered() {
    let mut t = with_timestamps();
    recv!(
        t,
        Seg {
            ack: 0x8000_0000,
            timestamps: Some((1_000 + (1 << 30), 0)),
            text: b"forged",
            ..ACK
        }
    );
    assert_eq!(echo(&mut t), 1_000);
    recv!(
        t,
        Seg {
            text: b"true",
            ..ACK
        }
    );
    assert_eq!(t.received, b"true");
}
