//! A queue with the frames that its connections hold: TCP's [`Buffers`] over a [`PacketIo`].
//!
//! A frame is its own retransmission buffer. It is *held* by a buffer, or *with the kernel* from
//! TX to COMPLETION, or its octets have moved to a *compact* buffer on the heap because frames ran
//! short. A frame that carries no text belongs to nobody while it is with the kernel.

use slab::Slab;

use crate::ring::{PacketIo, TxFrame};
use crate::stack::Queue;
use crate::tcp::{Buffer, BufferId, Buffers, Marking, Payload};
use crate::wire::checksum::Sum;
use crate::wire::emit::{self, Route};
use crate::wire::tcp::Header;
use crate::wire::{FlowKey, Link};

/// Nobody's frame.
const NOBODY: u32 = u32::MAX;
/// One of this many frames is kept back for segments without text, so that acknowledgments go out
/// whatever the applications have queued.
const RESERVE: usize = 32;
/// Ethernet, IPv4 and TCP, all without options. Longer headers have room in the headroom; that the
/// packet stays within the MTU is the MSS's affair.
const LEAST_HEADERS: usize = 14 + 20 + 20;
/// Frames looked at per turn when they run short.
const COMPACT_STEP: usize = 64;
/// About what a text on the heap takes besides its octets: its slot here, TCP's segment, the allocation.
/// Else single octets could take many times what the budget says.
const COMPACT_OVERHEAD: usize = 128;

/// See the module.
#[derive(Debug)]
pub(super) struct Port<P: PacketIo> {
    pub(super) queue: Queue<P>,
    slots: Slab<Slot>,
    /// Which slot a frame belongs to, by the frame's index.
    owners: Vec<u32>,
    /// Which held frame to look at next when frames run short.
    hand: usize,
    /// What texts on the heap take.
    compact_octets: usize,
    /// There was no room for another one when frames last ran short.
    compact_is_full: bool,
    /// Frames from TX to COMPLETION.
    with_kernel: usize,
    headroom: usize,
    reserve: usize,
}

#[derive(Debug)]
struct Slot {
    content: Content,
    len: u16,
    /// Released while the frame was with the kernel.
    released: bool,
    /// Sum of all octets.
    sum: Sum,
}

/// What [`Port::compact`] has come to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compaction {
    /// Texts moved to the heap.
    pub(super) moved: u64,
    /// Whether there was no room for another one.
    pub(super) is_full: bool,
}

#[derive(Debug)]
enum Content {
    Held(TxFrame),
    WithKernel,
    Compact(Box<[u8]>),
}

impl<P: PacketIo> Port<P> {
    pub(super) fn new(queue: Queue<P>) -> Self {
        let capabilities = queue.io.capabilities();
        Self {
            slots: Slab::new(),
            owners: vec![NOBODY; capabilities.tx_frames],
            hand: 0,
            compact_octets: 0,
            compact_is_full: false,
            with_kernel: 0,
            headroom: capabilities.headroom,
            reserve: (capabilities.tx_frames / RESERVE).max(1),
            queue,
        }
    }

    /// Whether one more segment of whatever kind can go out now.
    pub(super) fn has_room(&self) -> bool {
        self.queue.io.tx_room() > 0 && self.queue.io.free_frames() > 0
    }

    /// Whether neither frames nor the heap have much room left for text.
    pub(super) fn is_exhausted(&self) -> bool {
        self.compact_is_full && self.available() < self.reserve
    }

    /// Frames that there are.
    pub(super) fn frames(&self) -> usize {
        self.owners.len()
    }

    /// Frames that are not free.
    pub(super) fn frames_in_use(&self) -> usize {
        self.owners.len() - self.queue.io.free_frames()
    }

    /// What texts on the heap take, in octets.
    pub(super) fn compact_octets(&self) -> usize {
        self.compact_octets
    }

    /// What they may take: half as much as frames can hold.
    pub(super) fn compact_budget(&self) -> usize {
        self.frames() * self.capacity() / 2
    }

    /// Whether the kernel still has frames of ours: no event tells when it is done with them.
    pub(super) fn awaits_completion(&self) -> bool {
        self.with_kernel > 0
    }

