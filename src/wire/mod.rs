//! Bytes and values: Ethernet, 802.1Q, IPv4, IPv6, ICMP and TCP, without state, time or allocation.
//!
//! [`parse()`] judges a whole frame and yields a [`Packet`] that holds only legal values, or the
//! reason why there is none. [`emit`] writes headers right before a payload that is already in
//! place.

pub mod checksum;
pub mod ecn;
pub mod emit;
pub mod ethernet;
#[cfg(test)]
mod fixtures;
pub mod fragment;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod parse;
mod syn_cookie;
pub mod tcp;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

pub use ethernet::{Link, MacAddr};
pub use fragment::{DatagramKey, Fragment};
pub use parse::{ChecksumPolicy, Malformed, Packet, parse};
pub use syn_cookie::{CookieSecrets, CookieTerms, SIZES as COOKIE_SIZES};

/// The protocol number of TCP.
const TCP: u8 = 6;
/// The protocol number of ICMP.
const ICMP: u8 = 1;
/// The protocol number of ICMPv6.
const ICMPV6: u8 = 58;

/// Octets of the IP and TCP headers without options and extensions; the MSS is the MTU less this (RFC
/// 9293 section 3.7.1).
pub const fn fixed_headers(is_ipv4: bool) -> u16 {
    let ip = if is_ipv4 { ipv4::HEADER } else { ipv6::HEADER };
    (ip + tcp::HEADER) as u16
}

/// An IPv4 or IPv6 address in one shape: IPv4 is held as `::ffff:a.b.c.d` (RFC 4291 section
/// 2.5.5.2), so that keys compare and hash as 16 bytes. A frame whose IPv6 header carries such an
/// address is dropped by the parser, so the two cannot be confused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Address([u8; 16]);

impl Address {
    /// The address of an IPv4 header field.
    pub const fn from_ipv4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// The address of an IPv6 header field.
    pub const fn from_ipv6(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// The 16 octets, IPv4 mapped.
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// Whether this is an IPv4 address.
    pub const fn is_ipv4(&self) -> bool {
        u128::from_be_bytes(self.0) >> 32 == 0xffff
    }

    /// The four octets of an IPv4 address, or the last four of an IPv6 address.
    pub const fn ipv4_octets(&self) -> [u8; 4] {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }

    /// The standard library's form.
    pub fn to_ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::from_ipv4(v4.octets()),
            IpAddr::V6(v6) => Self::from_ipv6(v6.octets()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip().fmt(f)
    }
}

/// What names a connection on this host: both addresses and both ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Our address: the destination of what we receive.
    pub local: Address,
    /// The peer's address.
    pub remote: Address,
    /// Our port, in host order.
    pub local_port: u16,
    /// The peer's port, in host order.
    pub remote_port: u16,
}

impl FlowKey {
    /// Our end.
    pub fn local_addr(&self) -> SocketAddr {
        SocketAddr::new(self.local.to_ip(), self.local_port)
    }

    /// The peer's end.
    pub fn remote_addr(&self) -> SocketAddr {
        SocketAddr::new(self.remote.to_ip(), self.remote_port)
    }

    /// The same connection as the other end names it.
    pub const fn reversed(&self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            local_port: self.remote_port,
            remote_port: self.local_port,
        }
    }
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <- {}", self.local_addr(), self.remote_addr())
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
