use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn drain(memory: &mut ReceiveMemory, id: QueueId) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(readable) = memory.take(id) {
        out.extend_from_slice(&readable);
        let len = readable.len();
        memory.put_back(id, readable, len);
    }
    out
}

#[test]
fn text_comes_out_as_it_went_in_across_pages() {
    let mut memory = ReceiveMemory::new(1 << 20);
    let id = memory.open(Seq(u32::MAX - 100));
    let data: Vec<u8> = (0..5_000).map(|i| i as u8).collect();
    assert_eq!(memory.write(id, Seq(u32::MAX - 100), &data), 5_000);
    assert_eq!(memory.contiguous(id), 5_000);
    assert_eq!(drain(&mut memory, id), data);
    assert!(memory.holds_nothing(id));
    assert_eq!(memory.bytes(), 0);
    memory.close(id);
    assert!(memory.is_empty());
}

#[test]
fn a_gap_holds_back_what_follows_it() {
    let mut memory = ReceiveMemory::new(1 << 20);
    let id = memory.open(Seq(0));
    assert_eq!(memory.write(id, Seq(3_000), b"later"), 5);
    assert_eq!(memory.contiguous(id), 0);
    assert_eq!(memory.bytes(), PAGE, "a hole costs no page");
    memory.skip_to(id, Seq(3_000));
    assert_eq!(drain(&mut memory, id), b"later");
}

#[test]
fn limits_hold_and_what_is_stored_is_said() {
    let mut memory = ReceiveMemory::new(2 * PAGE);
    let id = memory.open(Seq(0));
    assert_eq!(memory.write(id, Seq(0), &[1; 3 * PAGE]), 2 * PAGE);
    assert_eq!(memory.contiguous(id), 2 * PAGE as u32);
    memory.close(id);

    let mut memory = ReceiveMemory::new(1 << 20);
    let id = memory.open(Seq(0));
    for i in 0..200u32 {
        let stored = memory.write(id, Seq(10 + 2 * i), &[0]);
        assert_eq!(stored, usize::from((i as usize) < MAX_RANGES));
    }
    assert_eq!(
        memory.write(id, Seq(11), &[0]),
        1,
        "filling a gap is always possible"
    );
}

#[test]
fn text_out_of_order_leaves_a_quarter_to_text_in_order() {
    let mut memory = ReceiveMemory::new(16 * PAGE);
    let id = memory.open(Seq(0));
    let beyond = |memory: &mut ReceiveMemory, page: u32| {
        memory.write(id, Seq(10 + page * PAGE as u32), &[0])
    };
    for page in 1..=12 {
        assert_eq!(beyond(&mut memory, page), 1);
    }
    assert_eq!(memory.pressure(), MemoryPressure::OutOfOrder);
    assert_eq!(beyond(&mut memory, 13), 0);
    assert_eq!(
        memory.write(id, Seq(11 + PAGE as u32), &[0]),
        1,
        "takes no page"
    );
    assert_eq!(memory.write(id, Seq(0), &[0; 4]), 4);
    memory.check();
    memory.close(id);
    assert!(memory.is_empty());
}

/// Who holds text out of order and goes on is left alone; who does not loses it to others.
#[test]
fn stale_text_out_of_order_makes_room() {
    let mut memory = ReceiveMemory::new(16 * PAGE);
    let [stale, fresh, other] = [(); 3].map(|()| memory.open(Seq(0)));
    assert_eq!(memory.write(stale, Seq(0), b"in order"), 8);
    for (id, pages) in [(stale, 1..6), (fresh, 1..7)] {
        memory.touch(id, 1_000);
        for page in pages {
            assert_eq!(memory.write(id, Seq(10 + page * PAGE as u32), &[0]), 1);
        }
    }
    memory.touch(fresh, 4_000);
    memory.touch(other, 5_000);
    assert_eq!(memory.write(other, Seq(10), &[0]), 0);
    assert_eq!(memory.reclaim(5_999), 0);
    assert_eq!(memory.reclaim(6_000), 5);
    assert_eq!(memory.contiguous(stale), 8, "what is in order stays");
    assert_eq!(memory.ranges(fresh).len(), 6);
    assert_eq!(memory.write(other, Seq(10), &[0]), 1);
    memory.check();
}

/// An octet at the far end of a large window costs more than its page: numbers of those before it.
#[test]
fn holes_without_end_are_accounted_for() {
    let mut memory = ReceiveMemory::new(64 * PAGE);
    let id = memory.open(Seq(0));
    // 6 MiB: 3072 numbers of four octets.
    assert_eq!(memory.write(id, Seq((6 << 20) - 1), &[0]), 1);
    assert_eq!(memory.bytes(), (1 + 6) * PAGE);
    assert_eq!(memory.write(id, Seq(0), &[0]), 1);
    assert_eq!(memory.bytes(), (2 + 6) * PAGE);
    memory.check();
    // As it moves on, there are fewer.
    memory.skip_to(id, Seq(3 << 20));
    assert_eq!(memory.bytes(), (1 + 3) * PAGE);
    memory.check();
    assert_eq!(memory.prune(id, Seq(3 << 20)), 1);
    assert_eq!(memory.bytes(), 0);
    // Where there is no room for them, the octet is refused, and nothing is left of it.
    let mut memory = ReceiveMemory::new(4 * PAGE);
    let id = memory.open(Seq(0));
    assert_eq!(memory.write(id, Seq((6 << 20) - 1), &[0]), 0);
    assert_eq!(memory.bytes(), 0);
    memory.check();
}

proptest! {
    /// Against a model that holds single octets.
    #[test]
    fn any_order_of_arrival_gives_the_same_text(
        start: u32,
        writes in prop::collection::vec((0u32..6_000, 1usize..1_500, any::<bool>()), 1..60),
    ) {
        let octet = |at: u32| (at.wrapping_mul(31) >> 3) as u8;
        let mut memory = ReceiveMemory::new(1 << 20);
        let id = memory.open(Seq(start));
        let mut model = BTreeMap::new();
        let mut consumed = 0u32;
        for (at, len, read) in writes {
            let at = at.max(consumed);
            let data: Vec<u8> = (0..len as u32).map(|i| octet(at + i)).collect();
            let stored = memory.write(id, Seq(start) + at, &data);
            model.extend((0..stored as u32).map(|i| (at + i, ())));
            let mut contiguous = 0;
            while model.contains_key(&(consumed + contiguous)) {
                contiguous += 1;
            }
            prop_assert_eq!(memory.contiguous(id), contiguous);
            if read {
                for value in drain(&mut memory, id) {
                    prop_assert_eq!(value, octet(consumed));
                    model.remove(&consumed);
                    consumed += 1;
                }
            }
            let ranges = memory.ranges(id);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end.before(pair[1].start)));
            prop_assert_eq!(ranges.iter().map(|r| r.end.since(r.start)).sum::<u32>() as usize, model.len());
        }
        memory.close(id);
        prop_assert!(memory.is_empty());
    }
}
