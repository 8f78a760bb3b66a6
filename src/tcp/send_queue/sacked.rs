//! What the peer says it has (RFC 2018, RFC 6675).

use std::collections::VecDeque;

use slab::Slab;

use super::{NONE, Place, SackBlocks, SendQueue, SendSegment};
use crate::tcp::loss::Delivered;
use crate::tcp::scoreboard::Scoreboard;
use crate::tcp::steps::step;

impl SendQueue {
    pub(super) fn take_back_sacked(&mut self, arena: &mut Slab<SendSegment>) {
        let mut index = self.head;
        while index != self.unsent {
            step();
            let Some(segment) = arena.get_mut(index as usize) else {
                break;
            };
            let next = segment.next;
            if segment.place == Place::Sacked {
                segment.place = Place::InFlight;
                self.in_flight.push_back(arena, index);
            }
            index = next;
        }
        self.sacked = 0;
        if let Some(board) = &mut self.scoreboard {
            board.forget();
        }
    }

    /// The peer has what lies in `blocks`. Fails if a limit keeps some of it from being remembered.
    pub(in crate::tcp) fn mark_sacked(
        &mut self,
        arena: &mut Slab<SendSegment>,
        blocks: &SackBlocks,
        delivered: &mut Delivered,
    ) -> bool {
        if blocks.is_empty() {
            return true;
        }
        let mut board = match self.scoreboard.take() {
            Some(board) => board,
            None => Box::new(Scoreboard::new(self.sent(arena))),
        };
        let mut covered = 0;
        let mut all_known = true;
        for &block in blocks {
            all_known &= board.add(arena, block, &mut |arena, index| {
                covered += u16::from(self.mark_one_sacked(arena, index, delivered));
            });
        }
        board.segments += covered;
        self.scoreboard = Some(board);
        all_known
    }

    /// What was sent and is not acknowledged, by sequence number.
    fn sent(&self, arena: &Slab<SendSegment>) -> VecDeque<u32> {
        let first = (self.head != self.unsent).then_some(self.head);
        std::iter::successors(first, |&index| {
            step();
            let next = arena.get(index as usize)?.next;
            (next != self.unsent && next != NONE).then_some(next)
        })
        .collect()
    }

    fn mark_one_sacked(
        &mut self,
        arena: &mut Slab<SendSegment>,
        index: u32,
        delivered: &mut Delivered,
    ) -> bool {
        let Some(segment) = arena.get_mut(index as usize) else {
            return false;
        };
        let len = u32::from(segment.len);
        let was = std::mem::replace(&mut segment.place, Place::Sacked);
        if was == Place::Sacked {
            return false;
        }
        delivered.add(segment, true);
        self.sacked += len;
        if was == Place::Lost {
            self.lost -= len;
            self.to_retransmit.remove(arena, index);
        } else {
            self.in_flight.remove(arena, index);
        }
        true
    }
}
