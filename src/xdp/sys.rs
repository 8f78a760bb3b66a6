//! The system calls behind `device` and `program` that have no safe wrapper.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_ulong};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libbpf_rs::libbpf_sys;

/// Not in the libc crate (linux/sockios.h).
const SIOCETHTOOL: c_ulong = 0x8946;

/// What one interface ioctl of `netdevice(7)` answers.
pub(super) enum Answer {
    /// SIOCGIFINDEX, SIOCGIFMTU.
    Number(c_int),
    /// SIOCGIFHWADDR: the hardware type and the first octets of the address.
    Hardware { kind: u16, address: [u8; 6] },
    /// SIOCGIFFLAGS.
    Flags(u16),
}

/// Which interface ioctl.
#[derive(Clone, Copy)]
pub(super) enum Ask {
    Index,
    Mtu,
    Hardware,
    Flags,
}

/// An interface name as the kernel wants it; `None` if it cannot be one.
pub(super) fn interface_name(name: &str) -> Option<[c_char; libc::IFNAMSIZ]> {
    let mut out = [0; libc::IFNAMSIZ];
    if name.is_empty() || name.len() >= out.len() || name.contains('\0') {
        return None;
    }
    for (to, from) in out.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed() as c_char;
    }
    Some(out)
}

/// One of the ioctls of `netdevice(7)`, in the network namespace of the socket.
pub(super) fn ask(
    socket: BorrowedFd<'_>,
    name: &[c_char; libc::IFNAMSIZ],
    ask: Ask,
) -> io::Result<Answer> {
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name = *name;
    let number = match ask {
        Ask::Index => libc::SIOCGIFINDEX,
        Ask::Mtu => libc::SIOCGIFMTU,
        Ask::Hardware => libc::SIOCGIFHWADDR,
        Ask::Flags => libc::SIOCGIFFLAGS,
    };
    // SAFETY: these four ioctls read the name from and write at most one ifreq, which lives on our
    // stack for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), number, &raw mut request) })?;
    // SAFETY: the kernel wrote the member that belongs to the ioctl; all of them are plain data.
    Ok(unsafe {
        match ask {
            Ask::Index => Answer::Number(request.ifr_ifru.ifru_ifindex),
            Ask::Mtu => Answer::Number(request.ifr_ifru.ifru_mtu),
            Ask::Flags => Answer::Flags(request.ifr_ifru.ifru_flags.cast_unsigned()),
            Ask::Hardware => {
                let hardware = request.ifr_ifru.ifru_hwaddr;
                let mut address = [0; 6];
                for (to, from) in address.iter_mut().zip(hardware.sa_data) {
                    *to = from as u8;
                }
                Answer::Hardware {
                    kind: hardware.sa_family,
                    address,
                }
            }
        }
    })
}

/// A structure of linux/ethtool.h that SIOCETHTOOL reads and writes.
///
/// # Safety
///
/// `repr(C)`, plain data, starts with the command, and is as large as the kernel's structure for
/// every command that it is used with.
pub(super) unsafe trait EthtoolRequest {}

/// `struct ethtool_value`.
#[repr(C)]
#[derive(Default)]
pub(super) struct EthtoolValue {
    pub(super) command: u32,
    pub(super) data: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
pub(super) struct EthtoolChannels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    pub(super) rx: u32,
    pub(super) tx: u32,
    other: u32,
    pub(super) combined: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
pub(super) struct EthtoolDriver {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware_version: [u8; 32],
    bus_info: [u8; 32],
    expansion_version: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}

/// `struct ethtool_rxnfc`, of which only `flow_type` and `data` are used.
#[repr(C)]
pub(super) struct EthtoolRings {
    command: u32,
    pub(super) flow_type: u32,
    pub(super) data: u64,
    rest: [u64; 22],
}

/// Words of indirection table and hash key that are asked for; devices of today have 2048 at most.
pub(super) const RSS_WORDS: usize = 4096;

/// `struct ethtool_rxfh`: the table in words, then the key in octets.
#[repr(C)]
pub(super) struct EthtoolRss {
    command: u32,
    context: u32,
    pub(super) table_len: u32,
    pub(super) key_len: u32,
    pub(super) function: u8,
    pub(super) transformation: u8,
    reserved: [u8; 6],
    pub(super) words: [u32; RSS_WORDS],
}

impl EthtoolRss {
    pub(super) const fn new(command: u32) -> Self {
        Self {
            command,
            context: 0,
            table_len: 0,
            key_len: 0,
            function: 0,
            transformation: 0,
            reserved: [0; 6],
            words: [0; RSS_WORDS],
        }
    }

    /// Whether the structure has room for the table and key whose lengths it says.
    pub(super) fn fits(&self) -> bool {
        let key_words = u64::from(self.key_len).div_ceil(4);
        u64::from(self.table_len) + key_words <= RSS_WORDS as u64
    }
}

impl EthtoolChannels {
    pub(super) fn new(command: u32) -> Self {
        Self {
            command,
            ..Self::default()
        }
    }
}

impl EthtoolRings {
    pub(super) const fn new(command: u32) -> Self {
        Self {
            command,
            flow_type: 0,
            data: 0,
            rest: [0; 22],
        }
    }
}

impl EthtoolDriver {
    pub(super) const fn new(command: u32) -> Self {
        Self {
            command,
            driver: [0; 32],
            version: [0; 32],
            firmware_version: [0; 32],
            bus_info: [0; 32],
            expansion_version: [0; 32],
            reserved: [0; 12],
            counts: [0; 5],
        }
    }

