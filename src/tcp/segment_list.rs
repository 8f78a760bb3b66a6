//! Lists of sent segments in an order other than that of their sequence numbers, threaded through
//! the segments themselves: to add one, to remove one, and to find the first takes constant time.

use slab::Slab;

use super::send_queue::{NONE, SendSegment};

/// A circular list; a segment is in one list at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentList {
    first: u32,
}

impl SegmentList {
    pub(super) const EMPTY: Self = Self { first: NONE };

    pub(super) fn first(self) -> u32 {
        self.first
    }

    pub(super) fn last(self, arena: &Slab<SendSegment>) -> u32 {
        arena
            .get(self.first as usize)
            .map_or(NONE, |segment| segment.earlier)
    }

    pub(super) fn push_back(&mut self, arena: &mut Slab<SendSegment>, index: u32) {
        let last = self.last(arena);
        if last == NONE {
            self.first = index;
            arena[index as usize].earlier = index;
            arena[index as usize].later = index;
            return;
        }
        arena[index as usize].earlier = last;
        arena[index as usize].later = self.first;
        arena[last as usize].later = index;
        arena[self.first as usize].earlier = index;
    }

    pub(super) fn push_front(&mut self, arena: &mut Slab<SendSegment>, index: u32) {
        self.push_back(arena, index);
        self.first = index;
    }

    /// What follows `index`, which is in the list.
    pub(super) fn later(self, arena: &Slab<SendSegment>, index: u32) -> u32 {
        let later = arena[index as usize].later;
        if later == self.first { NONE } else { later }
    }

    /// What goes before `index`, which is in the list.
    pub(super) fn earlier(self, arena: &Slab<SendSegment>, index: u32) -> u32 {
        if index == self.first {
            NONE
        } else {
            arena[index as usize].earlier
        }
    }

    /// `index` comes before `other`, which is in the list; behind all of them if it is `NONE`.
    pub(super) fn insert_before(&mut self, arena: &mut Slab<SendSegment>, other: u32, index: u32) {
        if other == NONE {
            return self.push_back(arena, index);
        }
        let earlier = arena[other as usize].earlier;
        self.insert_behind(arena, earlier, index);
        if self.first == other {
            self.first = index;
        }
    }

    /// `index` comes behind `other`, which is in the list.
    pub(super) fn insert_behind(&mut self, arena: &mut Slab<SendSegment>, other: u32, index: u32) {
        let later = arena[other as usize].later;
        arena[index as usize].earlier = other;
        arena[index as usize].later = later;
        arena[other as usize].later = index;
        arena[later as usize].earlier = index;
    }

    pub(super) fn remove(&mut self, arena: &mut Slab<SendSegment>, index: u32) {
        let (earlier, later) = {
            let segment = &arena[index as usize];
            (segment.earlier, segment.later)
        };
        if later == index {
            self.first = NONE;
            return;
        }
        arena[earlier as usize].later = later;
        arena[later as usize].earlier = earlier;
        if self.first == index {
            self.first = later;
        }
    }
}
