//! More than the whole sequence space (RFC 7323 section 5): 4 GiB and what PAWS is for.

use super::*;

/// As much as one segment of IPv4 can have.
const LEN: usize = 65_000;

fn receiver(timestamps: bool) -> Host {
    let mut setup = Setup::with_options();
    setup.config.options.receive_buffer = BufferLimit::Fixed(1 << 20);
    setup.config.timestamps = timestamps;
    if !timestamps {
        setup.syn.timestamps = None;
    }
    setup.irs = u32::MAX - 100_000;
    setup.established()
}

/// Text that is consumed and thrown away; whether it was taken.
fn take(t: &mut Host, seq: u32, tsval: u32, text: &[u8]) -> bool {
    let seg = Seg {
        seq,
        timestamps: Some((tsval, t.tsecr)),
        ..ACK
    };
    let segment = Segment {
        header: t.header(&seg),
        payload: text,
    };
    let arrival = t.with(|tcb, cx| tcb.handle_segment(cx, &segment));
    let taken = arrival.text.len();
    t.with(|tcb, cx| tcb.handle_text(cx, arrival.text, taken));
    assert!(taken == 0 || taken == text.len());
    taken > 0
}

/// Sends so much that every sequence number has come once, at 10 Gbit/s; then the first segment
/// comes again, late by the three seconds and a half that this has taken.
fn old_duplicate_is_taken(timestamps: bool) -> bool {
    let mut t = receiver(timestamps);
    let text = vec![7; LEN];
    let mut seq = 1_u32;
    let first = t.tsval;
    let mut octets = 0_u64;
    while octets < 1 << 32 {
        // 52 us each: a millisecond of the peer's clock is some twenty segments.
        t.now += Duration::from_micros(52);
        let tsval = first + (octets * 8 / 10_000_000) as u32;
        // The last one ends where the first one began.
        let len = text.len().min(((1_u64 << 32) - octets) as usize);
        assert!(take(&mut t, seq, tsval, &text[..len]), "after {octets}");
        seq = seq.wrapping_add(len as u32);
        octets += len as u64;
        t.poll();
        t.outbox.clear();
    }
    assert_eq!(seq, 1);
    let is_taken = take(&mut t, 1, first, &text);
    assert_eq!(t.counters().paws_rejected, u64::from(timestamps));
    t.poll();
    t.outbox.clear();
    is_taken
}

#[test]
fn after_four_gigabytes_an_old_duplicate_is_known_by_its_timestamp() {
    assert!(!old_duplicate_is_taken(true));
}

/// What PAWS is for: without timestamps the sequence number is right, and nothing else tells.
#[test]
fn without_timestamps_nothing_tells_it_from_a_new_one() {
    assert!(old_duplicate_is_taken(false));
}
