//! Setting an AF_XDP socket up: UMEM, FILL, rings, bind.

use std::cell::UnsafeCell;
use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use libxdp_sys::{
    XDP_OPTIONS, XDP_OPTIONS_ZEROCOPY, XDP_STATISTICS, xdp_desc, xdp_statistics, xsk_ring_cons,
    xsk_ring_prod, xsk_socket, xsk_umem,
};
use rustix::event::Timespec;
use xsk_rs::config::{BindFlags, SocketConfig, UmemConfig};

use super::config::{BindMode, OpenError, XskConfig, explain, invalid};
use super::cursor::{Consumer, Producer};
use crate::ring::Mode;
use crate::ring::umem::Umem;
use crate::time::Duration;

/// Frames per `sendto` in copy mode: include/uapi/linux/if_xdp.h of Linux 6.17, which the headers
/// that libxdp-sys brings do not have yet.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// How many frames we ask one `sendto` to send.
const TX_BUDGET: u32 = 256;

/// How long to wait between two tries to bind.
const BIND_INTERVAL: Duration = Duration::from_millis(20);

/// The rings of an open socket, and what was got.
pub(super) struct Opened {
    pub(super) handles: Handles,
    pub(super) umem: Umem,
    pub(super) fill: Producer<u64>,
    pub(super) rx: Consumer<xdp_desc>,
    pub(super) tx: Producer<xdp_desc>,
    pub(super) completion: Consumer<u64>,
    pub(super) mode: Mode,
    pub(super) tx_budget: Option<u32>,
    /// Why zero-copy was refused, if it was tried and copy was got.
    pub(super) refused: Option<OpenError>,
}

/// Opens and binds a queue, all RX frames in FILL.
pub(super) fn open(config: &XskConfig) -> Result<Opened, OpenError> {
    let umem_config = config.validate()?;
    let (first, fallback) = match config.bind {
        _ if config.generic && config.bind != BindMode::ZeroCopy => (BindFlags::XDP_COPY, None),
        BindMode::Auto => (BindFlags::XDP_ZEROCOPY, Some(BindFlags::XDP_COPY)),
        BindMode::ZeroCopy if config.generic => {
            return Err(invalid(
                &"zero-copy needs the driver's own XDP, not generic mode",
            ));
        }
        BindMode::ZeroCopy => (BindFlags::XDP_ZEROCOPY, None),
        BindMode::Copy => (BindFlags::XDP_COPY, None),
    };
    match open_as(config, umem_config, first) {
        Err(
            refused @ (OpenError::NoZeroCopy { .. }
            | OpenError::NoQueue { .. }
            | OpenError::Other { .. }
            | OpenError::OutOfMemory { .. }),
        ) => {
            let Some(flags) = fallback else {
                return Err(refused);
            };
            // From the start again: a driver that began with zero-copy may have emptied FILL.
            let opened = open_as(config, umem_config, flags)?;
            Ok(Opened {
                refused: Some(refused),
                ..opened
            })
        }
        result => result,
    }
}

