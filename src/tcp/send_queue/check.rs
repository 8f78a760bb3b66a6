//! What must hold after every step.

use slab::Slab;

use super::{NONE, Place, SendQueue, SendSegment};
use crate::tcp::Payload;
#[cfg(test)]
use crate::time::Instant;

impl SendQueue {
    /// The buffers, and what of them is not acknowledged.
    pub(in crate::tcp) fn payloads<'a>(
        &self,
        arena: &'a Slab<SendSegment>,
    ) -> impl Iterator<Item = Payload> + 'a {
        let first = arena.get(self.head as usize);
        std::iter::successors(first, |it| arena.get(it.next as usize)).map(|segment| Payload {
            buffer: segment.buffer.id(),
            skip: segment.skip,
            len: segment.len,
        })
    }

    /// That sums and lists are those of the segments.
    pub(in crate::tcp) fn check(&self, arena: &Slab<SendSegment>) {
        let (mut lost, mut sacked, mut segments, mut sacked_segments) = (0, 0, 0, 0);
        let (mut in_flight, mut to_retransmit) = (Vec::new(), Vec::new());
        let (mut index, mut is_sent) = (self.head, true);
        while let Some(segment) = arena.get(index as usize) {
            is_sent &= index != self.unsent;
            assert_eq!(is_sent, segment.place != Place::Unsent);
            match segment.place {
                Place::Unsent => {}
                Place::InFlight => in_flight.push(index),
                Place::Lost => {
                    lost += u32::from(segment.len);
                    to_retransmit.push(index);
                }
                Place::Sacked => {
                    sacked += u32::from(segment.len);
                    sacked_segments += 1;
                }
            }
            segments += 1;
            index = segment.next;
        }
        assert_eq!(
            (lost, sacked, segments, sacked_segments),
            (
                self.lost,
                self.sacked,
                self.segments,
                self.sacked_segments()
            )
        );
        let ranges = self.scoreboard.as_ref().map_or(0, |board| board.ranges());
        assert!(
            ranges <= usize::from(sacked_segments) + 1,
            "{ranges} ranges"
        );
        for (list, mut expected) in [
            (self.in_flight, in_flight),
            (self.to_retransmit, to_retransmit),
        ] {
            let mut members = Vec::new();
            let mut index = list.first();
            while index != NONE && members.len() <= expected.len() {
                members.push(index);
                let before = index;
                index = list.later(arena, index);
                assert!(index == NONE || arena[index as usize].earlier == before);
            }
            members.sort_unstable();
            expected.sort_unstable();
            assert_eq!(members, expected);
        }
    }

    /// Octets and ranges of the scoreboard.
    #[cfg(test)]
    pub(in crate::tcp) fn scoreboard_size(&self) -> (usize, usize) {
        let board = self.scoreboard.as_ref();
        board.map_or((0, 0), |board| (board.octets(), board.ranges()))
    }

    #[cfg(test)]
    /// When each segment in flight was sent, in the order of the list.
    pub(in crate::tcp) fn in_flight_since(&self, arena: &Slab<SendSegment>) -> Vec<Instant> {
        let first = (self.in_flight.first() != NONE).then_some(self.in_flight.first());
        std::iter::successors(first, |&index| {
            let later = self.in_flight.later(arena, index);
            (later != NONE).then_some(later)
        })
        .map(|index| arena[index as usize].sent_at)
        .collect()
    }
}
