//! What to open, and why that may fail: the cause and the mend in one sentence.

use std::io;

use libxdp_sys::XDP_PACKET_HEADROOM;
use thiserror::Error;
use xsk_rs::config::{BindFlags, FrameSize, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};

use crate::time::Duration;

/// Ethernet header and one VLAN tag.
const LINK_HEADERS: u32 = 18;

/// An Ethernet header.
const ETHERNET_HEADER: u32 = 14;

/// How to bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindMode {
    /// Zero-copy if the driver does it, else copy.
    #[default]
    Auto,
    /// Zero-copy or an error.
    ZeroCopy,
    /// Copy.
    Copy,
}

/// What to open and how large. [`XskConfig::new`] fills it in for an MTU; the fields can be changed
/// afterwards.
#[derive(Clone, Debug)]
pub struct XskConfig {
    /// The interface's name, in the network namespace of the calling thread.
    pub interface: String,
    /// The device's queue.
    pub queue_id: u32,
    /// How to bind. Copy if `generic`: the kernel lets a zero-copy bind succeed then, and nothing
    /// is received.
    pub bind: BindMode,
    /// The XDP program is (or will be) attached in generic mode.
    pub generic: bool,
    /// RX frames. At most half of the FILL ring is a good choice, all of it the most.
    pub rx_frames: u32,
    /// TX frames.
    pub tx_frames: u32,
    /// Slots of RX, a power of two.
    pub rx_ring: u32,
    /// Slots of FILL, a power of two, at least twice `rx_ring` and at least `rx_frames`.
    pub fill_ring: u32,
    /// Slots of TX, a power of two.
    pub tx_ring: u32,
    /// Slots of COMPLETION, a power of two, at least `tx_ring`.
    pub completion_ring: u32,
    /// Octets per frame: 2048 or 4096.
    pub frame_size: u32,
    /// The largest frame sent or received, Ethernet header included, VLAN tag not, in octets.
    pub max_frame: u32,
    /// How long to try again when the queue is busy: a socket that was closed a moment ago lets go
    /// of its queue late.
    pub bind_timeout: Duration,
}

/// The largest MTU whose frames fit into a frame of ours, tagged ones too.
pub const LARGEST_MTU: u32 = 4096 - XDP_PACKET_HEADROOM - LINK_HEADERS;

impl XskConfig {
    /// The sizes for an interface with this MTU.
    pub fn new(interface: &str, queue_id: u32, mtu: u32) -> Self {
        let max_frame = mtu.saturating_add(ETHERNET_HEADER);
        let largest_in_2048 = 2048 - XDP_PACKET_HEADROOM - LINK_HEADERS;
        Self {
            interface: interface.to_owned(),
            queue_id,
            bind: BindMode::Auto,
            generic: false,
            rx_frames: 4096,
            tx_frames: 8192,
            rx_ring: 2048,
            fill_ring: 4096,
            tx_ring: 2048,
            completion_ring: 2048,
            frame_size: if mtu <= largest_in_2048 { 2048 } else { 4096 },
            max_frame,
            bind_timeout: Duration::from_secs(2),
        }
    }

    /// The same with frames used in full, so that a larger MTU can follow the one it was made for.
    pub fn with_room(self) -> Self {
        let room = self
            .frame_size
            .saturating_sub(XDP_PACKET_HEADROOM + LINK_HEADERS - ETHERNET_HEADER);
        Self {
            max_frame: self.max_frame.max(room),
            ..self
        }
    }

    /// The largest MTU whose frames fit.
    pub const fn largest_mtu(&self) -> u32 {
        self.max_frame.saturating_sub(ETHERNET_HEADER)
    }