fn open_as(
    config: &XskConfig,
    umem_config: UmemConfig,
    flags: BindFlags,
) -> Result<Opened, OpenError> {
    let umem = Umem::new(
        config.frame_size as usize,
        config.rx_frames,
        config.tx_frames,
    )
    .map_err(|error| explain(config, flags, "mapping the frames of", error))?;
    let mut handles = Handles::register(&umem, umem_config)
        .map_err(|(step, error)| explain(config, flags, step, error))?;
    // SAFETY: libxdp has mapped FILL; `Opened` keeps the handles (and so the mapping) as long as
    // the cursors, and this is its only producer.
    let fill = unsafe { Producer::from_libxdp(&*handles.fill.get()) };
    let mut fill = fill.ok_or_else(|| explain(config, flags, "mapping FILL of", no_ring()))?;
    // Before the bind: several drivers take their first buffers at that moment.
    for address in umem.rx_addresses() {
        let pushed = fill.push(address);
        debug_assert!(pushed, "validate: FILL holds all RX frames");
    }
    fill.publish();
    let socket_config = config.socket_config(flags)?;
    handles
        .bind(config, socket_config)
        .map_err(|error| explain(config, flags, "binding to", error))?;
    // SAFETY: as for FILL, of the rings that `bind` has mapped.
    let rings = unsafe {
        (
            Consumer::from_libxdp(&*handles.rx.get()),
            Producer::from_libxdp(&*handles.tx.get()),
            Consumer::from_libxdp(&*handles.completion.get()),
        )
    };
    let (Some(rx), Some(tx), Some(completion)) = rings else {
        return Err(explain(config, flags, "mapping the rings of", no_ring()));
    };
    let zero_copy = handles
        .options()
        .map_err(|e| explain(config, flags, "reading the mode of", e))?;
    let mode = match zero_copy {
        true => Mode::ZeroCopy,
        false if config.generic => Mode::Generic,
        false => Mode::Copy,
    };
    let tx_budget = handles.tune_tx(config);
    Ok(Opened {
        handles,
        umem,
        fill,
        rx,
        tx,
        completion,
        mode,
        tx_budget,
        refused: None,
    })
}

fn no_ring() -> io::Error {
    io::Error::other("libxdp returned no ring")
}

/// What libxdp keeps for a socket. It holds pointers to the ring structs, so these stay where they
/// are for as long as it does.
pub(super) struct Handles {
    socket: *mut xsk_socket,
    umem: NonNull<xsk_umem>,
    fd: RawFd,
    fill: Box<UnsafeCell<xsk_ring_prod>>,
    completion: Box<UnsafeCell<xsk_ring_cons>>,
    rx: Box<UnsafeCell<xsk_ring_cons>>,
    tx: Box<UnsafeCell<xsk_ring_prod>>,
}

// SAFETY: libxdp's structs belong to this value and are not tied to a thread.
unsafe impl Send for Handles {}

