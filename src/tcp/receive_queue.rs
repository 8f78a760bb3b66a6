//! What has been received and not been consumed: in order and waiting for the application, or out
//! of order and waiting for a gap to fill. Made when there is such text, freed when there is none.

use std::collections::VecDeque;
use std::ops::{Deref, Range};

use slab::Slab;

use super::arena_id::arena_id;
use super::seq::Seq;

/// Octets of a page. One octet can pin a page, so limits count pages.
const PAGE: usize = 2048;
/// Text out of order leaves one page of so many to text in order, which alone makes progress.
const RESERVE: usize = 8;
/// Gaps remembered per connection: a peer that needs more has lost half of them already.
const MAX_RANGES: usize = 64;
const NO_PAGE: u32 = u32::MAX;

type Page = Box<[u8; PAGE]>;

/// The queues and pages of one core.
#[derive(Debug)]
pub(super) struct ReceiveMemory {
    queues: Slab<ReceiveQueue>,
    pages: Pages,
    /// Emptied queues, whose vectors are used again.
    spare: Vec<ReceiveQueue>,
}

arena_id! {
    /// Which queue of [`ReceiveMemory`] a connection has.
    pub(super) QueueId
}

/// Text that is ready for the application, taken out of its queue for the time of the call.
#[derive(Debug)]
#[must_use = "give it back with Tcb::consume"]
pub struct Readable {
    page: Page,
    range: Range<usize>,
}

impl Deref for Readable {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.page[self.range.clone()]
    }
}

/// A run of received octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceivedRange {
    pub(super) start: Seq,
    pub(super) end: Seq,
    /// Grows with each arrival, so that SACK can name the latest first (RFC 2018 section 4).
    pub(super) stamp: u32,
}

#[derive(Debug, Default)]
struct ReceiveQueue {
    /// The first octet that the application has not consumed.
    start: Seq,
    /// Where `start` is in the first page.
    offset: usize,
    pages: VecDeque<u32>,
    /// Sorted, disjoint and not touching each other.
    ranges: Vec<ReceivedRange>,
    stamp: u32,
}

impl ReceiveMemory {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            queues: Slab::new(),
            pages: Pages::new(limit / PAGE),
            spare: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.pages.in_use == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.in_use * PAGE
    }

    /// Whether half of the memory is used: no time for windows to grow.
    pub(super) fn is_short(&self) -> bool {
        self.pages.in_use >= self.pages.limit / 2
    }

    /// A queue whose first octet is `start`.
    pub(super) fn open(&mut self, start: Seq) -> QueueId {
        let mut queue = self.spare.pop().unwrap_or_default();
        queue.start = start;
        queue.offset = 0;
        QueueId::new(self.queues.insert(queue))
    }

    /// Gives a queue back, with whatever it holds.
    pub(super) fn close(&mut self, id: QueueId) {
        let mut queue = self.queues.remove(id.index());
        for page in queue.pages.drain(..) {
            self.pages.free(page);
        }
        queue.ranges.clear();
        if self.spare.len() < 64 {
            self.spare.push(queue);
        }
    }

    /// Stores `data` at `seq`, which is not before the queue's start. Returns how much of its
    /// beginning is stored now; the rest met a limit.
    pub(super) fn write(&mut self, id: QueueId, seq: Seq, data: &[u8]) -> usize {
        let queue = &mut self.queues[id.index()];
        if !queue.has_room_for_range(seq, data.len()) {
            return 0;
        }
        let reserve = if seq == queue.start + queue.contiguous() {
            0
        } else {
            self.pages.limit / RESERVE
        };
        let stored = queue.store(&mut self.pages, reserve, seq, data);
        if stored > 0 {
            queue.insert(seq, seq + stored as u32);
        }
        stored
    }

    /// Octets from the start on without a gap.
    pub(super) fn contiguous(&self, id: QueueId) -> u32 {
        self.queues[id.index()].contiguous()
    }

    /// Throws away what is behind `end`, which no run contains, and returns how many octets those
    /// were. A receiver may do so with what it has selectively acknowledged (RFC 2018 section 8).
    pub(super) fn prune(&mut self, id: QueueId, end: Seq) -> u32 {
        self.queues[id.index()].prune(&mut self.pages, end)
    }

    /// The first octet that the application has not consumed.
    pub(super) fn start(&self, id: QueueId) -> Seq {
        self.queues[id.index()].start
    }

    /// All runs that are held, by sequence number.
    pub(super) fn ranges(&self, id: QueueId) -> &[ReceivedRange] {
        &self.queues[id.index()].ranges
    }

    pub(super) fn holds_nothing(&self, id: QueueId) -> bool {
        self.queues[id.index()].ranges.is_empty()
    }

    /// Text that did not pass through the queue was consumed: it now starts at `seq`.
    pub(super) fn skip_to(&mut self, id: QueueId, seq: Seq) {
        let queue = &mut self.queues[id.index()];
        let len = seq.since(queue.start);
        queue.advance(&mut self.pages, len);
    }

    /// Takes the first piece of contiguous text out; [`put_back`](Self::put_back) must follow.
    pub(super) fn take(&mut self, id: QueueId) -> Option<Readable> {
        let len = self.contiguous(id) as usize;
        let queue = &self.queues[id.index()];
        if len == 0 {
            return None;
        }
        let page = self.pages.take(*queue.pages.front()?)?;
        Some(Readable {
            page,
            range: queue.offset..PAGE.min(queue.offset + len),
        })
    }

    /// Puts `readable` back, of which the application has consumed `consumed` octets.
    pub(super) fn put_back(&mut self, id: QueueId, readable: Readable, consumed: usize) {
        let queue = &mut self.queues[id.index()];
        if let Some(&page) = queue.pages.front() {
            self.pages.restore(page, readable.page);
        }
        queue.advance(&mut self.pages, consumed.min(readable.range.len()) as u32);
    }
}

