//! The two ends of a ring that is shared with the kernel: we produce FILL and TX and consume RX and
//! COMPLETION.
//!
//! Indices run freely through `u32` and are masked when a slot is touched. Each index has one
//! writer: the producer's side writes `producer`, the consumer's side `consumer`. A side writes its
//! slots before it moves its index (Release), and reads the other's index (Acquire) before it
//! touches the slots that this gives it.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use libxdp_sys::{XDP_RING_NEED_WAKEUP, xsk_ring_cons, xsk_ring_prod};

/// Pointers into a mapped ring.
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    size: u32,
}

impl<T: Copy> Shared<T> {
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: the ring stays mapped while this exists (`from_libxdp`), and only atomics touch
        // its indices.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn need_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & XDP_RING_NEED_WAKEUP != 0
    }

    /// The slot of a free-running index.
    fn slot(&self, index: u32) -> NonNull<T> {
        // SAFETY: the mask keeps the slot inside the ring, whose size is a power of two.
        unsafe { self.slots.add((index & (self.size - 1)) as usize) }
    }
}

/// The end that puts values into FILL or TX.
pub(super) struct Producer<T> {
    shared: Shared<T>,
    /// Our next slot.
    next: u32,
    /// What the consumer was seen at last; it may have moved on since.
    consumer: u32,
    /// What we told the kernel last.
    published: u32,
}

impl<T: Copy> Producer<T> {
    /// # Safety
    ///
    /// The pointers of `ring` must be to a mapped ring of `T`, which is empty, stays mapped for as
    /// long as the value lives and has no other producer.
    pub(super) unsafe fn from_libxdp(ring: &xsk_ring_prod) -> Option<Self> {
        let shared = Shared {
            producer: NonNull::new(ring.producer.cast())?,
            consumer: NonNull::new(ring.consumer.cast())?,
            flags: NonNull::new(ring.flags.cast())?,
            slots: NonNull::new(ring.ring.cast())?,
            size: ring.size,
        };
        let next = shared.producer().load(Ordering::Relaxed);
        let consumer = shared.consumer().load(Ordering::Acquire);
        Some(Self {
            shared,
            next,
            consumer,
            published: next,
        })
    }

    /// Slots that can be written now.
    pub(super) fn free(&self) -> u32 {
        let consumer = self.shared.consumer().load(Ordering::Acquire);
        self.shared
            .size
            .saturating_sub(self.next.wrapping_sub(consumer))
    }

