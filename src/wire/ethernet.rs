//! Ethernet II and 802.1Q.

use std::fmt;

use super::Malformed;

/// Octets of a header without a tag.
const HEADER: usize = 14;
/// Octets of an 802.1Q tag.
const TAG: usize = 4;

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const VLAN: [u8; 2] = [0x81, 0x00];
const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Whether this names a group of stations: multicast or broadcast.
    pub const fn is_group(&self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The link layer of one frame, as the receiver sees it; an answer goes back the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Our address: the destination of a received frame.
    pub local: MacAddr,
    /// The neighbour's address: the source of a received frame.
    pub remote: MacAddr,
    /// The 802.1Q tag control information (priority, DEI and VLAN id), if the frame has a tag.
    pub vlan: Option<u16>,
}

impl Link {
    /// Octets of the header: 14, or 18 with a tag.
    pub(super) const fn header_len(&self) -> usize {
        if self.vlan.is_some() {
            HEADER + TAG
        } else {
            HEADER
        }
    }
}

/// The network layer of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Ipv4,
    Ipv6,
}

/// The link layer of a frame, what it carries, and that, with padding if there is some.
pub(super) fn parse(frame: &[u8]) -> Result<(Link, Network, &[u8]), Malformed> {
    let (header, rest) = frame
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::EthernetHeaderTruncated)?;
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
    let local = MacAddr([d0, d1, d2, d3, d4, d5]);
    let remote = MacAddr([s0, s1, s2, s3, s4, s5]);
    if local.is_group() {
        return Err(Malformed::EthernetDestinationGroup);
    }
    if remote.is_group() {
        return Err(Malformed::EthernetSourceGroup);
    }
    if [t0, t1] != VLAN {
        let link = Link {
            local,
            remote,
            vlan: None,
        };
        return Ok((link, network([t0, t1])?, rest));
    }
    let (&[c0, c1, t0, t1], rest) = rest
        .split_first_chunk::<TAG>()
        .ok_or(Malformed::VlanTagTruncated)?;
    let link = Link {
        local,
        remote,
        vlan: Some(u16::from_be_bytes([c0, c1])),
    };
    Ok((link, network([t0, t1])?, rest))
}

fn network(ether_type: [u8; 2]) -> Result<Network, Malformed> {
    match ether_type {
        IPV4 => Ok(Network::Ipv4),
        IPV6 => Ok(Network::Ipv6),
        VLAN | SERVICE_VLAN => Err(Malformed::VlanTagsStacked),
        _ => Err(Malformed::EtherTypeUnknown),
    }
}

/// Writes a header from us to the neighbour into `header`, which is as long as
/// [`Link::header_len`] says.
pub(super) fn emit(header: &mut [u8], link: &Link, network: Network) {
    let ether_type = match network {
        Network::Ipv4 => IPV4,
        Network::Ipv6 => IPV6,
    };
    header[..6].copy_from_slice(&link.remote.0);
    header[6..12].copy_from_slice(&link.local.0);
    match link.vlan {
        None => header[12..14].copy_from_slice(&ether_type),
        Some(tag) => {
            header[12..14].copy_from_slice(&VLAN);
            header[14..16].copy_from_slice(&tag.to_be_bytes());
            header[16..18].copy_from_slice(&ether_type);
        }
    }
}
