//! Headers written right before a payload that is already in place.

use super::checksum::Sum;
use super::ethernet::{self, Network};
use super::tcp::Header;
use super::{FlowKey, Link, ipv4, ipv6};

/// The most octets that [`segment_headers`] writes: Ethernet with a tag, IPv6, TCP with options.
pub const MAX_HEADERS: usize = 18 + 40 + 60;

/// Everything about an outgoing segment that is not its TCP header.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// MAC addresses and tag.
    pub link: Link,
    /// Addresses and ports; we are the source.
    pub key: FlowKey,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// The Differentiated Services field (RFC 2474) and the two ECN bits.
    pub traffic_class: u8,
    /// The IPv4 identification; DF is always set, so any value will do (RFC 6864).
    pub identification: u16,
}

/// Writes Ethernet, IP and TCP headers into the end of `headroom`, so that they end where the
/// payload begins, and returns their length. `payload` is the payload's length and sum; with the
/// headers it is at most 65535 octets of IP.
///
/// # Panics
///
/// If `headroom` is shorter than the headers; [`MAX_HEADERS`] octets are enough for options that
/// fit ([`MAX_OPTIONS`](super::tcp::MAX_OPTIONS)).
pub fn segment_headers(
    headroom: &mut [u8],
    route: &Route,
    header: &Header,
    payload: (usize, Sum),
) -> usize {
    let (payload_len, payload_sum) = payload;
    let header_len = header.wire_len();
    let segment_len = header_len + payload_len;

    let below = headroom.len() - header_len;
    let (lower, tcp) = headroom.split_at_mut(below);
    header.emit(tcp, &route.key);
    let checksum = Sum::of_pseudo_header(&route.key, segment_len as u32)
        .plus(Sum::of(tcp))
        .plus(payload_sum)
        .finish();
    tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
    datagram_headers(lower, route, segment_len) + header_len
}

/// Writes Ethernet and IP headers for a segment of `segment_len` octets into the end of `headroom`,
/// and returns their length.
///
/// # Panics
///
/// If `headroom` is shorter than the headers.
pub fn datagram_headers(headroom: &mut [u8], route: &Route, segment_len: usize) -> usize {
    let is_ipv4 = route.key.remote.is_ipv4();
    let link_len = route.link.header_len();
    let ip_len = if is_ipv4 { ipv4::HEADER } else { ipv6::HEADER };
    let len = link_len + ip_len;

    let start = headroom.len() - len;
    let (link, ip) = headroom[start..].split_at_mut(link_len);
    if is_ipv4 {
        ipv4::emit(ip, route, segment_len);
        ethernet::emit(link, &route.link, Network::Ipv4);
    } else {
        ipv6::emit(ip, route, segment_len);
        ethernet::emit(link, &route.link, Network::Ipv6);
    }
    len
}
