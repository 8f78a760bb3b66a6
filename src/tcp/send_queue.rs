//! What the application has written and the peer has not acknowledged (SND.UNA up to the end of
//! the queue): a list of segments, each of them one buffer.
//!
//! ```text
//!          head            retransmit          unsent            tail
//!           v                  v                 v                v
//!   una --> [ sent ][ sent ][ lost ][ lost ]...[ not sent ][ not sent ] <-- end
//!                                             nxt
//! ```

use arrayvec::ArrayVec;
use slab::Slab;

use super::buffers::{Buffer, Buffers};
use super::rate::{Departure, Newest};
use super::seq::Seq;
use crate::time::Instant;

const NONE: u32 = u32::MAX;

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
    /// Sent, and then marked lost, and not sent again since. Never with `sacked`.
    pub(super) lost: bool,
    /// The peer has it (RFC 2018), but may still throw it away.
    pub(super) sacked: bool,
    pub(super) retransmitted: bool,
    /// When it was last sent.
    pub(super) sent_at: Instant,
    /// What its acknowledgment will tell of the delivery rate.
    departure: Departure,
    next: u32,
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
    /// At or before the first lost segment; `NONE` when nothing is lost.
    retransmit: u32,
    /// Octets marked lost and not yet sent again.
    lost: u32,
    /// All octets that were ever marked lost, modulo 2^32.
    marked_lost: u32,
    /// Octets that the peer says it has beyond SND.UNA.
    sacked: u32,
    segments: u16,
}

/// Credible SACK blocks of one segment: the first octet, and the one behind the last.
pub(super) type SackBlocks = ArrayVec<(Seq, Seq), 4>;

/// What an acknowledgment has removed.
#[derive(Debug, Default)]
pub(super) struct Acked {
    /// When the last wholly acknowledged segment was sent, if it was sent only once (Karn).
    pub(super) sent_at: Option<Instant>,
    /// Whether a retransmitted segment is among them.
    pub(super) retransmitted: bool,
    /// Octets of text in the largest.
    pub(super) largest: u16,
    /// The newest of those that the peer was not known to have.
    pub(super) newest: Newest,
}

impl Default for SendQueue {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            unsent: NONE,
            retransmit: NONE,
            lost: 0,
            marked_lost: 0,
            sacked: 0,
            segments: 0,
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

    /// All octets that were ever marked lost, modulo 2^32.
    pub(super) fn marked_lost(&self) -> u32 {
        self.marked_lost
    }

    /// Octets that the peer says it has beyond SND.UNA.
    pub(super) fn sacked(&self) -> u32 {
        self.sacked
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

    /// Appends an unsent segment that starts at `seq`.
    pub(super) fn push(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffer: Buffer,
        seq: Seq,
        len: u16,
    ) {
        let index = insert(arena, buffer, seq, len, NONE);
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

    /// The first lost segment.
    pub(super) fn first_lost<'a>(
        &mut self,
        arena: &'a Slab<SendSegment>,
    ) -> Option<&'a SendSegment> {
        while self.retransmit != NONE && self.lost > 0 {
            let segment = arena.get(self.retransmit as usize)?;
            if segment.lost {
                return Some(segment);
            }
            self.retransmit = segment.next;
        }
        None
    }

    /// Whether nothing follows the first unsent segment.
    pub(super) fn is_last_unsent(&self) -> bool {
        self.unsent == self.tail
    }

    /// Cuts the first unsent segment after `at` octets. Fails if no buffer is free.
    pub(super) fn split_unsent(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        at: u16,
    ) -> bool {
        self.split(arena, buffers, self.unsent, at)
    }

    /// Cuts what was sent into segments of at most `smss` octets. Only for text that went with a
    /// SYN: the peer has since said that it takes less.
    pub(super) fn split_sent(
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
        let Some(rest) = buffers.split(segment.buffer.id(), usize::from(at)) else {
            return false;
        };
        let (seq, len, next) = (segment.end(), segment.len, segment.next);
        segment.len = at;
        let seq = seq - u32::from(len - at);
        let behind = insert(arena, rest, seq, len - at, next);
        arena[index as usize].next = behind;
        if self.tail == index {
            self.tail = behind;
        }
        self.segments += 1;
        true
    }