impl ReceiveQueue {
    fn has_room_for_range(&self, seq: Seq, len: usize) -> bool {
        let end = seq + len as u32;
        // What is next in order is never kept out by what is not.
        self.ranges.len() < MAX_RANGES
            || seq == self.start
            || self
                .ranges
                .iter()
                .any(|range| range.start.at_or_before(end) && seq.at_or_before(range.end))
    }

    /// Octets from the start on without a gap.
    fn contiguous(&self) -> u32 {
        self.ranges
            .first()
            .filter(|range| range.start == self.start)
            .map_or(0, |range| range.end.since(self.start))
    }

    fn prune(&mut self, pages: &mut Pages, end: Seq) -> u32 {
        let kept = self
            .ranges
            .partition_point(|range| range.end.at_or_before(end));
        let pruned = self.ranges.drain(kept..);
        let octets = pruned.map(|range| range.end.since(range.start)).sum();
        let used = if self.ranges.is_empty() {
            0
        } else {
            (self.offset + end.since(self.start) as usize).div_ceil(PAGE)
        };
        for page in self.pages.drain(used.min(self.pages.len())..) {
            pages.free(page);
        }
        octets
    }

    fn store(&mut self, pages: &mut Pages, reserve: usize, seq: Seq, data: &[u8]) -> usize {
        let mut position = self.offset + seq.since(self.start) as usize;
        let mut stored = 0;
        while stored < data.len() {
            let (slot, at) = (position / PAGE, position % PAGE);
            while self.pages.len() <= slot {
                self.pages.push_back(NO_PAGE);
            }
            if self.pages[slot] == NO_PAGE {
                let Some(page) = pages.allocate(reserve) else {
                    break;
                };
                self.pages[slot] = page;
            }
            let len = (PAGE - at).min(data.len() - stored);
            pages.bytes_mut(self.pages[slot])[at..at + len]
                .copy_from_slice(&data[stored..stored + len]);
            stored += len;
            position += len;
        }
        stored
    }

    /// Adds a run, joined with those that it touches.
    fn insert(&mut self, start: Seq, end: Seq) {
        self.stamp = self.stamp.wrapping_add(1);
        let first = self.ranges.partition_point(|range| range.end.before(start));
        let last = self
            .ranges
            .partition_point(|range| range.start.at_or_before(end));
        let mut joined = ReceivedRange {
            start,
            end,
            stamp: self.stamp,
        };
        if first < last {
            joined.start = joined.start.min(self.ranges[first].start);
            joined.end = joined.end.max(self.ranges[last - 1].end);
        }
        self.ranges.splice(first..last, [joined]);
    }

