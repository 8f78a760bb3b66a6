//! What must hold after every step.

use slab::Slab;

use super::{NONE, Place, SendQueue, SendSegment};

impl SendQueue {
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
        for (list, mut expected) in [
            (self.in_flight, in_flight),
            (self.to_retransmit, to_retransmit),
        ] {
            let mut members = Vec::new();
            let mut index = list.first();
            while index != NONE && members.len() <= expected.len() {
                members.push(index);
                index = arena[index as usize].later;
                if index == list.first() {
                    break;
                }
            }
            members.sort_unstable();
            expected.sort_unstable();
            assert_eq!(members, expected);
        }
    }
}