    /// The driver's name, up to its NUL.
    pub(super) fn name(&self) -> String {
        let length = self
            .driver
            .iter()
            .position(|&b| b == 0)
            .unwrap_or(self.driver.len());
        String::from_utf8_lossy(&self.driver[..length]).into_owned()
    }
}

// SAFETY: laid out as in linux/ethtool.h.
unsafe impl EthtoolRequest for EthtoolValue {}
// SAFETY: laid out as in linux/ethtool.h.
unsafe impl EthtoolRequest for EthtoolChannels {}
// SAFETY: laid out as in linux/ethtool.h.
unsafe impl EthtoolRequest for EthtoolDriver {}
// SAFETY: the fields used are laid out as in linux/ethtool.h; the whole is 192 octets, what the
// kernel's structure has with its flexible member empty.
unsafe impl EthtoolRequest for EthtoolRings {}

// SAFETY: laid out as in linux/ethtool.h; what follows the fixed part holds as many words as its
// lengths say, which whoever sets them has checked by `fits`.
unsafe impl EthtoolRequest for EthtoolRss {}

/// SIOCETHTOOL with one of its structures, in the network namespace of the socket.
pub(super) fn ethtool<T: EthtoolRequest>(
    socket: BorrowedFd<'_>,
    name: &[c_char; libc::IFNAMSIZ],
    payload: &mut T,
) -> io::Result<()> {
    // SAFETY: ifreq is plain data for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name = *name;
    request.ifr_ifru.ifru_data = ptr::from_mut(payload).cast();
    // SAFETY: the request and what it points to live for the call, and by the trait's contract the
    // kernel reads and writes no more than that.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) })
}

/// The IP addresses of an interface, in the network namespace of the calling thread.
pub(super) fn addresses(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut list = ptr::null_mut();
    // SAFETY: the pointer is ours; on success it is a list to be freed below.
    check(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut out = Vec::new();
    let mut next: *const libc::ifaddrs = list;
    // SAFETY: getifaddrs made a list that ends with null and is freed only behind the loop.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: every entry has a name that ends with NUL.
        let label = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy();
        // IPv4 entries carry the address's label: the name, or the name, a colon and more.
        if label.split(':').next() != Some(name) {
            continue;
        }
        // SAFETY: the address of an entry is null or lives as long as the list.
        out.extend(unsafe { ip_address(entry.ifa_addr) });
    }
    // SAFETY: made by getifaddrs, freed once, not used after.
    unsafe { libc::freeifaddrs(list) };
    Ok(out)
}

/// # Safety
///
/// `address` is null, or valid for reads of the structure that its family says.
unsafe fn ip_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, so by the caller's promise it can be read as what its family says; unaligned
    // because nothing promises more than sockaddr's alignment.
    unsafe {
        match c_int::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = address.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let v6 = address.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

/// Attaches a program to an interface of the calling thread's network namespace, in the mode that
/// `flags` (XDP_FLAGS_*) says. The program stays until the last copy of the descriptor is closed.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
        flags,
        ..Default::default()
    };
    // SAFETY: the options live for the call and say their own size.
    let fd = check_libbpf(unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            ifindex.cast_signed(),
            libbpf_sys::BPF_XDP,
            &raw const options,
        )
    })?;
    // SAFETY: a fresh descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes a link's program off its interface at once.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes a descriptor, touches no memory of ours.
    check_libbpf(unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) }).map(drop)
}

/// The interface that a link's program is attached to, 0 when it is none any more, and the program's
/// id. Needs no capability.
pub(super) fn link_target(link: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut len = size_of::<libbpf_sys::bpf_link_info>() as u32;
    // SAFETY: the kernel writes at most `len` octets, which are there.
    check_libbpf(unsafe {
        libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut len)
    })?;
    // SAFETY: all members of the union are plain data, and zeroes where the kernel wrote nothing.
    Ok((unsafe { info.__bindgen_anon_1.xdp.ifindex }, info.prog_id))
}

/// The id of a loaded program. Needs no capability.
pub(super) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut len = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: the kernel writes at most `len` octets, which are there; the zeroes ask for no arrays.
    check_libbpf(unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut len)
    })?;
    Ok(info.id)
}

/// Which programs are attached to an interface of the calling thread's network namespace.
pub(super) fn query(ifindex: u32) -> io::Result<libbpf_sys::bpf_xdp_query_opts> {
    let mut options = libbpf_sys::bpf_xdp_query_opts {
        sz: size_of::<libbpf_sys::bpf_xdp_query_opts>() as _,
        ..Default::default()
    };
    // SAFETY: the options live for the call and say their own size.
    check_libbpf(unsafe { libbpf_sys::bpf_xdp_query(ifindex.cast_signed(), 0, &raw mut options) })?;
    Ok(options)
}

/// linux/bpf.h: `enum xdp_action`.
pub(super) const XDP_TX: u32 = 3;

/// Runs a loaded XDP program once over a frame (BPF_PROG_TEST_RUN), as if it had come from queue 0
/// of a loopback interface. Yields what the program returned.
pub(super) fn test_run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    Ok(test_run_into(program, frame, &mut [])?.0)
}

/// The same. Yields what the frame has become, too: its length, which the kernel refuses if there is
/// some room, but too little.
pub(super) fn test_run_into(
    program: BorrowedFd<'_>,
    frame: &[u8],
    after: &mut [u8],
) -> io::Result<(u32, usize)> {
    let room = u32::try_from(after.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
        data_in: frame.as_ptr().cast(),
        data_size_in: u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        data_out: match after {
            [] => ptr::null_mut(),
            after => after.as_mut_ptr().cast(),
        },
        data_size_out: room,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the options, the frame and the room live for the call, and it is told their lengths.
    check_libbpf(unsafe {
        libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options)
    })?;
    Ok((options.retval, options.data_size_out as usize))
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// libbpf returns the negated error number.
fn check_libbpf(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(result)
}
