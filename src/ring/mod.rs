//! Frames and the rings that carry them: one [`PacketIo`] is one queue of a device.
//!
//! Knows no Ethernet and no TCP. Frames have one owner: an [`RxFrame`] or [`TxFrame`] is a value
//! that is moved to the kernel and comes back; neither can be copied.

pub mod sim;
pub mod umem;
pub mod wakeup;
pub mod xsk;

use std::os::fd::BorrowedFd;

use arrayvec::ArrayVec;
pub use umem::{RxFrame, TxFrame};

/// The most frames that one turn takes from a ring.
pub const BATCH: usize = 64;

/// A batch of received frames.
pub type RxBatch = ArrayVec<RxFrame, BATCH>;

/// One queue of a device: receives, sends, and lends the frames for both.
pub trait PacketIo {
    /// Takes received frames, at most as many as `batch` has room for and as FILL has room to take
    /// back, so that [`recycle`](Self::recycle) never fails.
    fn rx_burst(&mut self, batch: &mut RxBatch);

    /// Gives a received frame back to FILL. Each frame taken is given back in the same turn.
    fn recycle(&mut self, frame: RxFrame);

    /// A frame to send, its data range empty at [`Capabilities::headroom`]; `None` when all are
    /// in use.
    fn allocate(&mut self) -> Option<TxFrame>;

    /// Gives back a frame that is not needed any more and is not with the kernel.
    fn release(&mut self, frame: TxFrame);

    /// Moves a frame to the TX ring; its data range is what is sent. It comes back from
    /// [`completed`](Self::completed) with the same range. A full ring gives it back at once; so
    /// does any ring an empty frame, which the kernel would never complete.
    fn transmit(&mut self, frame: TxFrame) -> Result<(), TxFrame>;

    /// The next frame that the kernel is done with, if there is one.
    fn completed(&mut self) -> Option<TxFrame>;

    /// Tells the kernel of all that was moved to TX and FILL since the last flush: one wakeup for
    /// the whole batch, if one is needed. What the kernel can not take now (its buffers are full)
    /// stays in TX and goes with the next flush.
    fn flush(&mut self);

    /// How many frames [`transmit`](Self::transmit) would take now.
    fn tx_room(&self) -> usize;

    /// How many frames [`allocate`](Self::allocate) would yield now.
    fn free_frames(&self) -> usize;

    /// What this queue can do. Does not change.
    fn capabilities(&self) -> &Capabilities;

    /// What this queue has counted.
    fn counters(&self) -> RingCounters;

    /// What to poll for received frames when there is nothing to do; `None` if that is not a file.
    fn poll_fd(&self) -> Option<BorrowedFd<'_>>;
}

/// What a queue can do, and how it got there.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The largest frame that can be received and sent, link-layer header included (but no VLAN
    /// tag, for which there is room besides), in octets.
    pub max_frame: usize,
    /// Octets before a fresh TX frame's (empty) data range: room for headers.
    pub headroom: usize,
    /// TX frames of this queue in all.
    pub tx_frames: usize,
    /// RX frames of this queue in all.
    pub rx_frames: usize,
    /// The mode that the socket says it is in.
    pub mode: Mode,
}

/// How frames cross between the device and us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The device writes into our frames.
    ZeroCopy,
    /// The driver runs the XDP program; the kernel copies.
    Copy,
    /// The kernel runs the XDP program on its own buffers, then copies.
    Generic,
    /// No kernel: the in-memory network.
    Memory,
}

/// What a queue has counted since it was opened. The kernel's part is `xdp_statistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// Frames received.
    pub rx_frames: u64,
    /// Octets received.
    pub rx_bytes: u64,
    /// Frames handed to the kernel to send.
    pub tx_frames: u64,
    /// Octets handed to the kernel to send.
    pub tx_bytes: u64,
    /// System calls that woke the kernel up for TX.
    pub tx_wakeups: u64,
    /// System calls that woke the kernel up for FILL.
    pub rx_wakeups: u64,
    /// Frames refused because TX was full.
    pub tx_ring_full: u64,
    /// Times that a TX frame was asked for and none was free.
    pub tx_frames_exhausted: u64,
    /// Turns in which RX waited because FILL had no room.
    pub rx_fill_blocked: u64,
    /// Wakeups that failed for another reason than a full queue (an interface that is down).
    pub wakeup_errors: u64,
    /// Addresses from the kernel at which no frame of ours could be. Never, if all is well.
    pub bad_addresses: u64,
    /// Kernel: frames dropped for other reasons than the ones below.
    pub kernel_rx_dropped: u64,
    /// Kernel: frames dropped because RX was full.
    pub kernel_rx_ring_full: u64,
    /// Kernel: frames dropped because FILL was empty.
    pub kernel_rx_fill_ring_empty: u64,
    /// Kernel: descriptors of ours that it refused on FILL.
    pub kernel_rx_invalid_descs: u64,
    /// Kernel: descriptors of ours that it refused on TX.
    pub kernel_tx_invalid_descs: u64,
}