    /// Sends a segment without text.
    pub(super) fn send_bare(
        &mut self,
        link: &Link,
        key: &FlowKey,
        header: &Header,
        marking: Marking,
    ) -> bool {
        let Some(mut frame) = self.queue.io.allocate() else {
            return false;
        };
        self.write_headers(&mut frame, link, key, header, Sum::default(), marking);
        self.submit_unowned(frame)
    }

    /// Sends a segment with text. The buffer is idle.
    pub(super) fn send_text(
        &mut self,
        link: &Link,
        key: &FlowKey,
        header: &Header,
        payload: Payload,
        marking: Marking,
    ) -> bool {
        let (skip, len) = (usize::from(payload.skip), usize::from(payload.len));
        let sum = self.checksum(payload.buffer, skip);
        let owner = payload.buffer.0;
        let Some(slot) = self.slots.get_mut(owner as usize) else {
            return false;
        };
        if let Content::Compact(octets) = &slot.content {
            let Some(mut frame) = self.queue.io.allocate() else {
                return false;
            };
            frame.spare_mut()[..len].copy_from_slice(&octets[skip..skip + len]);
            frame.extend(len);
            self.write_headers(&mut frame, link, key, header, sum, marking);
            return self.submit_unowned(frame);
        }
        match std::mem::replace(&mut slot.content, Content::WithKernel) {
            Content::Held(mut frame) => {
                frame.set_range(self.headroom + skip, len);
                self.write_headers(&mut frame, link, key, header, sum, marking);
                let submitted = self.submit(frame, owner);
                if let Err(frame) = submitted {
                    self.hold(owner, frame);
                    return false;
                }
                true
            }
            other => {
                slot.content = other;
                false
            }
        }
    }

    /// Takes back the frames that the kernel is done with. Returns their number.
    pub(super) fn reap(&mut self) -> usize {
        let mut reaped = 0;
        while let Some(frame) = self.queue.io.completed() {
            reaped += 1;
            self.with_kernel -= 1;
            let index = frame.index() as usize;
            match std::mem::replace(&mut self.owners[index], NOBODY) {
                NOBODY => self.queue.io.release(frame),
                owner
                    if self
                        .slots
                        .get(owner as usize)
                        .is_some_and(|slot| slot.released) =>
                {
                    self.slots.remove(owner as usize);
                    self.queue.io.release(frame);
                }
                owner => self.hold(owner, frame),
            }
        }
        reaped
    }

    /// When frames run short, moves octets of a few held frames to the heap, up to half as many as
    /// the frames themselves can hold.
    pub(super) fn compact(&mut self) -> Compaction {
        let mut compaction = Compaction::default();
        if self.queue.io.free_frames() >= self.frames() / 8 {
            self.compact_is_full = false;
            return compaction;
        }
        let budget = self.compact_budget();
        for _ in 0..COMPACT_STEP.min(self.slots.capacity()) {
            self.hand = (self.hand + 1) % self.slots.capacity();
            let Some(slot) = self.slots.get_mut(self.hand) else {
                continue;
            };
            let cost = usize::from(slot.len) + COMPACT_OVERHEAD;
            if let Content::Held(frame) = &slot.content
                && slot.len > 0
            {
                if self.compact_octets + cost > budget {
                    compaction.is_full = true;
                    break;
                }
                let octets = frame.data().into();
                self.compact_octets += cost;
                compaction.moved += 1;
                if let Content::Held(frame) =
                    std::mem::replace(&mut slot.content, Content::Compact(octets))
                {
                    self.queue.io.release(frame);
                }
            }
        }
        self.compact_is_full |= compaction.is_full;
        compaction
    }

    /// The frame is back and its range is the text again.
    fn hold(&mut self, owner: u32, frame: TxFrame) {
        let Some(slot) = self.slots.get_mut(owner as usize) else {
            return self.queue.io.release(frame);
        };
        slot.content = Content::Held(frame);
        if let Content::Held(frame) = &mut slot.content {
            frame.set_range(self.headroom, usize::from(slot.len));
        }
    }

