//! What has been received and not been consumed: in order and waiting for the application, or out
//! of order and waiting for a gap to fill. Made when there is such text, freed when there is none.

#[cfg(any(test, fuzzing))]
mod check;
mod pages;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::{Deref, Range};

use slab::Slab;

use self::pages::{NO_PAGE, PAGE, Page, Pages, Place};
use super::arena_id::arena_id;
use super::memory_pressure::MemoryPressure;
use super::seq::Seq;

/// Numbers of pages that take as many octets as a page. So many more in a queue, of pages or of
/// holes before text that is far ahead, are accounted for as a page.
const INDEX: usize = PAGE / size_of::<u32>();
/// Gaps remembered per connection: a peer that needs more has lost half of them already.
const MAX_RANGES: usize = 64;
/// Text that nothing has joined for so long, in milliseconds, is not on its way to be in order: a
/// sender fills a gap within a few of its timeouts.
const STALE: u32 = 5_000;
/// Queues looked at when text is refused.
const LOOK: usize = 16;

/// The queues and pages of one core.
#[derive(Debug)]
pub(super) struct ReceiveMemory {
    queues: Slab<ReceiveQueue>,
    pages: Pages,
    /// Emptied queues, whose vectors are used again.
    spare: Vec<ReceiveQueue>,
    /// Which queue to look at next for text that is stale.
    hand: usize,
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
    /// When text out of order has last come, in milliseconds of the clock.
    arrived_at: u32,
    /// Pages that the numbers in `pages` are accounted for as.
    index_pages: usize,
}

impl ReceiveMemory {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            queues: Slab::new(),
            pages: Pages::new(limit / PAGE),
            spare: Vec::new(),
            hand: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.pages.in_use() == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.in_use() * PAGE
    }

    /// What [`bytes`](Self::bytes) may come to.
    pub(super) fn limit(&self) -> usize {
        self.pages.limit() * PAGE
    }

    /// What a shortage asks for.
    pub(super) fn pressure(&self) -> MemoryPressure {
        self.pages.pressure()
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
        queue.free_behind(&mut self.pages, 0);
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
        let place = if seq == queue.start + queue.contiguous() {
            Place::InOrder
        } else {
            Place::BeyondGap
        };
        let stored = queue.store(&mut self.pages, place, seq, data);
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

    /// Text out of order arrives for this queue.
    pub(super) fn touch(&mut self, id: QueueId, millis: u32) {
        self.queues[id.index()].arrived_at = millis;
    }

    /// Text out of order was refused: looks at a few queues and throws away what is out of order
    /// there and stale. Returns how many octets those were.
    pub(super) fn reclaim(&mut self, millis: u32) -> u32 {
        let mut octets = 0;
        for _ in 0..LOOK.min(self.queues.capacity()) {
            self.hand = (self.hand + 1) % self.queues.capacity();
            if let Some(queue) = self.queues.get_mut(self.hand)
                && millis.wrapping_sub(queue.arrived_at) >= STALE
            {
                let end = queue.start + queue.contiguous();
                octets += queue.prune(&mut self.pages, end);
            }
        }
        octets
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
        self.free_behind(pages, used);
        octets
    }

    fn store(&mut self, pages: &mut Pages, place: Place, seq: Seq, data: &[u8]) -> usize {
        let mut position = self.offset + seq.since(self.start) as usize;
        let mut stored = 0;
        while stored < data.len() {
            let (slot, at) = (position / PAGE, position % PAGE);
            if self.pages.get(slot).is_none_or(|&page| page == NO_PAGE) {
                if !self.reach(pages, place, slot) {
                    break;
                }
                let Some(page) = pages.allocate(place) else {
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
        self.settle_index(pages);
        stored
    }

    /// Has numbers up to that of page `slot`, if there is room for them and for the page.
    fn reach(&mut self, pages: &mut Pages, place: Place, slot: usize) -> bool {
        while self.index_pages < (slot + 1) / INDEX {
            if !pages.account(place) {
                return false;
            }
            self.index_pages += 1;
        }
        if !pages.has_room(place) {
            return false;
        }
        if self.pages.len() <= slot {
            self.pages.resize(slot + 1, NO_PAGE);
        }
        true
    }

    /// Gives pages from number `first` on back.
    fn free_behind(&mut self, pages: &mut Pages, first: usize) {
        for page in self.pages.drain(first.min(self.pages.len())..) {
            pages.free(page);
        }
        self.settle_index(pages);
    }

    /// There may be fewer numbers than are accounted for.
    fn settle_index(&mut self, pages: &mut Pages) {
        let needed = self.pages.len() / INDEX;
        if needed < self.index_pages {
            pages.discount(self.index_pages - needed);
            self.index_pages = needed;
            self.pages.shrink_to(self.pages.len());
        }
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
            self.settle_index(pages);
        } else {
            self.free_behind(pages, 0);
            self.offset = 0;
        }
    }
}
