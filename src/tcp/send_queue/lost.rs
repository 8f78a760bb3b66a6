//! What is found lost, and what was lost in vain. When, is [`loss`](crate::tcp::loss)'s to say.

use slab::Slab;

use super::{Place, SegmentList, SendQueue, SendSegment};

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

    /// Nothing was lost after all: what was to be sent again is still in the network.
    pub(in crate::tcp) fn take_back_lost(&mut self, arena: &mut Slab<SendSegment>) {
        if self.lost == 0 {
            return;
        }
        let mut all = Vec::new();
        let mut index = self.head;
        while index != self.unsent {
            let Some(segment) = arena.get_mut(index as usize) else {
                break;
            };
            if segment.place != Place::Sacked {
                segment.place = Place::InFlight;
                all.push((segment.sent_at, index));
            }
            index = segment.next;
        }
        // A stable sort: what was sent at the same time stays in sequence.
        all.sort_by_key(|&(sent_at, _)| sent_at);
        self.lost = 0;
        self.to_retransmit = SegmentList::EMPTY;
        self.in_flight = SegmentList::EMPTY;
        for (_, index) in all {
            self.in_flight.push_back(arena, index);
        }
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
