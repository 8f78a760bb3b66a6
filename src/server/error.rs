//! Why a server does not start or has ended: the cause and the mend, in one sentence.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::ring::xsk::OpenError;
use crate::xdp::{DeviceError, XdpError};

/// Exit status of a server that does not start.
const STATUS_NOT_STARTED: u8 = 1;
/// Exit status of a server whose device has gone or changed: started anew, it can serve again.
const STATUS_DEVICE: u8 = 3;
/// Exit status of a server that has ended by a mistake of ours.
pub(super) const STATUS_MISTAKE: u8 = 4;

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
    #[error(
        "missing capability {0}: run as root, give the binary what it needs (`setcap {needed}=ep \
         BINARY`), or name it in AmbientCapabilities= of the systemd unit",
        needed = crate::xdp::NEEDED_CAPABILITIES
    )]
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
    #[error(
        "the XDP program of {0} was detached or replaced, so nothing comes to us any more: start again"
    )]
    ProgramGone(String),
    #[error(
        "{interface} has {now} receive queue(s) in use now instead of {before}: start again to serve them"
    )]
    QueuesChanged {
        interface: String,
        before: u32,
        now: u32,
    },
    #[error("core {0} is not ours to use: leave it out of --cores")]
    NotPinned(usize),
    #[error("the worker on core {0} has ended by a mistake of ours: please report what it printed")]
    WorkerEnded(usize),
    #[error("the worker on core {0} does not start: the machine is overloaded or out of memory")]
    WorkerSlow(usize),
    #[error(
        "there is no user or group \"{0}\" here: a number without a name needs a group, UID:GID"
    )]
    NoSuchUser(String),
    #[error(
        "only root can become user {0}, with CAP_SETUID and CAP_SETGID: start as root, or as that user \
         with capabilities"
    )]
    CannotBecome(String),
    #[error("cannot give privileges up: {0}")]
    GiveUp(io::Error),
    #[error(
        "a server that opens connections needs CAP_NET_ADMIN to find its peers: it cannot give its \
         privileges up"
    )]
    OpensConnections,
    #[error("cannot have receive offload switched off: {0}")]
    Gro(io::Error),
    #[error("cannot confine threads to their system calls: {0} (--no-sandbox leaves it out)")]
    Sandbox(String),
    #[error("the system has no {what} left: {source}")]
    Exhausted {
        what: &'static str,
        source: io::Error,
    },
}

impl ServeError {
    /// The exit status that says the kind: 1, it does not start; 3, the device has gone or changed,
    /// so that it can be started anew; 4, a mistake of ours.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::InterfaceGone(_)
            | Self::MacChanged(_)
            | Self::ProgramGone(_)
            | Self::QueuesChanged { .. } => STATUS_DEVICE,
            Self::WorkerEnded(_) => STATUS_MISTAKE,
            _ => STATUS_NOT_STARTED,
        }
    }

    pub(super) fn exhausted(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Exhausted { what, source }
    }
}
