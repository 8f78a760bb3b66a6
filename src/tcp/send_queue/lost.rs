//! What is found lost, and what was lost in vain. When, is [`loss`](crate::tcp::loss)'s to say.

use slab::Slab;

use super::{NONE, Place, SegmentList, SendQueue, SendSegment};
use crate::tcp::steps::step;

impl SendQueue {
    /// The lost segment that is next to be sent again.
    pub(in crate::tcp) fn first_lost<'a>(
        &self,
        arena: &'a Slab<SendSegment>,
    ) -> Option<&'a SendSegment> {
        arena.get(self.to_retransmit.first() as usize)
    }

    /// The first segment is taken for lost. Returns how many octets that are, none if it has not
    /// been sent or is known to be lost.
    pub(in crate::tcp) fn mark_head_lost(&mut self, arena: &mut Slab<SendSegment>) -> u32 {
        let index = self.head;
        match arena.get(index as usize) {
            Some(segment) if segment.place == Place::InFlight => self.mark_lost(arena, index),
            _ => 0,
        }
    }

    /// What has been in the network longest is taken for lost. Returns how many octets that are.
    pub(in crate::tcp) fn mark_oldest_lost(&mut self, arena: &mut Slab<SendSegment>) -> u32 {
        self.mark_lost(arena, self.in_flight.first())
    }

    /// All that is in the network is taken for lost.
    pub(in crate::tcp) fn mark_all_lost(&mut self, arena: &mut Slab<SendSegment>) {
        while self.oldest_in_flight(arena).is_some() {
            self.mark_oldest_lost(arena);
        }
    }

    fn mark_lost(&mut self, arena: &mut Slab<SendSegment>, index: u32) -> u32 {
        let Some(segment) = arena.get_mut(index as usize) else {
            return 0;
        };
        segment.place = Place::Lost;
        let len = u32::from(segment.len);
        self.lost += len;
        self.in_flight.remove(arena, index);
        if index == self.head {
            self.to_retransmit.push_front(arena, index);
        } else {
            self.to_retransmit.push_back(arena, index);
        }
        len
    }

    /// The timer has expired (RFC 6298 rule 5.4): lost are the first segment and, of the others,
    /// those that `is_overdue`. If the peer says that it has the very first segment, it has thrown
    /// that away (RFC 2018 section 8), and nothing that it has said counts. Returns whether it has.
    pub(in crate::tcp) fn mark_lost_on_timeout(
        &mut self,
        arena: &mut Slab<SendSegment>,
        is_overdue: &dyn Fn(&SendSegment) -> bool,
    ) -> bool {
        let reneged = self
            .first_sent(arena)
            .is_some_and(|head| head.place == Place::Sacked);
        if reneged {
            self.take_back_sacked(arena);
        }
        self.mark_head_lost(arena);
        while let Some(segment) = self.oldest_in_flight(arena) {
            step();
            if !reneged && !is_overdue(segment) {
                break;
            }
            self.mark_oldest_lost(arena);
        }
        // RFC 6298 rule 5.4: the earliest segment is sent again, wherever it waited.
        if let Some(head) = arena.get(self.head as usize)
            && head.place == Place::Lost
        {
            self.to_retransmit.remove(arena, self.head);
            self.to_retransmit.push_front(arena, self.head);
        }
        reneged
    }

    /// Nothing was lost after all: what was to be sent again is still in the network, in the order
    /// of transmission.
    ///
    /// What was found lost is what had been in the network longest, so that mostly all of it goes
    /// before the rest, with one step for each segment. The first segment may be newer, for it is
    /// sent again before the others, and what a path has become too small for lies anywhere; then it
    /// is one step for each segment in flight, at the most.
    pub(in crate::tcp) fn take_back_lost(&mut self, arena: &mut Slab<SendSegment>) {
        let mut lost = std::mem::replace(&mut self.to_retransmit, SegmentList::EMPTY);
        self.lost = 0;
        let head = lost.first();
        let has_head = head == self.head && head != NONE;
        if has_head {
            lost.remove(arena, head);
        }
        let mut before = self.in_flight.first();
        while lost.first() != NONE {
            let index = lost.first();
            lost.remove(arena, index);
            before = self.take_back(arena, index, before);
        }
        if has_head {
            self.take_back_head(arena, head);
        }
    }

    /// `index` goes into what is in flight, at `before` or later. Returns what it goes before.
    fn take_back(&mut self, arena: &mut Slab<SendSegment>, index: u32, mut before: u32) -> u32 {
        let sent_at = arena[index as usize].sent_at;
        while before != NONE && arena[before as usize].sent_at < sent_at {
            step();
            before = self.in_flight.later(arena, before);
        }
        step();
        arena[index as usize].place = Place::InFlight;
        self.in_flight.insert_before(arena, before, index);
        before
    }

    /// The same of the first segment: it was sent long ago, or not long ago.
    fn take_back_head(&mut self, arena: &mut Slab<SendSegment>, head: u32) {
        let sent_at = arena[head as usize].sent_at;
        let (mut before, mut last) = (NONE, self.in_flight.last(arena));
        if self
            .oldest_in_flight(arena)
            .is_some_and(|oldest| oldest.sent_at >= sent_at)
        {
            (before, last) = (self.in_flight.first(), NONE);
        }
        while last != NONE && arena[last as usize].sent_at >= sent_at {
            step();
            before = last;
            last = self.in_flight.earlier(arena, last);
        }
        step();
        arena[head as usize].place = Place::InFlight;
        self.in_flight.insert_before(arena, before, head);
    }

    /// Segments of more than `smss` octets in flight have not arrived: they are more than the path
    /// carries. Returns whether there are some that were not lost already.
    pub(in crate::tcp) fn mark_larger_lost(
        &mut self,
        arena: &mut Slab<SendSegment>,
        smss: u16,
    ) -> bool {
        let before = self.lost;
        let mut index = self.head;
        while index != self.unsent {
            let Some(segment) = arena.get(index as usize) else {
                break;
            };
            let (is_larger, next) = (segment.len > smss, segment.next);
            if is_larger && segment.place == Place::InFlight {
                self.mark_lost(arena, index);
            }
            index = next;
        }
        self.lost > before
    }
}