    /// What libxdp takes, by way of xsk-rs, which checks the sizes.
    pub(super) fn validate(&self) -> Result<UmemConfig, OpenError> {
        let tagged = self
            .max_frame
            .saturating_add(LINK_HEADERS - ETHERNET_HEADER);
        if tagged > self.frame_size.saturating_sub(XDP_PACKET_HEADROOM) {
            return Err(OpenError::MtuTooLarge {
                interface: self.interface.clone(),
                mtu: self.max_frame.saturating_sub(ETHERNET_HEADER),
                largest: LARGEST_MTU,
            });
        }
        let queue = |size| QueueSize::new(size).map_err(|error| invalid(&error));
        if self.frame_size > 4096 {
            return Err(invalid(&"a frame is 2048 or 4096 octets"));
        }
        if self.fill_ring < self.rx_frames || self.fill_ring / 2 < self.rx_ring {
            return Err(invalid(
                &"FILL must have room for all RX frames and twice the RX ring",
            ));
        }
        if self.completion_ring < self.tx_ring {
            return Err(invalid(&"COMPLETION must be as large as TX"));
        }
        if self.rx_frames == 0 || self.tx_frames == 0 {
            return Err(invalid(&"there must be RX frames and TX frames"));
        }
        for size in [self.rx_ring, self.tx_ring] {
            queue(size)?;
        }
        UmemConfig::builder()
            .frame_size(FrameSize::new(self.frame_size).map_err(|error| invalid(&error))?)
            .fill_queue_size(queue(self.fill_ring)?)
            .comp_queue_size(queue(self.completion_ring)?)
            .build()
            .map_err(|error| invalid(&error))
    }

    pub(super) fn socket_config(&self, flags: BindFlags) -> Result<SocketConfig, OpenError> {
        let queue = |size| QueueSize::new(size).map_err(|error| invalid(&error));
        Ok(SocketConfig::builder()
            .rx_queue_size(queue(self.rx_ring)?)
            .tx_queue_size(queue(self.tx_ring)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(flags | BindFlags::XDP_USE_NEED_WAKEUP)
            .build())
    }
}

pub(super) fn invalid(reason: &dyn ToString) -> OpenError {
    OpenError::InvalidConfig {
        reason: reason.to_string(),
    }
}

/// Why a queue could not be opened: the cause and the mend, in one sentence.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error("the ring sizes are wrong: {reason}")]
    InvalidConfig { reason: String },
    #[error(
        "an MTU of {mtu} on {interface} does not fit into a frame; \
         lower it: ip link set {interface} mtu {largest}"
    )]
    MtuTooLarge {
        interface: String,
        mtu: u32,
        largest: u32,
    },
    #[error("there is no interface {interface} in this network namespace; `ip link` lists them")]
    NoInterface { interface: String },
    #[error(
        "interface {interface} has no queue {queue}, or its driver refuses the mode asked for; \
         `ls /sys/class/net/{interface}/queues` lists the queues"
    )]
    NoQueue { interface: String, queue: u32 },
    #[error(
        "queue {queue} of {interface} is already bound by another AF_XDP socket; \
         stop that program (`ss --xdp -p` names it) or choose another queue"
    )]
    QueueBusy { interface: String, queue: u32 },
    #[error("the driver of {interface} has no zero-copy on queue {queue}; use --mode copy or auto")]
    NoZeroCopy { interface: String, queue: u32 },
    #[error("interface {interface} is down; bring it up: ip link set {interface} up")]
    Down { interface: String },
    #[error(
        "not allowed to open an AF_XDP socket: the capability CAP_NET_RAW is missing; \
         run as root or grant it"
    )]
    NotPermitted,
    #[error("this kernel has no AF_XDP; it needs Linux 6.1 or later with CONFIG_XDP_SOCKETS=y")]
    NoAfXdp,
    #[error(
        "the limit on locked memory is too low for {octets} octets of frames; \
         grant CAP_IPC_LOCK or raise `ulimit -l`"
    )]
    LockedMemory { octets: usize },
    #[error("not enough memory for {octets} octets of frames and the rings; use fewer frames")]
    OutOfMemory { octets: usize },
    #[error("{step} queue {queue} of {interface} failed: {error}; please report this")]
    Other {
        interface: String,
        queue: u32,
        step: &'static str,
        error: io::Error,
    },
}

