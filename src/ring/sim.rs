//! An in-memory network behind [`PacketIo`]: no kernel, no time of its own, the same every run.
//!
//! A [`SimDevice`] is a queue like any other, with the same frames and the same limits. The test
//! owns the devices and a [`Wire`] between two of them, and moves time on:
//!
//! ```text
//! SimDevice  -- flush, Wire::step -->  Link (delay, loss, ...)  -- Wire::step -->  SimDevice
//! ```
//!
//! For other topologies a test can use the parts: [`SimDevice::take_sent`], [`Link::offer`],
//! [`Link::deliver`] and [`SimDevice::receive`].

mod link;

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

pub use self::link::{Impairment, Link, LinkCounters, Wire};
use super::umem::{HEADROOM, Umem};
use super::{Capabilities, Mode, PacketIo, RingCounters, RxBatch, RxFrame, TxFrame};

/// How large a [`SimDevice`] is.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// RX frames.
    pub rx_frames: u32,
    /// TX frames.
    pub tx_frames: u32,
    /// Slots of the RX ring: frames that are received and not yet taken.
    pub rx_ring: usize,
    /// Slots of the TX ring: frames that are sent and not yet on the wire.
    pub tx_ring: usize,
    /// Octets per frame, a power of two.
    pub frame_size: usize,
    /// The largest frame that the device receives, in octets.
    pub max_frame: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            rx_frames: 512,
            tx_frames: 1024,
            rx_ring: 256,
            tx_ring: 256,
            frame_size: 2048,
            max_frame: 1514,
        }
    }
}

/// A queue of the in-memory network.
pub struct SimDevice {
    /// RX frames that the "kernel" may receive into.
    fill: VecDeque<RxFrame>,
    /// RX frames given back, which it sees at the next flush.
    recycled: Vec<RxFrame>,
    rx: VecDeque<RxFrame>,
    pool: Vec<TxFrame>,
    tx: VecDeque<TxFrame>,
    /// How many of `tx`, from the front, were flushed.
    flushed: usize,
    /// On the wire, but the "kernel" still holds them.
    held: VecDeque<TxFrame>,
    completion: VecDeque<TxFrame>,
    hold_completions: bool,
    rx_taken: usize,
    umem: Umem,
    rx_ring: usize,
    tx_ring: usize,
    capabilities: Capabilities,
    counters: RingCounters,
}

impl SimDevice {
    /// A device with all its RX frames ready to receive. Fails if the memory can not be mapped or
    /// the sizes make no sense.
    pub fn new(config: &SimConfig) -> io::Result<Self> {
        if config.max_frame > config.frame_size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut umem = Umem::new(config.frame_size, config.rx_frames, config.tx_frames)?;
        let fill = umem
            .rx_addresses()
            .filter_map(|address| umem.take_rx(address, 0))
            .collect();
        let pool = umem
            .tx_addresses()
            .filter_map(|address| umem.take_tx(address))
            .collect();
        Ok(Self {
            fill,
            recycled: Vec::with_capacity(config.rx_frames as usize),
            rx: VecDeque::with_capacity(config.rx_ring),
            pool,
            tx: VecDeque::with_capacity(config.tx_ring),
            flushed: 0,
            held: VecDeque::with_capacity(config.tx_frames as usize),
            completion: VecDeque::with_capacity(config.tx_frames as usize),
            hold_completions: false,
            rx_taken: 0,
            umem,
            rx_ring: config.rx_ring,
            tx_ring: config.tx_ring,
            capabilities: Capabilities {
                max_frame: config.max_frame,
                headroom: HEADROOM,
                tx_frames: config.tx_frames as usize,
                rx_frames: config.rx_frames as usize,
                mode: Mode::Memory,
            },
            counters: RingCounters::default(),
        })
    }

    /// While true, frames that were sent stay with the "kernel"; false completes them all.
    pub fn hold_completions(&mut self, hold: bool) {
        self.hold_completions = hold;
        if !hold {
            self.completion.append(&mut self.held);
        }
    }

    /// Shows each frame that was flushed to `wire`, in order, and completes it.
    pub fn take_sent(&mut self, mut wire: impl FnMut(&[u8])) {
        for frame in self.tx.drain(..self.flushed) {
            wire(frame.data());
            if self.hold_completions {
                self.held.push_back(frame);
            } else {
                self.completion.push_back(frame);
            }
        }
        self.flushed = 0;
    }