    /// The first unsent segment is sent now.
    pub(super) fn mark_sent(
        &mut self,
        arena: &mut Slab<SendSegment>,
        now: Instant,
        departure: Departure,
    ) {
        if let Some(segment) = arena.get_mut(self.unsent as usize) {
            segment.sent_at = now;
            segment.departure = departure;
            self.unsent = segment.next;
        }
    }

    /// The first lost segment is sent again now.
    pub(super) fn mark_retransmitted(
        &mut self,
        arena: &mut Slab<SendSegment>,
        now: Instant,
        departure: Departure,
    ) {
        if let Some(segment) = arena.get_mut(self.retransmit as usize) {
            segment.sent_at = now;
            segment.departure = departure;
            segment.retransmitted = true;
            segment.lost = false;
            self.lost -= u32::from(segment.len);
            self.retransmit = if self.lost == 0 { NONE } else { segment.next };
        }
    }

    /// The first segment is taken for lost. Returns whether it was sent and not lost before.
    pub(super) fn mark_head_lost(&mut self, arena: &mut Slab<SendSegment>) -> bool {
        if self.head == self.unsent {
            return false;
        }
        let Some(segment) = arena.get_mut(self.head as usize) else {
            return false;
        };
        if segment.lost || segment.sacked {
            return false;
        }
        segment.lost = true;
        self.lost += u32::from(segment.len);
        self.marked_lost = self.marked_lost.wrapping_add(u32::from(segment.len));
        self.retransmit = self.head;
        true
    }

    /// The peer has what lies in `blocks`. Returns how many octets it was not known to have. One
    /// pass over what is in flight, which `Config::send_buffers` bounds.
    pub(super) fn mark_sacked(
        &mut self,
        arena: &mut Slab<SendSegment>,
        blocks: &SackBlocks,
        newest: &mut Newest,
    ) -> u32 {
        let before = self.sacked;
        let mut index = if blocks.is_empty() {
            self.unsent
        } else {
            self.head
        };
        while index != self.unsent {
            let Some(segment) = arena.get_mut(index as usize) else {
                break;
            };
            let (start, end) = (segment.seq, segment.end());
            let covers =
                |&(left, right): &(Seq, Seq)| left.at_or_before(start) && right.at_or_after(end);
            if !segment.sacked && blocks.iter().any(covers) {
                segment.sacked = true;
                newest.take(segment.departure, segment.sent_at);
                self.sacked += u32::from(segment.len);
                if std::mem::take(&mut segment.lost) {
                    self.lost -= u32::from(segment.len);
                }
            }
            index = segment.next;
        }
        self.sacked - before
    }

    /// IsLost() of RFC 6675 section 4 for all segments that were sent once: more than two segments'
    /// worth behind them has arrived. Returns whether there is one more.
    pub(super) fn mark_lost_by_sack(&mut self, arena: &mut Slab<SendSegment>, smss: u16) -> bool {
        let before = self.lost;
        let mut behind = self.sacked;
        let mut index = self.head;
        while index != self.unsent && behind > 2 * u32::from(smss) {
            let Some(segment) = arena.get_mut(index as usize) else {
                break;
            };
            if segment.sacked {
                behind -= u32::from(segment.len);
            } else if !segment.lost && !segment.retransmitted {
                segment.lost = true;
                self.lost += u32::from(segment.len);
                self.marked_lost = self.marked_lost.wrapping_add(u32::from(segment.len));
            }
            index = segment.next;
        }
        if self.lost > before {
            self.retransmit = self.head;
        }
        self.lost > before
    }

    /// Everything sent is taken for lost (RFC 6298 rule 5.4, RFC 5681 section 3.1), but for what
    /// the peer says it has. If it says so of the very first segment, it has thrown that away (RFC
    /// 2018 section 8), and nothing that it has said counts.
    pub(super) fn mark_all_lost(&mut self, arena: &mut Slab<SendSegment>) {
        let reneged = arena
            .get(self.head as usize)
            .is_some_and(|head| head.sacked);
        if reneged {
            self.sacked = 0;
        }
        let mut index = self.head;
        while index != self.unsent {
            let Some(segment) = arena.get_mut(index as usize) else {
                break;
            };
            segment.sacked &= !reneged;
            if !segment.lost && !segment.sacked {
                segment.lost = true;
                self.lost += u32::from(segment.len);
                self.marked_lost = self.marked_lost.wrapping_add(u32::from(segment.len));
            }
            index = segment.next;
        }
        if self.lost > 0 {
            self.retransmit = self.head;
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
    ) -> Acked {
        let mut acked = Acked::default();
        while self.head != self.unsent {
            let Some(segment) = arena.get(self.head as usize) else {
                break;
            };
            if segment.end().after(una) {
                self.acknowledge_part(arena, una);
                break;
            }
            if !segment.sacked {
                acked.newest.take(segment.departure, segment.sent_at);
            }
            acked.retransmitted |= segment.retransmitted;
            acked.largest = acked.largest.max(segment.skip + segment.len);
            acked.sent_at = (!segment.retransmitted).then_some(segment.sent_at);
            self.pop(arena, buffers);
        }
        acked
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
            if segment.lost {
                self.lost -= u32::from(acked);
            }
            if segment.sacked {
                self.sacked -= u32::from(acked);
            }
        }
    }

