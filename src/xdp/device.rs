//! Facts about a network interface, and the one setting of it that we change.

use std::ffi::c_char;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::sys::{self, Answer, Ask};
use crate::wire::MacAddr;

/// linux/if_arp.h.
const ARPHRD_ETHER: u16 = 1;

/// Commands of linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;
const ETHTOOL_GRXRINGS: u32 = 0x2d;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GRXFH: u32 = 0x29;
const ETHTOOL_GRSSH: u32 = 0x46;
/// Flow types of ETHTOOL_GRXFH.
const TCP_V4_FLOW: u32 = 0x01;
const TCP_V6_FLOW: u32 = 0x05;
/// RXH_IP_SRC, RXH_IP_DST, RXH_L4_B_0_1, RXH_L4_B_2_3: addresses and ports, and nothing else.
const RXH_FOUR_TUPLE: u64 = 0xf0;
/// ETH_RSS_HASH_TOP.
const RSS_TOEPLITZ: u8 = 1;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// An Ethernet interface of the network namespace in which it was opened.
///
/// Keeps a socket in that namespace, so that its methods can be called from any thread.
#[derive(Debug)]
pub struct Device {
    name: String,
    raw_name: [c_char; libc::IFNAMSIZ],
    socket: OwnedFd,
    ifindex: u32,
    mac: MacAddr,
    mtu: u32,
    driver: String,
    rx_queues: u32,
    tx_queues: u32,
    addresses: Vec<IpAddr>,
}

impl Device {
    /// Reads the facts about the interface called `name` in the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// There is no such interface, it is no Ethernet interface, or the kernel does not answer.
    pub fn open(name: &str) -> Result<Self, DeviceError> {
        let missing = || DeviceError::NoSuchInterface(name.to_owned());
        let raw_name = sys::interface_name(name).ok_or_else(missing)?;
        let fail = |what| {
            move |source| DeviceError::Ask {
                name: name.to_owned(),
                what,
                source,
            }
        };
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| fail("a socket to ask with")(errno.into()))?;
        let ifindex = match sys::ask(socket.as_fd(), &raw_name, Ask::Index) {
            Ok(Answer::Number(number)) => number.cast_unsigned(),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Err(missing()),
            other => return Err(unanswered(name, "index", other)),
        };
        let (rx_queues, tx_queues) = queues(&socket, &raw_name).unwrap_or((1, 1));
        let mut device = Self {
            name: name.to_owned(),
            raw_name,
            socket,
            ifindex,
            mac: MacAddr::default(),
            mtu: 0,
            driver: String::new(),
            rx_queues,
            tx_queues,
            addresses: sys::addresses(name).map_err(fail("addresses"))?,
        };
        device.mac = device.mac_now()?;
        device.mtu = device.mtu_now()?;
        device.driver = device.read_driver();
        Ok(device)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its index.
    pub const fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// The Ethernet address that it had when it was opened.
    pub const fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Octets of the largest IP packet, when it was opened.
    pub const fn mtu(&self) -> u32 {
        self.mtu
    }

    /// The driver's name, `unknown` if it does not say.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Receive queues in use. 1 if the driver does not say; frames of other queues would then be
    /// counted as `dropped_no_socket`.
    pub const fn rx_queues(&self) -> u32 {
        self.rx_queues
    }

    /// Transmit queues in use; as many as receive queues if the driver does not say.
    pub const fn tx_queues(&self) -> u32 {
        self.tx_queues
    }

    /// All its IP addresses when it was opened, link-local ones too.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The Ethernet address that it has now. [`Program::set_mac`](super::Program::set_mac) tells
    /// the program of a new one.
    pub fn mac_now(&self) -> Result<MacAddr, DeviceError> {
        match sys::ask(self.socket.as_fd(), &self.raw_name, Ask::Hardware) {
            Ok(Answer::Hardware {
                kind: ARPHRD_ETHER,
                address,
            }) => Ok(MacAddr(address)),
            Ok(Answer::Hardware { .. }) => Err(DeviceError::NotEthernet(self.name.clone())),
            other => Err(unanswered(&self.name, "Ethernet address", other)),
        }
    }

    /// The MTU that it has now.
    pub fn mtu_now(&self) -> Result<u32, DeviceError> {
        match sys::ask(self.socket.as_fd(), &self.raw_name, Ask::Mtu) {
            Ok(Answer::Number(number)) => Ok(number.cast_unsigned()),
            other => Err(unanswered(&self.name, "MTU", other)),
        }
    }

    /// The receive queues in use now; `None` if the driver does not say.
    pub fn rx_queues_now(&self) -> Option<u32> {
        queues(&self.socket, &self.raw_name).map(|(rx, _)| rx)
    }

    /// Whether it is up and has carrier. Some drivers lose it for seconds when a program is
    /// attached.
    pub fn is_running(&self) -> Result<bool, DeviceError> {
        const NEEDED: u16 = (libc::IFF_UP | libc::IFF_RUNNING) as u16;
        match sys::ask(self.socket.as_fd(), &self.raw_name, Ask::Flags) {
            Ok(Answer::Flags(flags)) => Ok(flags & NEEDED == NEEDED),
            other => Err(unanswered(&self.name, "flags", other)),
        }
    }

    /// Whether generic receive offload is on.
    pub fn gro(&self) -> Result<bool, DeviceError> {
        Ok(self.ethtool_value(ETHTOOL_GGRO, 0, "receive offload")? != 0)
    }

    /// Whether the device takes VLAN tags off before XDP sees a frame, so that tagged and untagged
    /// traffic look the same to us.
    pub fn strips_vlan(&self) -> Result<bool, DeviceError> {
        Ok(self.ethtool_value(ETHTOOL_GFLAGS, 0, "VLAN offload")? & ETH_FLAG_RXVLAN != 0)
    }