    /// Receives a frame from the wire. False if it was dropped, which is counted as a kernel would.
    pub fn receive(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.capabilities.max_frame {
            self.counters.kernel_rx_dropped += 1;
            return false;
        }
        if self.rx.len() >= self.rx_ring {
            self.counters.kernel_rx_ring_full += 1;
            return false;
        }
        let Some(mut frame) = self.fill.pop_front() else {
            self.counters.kernel_rx_fill_ring_empty += 1;
            return false;
        };
        let written = self.umem.write_rx(&mut frame, bytes);
        debug_assert!(written, "max_frame is at most the frame size");
        self.rx.push_back(frame);
        true
    }

    /// Frames that were received and not yet taken.
    pub fn rx_pending(&self) -> usize {
        self.rx.len()
    }

    /// RX frames that were taken and not given back.
    pub fn rx_outstanding(&self) -> usize {
        self.rx_taken
    }

    /// TX frames that are neither free nor with the "kernel": the stack's.
    pub fn tx_outstanding(&self) -> usize {
        let known = self.pool.len() + self.tx.len() + self.held.len() + self.completion.len();
        self.capabilities.tx_frames - known
    }
}

impl PacketIo for SimDevice {
    fn rx_burst(&mut self, batch: &mut RxBatch) {
        while !batch.is_full() {
            let Some(frame) = self.rx.pop_front() else {
                break;
            };
            self.counters.rx_frames += 1;
            self.counters.rx_bytes += frame.len() as u64;
            self.rx_taken += 1;
            batch.push(frame);
        }
    }

    fn recycle(&mut self, frame: RxFrame) {
        self.rx_taken -= 1;
        self.recycled.push(frame);
    }

    fn allocate(&mut self) -> Option<TxFrame> {
        let Some(mut frame) = self.pool.pop() else {
            self.counters.tx_frames_exhausted += 1;
            return None;
        };
        frame.reset();
        Some(frame)
    }

    fn release(&mut self, frame: TxFrame) {
        debug_assert!(
            self.umem.owns(&frame),
            "a frame was given to a ring that it is not of"
        );
        self.pool.push(frame);
    }

    fn transmit(&mut self, frame: TxFrame) -> Result<(), TxFrame> {
        debug_assert!(!frame.is_empty(), "an empty frame was sent");
        if self.tx.len() >= self.tx_ring {
            self.counters.tx_ring_full += 1;
            return Err(frame);
        }
        if frame.is_empty() {
            return Err(frame);
        }
        self.counters.tx_frames += 1;
        self.counters.tx_bytes += frame.len() as u64;
        self.tx.push_back(frame);
        Ok(())
    }

    fn completed(&mut self) -> Option<TxFrame> {
        self.completion.pop_front()
    }

    fn flush(&mut self) {
        self.fill.extend(self.recycled.drain(..));
        if self.flushed < self.tx.len() {
            self.flushed = self.tx.len();
            self.counters.tx_wakeups += 1;
        }
    }

    fn tx_room(&self) -> usize {
        self.tx_ring.saturating_sub(self.tx.len())
    }

