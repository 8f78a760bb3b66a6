//! Why the XDP program does not load, attach or listen.

use std::io;

use rustix::thread::CapabilitySet;

use super::prefix::Prefix;
use super::program::AttachMode;
use crate::wire::Address;

/// Why the program cannot be loaded, attached or told something. Each says the cause and the mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XdpError {
    /// The kernel was built without AF_XDP.
    #[error("this kernel has no AF_XDP sockets: use one built with CONFIG_XDP_SOCKETS=y")]
    NoAfXdp,
    /// The kernel refuses the program because it lacks what it uses.
    #[error("Linux {0} is too old for the XDP program: use 6.1 or later")]
    KernelTooOld(String),
    /// The process lacks these capabilities.
    #[error(
        "missing capability {0}: run as root, give the binary what it needs (`setcap \
         {NEEDED_CAPABILITIES}=ep BINARY`), or name it in AmbientCapabilities= of the systemd unit"
    )]
    MissingCapability(String),
    /// The kernel refused although the capabilities are there.
    #[error(
        "the kernel refuses BPF although the capabilities are there: a container's seccomp filter, \
         a user namespace or kernel lockdown forbids it"
    )]
    Refused,
    /// The verifier of this kernel wants CAP_PERFMON for the program.
    #[error(
        "Linux {0} does not take the XDP program without CAP_PERFMON, which kernels from 6.12 on do: \
         give that capability too (`setcap cap_perfmon,{NEEDED_CAPABILITIES}=ep BINARY`, or \
         AmbientCapabilities= of the systemd unit)"
    )]
    WantsPerfmon(String),
    /// No AF_XDP socket for another reason.
    #[error("cannot open an AF_XDP socket: {0}")]
    Socket(#[source] io::Error),
    /// The kernel did not load the program for another reason.
    #[error("the kernel does not load the XDP program: {0}")]
    Load(#[source] libbpf_rs::Error),
    /// Someone else's program sits on the interface. It was left alone.
    #[error(
        "program id {id} is attached to {interface} in {mode} mode: stop what attached it, or take \
         it off with `ip link set dev {interface} {} off`",
        match mode { AttachMode::Native => "xdpdrv", AttachMode::Generic => "xdpgeneric" }
    )]
    Foreign {
        /// The interface.
        interface: String,
        /// The program's id, as `bpftool prog` shows it.
        id: u32,
        /// Where it runs.
        mode: AttachMode,
    },
    /// A program of ours sits on the interface: another server's. It was left alone.
    #[error("another Corelane (program id {id}) serves {interface}: stop it first")]
    Occupied {
        /// The interface.
        interface: String,
        /// The program's id, as `bpftool prog` shows it.
        id: u32,
    },
    /// [`Program::attach`](super::Program::attach) was called twice.
    #[error("the program is attached to {interface} already: detach it first")]
    AlreadyAttached {
        /// The interface.
        interface: String,
    },
    /// The driver cannot run XDP programs.
    #[error("driver {driver} of {interface} has no native XDP: use generic mode")]
    NoNativeXdp {
        /// The interface.
        interface: String,
        /// Its driver.
        driver: String,
    },
    /// A veth whose peer may send more than a program may see.
    #[error("the MTU of the peer of {interface} is too large for native XDP: lower it")]
    PeerMtuTooLarge {
        /// The interface.
        interface: String,
    },
    /// A veth with fewer receive queues than its peer has transmit queues.
    #[error(
        "{interface} has fewer receive queues than its peer has transmit queues: raise them with \
         `ethtool -L {interface} rx N`, or lower the peer's"
    )]
    TooFewRxQueues {
        /// The interface.
        interface: String,
    },
    /// A veth without a peer.
    #[error("the peer of {interface} is gone: make the veth pair anew")]
    PeerGone {
        /// The interface.
        interface: String,
    },
    /// The kernel attached the program elsewhere than it was asked to. It was detached again.
    #[error("the kernel did not attach the program to {interface} in {asked} mode as asked")]
    WrongMode {
        /// The interface.
        interface: String,
        /// What was asked for.
        asked: AttachMode,
    },
    /// The program could not be attached for another reason.
    #[error("cannot attach the program to {interface} in {mode} mode: {source}")]
    Attach {
        /// The interface.
        interface: String,
        /// What was asked for.
        mode: AttachMode,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The program could not be detached; it goes with the process.
    #[error("cannot detach the program from {interface}: {source}")]
    Detach {
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel does not say what is attached.
    #[error("cannot ask which program is attached to {interface}: {source}")]
    Query {
        /// The interface.
        interface: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A queue id that the program was not loaded for.
    #[error("the program was loaded for {queues} queues, so there is no queue {queue_id}")]
    NoSuchQueue {
        /// The queue asked for.
        queue_id: u32,
        /// How many there are.
        queues: u32,
    },
    /// A service on an address that was not added.
    #[error("{0} is not a served address: add it before its services")]
    NotServed(Address),
    /// A prefix that is to be denied is.
    #[error("{0} is in the deny list already")]
    AlreadyDenied(Prefix),
    /// A prefix that is not to be denied any more is not.
    #[error("{0} is not in the deny list: `corelane deny list` shows what is")]
    NotDenied(Prefix),
    /// No room for another prefix.
    #[error(
        "no room for {prefix}: {limit} prefixes of its kind are denied, and `max-prefixes` of [deny] \
         allows no more"
    )]
    DenyListFull {
        /// The first that did not fit.
        prefix: Prefix,
        /// How many of IPv4 or of IPv6 fit.
        limit: u32,
    },
    /// A map could not be read or changed.
    #[error("cannot {action}: {source}")]
    Map {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: libbpf_rs::Error,
    },
}