    /// Switches generic receive offload off until the guard is dropped; `None` if it was off.
    ///
    /// In generic mode the program sees frames behind it: merged ones that are larger than a frame
    /// of ours. It stays off when the process is killed.
    pub fn without_gro(&self) -> Result<Option<GroOff>, DeviceError> {
        if !self.gro()? {
            return Ok(None);
        }
        let fail = |source| DeviceError::Ask {
            name: self.name.clone(),
            what: "socket",
            source,
        };
        let socket = self.socket.try_clone().map_err(fail)?;
        self.ethtool_value(ETHTOOL_SGRO, 0, "receive offload")?;
        Ok(Some(GroOff {
            socket,
            raw_name: self.raw_name,
        }))
    }

    /// How the device spreads TCP over its queues; `None` if it does not say, or not by the Toeplitz
    /// hash over addresses and ports.
    pub fn rss(&self) -> Option<RssSettings> {
        let mut rss = Box::new(sys::EthtoolRss::new(ETHTOOL_GRSSH));
        // The lengths first, then as much.
        sys::ethtool(self.socket.as_fd(), &self.raw_name, &mut *rss).ok()?;
        if !rss.fits() {
            return None;
        }
        sys::ethtool(self.socket.as_fd(), &self.raw_name, &mut *rss).ok()?;
        if rss.function != RSS_TOEPLITZ || rss.transformation != 0 || !rss.fits() {
            return None;
        }
        let (table, rest) = rss.words.split_at(rss.table_len as usize);
        let key: Vec<u8> = rest.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let hashes_ports = [TCP_V4_FLOW, TCP_V6_FLOW].into_iter().all(|flow| {
            self.hashed_fields(flow)
                .is_none_or(|it| it == RXH_FOUR_TUPLE)
        });
        hashes_ports.then(|| RssSettings {
            key: key[..rss.key_len as usize].to_vec(),
            table: table.to_vec(),
        })
    }

    /// RXH_* of a flow type; `None` if the driver does not say, as most that have no choice.
    fn hashed_fields(&self, flow_type: u32) -> Option<u64> {
        let mut request = sys::EthtoolRings::new(ETHTOOL_GRXFH);
        request.flow_type = flow_type;
        sys::ethtool(self.socket.as_fd(), &self.raw_name, &mut request).ok()?;
        Some(request.data)
    }

    fn ethtool_value(
        &self,
        command: u32,
        data: u32,
        what: &'static str,
    ) -> Result<u32, DeviceError> {
        let mut value = sys::EthtoolValue { command, data };
        sys::ethtool(self.socket.as_fd(), &self.raw_name, &mut value).map_err(|source| {
            DeviceError::Ask {
                name: self.name.clone(),
                what,
                source,
            }
        })?;
        Ok(value.data)
    }

    fn read_driver(&self) -> String {
        let mut info = sys::EthtoolDriver::new(ETHTOOL_GDRVINFO);
        match sys::ethtool(self.socket.as_fd(), &self.raw_name, &mut info) {
            Ok(()) => info.name(),
            Err(_) => "unknown".to_owned(),
        }
    }
}

/// Receive-side scaling as a device does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RssSettings {
    /// The key of the Toeplitz hash.
    pub key: Vec<u8>,
    /// Queues, by the hash's low bits.
    pub table: Vec<u32>,
}

/// Switches generic receive offload on again when it is dropped.
#[derive(Debug)]
pub struct GroOff {
    socket: OwnedFd,
    raw_name: [c_char; libc::IFNAMSIZ],
}

impl Drop for GroOff {
    fn drop(&mut self) {
        let mut value = sys::EthtoolValue {
            command: ETHTOOL_SGRO,
            data: 1,
        };
        // An interface that has gone needs no offload.
        let _ = sys::ethtool(self.socket.as_fd(), &self.raw_name, &mut value);
    }
}

/// Receive and transmit queues in use: as channels, else as receive rings; `None` if the driver does
/// not say.
fn queues(socket: &OwnedFd, name: &[c_char; libc::IFNAMSIZ]) -> Option<(u32, u32)> {
    let mut channels = sys::EthtoolChannels::new(ETHTOOL_GCHANNELS);
    if sys::ethtool(socket.as_fd(), name, &mut channels).is_ok() {
        let rx = channels.rx.saturating_add(channels.combined);
        let tx = channels.tx.saturating_add(channels.combined);
        if rx > 0 {
            return Some((rx, tx.max(1)));
        }
    }
    let mut rings = sys::EthtoolRings::new(ETHTOOL_GRXRINGS);
    sys::ethtool(socket.as_fd(), name, &mut rings).ok()?;
    let rx = u32::try_from(rings.data).unwrap_or(1).max(1);
    Some((rx, rx))
}

fn unanswered(name: &str, what: &'static str, answer: io::Result<Answer>) -> DeviceError {
    let source = match answer {
        Err(error) => error,
        Ok(_) => io::ErrorKind::InvalidData.into(),
    };
    DeviceError::Ask {
        name: name.to_owned(),
        what,
        source,
    }
}

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No interface has that name.
    #[error("no such interface \"{0}\" in this network namespace (`ip link` lists them)")]
    NoSuchInterface(String),
    /// The interface carries no Ethernet frames.
    #[error("interface \"{0}\" is no Ethernet interface, and Corelane serves no other kind")]
    NotEthernet(String),
    /// The kernel did not answer a question about it.
    #[error("cannot read or set the {what} of interface \"{name}\": {source}")]
    Ask {
        /// The interface.
        name: String,
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}
