//! Keeps the kernel's TCP off the ports that we serve.
//!
//! A bound socket that never listens: the kernel gives its port to nobody, and answers it as closed
//! whenever the XDP program is not there.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, all_processes};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use super::ServeError;

/// Holds `ports` of `addresses`, which are of the interface with this index.
pub(super) fn hold(
    ifindex: u32,
    addresses: &[IpAddr],
    ports: &[u16],
) -> Result<Vec<OwnedFd>, ServeError> {
    let mut held = Vec::with_capacity(addresses.len() * ports.len());
    for &port in ports {
        for &address in addresses {
            let socket = hold_one(ifindex, address, port);
            held.push(socket.map_err(|errno| refusal(errno, address, port))?);
        }
    }
    Ok(held)
}

fn hold_one(ifindex: u32, address: IpAddr, port: u16) -> Result<OwnedFd, Errno> {
    let (family, address) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, SocketAddr::new(address, port)),
        IpAddr::V6(v6) => {
            let scope = if v6.is_unicast_link_local() {
                ifindex
            } else {
                0
            };
            (
                AddressFamily::INET6,
                SocketAddrV6::new(v6, port, 0, scope).into(),
            )
        }
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Not in the way of connections of an earlier server on this port that have not ended.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
        // An IPv6 address may still be tentative (RFC 4862 section 5.4).
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    bind(&socket, &address)?;
    // From now on a listener of the kernel finds the port in use.
    sockopt::set_socket_reuseaddr(&socket, false)?;
    Ok(socket)
}

fn refusal(errno: Errno, address: IpAddr, port: u16) -> ServeError {
    match errno {
        Errno::ADDRINUSE => match listener(address, port) {
            Some(entry) => ServeError::Listening {
                port,
                listener: entry.local_address,
                owner: owner(entry.inode),
            },
            None => ServeError::PortInUse { port, address },
        },
        Errno::ACCESS | Errno::PERM => {
            ServeError::MissingCapability(format!("CAP_NET_BIND_SERVICE (for port {port})"))
        }
        errno => ServeError::Hold {
            port,
            address,
            source: errno.into(),
        },
    }
}

/// The kernel's socket that listens on a port of an address.
fn listener(address: IpAddr, port: u16) -> Option<TcpNetEntry> {
    let v4 = procfs::net::tcp().unwrap_or_default();
    let v6 = procfs::net::tcp6().unwrap_or_default();
    v4.into_iter().chain(v6).find(|entry| {
        let at = entry.local_address.ip();
        entry.state == TcpState::Listen
            && entry.local_address.port() == port
            && (at == address || at.is_unspecified())
    })
}

/// Whose socket it is, as far as we can see.
pub(super) fn owner(inode: u64) -> String {
    let unknown = || "a process that we cannot see".to_owned();
    let Ok(processes) = all_processes() else {
        return unknown();
    };
    for process in processes.flatten() {
        let Ok(mut files) = process.fd() else {
            continue;
        };
        let has_it =
            files.any(|file| matches!(file, Ok(file) if file.target == FDTarget::Socket(inode)));
        if has_it {
            let name = process.stat().map_or_else(|_| "?".to_owned(), |s| s.comm);
            return format!("{name} (pid {})", process.pid);
        }
    }
    unknown()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    /// Tests stay on the loopback interface, which no packet of theirs leaves.
    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn free_port() -> u16 {
        let listener = TcpListener::bind((LOCAL, 0)).unwrap();
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn a_listener_is_named_with_its_process() {
        for at in [
            LOCAL,
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv6Addr::UNSPECIFIED.into(),
        ] {
            let listener = TcpListener::bind((at, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let error = hold(1, &[LOCAL], &[port]).unwrap_err().to_string();
            let pid = format!("(pid {})", std::process::id());
            assert!(error.contains(&pid), "{at}: {error}");
            assert!(error.contains(&port.to_string()), "{at}: {error}");
        }
    }

    #[test]
    fn the_kernel_refuses_connections_and_listeners_on_a_held_port() {
        let port = free_port();
        let held = hold(1, &[LOCAL, Ipv6Addr::LOCALHOST.into()], &[port]).unwrap();
        assert_eq!(held.len(), 2);
        let refused = TcpStream::connect((LOCAL, port)).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // std sets SO_REUSEADDR.
        let in_use = TcpListener::bind((LOCAL, port)).unwrap_err();
        assert_eq!(in_use.kind(), std::io::ErrorKind::AddrInUse);
        let twice = hold(1, &[LOCAL], &[port]).unwrap_err().to_string();
        assert!(twice.contains("in use"), "{twice}");
        drop(held);
        TcpListener::bind((LOCAL, port)).unwrap();
    }

    #[test]
    fn connections_that_have_not_ended_are_not_in_the_way() {
        let listener = TcpListener::bind((LOCAL, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let _client = TcpStream::connect((LOCAL, port)).unwrap();
        let _server = listener.accept().unwrap();
        drop(listener);
        hold(1, &[LOCAL], &[port]).unwrap();
    }
}
