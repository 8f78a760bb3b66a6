//! What TCP needs of the memory that holds unacknowledged octets; the stack implements it over
//! the ring's TX frames.

use crate::wire::checksum::Sum;

/// The name of a buffer. Says nothing about who owns it; see [`Buffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferId(pub u32);

/// The right to one buffer: move-only, given back by [`Buffers::release`].
#[derive(Debug)]
#[must_use = "a buffer that is dropped is a frame lost"]
pub struct Buffer(BufferId);

impl Buffer {
    /// Made by an implementation of [`Buffers`] only, once per allocation.
    pub const fn new(id: BufferId) -> Self {
        Self(id)
    }

    /// Its name.
    pub const fn id(&self) -> BufferId {
        self.0
    }
}

/// Memory for octets that are sent and not yet acknowledged. Each buffer holds the text of one
/// segment and is its own retransmission buffer.
///
/// A buffer that the kernel is still reading is not *idle*: its octets must not change, so
/// appending to it and splitting it fail, and it is not sent again until it is idle.
pub trait Buffers {
    /// An empty buffer; `None` when all are in use.
    fn allocate(&mut self) -> Option<Buffer>;

    /// Buffers that [`allocate`](Self::allocate) would yield now.
    fn available(&self) -> usize;

    /// Octets that fit into a fresh buffer.
    fn capacity(&self) -> usize;

    /// Octets that an append would take now. None if the buffer is not idle, or if what it holds is
    /// kept where nothing can be added.
    fn room(&self, buffer: BufferId) -> usize;

    /// Lets `fill` write behind what the buffer holds, into at most `room` octets, and keeps as
    /// many as it says. Returns that number; 0 if there is no room.
    fn append_with(
        &mut self,
        buffer: BufferId,
        room: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> usize;

    /// Copies as much of `data` as fits behind what the buffer holds and sums it on the way.
    fn append(&mut self, buffer: BufferId, data: &[u8]) -> usize;

    /// Keeps the first `at` octets and copies the rest into a new buffer; `None` if none is free
    /// or this one is not idle.
    fn split(&mut self, buffer: BufferId, at: usize) -> Option<Buffer>;

    /// The sum of the octets from `skip` on.
    fn checksum(&mut self, buffer: BufferId, skip: usize) -> Sum;

    /// Whether the kernel is not reading it.
    fn is_idle(&self, buffer: BufferId) -> bool;

    /// Its octets are not needed any more. Goes back to the pool as soon as it is idle.
    fn release(&mut self, buffer: Buffer);
}
