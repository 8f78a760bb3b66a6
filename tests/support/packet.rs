//! Raw frames on one interface of the calling thread's network namespace (AF_PACKET).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};

/// A socket that sends and receives whole Ethernet frames of one interface.
///
/// It is promiscuous, does not see what it (or anybody else on this machine) sends through the
/// interface, and never blocks.
pub(crate) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on `interface` in the network namespace of the calling thread.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let name = CString::new(interface)?;
        // SAFETY: `name` is a NUL-terminated string that outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        // Protocol 0: nothing is delivered until `bind` names the interface, so that no frame of
        // another one slips in between.
        // SAFETY: no pointers are passed; the result is checked before use.
        let raw = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            )
        };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `raw` was just opened and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let socket = Self { fd };

        socket.set_option(libc::PACKET_IGNORE_OUTGOING, &1i32)?;
        // The relay's queue lives here when its thread is descheduled: 16 MiB hold some 7000
        // full-size frames with their bookkeeping.
        socket.set_receive_buffer(16 << 20)?;
        let promiscuous = libc::packet_mreq {
            mr_ifindex: index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        socket.set_option(libc::PACKET_ADD_MEMBERSHIP, &promiscuous)?;
        socket.bind(index as i32)?;
        Ok(socket)
    }

    /// Takes the next frame into `buffer`: its length, or `None` if there is none now. A frame
    /// longer than `buffer` gives its full length, so the caller can see that it was cut.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::net::recv(&self.fd, buffer, RecvFlags::TRUNC) {
            Ok((_, length)) => Ok(Some(length)),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends one frame as it stands: `false` if the interface would not take it now (its queue is
    /// full, or the link is down).
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<bool> {
        use rustix::io::Errno;
        match rustix::net::send(&self.fd, frame, SendFlags::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NETDOWN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn bind(&self, interface_index: i32) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: interface_index,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: `address` is a valid sockaddr_ll of the length passed and outlives the call.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn set_option<T>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        self.set_option_at(libc::SOL_PACKET, option, value)
    }

    fn set_receive_buffer(&self, bytes: i32) -> io::Result<()> {
        // FORCE needs CAP_NET_ADMIN, which whoever opens a packet socket in a namespace has.
        self.set_option_at(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
    }

    fn set_option_at<T>(&self, level: i32, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: `value` points at `size_of::<T>()` readable bytes that outlive the call.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
