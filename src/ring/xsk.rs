//! One queue of a network device by way of AF_XDP: UMEM, FILL, RX, TX and COMPLETION.
//!
//! xsk-rs serves here for the configuration (sizes and flags, checked and turned into what libxdp
//! takes). The sockets are made with libxdp, its base, and the rings are read and written here:
//! xsk-rs's frame descriptors are `Copy`, while the design has frames with one owner; and it can not
//! set a TX descriptor's address (our header does not start where the chunk does), fill before it
//! binds, or register memory that it did not map.
//!
//! The XDP program is somebody else's. The caller attaches it, opens the queue, and then puts
//! [`Xsk::as_fd`] into the XSKMAP: by then the socket is bound and FILL is full.

#![allow(unsafe_code)]

mod config;
mod cursor;
mod open;
mod receive;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use libxdp_sys::xdp_desc;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

pub use self::config::{BindMode, LARGEST_MTU, OpenError, XskConfig};
use self::cursor::{Consumer, Producer};
use self::open::{Handles, Opened, open};
use self::receive::Receiver;
use super::umem::{HEADROOM, Umem};
use super::wakeup::{Outcome, Wakeup};
use super::{Capabilities, Mode, PacketIo, RingCounters, RxBatch, RxFrame, TxFrame};

/// A bound AF_XDP socket with its memory.
pub struct Xsk {
    // The cursors point into rings that `handles` keeps mapped, and FILL and TX name chunks of
    // `umem`: fields drop in this order.
    receiver: Receiver,
    tx: Producer<xdp_desc>,
    completion: Consumer<u64>,
    handles: Handles,
    /// TX frames that are free, the last one used first: its memory is still in the cache.
    pool: Vec<TxFrame>,
    umem: Umem,
    wakeup: Wakeup,
    capabilities: Capabilities,
    counters: RingCounters,
    description: Description,
}

// SAFETY: the pointers are into mappings that belong to this value and are not tied to a thread.
unsafe impl Send for Xsk {}

impl Xsk {
    /// Opens and binds a queue, with all its RX frames in FILL. Takes up to `bind_timeout` when the
    /// queue is busy.
    pub fn open(config: &XskConfig) -> Result<Self, OpenError> {
        let Opened {
            handles,
            mut umem,
            fill,
            rx,
            tx,
            completion,
            mode,
            tx_budget,
            refused,
        } = open(config)?;
        let pool: Vec<_> = umem
            .tx_addresses()
            .filter_map(|address| umem.take_tx(address))
            .collect();
        Ok(Self {
            receiver: Receiver::new(rx, fill),
            tx,
            completion,
            handles,
            pool,
            umem,
            wakeup: Wakeup::new(mode, config.tx_ring),
            capabilities: Capabilities {
                max_frame: config.max_frame as usize,
                headroom: HEADROOM,
                tx_frames: config.tx_frames as usize,
                rx_frames: config.rx_frames as usize,
                mode,
            },
            counters: RingCounters::default(),
            description: Description {
                config: config.clone(),
                mode,
                tx_budget,
                refused: refused.map(|error| match error {
                    OpenError::NoZeroCopy { .. } => "the driver has none".to_owned(),
                    error => error.to_string(),
                }),
            },
        })
    }

    /// What was got, for one line at start.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Sends what is in TX, as far as the policy goes.
    fn wake_tx(&mut self) {
        let mut calls = 0;
        let mut pending = self.tx.pending();
        while self.wakeup.tx(pending, self.tx.need_wakeup(), calls) {
            calls += 1;
            let sent = rustix::net::send(self.handles.as_fd(), &[], SendFlags::DONTWAIT);
            let outcome = self.outcome(sent.err());
            let before = pending;
            pending = self.tx.pending();
            if !self.wakeup.tx_again(outcome, before, pending) {
                break;
            }
        }
        self.counters.tx_wakeups += u64::from(calls);
    }