    /// Segments of more than `smss` octets in flight have not arrived: they are more than the path
    /// carries. Returns whether there are some that were not lost already.
    pub(super) fn mark_larger_lost(&mut self, arena: &mut Slab<SendSegment>, smss: u16) -> bool {
        let before = self.lost;
        let mut index = self.head;
        while index != self.unsent {
            let Some(segment) = arena.get_mut(index as usize) else {
                break;
            };
            if segment.len > smss && !segment.lost && !segment.sacked {
                segment.lost = true;
                self.lost += u32::from(segment.len);
                self.marked_lost = self.marked_lost.wrapping_add(u32::from(segment.len));
            }
            index = segment.next;
        }
        if self.lost > before {
            self.retransmit = self.head;
        }
        self.lost > before
    }

    /// Cuts the first lost segment after `at` octets; both parts are lost. Fails if no buffer is
    /// free.
    pub(super) fn split_lost(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        at: u16,
    ) -> bool {
        if self.first_lost(arena).is_none() {
            return false;
        }
        let index = self.retransmit;
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
        segment.len = at;
        let rest = arena.insert(rest) as u32;
        if let Some(segment) = arena.get_mut(index as usize) {
            segment.next = rest;
        }
        if self.tail == index {
            self.tail = rest;
        }
        self.segments += 1;
        true
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self, arena: &mut Slab<SendSegment>, buffers: &mut dyn Buffers) {
        while self.head != NONE {
            self.pop(arena, buffers);
        }
        *self = Self::default();
    }

    /// That the sums are those of the segments.
    #[cfg(test)]
    pub(super) fn check(&self, arena: &Slab<SendSegment>) {
        let (mut lost, mut sacked, mut segments) = (0, 0, 0);
        let (mut index, mut is_sent) = (self.head, true);
        while let Some(segment) = arena.get(index as usize) {
            is_sent &= index != self.unsent;
            assert!(is_sent || !segment.lost && !segment.sacked);
            assert!(!segment.lost || !segment.sacked);
            lost += if segment.lost {
                u32::from(segment.len)
            } else {
                0
            };
            sacked += if segment.sacked {
                u32::from(segment.len)
            } else {
                0
            };
            segments += 1;
            index = segment.next;
        }
        assert_eq!(
            (lost, sacked, segments),
            (self.lost, self.sacked, self.segments)
        );
    }

    fn pop(&mut self, arena: &mut Slab<SendSegment>, buffers: &mut dyn Buffers) {
        let segment = arena.remove(self.head as usize);
        if segment.lost {
            self.lost -= u32::from(segment.len);
        }
        if segment.sacked {
            self.sacked -= u32::from(segment.len);
        }
        if self.retransmit == self.head {
            self.retransmit = if self.lost == 0 { NONE } else { segment.next };
        }
        if self.unsent == self.head {
            self.unsent = segment.next;
        }
        if self.tail == self.head {
            self.tail = NONE;
        }
        self.head = segment.next;
        self.segments -= 1;
        buffers.release(segment.buffer);
    }
}

fn insert(arena: &mut Slab<SendSegment>, buffer: Buffer, seq: Seq, len: u16, next: u32) -> u32 {
    let segment = SendSegment {
        buffer,
        seq,
        len,
        skip: 0,
        lost: false,
        sacked: false,
        retransmitted: false,
        sent_at: Instant::ZERO,
        departure: Departure::default(),
        next,
    };
    // At most one segment per buffer, and buffers are numbered by u32.
    arena.insert(segment) as u32
}