impl Handles {
    /// A socket with the UMEM registered and FILL and COMPLETION mapped.
    fn register(umem: &Umem, config: UmemConfig) -> Result<Self, (&'static str, io::Error)> {
        // Our own socket: libxdp's would be inherited by programs that the process starts.
        // SAFETY: a plain system call.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(("opening a socket for", io::Error::last_os_error()));
        }
        // SAFETY: just opened, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let empty_prod = || {
            // SAFETY: integers and pointers, for which zero is a value.
            Box::new(UnsafeCell::new(unsafe {
                std::mem::zeroed::<xsk_ring_prod>()
            }))
        };
        let empty_cons = || {
            // SAFETY: as above.
            Box::new(UnsafeCell::new(unsafe {
                std::mem::zeroed::<xsk_ring_cons>()
            }))
        };
        let (fill, completion) = (empty_prod(), empty_cons());
        let mut handle = ptr::null_mut();
        // libxdp closes the descriptor when it fails, and in `xsk_umem__delete`.
        let fd = fd.into_raw_fd();
        // SAFETY: the memory outlives the registration (`Opened` drops the handles first; the
        // kernel holds the pages besides), the ring structs are boxed and kept by `Handles`.
        let result = unsafe {
            libxdp_sys::xsk_umem__create_with_fd(
                &mut handle,
                fd,
                umem.as_ptr().cast(),
                umem.len() as u64,
                fill.get(),
                completion.get(),
                &config.into(),
            )
        };
        match NonNull::new(handle) {
            Some(umem) if result == 0 => Ok(Self {
                socket: ptr::null_mut(),
                umem,
                fd,
                fill,
                completion,
                rx: empty_cons(),
                tx: empty_prod(),
            }),
            _ => Err((
                "registering the frames of",
                io::Error::from_raw_os_error(-result),
            )),
        }
    }

    /// Maps RX and TX and binds; waits for a queue that is busy.
    fn bind(&mut self, config: &XskConfig, socket_config: SocketConfig) -> io::Result<()> {
        let interface = CString::new(config.interface.as_str())
            .map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
        let raw_config = socket_config.into();
        let mut waited = Duration::ZERO;
        loop {
            // SAFETY: all pointers are live; after a failure libxdp is as it was before the call,
            // so it can be repeated.
            let result = unsafe {
                libxdp_sys::xsk_socket__create(
                    &mut self.socket,
                    interface.as_ptr(),
                    config.queue_id,
                    self.umem.as_ptr(),
                    self.rx.get(),
                    self.tx.get(),
                    &raw_config,
                )
            };
            if result == 0 {
                return Ok(());
            }
            if result != -libc::EBUSY || waited >= config.bind_timeout {
                return Err(io::Error::from_raw_os_error(-result));
            }
            wait(BIND_INTERVAL);
            waited = waited + BIND_INTERVAL;
        }
    }

    /// Whether the socket says that it is in zero-copy mode.
    fn options(&self) -> io::Result<bool> {
        let mut options = [0u32];
        self.read_option(XDP_OPTIONS, &mut options)?;
        Ok(options[0] & XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// Asks for larger copy-mode batches and for a socket buffer that holds them. Both are only
    /// faster; yields the batch if the kernel took it.
    fn tune_tx(&self, config: &XskConfig) -> Option<u32> {
        let budget = TX_BUDGET.min(config.tx_ring);
        let buffer = config.tx_ring.saturating_mul(config.frame_size);
        // Without the capability for it the kernel's own limit stays.
        let _ = self.write_option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, buffer);
        let taken = self.write_option(libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, budget);
        taken.is_ok().then_some(budget)
    }

    /// What the kernel counted for this socket: `rx_dropped`, `rx_invalid_descs`,
    /// `tx_invalid_descs`, `rx_ring_full`, `rx_fill_ring_empty_descs`, `tx_ring_empty_descs`.
    pub(super) fn statistics(&self) -> io::Result<[u64; 6]> {
        const { assert!(size_of::<xdp_statistics>() == size_of::<[u64; 6]>()) };
        let mut statistics = [0; 6];
        self.read_option(XDP_STATISTICS, &mut statistics)?;
        Ok(statistics)
    }

    /// Reads an option that is made of integers.
    fn read_option<T: Copy + Into<u64>, const N: usize>(
        &self,
        name: u32,
        value: &mut [T; N],
    ) -> io::Result<()> {
        let mut len = size_of::<[T; N]>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` octets, and any octets make integers.
        let result = unsafe {
            let value = value.as_mut_ptr().cast();
            libc::getsockopt(self.fd, libc::SOL_XDP, name as libc::c_int, value, &mut len)
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn write_option(&self, level: i32, name: i32, value: u32) -> io::Result<()> {
        let len = size_of::<u32>() as libc::socklen_t;
        // SAFETY: the kernel reads `len` octets of a live value.
        let result =
            unsafe { libc::setsockopt(self.fd, level, name, (&raw const value).cast(), len) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsFd for Handles {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: libxdp keeps it open until `xsk_umem__delete` in our drop.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl AsRawFd for Handles {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        // SAFETY: made by libxdp, deleted once, in the order that it asks for; the ring structs
        // that it reads for it are fields of this value. A null socket is allowed.
        let result = unsafe {
            libxdp_sys::xsk_socket__delete(self.socket);
            libxdp_sys::xsk_umem__delete(self.umem.as_ptr())
        };
        debug_assert_eq!(result, 0, "the UMEM is still in use");
    }
}

/// Lets time pass while setting up.
fn wait(time: Duration) {
    let nanos = time.as_nanos();
    let timeout = Timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as _,
    };
    // An early return by a signal only makes the next try earlier.
    let _ = rustix::event::poll(&mut [], Some(&timeout));
}
