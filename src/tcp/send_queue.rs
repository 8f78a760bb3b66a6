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

use arrayvec::ArrayVec;
use slab::Slab;

use super::buffers::{Buffer, Buffers};
use super::loss::Delivered;
use super::rate::Departure;
use super::scoreboard::Scoreboard;
use super::segment_list::SegmentList;
use super::seq::Seq;
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
    /// When it was last sent.
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

    /// The first segment, if it has been sent.
    pub(super) fn first_sent<'a>(&self, arena: &'a Slab<SendSegment>) -> Option<&'a SendSegment> {
        arena
            .get(self.head as usize)
            .filter(|_| self.head != self.unsent)
    }

    /// The lost segment that is next to be sent again.
    pub(super) fn first_lost<'a>(&self, arena: &'a Slab<SendSegment>) -> Option<&'a SendSegment> {
        arena.get(self.to_retransmit.first() as usize)
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

    /// Cuts the first unsent segment after `at` octets. Fails if no buffer is free.
    pub(super) fn split_unsent(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        at: u16,
    ) -> bool {
        self.split(arena, buffers, self.unsent, at)
    }

    /// Cuts the first lost segment after `at` octets; both parts are lost. Fails if no buffer is
    /// free.
    pub(super) fn split_lost(
        &mut self,
        arena: &mut Slab<SendSegment>,
        buffers: &mut dyn Buffers,
        at: u16,
    ) -> bool {
        self.split(arena, buffers, self.to_retransmit.first(), at)
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
            board.on_split(arena, index, behind, place == Place::Sacked);
        }
        true
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

    /// The first segment is taken for lost. Returns how many octets that are, none if it has not
    /// been sent or is known to be lost.
    pub(super) fn mark_head_lost(&mut self, arena: &mut Slab<SendSegment>) -> u32 {
        let index = self.head;
        match arena.get(index as usize) {
            Some(segment) if segment.place == Place::InFlight => self.mark_lost(arena, index),
            _ => 0,
        }
    }

    /// What has been in the network longest is taken for lost. Returns how many octets that are.
    pub(super) fn mark_oldest_lost(&mut self, arena: &mut Slab<SendSegment>) -> u32 {
        self.mark_lost(arena, self.in_flight.first())
    }

    /// All that is in the network is taken for lost.
    pub(super) fn mark_all_lost(&mut self, arena: &mut Slab<SendSegment>) {
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
    pub(super) fn mark_lost_on_timeout(
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

    fn take_back_sacked(&mut self, arena: &mut Slab<SendSegment>) {
        let mut index = self.head;
        while index != self.unsent {
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

    /// Nothing was lost after all: what was to be sent again is still in the network.
    pub(super) fn take_back_lost(&mut self, arena: &mut Slab<SendSegment>) {
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

    /// The peer has what lies in `blocks`. Fails if a limit keeps some of it from being remembered.
    pub(super) fn mark_sacked(
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
    fn sent(&self, arena: &Slab<SendSegment>) -> std::collections::VecDeque<u32> {
        let first = (self.head != self.unsent).then_some(self.head);
        std::iter::successors(first, |&index| {
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

    /// Segments of more than `smss` octets in flight have not arrived: they are more than the path
    /// carries. Returns whether there are some that were not lost already.
    pub(super) fn mark_larger_lost(&mut self, arena: &mut Slab<SendSegment>, smss: u16) -> bool {
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

    /// Gives everything back.
    pub(super) fn clear(&mut self, arena: &mut Slab<SendSegment>, buffers: &mut dyn Buffers) {
        while self.head != NONE {
            self.pop(arena, buffers);
        }
        *self = Self::default();
    }

    /// That sums and lists are those of the segments.
    #[cfg(test)]
    pub(super) fn check(&self, arena: &Slab<SendSegment>) {
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

fn insert(arena: &mut Slab<SendSegment>, buffer: Buffer, seq: Seq, len: u16, next: u32) -> u32 {
    let segment = SendSegment {
        buffer,
        seq,
        len,
        skip: 0,
        place: Place::Unsent,
        retransmitted: false,
        sent_at: Instant::ZERO,
        departure: Departure::default(),
        next,
        earlier: NONE,
        later: NONE,
    };
    // At most one segment per buffer, and buffers are numbered by u32.
    arena.insert(segment) as u32
}