    /// Tells a driver that sleeps that there are buffers in FILL.
    fn wake_rx(&mut self) {
        let flags = RecvFlags::DONTWAIT;
        let received = rustix::net::recv(self.handles.as_fd(), &mut [0u8; 0][..], flags);
        self.outcome(received.err());
        self.counters.rx_wakeups += 1;
    }

    fn outcome(&mut self, error: Option<Errno>) -> Outcome {
        match error {
            None => Outcome::Done,
            Some(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => Outcome::Again,
            Some(_) => {
                self.counters.wakeup_errors += 1;
                Outcome::Failed
            }
        }
    }
}

impl PacketIo for Xsk {
    fn rx_burst(&mut self, batch: &mut RxBatch) {
        self.receiver
            .burst(&mut self.umem, batch, &mut self.counters);
    }

    fn recycle(&mut self, frame: RxFrame) {
        self.receiver.recycle(&mut self.umem, frame);
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
        if self.tx.free() == 0 {
            self.counters.tx_ring_full += 1;
            return Err(frame);
        }
        // The kernel drops a descriptor of length 0 and never completes it.
        if frame.is_empty() {
            return Err(frame);
        }
        let Some((addr, len)) = self.umem.lend_tx(frame) else {
            return Ok(());
        };
        let pushed = self.tx.push(xdp_desc {
            addr,
            len,
            options: 0,
        });
        debug_assert!(pushed, "TX has room");
        self.counters.tx_frames += 1;
        self.counters.tx_bytes += u64::from(len);
        Ok(())
    }

    fn completed(&mut self) -> Option<TxFrame> {
        while let Some(address) = self.completion.pop() {
            if let Some(frame) = self.umem.take_tx(address) {
                return Some(frame);
            }
            self.counters.bad_addresses += 1;
        }
        self.completion.publish();
        None
    }

    fn flush(&mut self) {
        self.completion.publish();
        self.receiver.fill.publish();
        self.tx.publish();
        if self.wakeup.rx(self.receiver.fill.need_wakeup()) {
            self.wake_rx();
        }
        self.wake_tx();
    }

    fn tx_room(&self) -> usize {
        self.tx.free() as usize
    }

    fn free_frames(&self) -> usize {
        self.pool.len()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn counters(&self) -> RingCounters {
        // Only fails when the socket is gone; what we counted ourselves is still true then.
        let [rx_dropped, rx_invalid, tx_invalid, rx_full, fill_empty, _] =
            self.handles.statistics().unwrap_or_default();
        RingCounters {
            kernel_rx_dropped: rx_dropped,
            kernel_rx_ring_full: rx_full,
            kernel_rx_fill_ring_empty: fill_empty,
            kernel_rx_invalid_descs: rx_invalid,
            kernel_tx_invalid_descs: tx_invalid,
            ..self.counters
        }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handles.as_fd()
    }
}

impl Drop for Xsk {
    fn drop(&mut self) {
        for frame in self.pool.drain(..) {
            self.umem.lend_tx(frame);
        }
    }
}

impl fmt::Debug for Xsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xsk({})", self.description)
    }
}

/// One line that says what a queue got.
#[derive(Clone, Debug)]
pub struct Description {
    config: XskConfig,
    mode: Mode,
    tx_budget: Option<u32>,
    refused: Option<String>,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        let mode = match self.mode {
            Mode::ZeroCopy => "zero-copy",
            Mode::Copy => "copy",
            Mode::Generic => "generic",
            Mode::Memory => "memory",
        };
        write!(
            f,
            "{} queue {}: {mode}, need_wakeup, {} RX and {} TX frames of {}, \
             rings RX {} FILL {} TX {} COMPLETION {}",
            config.interface,
            config.queue_id,
            config.rx_frames,
            config.tx_frames,
            config.frame_size,
            config.rx_ring,
            config.fill_ring,
            config.tx_ring,
            config.completion_ring,
        )?;
        if let Some(budget) = self.tx_budget {
            write!(f, ", TX budget {budget}")?;
        }
        match &self.refused {
            Some(reason) => write!(f, " (not zero-copy: {reason})"),
            None => Ok(()),
        }
    }
}