    fn submit(&mut self, frame: TxFrame, owner: u32) -> Result<(), TxFrame> {
        let index = frame.index() as usize;
        match self.queue.io.transmit(frame) {
            Ok(()) => {
                self.owners[index] = owner;
                self.with_kernel += 1;
                Ok(())
            }
            Err(frame) => Err(frame),
        }
    }

    /// For a frame that is free again as soon as it is sent.
    fn submit_unowned(&mut self, frame: TxFrame) -> bool {
        match self.submit(frame, NOBODY) {
            Ok(()) => true,
            Err(frame) => {
                self.queue.io.release(frame);
                false
            }
        }
    }

    fn write_headers(
        &self,
        frame: &mut TxFrame,
        link: &Link,
        key: &FlowKey,
        header: &Header,
        sum: Sum,
        marking: Marking,
    ) {
        let route = Route {
            link: *link,
            key: *key,
            hop_limit: marking.hop_limit,
            traffic_class: marking.traffic_class,
            identification: 0,
        };
        let len = frame.len();
        let written = emit::segment_headers(frame.headroom_mut(), &route, header, (len, sum));
        frame.prepend(written);
    }

    fn slot(&self, buffer: BufferId) -> Option<&Slot> {
        self.slots.get(buffer.0 as usize)
    }

    fn held(&mut self, buffer: BufferId) -> Option<(&mut TxFrame, &mut u16, &mut Sum)> {
        let slot = self.slots.get_mut(buffer.0 as usize)?;
        match &mut slot.content {
            Content::Held(frame) => Some((frame, &mut slot.len, &mut slot.sum)),
            _ => None,
        }
    }
}

/// The frames go back before the rings do: memory with frames outstanding can never be unmapped.
impl<P: PacketIo> Drop for Port<P> {
    fn drop(&mut self) {
        for slot in self.slots.drain() {
            if let Content::Held(frame) = slot.content {
                self.queue.io.release(frame);
            }
        }
    }
}

impl<P: PacketIo> Buffers for Port<P> {
    fn allocate(&mut self) -> Option<Buffer> {
        if self.available() == 0 {
            return None;
        }
        let frame = self.queue.io.allocate()?;
        let slot = Slot {
            content: Content::Held(frame),
            len: 0,
            released: false,
            sum: Sum::default(),
        };
        // As many as there are frames, and compact ones within their budget.
        Some(Buffer::new(BufferId(self.slots.insert(slot) as u32)))
    }

    fn available(&self) -> usize {
        self.queue.io.free_frames().saturating_sub(self.reserve)
    }

    fn capacity(&self) -> usize {
        self.queue
            .io
            .capabilities()
            .max_frame
            .saturating_sub(LEAST_HEADERS)
    }

    fn room(&self, buffer: BufferId) -> usize {
        match self.slot(buffer).map(|slot| &slot.content) {
            Some(Content::Held(frame)) => frame.capacity() - frame.start() - frame.len(),
            _ => 0,
        }
    }