    /// Moves the start `len` octets on and frees the pages before it.
    fn advance(&mut self, pages: &mut Pages, len: u32) {
        self.start += len;
        self.offset += len as usize;
        while self.offset >= PAGE {
            self.offset -= PAGE;
            if let Some(page) = self.pages.pop_front() {
                pages.free(page);
            }
        }
        let start = self.start;
        self.ranges.retain(|range| range.end.after(start));
        if let Some(first) = self.ranges.first_mut() {
            first.start = first.start.max(start);
        } else {
            for page in self.pages.drain(..) {
                pages.free(page);
            }
            self.offset = 0;
        }
    }
}

/// The pages of one core, named by index.
#[derive(Debug)]
struct Pages {
    pages: Vec<Option<Page>>,
    free: Vec<u32>,
    in_use: usize,
    limit: usize,
}

impl Pages {
    fn new(limit: usize) -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
            in_use: 0,
            limit,
        }
    }

    /// A page, if more than `reserve` are left.
    fn allocate(&mut self, reserve: usize) -> Option<u32> {
        if self.in_use + reserve >= self.limit {
            return None;
        }
        self.in_use += 1;
        Some(self.free.pop().unwrap_or_else(|| {
            self.pages.push(Some(Box::new([0; PAGE])));
            // The limit in octets is a usize over 2048; 2^32 pages are 8 TiB.
            (self.pages.len() - 1) as u32
        }))
    }

    fn free(&mut self, page: u32) {
        if page != NO_PAGE {
            self.in_use -= 1;
            self.free.push(page);
        }
    }

    fn bytes_mut(&mut self, page: u32) -> &mut [u8; PAGE] {
        self.pages[page as usize].get_or_insert_with(|| Box::new([0; PAGE]))
    }

    fn take(&mut self, page: u32) -> Option<Page> {
        self.pages.get_mut(page as usize)?.take()
    }

    fn restore(&mut self, page: u32, bytes: Page) {
        self.pages[page as usize] = Some(bytes);
    }
}

#[cfg(any(test, fuzzing))]
impl ReceiveMemory {
    /// Queues in use.
    pub(super) fn queues(&self) -> usize {
        self.queues.len()
    }

    /// That pages are either free or one queue's, and queues hold what their runs say.
    pub(super) fn check(&self) {
        let mut used = vec![false; self.pages.pages.len()];
        for (_, queue) in &self.queues {
            assert!(queue.offset < PAGE, "{queue:?}");
            assert!(queue.ranges.len() <= MAX_RANGES + 2, "{queue:?}");
            let mut before = None;
            for range in &queue.ranges {
                assert!(range.start.before(range.end), "{queue:?}");
                assert!(range.start.at_or_after(queue.start), "{queue:?}");
                assert!(before.is_none_or(|end| range.start.after(end)), "{queue:?}");
                before = Some(range.end);
                let first = queue.offset + range.start.since(queue.start) as usize;
                let last = queue.offset + range.end.since(queue.start) as usize - 1;
                for slot in first / PAGE..=last / PAGE {
                    assert_ne!(queue.pages[slot], NO_PAGE, "{queue:?}");
                }
            }
            for &page in queue.pages.iter().filter(|&&page| page != NO_PAGE) {
                let was = std::mem::replace(&mut used[page as usize], true);
                assert!(!was, "page {page} is used twice");
            }
        }
        for &page in &self.pages.free {
            let was = std::mem::replace(&mut used[page as usize], true);
            assert!(!was, "page {page} is free and used");
        }
        assert!(used.into_iter().all(|known| known), "a page is lost");
        let in_use = self.pages.pages.len() - self.pages.free.len();
        assert_eq!(in_use, self.pages.in_use);
        assert!(in_use <= self.pages.limit);
    }
}

#[cfg(test)]
mod tests {
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
}