    /// Writes one slot; false if there is none. The kernel sees it after [`publish`](Self::publish).
    #[inline]
    pub(super) fn push(&mut self, value: T) -> bool {
        if self.next.wrapping_sub(self.consumer) == self.shared.size {
            self.consumer = self.shared.consumer().load(Ordering::Acquire);
            if self.next.wrapping_sub(self.consumer) == self.shared.size {
                return false;
            }
        }
        // SAFETY: the slot is inside the ring, and the consumer has left it.
        unsafe { self.shared.slot(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Hands what was pushed to the kernel.
    pub(super) fn publish(&mut self) {
        // Not if there is nothing: the store would take the cache line from the kernel's core.
        if self.next != self.published {
            self.shared.producer().store(self.next, Ordering::Release);
            self.published = self.next;
        }
    }

    /// Slots that the kernel was given and has not consumed.
    pub(super) fn pending(&self) -> u32 {
        self.published
            .wrapping_sub(self.shared.consumer().load(Ordering::Relaxed))
    }

    /// The kernel waits for a system call.
    pub(super) fn need_wakeup(&self) -> bool {
        self.shared.need_wakeup()
    }
}

/// The end that takes values from RX or COMPLETION.
pub(super) struct Consumer<T> {
    shared: Shared<T>,
    /// Our next slot.
    next: u32,
    /// What the producer was seen at last.
    producer: u32,
    /// What we told the kernel last.
    published: u32,
}

impl<T: Copy> Consumer<T> {
    /// # Safety
    ///
    /// The pointers of `ring` must be to a mapped ring of `T` that stays mapped for as long as the
    /// value lives and has no other consumer.
    pub(super) unsafe fn from_libxdp(ring: &xsk_ring_cons) -> Option<Self> {
        let shared = Shared {
            producer: NonNull::new(ring.producer.cast())?,
            consumer: NonNull::new(ring.consumer.cast())?,
            flags: NonNull::new(ring.flags.cast())?,
            slots: NonNull::new(ring.ring.cast())?,
            size: ring.size,
        };
        let next = shared.consumer().load(Ordering::Relaxed);
        Some(Self {
            shared,
            next,
            producer: next,
            published: next,
        })
    }

    /// Nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.shared.producer().load(Ordering::Relaxed) == self.next
    }

    /// Takes one value. The kernel gets the slot back by [`publish`](Self::publish).
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.next == self.producer {
            self.producer = self.shared.producer().load(Ordering::Acquire);
            if self.next == self.producer {
                return None;
            }
        }
        // SAFETY: the slot is inside the ring, and the producer has written it.
        let value = unsafe { self.shared.slot(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(value)
    }

    /// Gives the slots of what was popped back to the kernel.
    pub(super) fn publish(&mut self) {
        if self.next != self.published {
            self.shared.consumer().store(self.next, Ordering::Release);
            self.published = self.next;
        }
    }
}

/// A ring in plain memory, with a test in the kernel's place.
#[cfg(test)]
pub(super) mod fake {
    use super::*;

    pub(in crate::ring::xsk) struct Ring<T> {
        producer: AtomicU32,
        consumer: AtomicU32,
        flags: AtomicU32,
        slots: Box<[T]>,
    }

    impl<T: Copy> Ring<T> {
        /// An empty ring whose indices are at `start`. Must outlive its ends.
        pub(in crate::ring::xsk) fn new(size: usize, start: u32, empty: T) -> Box<Self> {
            Box::new(Self {
                producer: AtomicU32::new(start),
                consumer: AtomicU32::new(start),
                flags: AtomicU32::new(0),
                slots: vec![empty; size].into_boxed_slice(),
            })
        }

        pub(in crate::ring::xsk) fn producer(&mut self) -> Producer<T> {
            let raw = xsk_ring_prod {
                cached_prod: 0,
                cached_cons: 0,
                mask: self.slots.len() as u32 - 1,
                size: self.slots.len() as u32,
                producer: self.producer.as_ptr(),
                consumer: self.consumer.as_ptr(),
                ring: self.slots.as_mut_ptr().cast(),
                flags: self.flags.as_ptr(),
            };
            // SAFETY: the tests keep the ring longer than its ends, and make one of each.
            unsafe { Producer::from_libxdp(&raw).unwrap() }
        }

        pub(in crate::ring::xsk) fn consumer(&mut self) -> Consumer<T> {
            let raw = xsk_ring_cons {
                cached_prod: 0,
                cached_cons: 0,
                mask: self.slots.len() as u32 - 1,
                size: self.slots.len() as u32,
                producer: self.producer.as_ptr(),
                consumer: self.consumer.as_ptr(),
                ring: self.slots.as_mut_ptr().cast(),
                flags: self.flags.as_ptr(),
            };
            // SAFETY: as in `producer`.
            unsafe { Consumer::from_libxdp(&raw).unwrap() }
        }

        pub(in crate::ring::xsk) fn set_flags(&self, flags: u32) {
            self.flags.store(flags, Ordering::Relaxed);
        }

        pub(in crate::ring::xsk) fn produced(&self) -> u32 {
            self.producer.load(Ordering::Relaxed)
        }

        pub(in crate::ring::xsk) fn consumed(&self) -> u32 {
            self.consumer.load(Ordering::Relaxed)
        }

        pub(in crate::ring::xsk) fn set_consumed(&self, index: u32) {
            self.consumer.store(index, Ordering::Release);
        }

        pub(in crate::ring::xsk) fn slot(&self, index: u32) -> T {
            self.slots[index as usize % self.slots.len()]
        }

        pub(in crate::ring::xsk) fn produce(&mut self, value: T) {
            let index = self.produced();
            let slots = self.slots.len();
            self.slots[index as usize % slots] = value;
            self.producer
                .store(index.wrapping_add(1), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::fake::Ring;
    use super::*;

    #[test]
    fn nothing_is_seen_before_it_is_published() {
        let mut ring = Ring::new(4, u32::MAX - 1, 0u64);
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        for value in 0..4 {
            assert!(producer.push(value));
        }
        assert!(!producer.push(4), "the ring is full");
        assert_eq!((producer.free(), producer.pending()), (0, 0));
        assert!(consumer.is_empty());
        assert_eq!(consumer.pop(), None);
        producer.publish();
        assert_eq!(producer.pending(), 4);
        assert_eq!((consumer.pop(), consumer.pop()), (Some(0), Some(1)));
        assert_eq!(producer.free(), 0, "popped but not given back");
        consumer.publish();
        assert_eq!((producer.free(), producer.pending()), (2, 2));
        assert!(producer.push(4));
    }

    #[test]
    fn the_flag_is_read_afresh() {
        let mut ring = Ring::new(2, 0, 0u64);
        let producer = ring.producer();
        assert!(!producer.need_wakeup());
        ring.set_flags(XDP_RING_NEED_WAKEUP);
        assert!(producer.need_wakeup());
    }

    proptest! {
        /// Any interleaving behaves as a bounded queue, across the wrap of the indices too.
        #[test]
        fn is_a_bounded_queue(start in prop_oneof![Just(0), Just(u32::MAX - 3), any::<u32>()],
                              steps in proptest::collection::vec(0..4u8, 0..200)) {
            let mut ring = Ring::new(8, start, 0u64);
            let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
            let (mut pushed, mut visible, mut unreleased) = (VecDeque::new(), VecDeque::new(), 0);
            for (step, value) in steps.into_iter().zip(0u64..) {
                let used = pushed.len() + visible.len() + unreleased;
                match step {
                    0 => {
                        prop_assert_eq!(producer.push(value), used < 8);
                        if used < 8 {
                            pushed.push_back(value);
                        }
                    }
                    1 => {
                        producer.publish();
                        visible.append(&mut pushed);
                    }
                    2 => {
                        let expected = visible.pop_front();
                        prop_assert_eq!(consumer.pop(), expected);
                        unreleased += usize::from(expected.is_some());
                    }
                    _ => {
                        consumer.publish();
                        unreleased = 0;
                    }
                }
                let used = pushed.len() + visible.len() + unreleased;
                prop_assert_eq!(producer.free() as usize, 8 - used);
                prop_assert_eq!(producer.pending() as usize, visible.len() + unreleased);
            }
        }
    }
}
