//! The memory of a connection under test.

use super::{Buffer, BufferId, Buffers, Payload};
use crate::wire::checksum::Sum;

/// Buffers that can stay with the kernel and can run out. Names are never used twice, so that a
/// second release is found.
#[derive(Debug)]
pub(super) struct TestBuffers {
    pub(super) slots: Vec<Option<Slot>>,
    pub(super) in_use: usize,
    pub(super) limit: usize,
    pub(super) capacity: usize,
    /// Whether what is sent stays with the kernel until [`complete`](Self::complete).
    pub(super) hold: bool,
    /// Whether nothing can be added to what is held.
    pub(super) compact: bool,
    /// What the kernel has.
    with_kernel: Vec<BufferId>,
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    octets: Vec<u8>,
    with_kernel: bool,
    pub(super) released: bool,
}

impl TestBuffers {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            in_use: 0,
            limit,
            capacity: 1_460,
            hold: false,
            compact: false,
            with_kernel: Vec::new(),
        }
    }

    #[track_caller]
    fn slot(&mut self, id: BufferId) -> &mut Slot {
        let slot = self.slots[id.0 as usize].as_mut();
        slot.filter(|slot| !slot.released)
            .unwrap_or_else(|| panic!("buffer {} is used after its release", id.0))
    }

    /// The octets of a segment go out.
    pub(super) fn emit(&mut self, payload: &Payload) -> Vec<u8> {
        let hold = self.hold;
        let slot = self.slot(payload.buffer);
        assert!(!slot.with_kernel, "sent while the kernel still reads it");
        slot.with_kernel = hold;
        let skip = usize::from(payload.skip);
        assert!(payload.len > 0);
        let octets = slot.octets[skip..skip + usize::from(payload.len)].to_vec();
        if hold {
            self.with_kernel.push(payload.buffer);
        }
        octets
    }

    /// The kernel gives everything back.
    pub(super) fn complete(&mut self) {
        for id in self.with_kernel.drain(..) {
            let slot = &mut self.slots[id.0 as usize];
            let held = slot.as_mut().expect("the kernel has it");
            held.with_kernel = false;
            if held.released {
                *slot = None;
                self.in_use -= 1;
            }
        }
    }

    fn add(&mut self, octets: Vec<u8>) -> Option<Buffer> {
        if self.in_use >= self.limit {
            return None;
        }
        self.in_use += 1;
        self.slots.push(Some(Slot {
            octets,
            ..Slot::default()
        }));
        Some(Buffer::new(BufferId(self.slots.len() as u32 - 1)))
    }
}

impl Buffers for TestBuffers {
    fn allocate(&mut self) -> Option<Buffer> {
        self.add(Vec::new())
    }

    fn available(&self) -> usize {
        self.limit.saturating_sub(self.in_use)
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn room(&self, buffer: BufferId) -> usize {
        match &self.slots[buffer.0 as usize] {
            Some(slot) if !slot.with_kernel && (!self.compact || slot.octets.is_empty()) => {
                self.capacity - slot.octets.len()
            }
            _ => 0,
        }
    }

    fn append_with(
        &mut self,
        buffer: BufferId,
        room: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> usize {
        let room = room.min(self.room(buffer));
        let slot = self.slot(buffer);
        let held = slot.octets.len();
        slot.octets.resize(held + room, 0);
        let written = fill(&mut slot.octets[held..]);
        slot.octets.truncate(held + written);
        written
    }

    fn append(&mut self, buffer: BufferId, data: &[u8]) -> usize {
        self.append_with(buffer, data.len(), &mut |room| {
            room.copy_from_slice(&data[..room.len()]);
            room.len()
        })
    }

    fn split(&mut self, buffer: BufferId, at: usize) -> Option<Buffer> {
        if self.in_use >= self.limit || self.slot(buffer).with_kernel {
            return None;
        }
        let rest = self.slot(buffer).octets.split_off(at);
        self.add(rest)
    }

    fn checksum(&mut self, buffer: BufferId, skip: usize) -> Sum {
        Sum::of(&self.slot(buffer).octets[skip..])
    }

    fn is_idle(&self, buffer: BufferId) -> bool {
        self.slots[buffer.0 as usize]
            .as_ref()
            .is_some_and(|slot| !slot.with_kernel)
    }

    fn release(&mut self, buffer: Buffer) {
        let id = buffer.id();
        let slot = self.slot(id);
        slot.released = true;
        if !slot.with_kernel {
            self.slots[id.0 as usize] = None;
            self.in_use -= 1;
        }
    }
}
