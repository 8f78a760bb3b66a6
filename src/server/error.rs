//! Why a server does not start or has ended: the cause and the mend, in one sentence.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::ring::xsk::OpenError;
use crate::xdp::{DeviceError, XdpError};

/// Why a server does not start, or has ended without being asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ServeError {
    #[error(transparent)]
    Device(DeviceError),
    #[error(transparent)]
    Xdp(XdpError),
    #[error(transparent)]
    Open(OpenError),
    #[error("missing capability {0}: run as root or give them to the binary with setcap")]
    MissingCapability(String),
    #[error(
        "interface {0} has no IP address: give it one with `ip addr add ADDRESS/LENGTH dev {0}`"
    )]
    NoAddress(String),
    #[error("{address} is no address of interface {interface}, which has {has}")]
    ForeignAddress {
        address: IpAddr,
        interface: String,
        has: String,
    },
    #[error("there is no core {core} for us here: the cores are {available}")]
    NoSuchCore { core: usize, available: String },
    #[error("the system does not say which cores there are: name them with --cores")]
    NoCores,
    #[error("port {port} is served twice: give each service its own port")]
    PortTwice { port: u16 },
    #[error(
        "the kernel already listens on {listener}, for {owner}: stop that or serve another port \
         than {port}"
    )]
    Listening {
        port: u16,
        listener: SocketAddr,
        owner: String,
    },
    #[error(
        "port {port} of {address} is in use, perhaps by another server of this kind: stop that \
         or serve another port"
    )]
    PortInUse { port: u16, address: IpAddr },
    #[error(
        "the kernel gives ports {kernel_first} to {kernel_last} to its own connections, whose \
         answers would come to us where they meet the client ports {first} to {last}: set \
         net.ipv4.ip_local_port_range to end below, reserve ours in \
         net.ipv4.ip_local_reserved_ports, or choose other client ports"
    )]
    ClientPorts {
        first: u16,
        last: u16,
        kernel_first: u16,
        kernel_last: u16,
    },
    #[error("cannot hold port {port} of {address}: {source}")]
    Hold {
        port: u16,
        address: IpAddr,
        source: io::Error,
    },
    #[error("{interface} did not come up again within {seconds} s after the program was attached")]
    NoCarrier { interface: String, seconds: u64 },
    #[error("interface {0} has gone: start again when it is back")]
    InterfaceGone(String),
    #[error(
        "the Ethernet address of {0} has changed, so nothing comes to us any more: start again"
    )]
    MacChanged(String),
    #[error("core {0} is not ours to use: leave it out of --cores")]
    NotPinned(usize),
    #[error("the worker on core {0} has ended by a mistake of ours: please report what it printed")]
    WorkerEnded(usize),
    #[error("the worker on core {0} does not start: the machine is overloaded or out of memory")]
    WorkerSlow(usize),
    #[error("the system has no {what} left: {source}")]
    Exhausted {
        what: &'static str,
        source: io::Error,
    },
}

impl ServeError {
    pub(super) fn exhausted(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Exhausted { what, source }
    }
}