/// The sentence for an errno at a step.
pub(super) fn explain(
    config: &XskConfig,
    flags: BindFlags,
    step: &'static str,
    error: io::Error,
) -> OpenError {
    let interface = config.interface.clone();
    let queue = config.queue_id;
    let octets = (config.rx_frames as usize + config.tx_frames as usize)
        .saturating_mul(config.frame_size as usize);
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => OpenError::NotPermitted,
        Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT) => OpenError::NoAfXdp,
        Some(libc::ENOBUFS) => OpenError::LockedMemory { octets },
        Some(libc::ENOMEM) => OpenError::OutOfMemory { octets },
        Some(libc::EBUSY) => OpenError::QueueBusy { interface, queue },
        Some(libc::ENODEV | libc::ENXIO) => OpenError::NoInterface { interface },
        Some(libc::ENETDOWN) => OpenError::Down { interface },
        Some(libc::EOPNOTSUPP) if flags.contains(BindFlags::XDP_ZEROCOPY) => {
            OpenError::NoZeroCopy { interface, queue }
        }
        Some(libc::EINVAL) if step == "binding to" => OpenError::NoQueue { interface, queue },
        _ => OpenError::Other {
            interface,
            queue,
            step,
            error,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_size_follows_the_mtu() {
        for (mtu, frame_size) in [(68, 2048), (1500, 2048), (1774, 2048), (1775, 4096)] {
            let config = XskConfig::new("veth0", 0, mtu);
            assert_eq!(config.frame_size, frame_size, "MTU {mtu}");
            assert!(config.validate().is_ok(), "MTU {mtu}");
        }
        assert!(XskConfig::new("veth0", 0, 3822).validate().is_ok());
        let error = XskConfig::new("veth0", 0, 9000).validate().unwrap_err();
        assert_eq!(
            error.to_string(),
            "an MTU of 9000 on veth0 does not fit into a frame; \
             lower it: ip link set veth0 mtu 3822"
        );
        assert!(XskConfig::new("veth0", 0, u32::MAX).validate().is_err());
    }

    #[test]
    fn sizes_that_would_lose_frames_are_refused() {
        let changes: [fn(&mut XskConfig); 9] = [
            |config| config.fill_ring = 2048,
            |config| config.rx_frames = 4097,
            |config| config.rx_ring = 4096,
            |config| config.completion_ring = 1024,
            |config| config.tx_ring = 1000,
            |config| config.tx_frames = 0,
            |config| config.rx_frames = 0,
            |config| config.frame_size = 3000,
            |config| config.frame_size = 8192,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut config = XskConfig::new("veth0", 0, 1500);
            change(&mut config);
            let error = config.validate().unwrap_err();
            assert!(
                matches!(error, OpenError::InvalidConfig { .. }),
                "{number}: {error}"
            );
        }
    }

    #[test]
    fn each_errno_has_its_sentence() {
        let config = XskConfig::new("eth7", 3, 1500);
        let say = |flags, step, errno| {
            explain(&config, flags, step, io::Error::from_raw_os_error(errno)).to_string()
        };
        let copy = BindFlags::XDP_COPY;
        let cases = [
            (libc::EPERM, "CAP_NET_RAW"),
            (libc::EAFNOSUPPORT, "CONFIG_XDP_SOCKETS"),
            (libc::ENOBUFS, "CAP_IPC_LOCK"),
            (libc::ENOMEM, "fewer frames"),
            (
                libc::EBUSY,
                "queue 3 of eth7 is already bound by another AF_XDP socket",
            ),
            (libc::ENODEV, "no interface eth7"),
            (libc::ENETDOWN, "ip link set eth7 up"),
            (libc::EINVAL, "has no queue 3"),
            (libc::EFAULT, "binding to queue 3"),
        ];
        for (errno, part) in cases {
            let sentence = say(copy, "binding to", errno);
            assert!(sentence.contains(part), "{errno}: {sentence}");
        }
        assert!(say(BindFlags::XDP_ZEROCOPY, "binding to", libc::EOPNOTSUPP).contains("zero-copy"));
    }
}
