//! The receiving half of a socket: RX and FILL, and the rule that ties them.
//!
//! The kernel shows a frame in RX before it says that it has taken the buffer out of FILL, so FILL
//! can look full though a frame of it is in our hands. A frame is only taken when its way back is
//! sure: free slots in FILL, less the frames that are out already.

use libxdp_sys::xdp_desc;

use super::cursor::{Consumer, Producer};
use crate::ring::umem::Umem;
use crate::ring::{RingCounters, RxBatch, RxFrame};

/// RX and FILL.
pub(super) struct Receiver {
    rx: Consumer<xdp_desc>,
    pub(super) fill: Producer<u64>,
    /// Frames that were taken and not yet given back.
    taken: u32,
}

impl Receiver {
    pub(super) fn new(rx: Consumer<xdp_desc>, fill: Producer<u64>) -> Self {
        Self { rx, fill, taken: 0 }
    }

    /// Moves frames from RX to `batch`, as many as it and FILL have room for.
    pub(super) fn burst(
        &mut self,
        umem: &mut Umem,
        batch: &mut RxBatch,
        counters: &mut RingCounters,
    ) {
        let room = self.fill.free().saturating_sub(self.taken) as usize;
        if room == 0 {
            counters.rx_fill_blocked += u64::from(!self.rx.is_empty());
            return;
        }
        for _ in 0..batch.remaining_capacity().min(room) {
            let Some(descriptor) = self.rx.pop() else {
                break;
            };
            let Some(frame) = umem.take_rx(descriptor.addr, descriptor.len) else {
                counters.bad_addresses += 1;
                continue;
            };
            self.taken += 1;
            counters.rx_frames += 1;
            counters.rx_bytes += u64::from(descriptor.len);
            batch.push(frame);
        }
        self.rx.publish();
    }

    /// Moves a frame to FILL. The kernel sees it when `fill` is published.
    pub(super) fn recycle(&mut self, umem: &mut Umem, frame: RxFrame) {
        let Some(address) = umem.lend_rx(frame) else {
            return;
        };
        self.taken -= 1;
        let pushed = self.fill.push(address);
        debug_assert!(pushed, "burst left room for every frame that it took");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::ring::xsk::cursor::fake::Ring;

    const FRAMES: u32 = 8;
    const NOTHING: xdp_desc = xdp_desc {
        addr: 0,
        len: 0,
        options: 0,
    };

    /// The kernel's side of RX and FILL.
    struct Kernel {
        fill: Box<Ring<u64>>,
        rx: Box<Ring<xdp_desc>>,
        /// How far it has read FILL; what it says of that may lag behind.
        read: u32,
        buffers: VecDeque<u64>,
    }

    impl Kernel {
        /// As many slots in FILL as there are frames: the tightest that is allowed.
        fn new() -> (Self, Receiver, Umem) {
            let (mut fill, mut rx) = (Ring::new(8, u32::MAX - 3, 0), Ring::new(4, 7, NOTHING));
            let mut receiver = Receiver::new(rx.consumer(), fill.producer());
            let umem = Umem::new(2048, FRAMES, 1).unwrap();
            assert!(
                umem.rx_addresses()
                    .all(|address| receiver.fill.push(address))
            );
            receiver.fill.publish();
            let read = u32::MAX - 3;
            (
                Self {
                    fill,
                    rx,
                    read,
                    buffers: VecDeque::new(),
                },
                receiver,
                umem,
            )
        }

        /// Takes a buffer out of FILL, without saying so yet.
        fn read_fill(&mut self) {
            if self.read != self.fill.produced() {
                self.buffers.push_back(self.fill.slot(self.read));
                self.read = self.read.wrapping_add(1);
            }
        }

        fn say_read(&mut self) {
            self.fill.set_consumed(self.read);
        }

        /// Receives a frame: puts a buffer into RX.
        fn receive(&mut self) {
            if self.rx.produced().wrapping_sub(self.rx.consumed()) < 4
                && let Some(address) = self.buffers.pop_front()
            {
                self.rx.produce(xdp_desc {
                    addr: address + 256,
                    len: 60,
                    options: 0,
                });
            }
        }
    }

    #[test]
    fn takes_nothing_that_fill_could_not_take_back() {
        let (mut kernel, mut receiver, mut umem) = Kernel::new();
        let (mut batch, mut counters) = (RxBatch::new(), RingCounters::default());
        for _ in 0..3 {
            kernel.read_fill();
            kernel.receive();
        }
        receiver.burst(&mut umem, &mut batch, &mut counters);
        assert_eq!(
            (batch.len(), counters.rx_fill_blocked),
            (0, 1),
            "FILL still looks full"
        );
        kernel.say_read();
        receiver.burst(&mut umem, &mut batch, &mut counters);
        assert_eq!(
            (batch.len(), counters.rx_frames, counters.rx_bytes),
            (3, 3, 180)
        );
        for frame in batch.drain(..) {
            receiver.recycle(&mut umem, frame);
        }
        receiver.burst(&mut umem, &mut batch, &mut counters);
        assert_eq!(
            counters.rx_fill_blocked, 1,
            "not blocked when there is nothing to take"
        );
    }

    #[test]
    fn an_address_that_can_not_be_is_counted() {
        let (mut kernel, mut receiver, mut umem) = Kernel::new();
        let (mut batch, mut counters) = (RxBatch::new(), RingCounters::default());
        kernel.read_fill();
        kernel.say_read();
        for addr in [u64::MAX, FRAMES as u64 * 2048, 2047] {
            kernel.rx.produce(xdp_desc {
                addr,
                len: 60,
                options: 0,
            });
        }
        receiver.burst(&mut umem, &mut batch, &mut counters);
        // One per burst: FILL had one free slot.
        assert_eq!((batch.len(), counters.bad_addresses), (0, 1));
    }

    proptest! {
        /// However late the kernel says what it has read, every frame finds its way back, and each
        /// chunk stays in one place.
        #[test]
        fn every_frame_goes_back_to_fill(steps in proptest::collection::vec(0..7u8, 0..400)) {
            let (mut kernel, mut receiver, mut umem) = Kernel::new();
            let (mut batch, mut counters) = (RxBatch::new(), RingCounters::default());
            for step in steps {
                match step {
                    0 | 1 => kernel.read_fill(),
                    2 => kernel.receive(),
                    3 => kernel.say_read(),
                    4 => receiver.burst(&mut umem, &mut batch, &mut counters),
                    5 => batch.drain(..).for_each(|frame| receiver.recycle(&mut umem, frame)),
                    _ => receiver.fill.publish(),
                }
                prop_assert_eq!(umem.taken(), batch.len());
                prop_assert_eq!(counters.bad_addresses, 0);
            }
            batch.drain(..).for_each(|frame| receiver.recycle(&mut umem, frame));
            // Bring all to rest: then the kernel can read each chunk out of FILL exactly once.
            loop {
                kernel.say_read();
                receiver.burst(&mut umem, &mut batch, &mut counters);
                receiver.fill.publish();
                if batch.is_empty() {
                    break;
                }
                batch.drain(..).for_each(|frame| receiver.recycle(&mut umem, frame));
            }
            (0..FRAMES).for_each(|_| kernel.read_fill());
            let mut chunks: Vec<_> = kernel.buffers.iter().map(|address| address / 2048).collect();
            chunks.sort_unstable();
            prop_assert_eq!(chunks, (0..u64::from(FRAMES)).collect::<Vec<_>>());
        }
    }
}
