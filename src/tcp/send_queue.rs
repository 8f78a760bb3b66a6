//! What the application has written and the peer has not acknowledged (SND.UNA up to the end of
//! the queue): a list of segments, each of them one buffer.
//!
//! ```text
//!          head                               unsent            tail
//!           v                                    v                v
//!   una --> [ sent ][ sent ][ lost ][ lost ]...[ not sent ][ not sent ] <-- end
//!                                             nxt
//! ```
//!
//! What is in flight is in a second list, in the order of transmission, and what is lost in a third:
//! loss detection (RFC 8985) looks at the former's beginning only, retransmission at the latter's.

#[cfg(any(test, fuzzing))]
mod check;
mod lost;
mod sacked;
mod split;

use arrayvec::ArrayVec;
use slab::Slab;

use super::buffers::{Buffer, Buffers};
use super::loss::Delivered;
use super::rate::Departure;
use super::scoreboard::Scoreboard;
use super::segment_list::SegmentList;
use super::seq::Seq;
use super::steps::step;
use crate::time::Instant;

pub(super) const NONE: u32 = u32::MAX;

/// Where a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It has never been sent.
    Unsent,
    /// In the network, as far as anybody knows.
    InFlight,
    /// Sent, then found to be lost, and not sent again since.
    Lost,
    /// The peer has it (RFC 2018), but may still throw it away.
    Sacked,
}

/// One segment's text. Lives in the core's arena; the queue is linked by index.
#[derive(Debug)]
pub(super) struct SendSegment {
    pub(super) buffer: Buffer,
    /// The first octet that is not acknowledged.
    pub(super) seq: Seq,
    /// Octets that are not acknowledged.
    pub(super) len: u16,
    /// Octets at the buffer's beginning that are acknowledged.
    pub(super) skip: u16,
    pub(super) place: Place,
    pub(super) retransmitted: bool,
    /// When it was last sent, or when its first octet was written as long as it was not.
    pub(super) sent_at: Instant,
    /// What its acknowledgment will tell of the delivery rate.
    pub(super) departure: Departure,
    next: u32,
    /// Neighbors in the list of what is in flight or of what is lost.
    pub(super) earlier: u32,
    pub(super) later: u32,
}

impl SendSegment {
    pub(super) fn end(&self) -> Seq {
        self.seq + u32::from(self.len)
    }
}

/// The queue of one connection.
#[derive(Debug)]
pub(super) struct SendQueue {
    head: u32,
    tail: u32,
    /// The first segment that has never been sent.
    unsent: u32,
    /// What is in the network, in the order of its last transmission.
    in_flight: SegmentList,
    /// What is to be sent again, in the order in which it was found lost, but the head first.
    to_retransmit: SegmentList,
    /// Octets marked lost and not yet sent again.
    lost: u32,
    /// Octets that the peer says it has beyond SND.UNA.
    sacked: u32,
    segments: u16,
    /// What the peer says it has; made with the first SACK block.
    scoreboard: Option<Box<Scoreboard>>,
}

/// Credible SACK blocks of one segment: the first octet, and the one behind the last.
pub(super) type SackBlocks = ArrayVec<(Seq, Seq), 4>;

impl Default for SendQueue {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            unsent: NONE,
            in_flight: SegmentList::EMPTY,
            to_retransmit: SegmentList::EMPTY,
            lost: 0,
            sacked: 0,
            segments: 0,
            scoreboard: None,
        }
    }
}