    fn free_frames(&self) -> usize {
        self.pool.len()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn counters(&self) -> RingCounters {
        self.counters
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Drop for SimDevice {
    fn drop(&mut self) {
        let received = self
            .fill
            .drain(..)
            .chain(self.recycled.drain(..))
            .chain(self.rx.drain(..));
        for frame in received {
            self.umem.lend_rx(frame);
        }
        let sent = self
            .tx
            .drain(..)
            .chain(self.held.drain(..))
            .chain(self.completion.drain(..));
        for frame in self.pool.drain(..).chain(sent) {
            self.umem.lend_tx(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn small() -> SimDevice {
        let config = SimConfig {
            rx_frames: 4,
            tx_frames: 4,
            rx_ring: 3,
            tx_ring: 2,
            ..Default::default()
        };
        SimDevice::new(&config).unwrap()
    }

    fn frame(device: &mut SimDevice, byte: u8) -> TxFrame {
        let mut frame = device.allocate().unwrap();
        frame.spare_mut()[..60].fill(byte);
        frame.extend(60);
        frame
    }

    #[test]
    fn nothing_leaves_before_the_flush() {
        let mut device = small();
        let first = frame(&mut device, 1);
        device.transmit(first).unwrap();
        device.take_sent(|_| panic!("not flushed"));
        device.flush();
        let second = frame(&mut device, 2);
        device.transmit(second).unwrap();
        let mut sent = Vec::new();
        device.take_sent(|bytes| sent.push(bytes.to_vec()));
        assert_eq!(sent, [[1; 60]]);
        let done = device.completed().unwrap();
        assert_eq!(done.data(), [1; 60], "the range survives");
        assert!(device.completed().is_none());
        device.release(done);
        let counters = device.counters();
        assert_eq!(
            (counters.tx_frames, counters.tx_bytes, counters.tx_wakeups),
            (2, 120, 1)
        );
    }

    #[test]
    fn a_full_tx_ring_gives_the_frame_back() {
        let mut device = small();
        for byte in 0..2 {
            let frame = frame(&mut device, byte);
            device.transmit(frame).unwrap();
        }
        let third = frame(&mut device, 2);
        assert_eq!(device.tx_room(), 0);
        let third = device.transmit(third).unwrap_err();
        assert_eq!(third.data(), [2; 60]);
        device.release(third);
        assert_eq!(device.counters().tx_ring_full, 1);
    }

    #[test]
    fn exhausted_tx_frames_are_counted() {
        let mut device = small();
        let frames: Vec<_> = std::iter::from_fn(|| device.allocate()).collect();
        assert_eq!(
            (frames.len(), device.free_frames(), device.tx_outstanding()),
            (4, 0, 4)
        );
        assert_eq!(device.counters().tx_frames_exhausted, 1);
        frames.into_iter().for_each(|frame| device.release(frame));
        assert_eq!(device.free_frames(), 4);
    }

    #[test]
    fn held_completions_come_when_let_go() {
        let mut device = small();
        device.hold_completions(true);
        let frame = frame(&mut device, 1);
        let index = frame.index();
        device.transmit(frame).unwrap();
        device.flush();
        let mut count = 0;
        device.take_sent(|_| count += 1);
        assert_eq!(count, 1, "sent");
        assert!(device.completed().is_none(), "but still with the kernel");
        device.hold_completions(false);
        let frame = device.completed().unwrap();
        assert_eq!(frame.index(), index);
        device.release(frame);
    }

    #[test]
    fn drops_by_reason_what_it_can_not_receive() {
        let mut device = small();
        assert!(!device.receive(&[0; 1515]));
        for byte in 0..3 {
            assert!(device.receive(&[byte; 60]));
        }
        assert!(!device.receive(&[3; 60]), "RX is full");
        let mut batch = RxBatch::new();
        device.rx_burst(&mut batch);
        assert_eq!(
            batch.iter().map(|frame| frame[0]).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert!(device.receive(&[4; 60]));
        assert!(!device.receive(&[5; 60]), "FILL is empty");
        for frame in batch.drain(..) {
            device.recycle(frame);
        }
        assert!(!device.receive(&[6; 60]), "not given back before the flush");
        device.flush();
        assert!(device.receive(&[7; 60]));
        let counters = device.counters();
        assert_eq!(counters.kernel_rx_dropped, 1);
        assert_eq!(counters.kernel_rx_ring_full, 1);
        assert_eq!(counters.kernel_rx_fill_ring_empty, 2);
        assert_eq!((counters.rx_frames, counters.rx_bytes), (3, 180));
    }

    proptest! {
        /// Whatever is done in whatever order, no frame is lost, doubled, or two at once.
        #[test]
        fn frames_are_conserved(steps in proptest::collection::vec(0..9u8, 0..400)) {
            let mut device = small();
            let mut mine: Vec<TxFrame> = Vec::new();
            let mut batch = RxBatch::new();
            for step in steps {
                match step {
                    0 => mine.extend(device.allocate()),
                    1 => if let Some(frame) = mine.pop() { device.release(frame) },
                    2 => if let Some(mut frame) = mine.pop() {
                        frame.set_range(10, 60);
                        if let Err(frame) = device.transmit(frame) { mine.push(frame) }
                    },
                    3 => device.flush(),
                    4 => device.take_sent(|bytes| assert_eq!(bytes.len(), 60)),
                    5 => mine.extend(device.completed()),
                    6 => { device.receive(&[6; 60]); }
                    7 => {
                        device.rx_burst(&mut batch);
                        batch.drain(..).for_each(|frame| device.recycle(frame));
                    }
                    _ => { let hold = !device.hold_completions; device.hold_completions(hold) }
                }
                let mut indices: Vec<_> = mine.iter().chain(&device.pool).chain(&device.tx)
                    .chain(&device.held).chain(&device.completion).map(TxFrame::index).collect();
                indices.sort_unstable();
                prop_assert_eq!(indices, [0, 1, 2, 3]);
                prop_assert_eq!(device.fill.len() + device.recycled.len() + device.rx.len(), 4);
                prop_assert_eq!(device.umem.taken(), 8);
                prop_assert_eq!(device.tx_outstanding(), mine.len());
            }
            mine.into_iter().for_each(|frame| device.release(frame));
        }
    }
}
