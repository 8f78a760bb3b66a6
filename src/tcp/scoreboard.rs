//! The scoreboard of RFC 6675: what the peer says it has beyond SND.UNA.
//!
//! A block costs a binary search among the ranges that are known and one among the segments, and
//! then one step for each segment that it newly covers: a peer that repeats itself, or that names
//! its segments in the worst order, causes no more work than an honest one. It is made when the
//! first block arrives, from what is in flight, and lives until nothing is: each segment is looked
//! at once for it.

use std::collections::VecDeque;

use slab::Slab;

use super::send_queue::SendSegment;
use super::seq::Seq;
use super::steps::step;

/// Ranges remembered per connection, each of which ends at a hole. There are never more than segments
/// in flight that the peer has: in each but perhaps the first is a whole one, since an honest receiver
/// has them whole. So what is remembered is a part of what the segments themselves take.
const MAX_RANGES: usize = 512;
/// Fewer entries are not worth to be given back.
const LEAST_CAPACITY: usize = 64;

/// Octets from the first up to, not including, the second.
pub(super) type Range = (Seq, Seq);

#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    /// What was sent and is not acknowledged, by sequence number.
    sent: VecDeque<u32>,
    /// Sorted, disjoint and not touching each other.
    ranges: Vec<Range>,
    /// RACK.segs_sacked.
    pub(super) segments: u16,
}

impl Scoreboard {
    pub(super) fn new(sent: VecDeque<u32>) -> Self {
        Self {
            sent,
            ..Self::default()
        }
    }

    pub(super) fn on_sent(&mut self, index: u32) {
        self.sent.push_back(index);
    }

    /// `behind` was cut off the sent segment `index`.
    pub(super) fn on_split(&mut self, arena: &Slab<SendSegment>, index: u32, behind: u32) {
        let seq = arena[index as usize].seq;
        let at = self.sent.partition_point(|&index| {
            arena
                .get(index as usize)
                .is_some_and(|segment| segment.seq.at_or_before(seq))
        });
        self.sent.insert(at, behind);
    }

    pub(super) fn on_popped(&mut self) {
        self.sent.pop_front();
        let (len, capacity) = (self.sent.len(), self.sent.capacity());
        if capacity > LEAST_CAPACITY && len < capacity / 4 {
            self.sent.shrink_to(2 * len);
        }
    }

    /// Ranges known.
    #[cfg(any(test, fuzzing))]
    pub(super) fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Octets on the heap.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        self.sent.capacity() * size_of::<u32>() + self.ranges.capacity() * size_of::<Range>()
    }

    /// Everything before `una` is acknowledged.
    pub(super) fn advance(&mut self, una: Seq) {
        let gone = self.ranges.partition_point(|range| {
            step();
            range.1.at_or_before(una)
        });
        self.ranges.drain(..gone);
        if let Some(first) = self.ranges.first_mut() {
            first.0 = first.0.max(una);
        }
        let (len, capacity) = (self.ranges.len(), self.ranges.capacity());
        if capacity > LEAST_CAPACITY && len < capacity / 4 {
            self.ranges.shrink_to(2 * len);
        }
    }

    /// The peer has thrown away what it said it had.
    pub(super) fn forget(&mut self) {
        self.ranges.clear();
        self.segments = 0;
    }

    /// Adds a block. `cover` gets each segment that it completes. Fails if there are too many
    /// ranges, or if it would be one without a whole segment: what holds one comes in a block that has
    /// this in it.
    pub(super) fn add(
        &mut self,
        arena: &mut Slab<SendSegment>,
        (left, right): Range,
        cover: &mut dyn FnMut(&mut Slab<SendSegment>, u32),
    ) -> bool {
        let first = self.ranges.partition_point(|range| {
            step();
            range.1.before(left)
        });
        let last = self.ranges.partition_point(|range| {
            step();
            range.0.at_or_before(right)
        });
        if first == last && self.ranges.len() >= MAX_RANGES {
            return false;
        }
        let touched = &self.ranges[first..last];
        let joined = touched.iter().fold((left, right), |joined, range| {
            step();
            (joined.0.min(range.0), joined.1.max(range.1))
        });
        if touched == [joined] {
            return true;
        }
        let mut at = left;
        let mut holds_segment = !touched.is_empty();
        for &(start, end) in touched {
            if at.before(start) {
                cover_gap(&self.sent, arena, (at, start), joined, cover);
            }
            at = at.max(end);
        }
        if at.before(right) {
            holds_segment |= cover_gap(&self.sent, arena, (at, right), joined, cover);
        }
        if !holds_segment {
            return false;
        }
        self.ranges.splice(first..last, [joined]);
        true
    }
}

/// The segments that `gap` touches and `joined` wholly covers. Returns whether there are any.
fn cover_gap(
    sent: &VecDeque<u32>,
    arena: &mut Slab<SendSegment>,
    gap: Range,
    joined: Range,
    cover: &mut dyn FnMut(&mut Slab<SendSegment>, u32),
) -> bool {
    let mut any = false;
    let start = sent.partition_point(|&index| {
        step();
        arena
            .get(index as usize)
            .is_some_and(|segment| segment.end().at_or_before(gap.0))
    });
    for &index in sent.range(start..) {
        step();
        let Some(segment) = arena.get(index as usize) else {
            break;
        };
        if segment.seq.at_or_after(gap.1) {
            break;
        }
        if segment.seq.at_or_after(joined.0) && segment.end().at_or_before(joined.1) {
            any = true;
            cover(arena, index);
        }
    }
    any
}