/// What a server without root needs, as `setcap` takes it.
pub const NEEDED_CAPABILITIES: &str =
    "cap_bpf,cap_net_admin,cap_net_raw,cap_ipc_lock,cap_net_bind_service";

/// The capabilities that this thread lacks for the program and its sockets, all at once: the kernel
/// would tell of one at a time, by EPERM.
pub fn missing_capabilities() -> Vec<&'static str> {
    let Ok(sets) = rustix::thread::capabilities(None) else {
        return Vec::new();
    };
    // For BPF the kernel takes CAP_SYS_ADMIN in place of CAP_BPF.
    let any = CapabilitySet::SYS_ADMIN;
    [
        ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
        ("CAP_NET_RAW", CapabilitySet::NET_RAW),
        ("CAP_BPF", CapabilitySet::BPF | any),
    ]
    .into_iter()
    .filter(|(_, needed)| !sets.effective.intersects(*needed))
    .map(|(name, _)| name)
    .collect()
}

/// Whether this thread has CAP_PERFMON, or CAP_SYS_ADMIN in its place. Without it the kernel guards
/// what the program does against Spectre, which takes three times as long: 220 ns a frame instead of
/// 67, seen on 6.18.
pub fn has_perfmon() -> bool {
    let any = CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.intersects(any))
}

/// Which capability is missing, if that is why the kernel refused.
pub(super) fn permission() -> XdpError {
    let missing = missing_capabilities();
    match missing.is_empty() {
        true => XdpError::Refused,
        false => XdpError::MissingCapability(missing.join(", ")),
    }
}

pub(super) fn load_error(error: libbpf_rs::Error) -> XdpError {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    if error.kind() == libbpf_rs::ErrorKind::PermissionDenied {
        let error = permission();
        let is_refused = matches!(error, XdpError::Refused);
        return match is_refused && !has_perfmon() && is_before(&release, (6, 12)) {
            true => XdpError::WantsPerfmon(release),
            false => error,
        };
    }
    match is_before(&release, FLOOR) {
        true => XdpError::KernelTooOld(release),
        false => XdpError::Load(error),
    }
}

/// Linux 6.1 is the floor that the program is written for.
const FLOOR: (u32, u32) = (6, 1);

/// What says nothing is not before anything.
fn is_before(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor) < version,
        _ => false,
    }
}

pub(super) fn map_error(
    action: impl FnOnce() -> String,
) -> impl FnOnce(libbpf_rs::Error) -> XdpError {
    move |source| XdpError::Map {
        action: action(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_6_1_are_too_old() {
        assert!(is_before("5.15.0-91-generic", FLOOR));
        assert!(is_before("6.0", FLOOR));
        assert!(!is_before("6.1.0-18-amd64", FLOOR));
        assert!(!is_before("6.18.44", FLOOR));
        assert!(!is_before("odd", FLOOR));
        assert!(is_before("6.1.0-56-cloud-amd64", (6, 12)));
        assert!(!is_before("6.12.117+deb13-cloud-amd64", (6, 12)));
    }
}
