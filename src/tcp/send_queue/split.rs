//! Cutting segments: for a window, or for a path that carries less.

use slab::Slab;

use super::{Place, SendQueue, SendSegment};
use crate::tcp::buffers::Buffers;

impl SendQueue {
    /// Cuts the first unsent segment after `at` octets. Fails if no buffer is free.
    pub(in crate::tcp) fn split_unsent(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        at: u16,
    ) -> bool {
        self.split(arena, buffers, self.unsent, at)
    }

    /// Cuts the first lost segment after `at` octets; both parts are lost. Fails if no buffer is
    /// free.
    pub(in crate::tcp) fn split_lost(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        at: u16,
    ) -> bool {
        self.split(arena, buffers, self.to_retransmit.first(), at)
    }

    /// Cuts what was sent into segments of at most `smss` octets. Only for text that went with a
    /// SYN: the peer has since said that it takes less.
    pub(in crate::tcp) fn split_sent(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        smss: u16,
    ) {
        let mut index = self.head;
        while index != self.unsent
            && let Some(segment) = arena.get(index as usize)
        {
            if segment.len > smss && !self.split(arena, buffers, index, smss) {
                return;
            }
            index = arena[index as usize].next;
        }
    }

    /// Cuts a segment after `at` octets. Both parts are where it was.
    fn split(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        index: u32,
        at: u16,
    ) -> bool {
        let Some(segment) = arena.get_mut(index as usize) else {
            return false;
        };
        let cut = usize::from(segment.skip) + usize::from(at);
        let Some(buffer) = buffers.split(segment.buffer.id(), cut) else {
            return false;
        };
        let rest = SendSegment {
            buffer,
            seq: segment.seq + u32::from(at),
            len: segment.len - at,
            skip: 0,
            ..*segment
        };
        let place = segment.place;
        debug_assert_ne!(place, Place::Sacked, "what has arrived is not cut");
        segment.len = at;
        // At most one segment per buffer, and buffers are numbered by u32.
        let behind = arena.insert(rest) as u32;
        arena[index as usize].next = behind;
        if self.tail == index {
            self.tail = behind;
        }
        self.segments += 1;
        match place {
            Place::Unsent => return true,
            Place::InFlight => self.in_flight.insert_behind(arena, index, behind),
            Place::Lost => self.to_retransmit.insert_behind(arena, index, behind),
            Place::Sacked => {}
        }
        if let Some(board) = &mut self.scoreboard {
            board.on_split(arena, index, behind);
        }
        true
    }
}
