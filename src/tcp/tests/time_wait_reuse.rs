//! When a new SYN may end TIME-WAIT (RFC 6191 section 2), and what must not (RFC 1337).

use super::*;

/// TS.Recent of the old connection, if it had timestamps.
const RECENT: u32 = 5_000;

/// A connection that has closed first: the peer's next number is 2.
fn waiting(timestamps: bool) -> (Host, TimeWait) {
    let setup = if timestamps {
        Setup::with_options()
    } else {
        Setup::default()
    };
    let mut t = setup.established();
    t.tsval = RECENT;
    t.close();
    t.sent();
    recv!(
        t,
        Seg {
            ack: 2,
            flags: FIN,
            ..ACK
        }
    );
    t.sent();
    let wait = t.tcb.time_wait(&t.core, t.now);
    (t, wait)
}

fn handle(t: &mut Host, wait: &mut TimeWait, header: Header, text: &[u8]) -> TimeWaitVerdict {
    let segment = Segment {
        header,
        payload: text,
    };
    let mut cx = Context {
        now: t.now,
        buffers: &mut t.buffers,
        core: &mut t.core,
    };
    wait.handle_segment(&mut cx, &segment)
}

/// Whether a SYN at `seq`, with the timestamp if any, reopens.
fn reopens(had_timestamps: bool, seq: u32, tsval: Option<u32>) -> bool {
    let (mut t, mut wait) = waiting(had_timestamps);
    let mut header = t.header(&Seg {
        seq,
        flags: Flags::SYN,
        no_timestamps: true,
        ..ACK
    });
    header.options.timestamps = tsval.map(|tsval| Timestamps { tsval, tsecr: 0 });
    match handle(&mut t, &mut wait, header, &[]) {
        TimeWaitVerdict::Reopen { .. } => true,
        TimeWaitVerdict::Acknowledge(_) => false,
        TimeWaitVerdict::Drop => panic!("an old SYN is answered"),
    }
}

/// Far behind the old connection's numbers, just behind, at, and just before their end, far before.
const NUMBERS: [(u32, bool); 5] = [
    (100_000, true),
    (3, true),
    (2, false),
    (1, false),
    (0x9000_0000, false),
];

#[test]
fn a_later_timestamp_reopens_whatever_the_number() {
    for (seq, _) in NUMBERS {
        for later in [1, 1_000, 0x7fff_ffff] {
            assert!(reopens(true, seq, Some(RECENT + later)), "{seq} {later}");
        }
    }
}

#[test]
fn with_timestamps_an_old_one_never_reopens() {
    for (seq, _) in NUMBERS {
        for earlier in [1, 1_000, 0x7fff_ffff] {
            let tsval = RECENT.wrapping_sub(earlier);
            assert!(!reopens(true, seq, Some(tsval)), "{seq} {earlier}");
        }
    }
}

#[test]
fn with_an_equal_timestamp_the_number_decides() {
    for (seq, beyond) in NUMBERS {
        assert_eq!(reopens(true, seq, Some(RECENT)), beyond, "{seq}");
    }
}

#[test]
fn without_timestamps_in_the_new_connection_the_number_decides() {
    for (seq, beyond) in NUMBERS {
        assert_eq!(reopens(true, seq, None), beyond, "{seq}");
        assert_eq!(reopens(false, seq, None), beyond, "{seq}");
    }
}

/// No segment of the old connection, which had none, can pass for one of the new.
#[test]
fn timestamps_where_there_were_none_reopen_whatever_the_number() {
    for (seq, _) in NUMBERS {
        assert!(reopens(false, seq, Some(RECENT + 1)), "{seq}");
    }
}

/// RFC 1337 section 3: neither resets nor any other segment of the old connection ends it early, and
/// only the peer's own FIN makes it longer.
#[test]
fn old_segments_do_not_shorten_it() {
    let (mut t, mut wait) = waiting(false);
    let deadline = wait.deadline;
    for (seq, flags, text) in [
        (2, Flags::RST, &b""[..]),
        (2, RST_ACK, b""),
        (0, Flags::RST, b"with text"),
        (2, Flags::ACK, b"late text"),
        (1, Flags::ACK, b"old text"),
        (0x7000_0000, FIN, b""),
        (0, SYN_ACK, b""),
        (2, Flags(0), b"no acknowledgment"),
    ] {
        t.now += Duration::from_secs(1);
        let header = t.header(&Seg {
            seq,
            ack: 2,
            flags,
            ..ACK
        });
        let verdict = handle(&mut t, &mut wait, header, text);
        assert!(
            !matches!(verdict, TimeWaitVerdict::Reopen { .. }),
            "{flags:?}: {verdict:?}"
        );
        if flags.contains(Flags::RST) {
            assert!(matches!(verdict, TimeWaitVerdict::Drop), "{verdict:?}");
        }
        assert_eq!(wait.deadline, deadline, "{flags:?}");
    }
}

/// What we answer is the old connection's last acknowledgment, with a timestamp of its clock.
#[test]
fn the_answer_is_the_last_acknowledgment() {
    let (mut t, mut wait) = waiting(true);
    let last = t.header(&Seg {
        seq: 1,
        ack: 2,
        flags: FIN,
        ..ACK
    });
    t.now += Duration::from_secs(3);
    let TimeWaitVerdict::Acknowledge(answer) = handle(&mut t, &mut wait, last, &[]) else {
        panic!("it has not seen our acknowledgment");
    };
    assert_eq!(answer.seq, t.tcb.snd.nxt.0);
    assert_eq!(answer.ack.wrapping_sub(t.irs), 2);
    let timestamps = answer.options.timestamps.expect("in use");
    assert_eq!(timestamps.tsecr, RECENT);
    assert_eq!(
        timestamps.tsval,
        t.tcb.timestamps.expect("in use").tsval(t.now)
    );
}

/// RFC 1337 figure 1: an old duplicate arrives, the acknowledgment of it meets a peer that has
/// forgotten the connection, and that peer's reset would end TIME-WAIT.
#[test]
fn time_wait_is_not_assassinated() {
    let (mut t, mut wait) = waiting(false);
    let deadline = wait.deadline;
    let duplicate = t.header(&ACK);
    let TimeWaitVerdict::Acknowledge(answer) = handle(&mut t, &mut wait, duplicate, b"old") else {
        panic!("an old duplicate is answered");
    };
    let reset = reset_for(&Segment {
        header: answer,
        payload: &[],
    });
    let reset = reset.expect("the peer is closed");
    let verdict = handle(&mut t, &mut wait, reset, &[]);
    assert!(matches!(verdict, TimeWaitVerdict::Drop), "{verdict:?}");
    assert_eq!(wait.deadline, deadline);
}