    fn append_with(
        &mut self,
        buffer: BufferId,
        room: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> usize {
        let Some((frame, len, sum)) = self.held(buffer) else {
            return 0;
        };
        let spare = frame.spare_mut();
        let offered = room.min(spare.len());
        let written = fill(&mut spare[..offered]).min(offered);
        let added = Sum::of(&spare[..written]);
        *sum = sum.plus(if len.is_multiple_of(2) {
            added
        } else {
            added.shifted()
        });
        *len += written as u16;
        frame.extend(written);
        written
    }

    fn append(&mut self, buffer: BufferId, data: &[u8]) -> usize {
        let Some((frame, len, sum)) = self.held(buffer) else {
            return 0;
        };
        let spare = frame.spare_mut();
        let written = data.len().min(spare.len());
        let added = Sum::of_copy(&mut spare[..written], &data[..written]);
        *sum = sum.plus(if len.is_multiple_of(2) {
            added
        } else {
            added.shifted()
        });
        *len += written as u16;
        frame.extend(written);
        written
    }

    fn split(&mut self, buffer: BufferId, at: usize) -> Option<Buffer> {
        let rest: Box<[u8]> = match &self.slot(buffer)?.content {
            Content::Held(frame) => frame.data().get(at..)?.into(),
            Content::Compact(octets) => octets.get(at..)?.into(),
            Content::WithKernel => return None,
        };
        let new = self.allocate()?;
        self.append(new.id(), &rest);
        let slot = self.slots.get_mut(buffer.0 as usize)?;
        slot.len = at as u16;
        match &mut slot.content {
            Content::Held(frame) => {
                frame.truncate(at);
                slot.sum = Sum::of(frame.data());
            }
            Content::Compact(octets) => {
                self.compact_octets -= octets.len() - at;
                *octets = octets[..at].into();
                slot.sum = Sum::of(octets);
            }
            Content::WithKernel => {}
        }
        Some(new)
    }

    fn checksum(&mut self, buffer: BufferId, skip: usize) -> Sum {
        let Some(slot) = self.slot(buffer) else {
            return Sum::default();
        };
        match &slot.content {
            _ if skip == 0 => slot.sum,
            Content::Held(frame) => Sum::of(frame.data().get(skip..).unwrap_or_default()),
            Content::Compact(octets) => Sum::of(octets.get(skip..).unwrap_or_default()),
            Content::WithKernel => Sum::default(),
        }
    }

    fn is_idle(&self, buffer: BufferId) -> bool {
        self.slot(buffer)
            .is_some_and(|slot| !matches!(slot.content, Content::WithKernel))
    }

    fn release(&mut self, buffer: Buffer) {
        let key = buffer.id().0 as usize;
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if matches!(slot.content, Content::WithKernel) {
            slot.released = true;
            return;
        }
        let slot = self.slots.remove(key);
        match slot.content {
            Content::Held(frame) => self.queue.io.release(frame),
            Content::Compact(octets) => {
                self.compact_octets -= octets.len() + COMPACT_OVERHEAD;
            }
            Content::WithKernel => {}
        }
    }
}

#[cfg(any(test, fuzzing))]
impl<P: PacketIo> Port<P> {
    /// That each frame is free, held by a buffer or with the kernel, and that only frames of buffers
    /// have owners. Returns the buffers that are not released.
    pub(super) fn check(&self) -> usize {
        let (mut held, mut with_kernel, mut compact, mut live) = (0, 0, 0, 0);
        for (_, slot) in &self.slots {
            live += usize::from(!slot.released);
            let octets = match &slot.content {
                Content::Held(frame) => {
                    held += 1;
                    assert_eq!(frame.start(), self.headroom);
                    frame.data()
                }
                Content::Compact(octets) => {
                    compact += octets.len() + COMPACT_OVERHEAD;
                    &octets[..]
                }
                Content::WithKernel => {
                    with_kernel += 1;
                    continue;
                }
            };
            assert!(!slot.released, "a buffer that nobody has and nobody frees");
            assert_eq!(octets.len(), usize::from(slot.len));
        }
        let owned = self.owners.iter().filter(|&&owner| owner != NOBODY);
        assert_eq!(owned.count(), with_kernel);
        assert!(with_kernel <= self.with_kernel);
        assert_eq!(compact, self.compact_octets);
        let frames = self.queue.io.free_frames() + held + self.with_kernel;
        assert_eq!(frames, self.owners.len(), "each frame is somewhere");
        live
    }

    /// That a segment's buffer has its octets and their sum. The sum is of no use, and wrong, once
    /// some are acknowledged: headers are written over those.
    pub(super) fn check_buffer(&self, payload: Payload) {
        let slot = self.slot(payload.buffer).expect("the segment has a buffer");
        assert!(!slot.released);
        assert_eq!(slot.len, payload.skip + payload.len);
        let octets = match &slot.content {
            Content::Held(frame) => frame.data(),
            Content::Compact(octets) => octets,
            Content::WithKernel => return,
        };
        if payload.skip == 0 {
            assert_eq!(Sum::of(octets).fold() % 0xffff, slot.sum.fold() % 0xffff);
        }
    }
}