impl SendQueue {
    /// Segments, and so buffers, held.
    pub(super) fn segments(&self) -> u16 {
        self.segments
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Octets marked lost and not sent again.
    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    /// Octets that the peer says it has beyond SND.UNA.
    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// RACK.segs_sacked (RFC 8985 section 5.3).
    pub(super) fn sacked_segments(&self) -> u16 {
        self.scoreboard.as_ref().map_or(0, |board| board.segments)
    }

    /// The last segment if it has not been sent, so that text may still join it.
    pub(super) fn unsent_tail<'a>(
        &self,
        arena: &'a mut Slab<SendSegment>,
    ) -> Option<&'a mut SendSegment> {
        if self.unsent == NONE {
            None
        } else {
            arena.get_mut(self.tail as usize)
        }
    }

    /// Appends an unsent segment that starts at `seq`, and that is being written.
    pub(super) fn push(
        &mut self,
        arena: &mut Slab<SendSegment>,
        now: Instant,
        buffer: Buffer,
        seq: Seq,
        len: u16,
    ) {
        let index = insert(arena, now, buffer, seq, len);
        match arena.get_mut(self.tail as usize) {
            Some(tail) => tail.next = index,
            None => self.head = index,
        }
        if self.unsent == NONE {
            self.unsent = index;
        }
        self.tail = index;
        self.segments += 1;
    }

    /// The first segment that was never sent.
    pub(super) fn first_unsent<'a>(&self, arena: &'a Slab<SendSegment>) -> Option<&'a SendSegment> {
        arena.get(self.unsent as usize)
    }

    /// The first segment, if it has been sent.
    pub(super) fn first_sent<'a>(&self, arena: &'a Slab<SendSegment>) -> Option<&'a SendSegment> {
        arena
            .get(self.head as usize)
            .filter(|_| self.head != self.unsent)
    }

    /// What has been in the network longest.
    pub(super) fn oldest_in_flight<'a>(
        &self,
        arena: &'a Slab<SendSegment>,
    ) -> Option<&'a SendSegment> {
        arena.get(self.in_flight.first() as usize)
    }

    /// What was sent last and is in the network.
    pub(super) fn latest_in_flight<'a>(
        &self,
        arena: &'a Slab<SendSegment>,
    ) -> Option<&'a SendSegment> {
        arena.get(self.in_flight.last(arena) as usize)
    }

    /// Whether nothing follows the first unsent segment.
    pub(super) fn is_last_unsent(&self) -> bool {
        self.unsent == self.tail
    }

    /// The first unsent segment is sent now.
    pub(super) fn mark_sent(
        &mut self,
        arena: &mut Slab<SendSegment>,
        now: Instant,
        departure: Departure,
    ) {
        let index = self.unsent;
        if let Some(segment) = arena.get_mut(index as usize) {
            segment.sent_at = now;
            segment.departure = departure;
            segment.place = Place::InFlight;
            self.unsent = segment.next;
            self.in_flight.push_back(arena, index);
            if let Some(board) = &mut self.scoreboard {
                board.on_sent(index);
            }
        }
    }

    /// The first lost segment is sent again now.
    pub(super) fn mark_retransmitted(
        &mut self,
        arena: &mut Slab<SendSegment>,
        now: Instant,
        departure: Departure,
    ) {
        let index = self.to_retransmit.first();
        if let Some(segment) = arena.get_mut(index as usize) {
            segment.sent_at = now;
            segment.departure = departure;
            segment.retransmitted = true;
            segment.place = Place::InFlight;
            self.lost -= u32::from(segment.len);
            self.to_retransmit.remove(arena, index);
            self.in_flight.push_back(arena, index);
        }
    }

    /// The segment that was sent last is sent again now.
    pub(super) fn mark_probed(
        &mut self,
        arena: &mut Slab<SendSegment>,
        now: Instant,
        departure: Departure,
    ) {
        let index = self.in_flight.last(arena);
        if let Some(segment) = arena.get_mut(index as usize) {
            segment.sent_at = now;
            segment.departure = departure;
            segment.retransmitted = true;
        }
    }

    /// Whether the first segment has been sent more than once.
    pub(super) fn head_was_retransmitted(&self, arena: &Slab<SendSegment>) -> bool {
        arena
            .get(self.head as usize)
            .is_some_and(|segment| segment.retransmitted)
    }

    /// Everything before `una` is acknowledged. A segment of which only a part is stays, without
    /// that part.
    pub(super) fn acknowledge(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        una: Seq,
        delivered: &mut Delivered,
    ) {
        while self.head != self.unsent {
            step();
            let Some(segment) = arena.get(self.head as usize) else {
                break;
            };
            if segment.end().after(una) {
                self.acknowledge_part(arena, una);
                break;
            }
            if segment.place != Place::Sacked {
                delivered.add(segment, false);
            }
            self.pop(arena, buffers);
        }
        if self.head == self.unsent {
            self.scoreboard = None;
        } else if let Some(board) = &mut self.scoreboard {
            board.advance(una);
        }
    }

    fn acknowledge_part(&mut self, arena: &mut Slab<SendSegment>, una: Seq) {
        let Some(segment) = arena.get_mut(self.head as usize) else {
            return;
        };
        if una.after(segment.seq) {
            // Less than the segment's length, which is a u16.
            let acked = una.since(segment.seq) as u16;
            segment.seq = una;
            segment.len -= acked;
            segment.skip += acked;
            match segment.place {
                Place::Lost => self.lost -= u32::from(acked),
                Place::Sacked => self.sacked -= u32::from(acked),
                Place::Unsent | Place::InFlight => {}
            }
        }
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self, arena: &mut Slab<SendSegment>, buffers: &mut dyn Buffers) {
        while self.head != NONE {
            self.pop(arena, buffers);
        }
        *self = Self::default();
    }

    fn pop(&mut self, arena: &mut Slab<SendSegment>, buffers: &mut dyn Buffers) {
        let index = self.head;
        let (place, len) = {
            let segment = &arena[index as usize];
            (segment.place, u32::from(segment.len))
        };
        match place {
            Place::Unsent => {}
            Place::InFlight => self.in_flight.remove(arena, index),
            Place::Lost => {
                self.lost -= len;
                self.to_retransmit.remove(arena, index);
            }
            Place::Sacked => {
                self.sacked -= len;
                if let Some(board) = &mut self.scoreboard {
                    board.segments -= 1;
                }
            }
        }
        if let Some(board) = &mut self.scoreboard {
            board.on_popped();
        }
        let segment = arena.remove(index as usize);
        if self.unsent == index {
            self.unsent = segment.next;
        }
        if self.tail == index {
            self.tail = NONE;
        }
        self.head = segment.next;
        self.segments -= 1;
        buffers.release(segment.buffer);
    }
}

fn insert(arena: &mut Slab<SendSegment>, now: Instant, buffer: Buffer, seq: Seq, len: u16) -> u32 {
    let segment = SendSegment {
        buffer,
        seq,
        len,
        skip: 0,
        place: Place::Unsent,
        retransmitted: false,
        sent_at: now,
        departure: Departure::default(),
        next: NONE,
        earlier: NONE,
        later: NONE,
    };
    // At most one segment per buffer, and buffers are numbered by u32.
    arena.insert(segment) as u32
}
