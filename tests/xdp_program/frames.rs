//! Frames to judge, and who must get them by an independent reading of the RFCs.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
pub(crate) const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
pub(crate) const V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const V4_PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const V4_OTHER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
pub(crate) const V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const V6_PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
pub(crate) const V6_OTHER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
/// A served port, a port of our active opens, and one of the kernel.
pub(crate) const HTTP: u16 = 80;
pub(crate) const CLIENT: u16 = 61_000;
pub(crate) const SSH: u16 = 22;

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const VLAN: u16 = 0x8100;
pub(crate) const SERVICE_VLAN: u16 = 0x88a8;

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

/// IPv4's fragment field: more fragments; an offset in units of eight octets is or-ed to it.
pub(crate) const MORE: u16 = 0x2000;

pub(crate) fn ethernet(destination: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &PEER_MAC, &kind.to_be_bytes(), payload].concat()
}

/// A frame to us.
pub(crate) fn to_us(kind: u16, payload: &[u8]) -> Vec<u8> {
    ethernet(MAC, kind, payload)
}

/// What follows a VLAN type: the tag's control field and the inner type.
pub(crate) fn tag(control: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&control.to_be_bytes()[..], &kind.to_be_bytes(), payload].concat()
}

pub(crate) fn tcp(source: u16, destination: u16) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&source.to_be_bytes());
    segment[2..4].copy_from_slice(&destination.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = 0x02;
    segment
}

pub(crate) fn udp(source: u16, destination: u16) -> Vec<u8> {
    let fields = [source, destination, 8, 0];
    fields
        .iter()
        .flat_map(|field| field.to_be_bytes())
        .collect()
}

/// An IPv4 packet with options (a multiple of 4 octets) and a fragment field.
pub(crate) struct Ipv4<'a> {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) options: &'a [u8],
    pub(crate) fragment: u16,
    pub(crate) id: u16,
}

impl Default for Ipv4<'_> {
    fn default() -> Self {
        Self {
            source: V4_PEER,
            destination: V4,
            protocol: TCP,
            options: &[],
            fragment: 0,
            id: 7,
        }
    }
}

impl Ipv4<'_> {
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut packet = vec![0x40 | (header / 4) as u8, 0];
        packet.extend(((header + payload.len()) as u16).to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([64, self.protocol, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(self.options);
        packet.extend(payload);
        packet
    }

    pub(crate) fn frame(&self, payload: &[u8]) -> Vec<u8> {
        to_us(IPV4, &self.packet(payload))
    }
}

/// An IPv6 packet whose first header is `next`.
pub(crate) fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// From the peer to us.
pub(crate) fn ipv6_frame(next: u8, payload: &[u8]) -> Vec<u8> {
    to_us(IPV6, &ipv6(V6_PEER, V6, next, payload))
}

/// An extension header with `units` times eight octets behind the first eight.
pub(crate) fn extension(next: u8, units: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next, units, 1, 4, 0, 0, 0, 0];
    header.resize(8 + usize::from(units) * 8, 0);
    header.extend(payload);
    header
}

/// A fragment header; `offset` in units of eight octets.
pub(crate) fn fragment(next: u8, offset: u16, more: bool, id: u32, payload: &[u8]) -> Vec<u8> {
    let field = offset << 3 | u16::from(more);
    [
        &[next, 0][..],
        &field.to_be_bytes(),
        &id.to_be_bytes(),
        payload,
    ]
    .concat()
}

/// An authentication header with 12 octets of check value: 24 in all.
pub(crate) fn authentication(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next, 4];
    header.resize(24, 0);
    header.extend(payload);
    header
}

/// An ICMP or ICMPv6 message.
pub(crate) fn icmp(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 0, 0], payload].concat()
}

/// What an ICMP error quotes: the header and eight octets of a segment that `source` sent.
pub(crate) fn quote_ipv4(source: Ipv4Addr, protocol: u8, port: u16) -> Vec<u8> {
    let header = Ipv4 {
        source,
        destination: V4_PEER,
        protocol,
        ..Default::default()
    };
    header.packet(&tcp(port, 40_000)[..8])
}

pub(crate) fn quote_ipv6(source: Ipv6Addr, next: u8, port: u16) -> Vec<u8> {
    ipv6(source, V6_PEER, next, &tcp(port, 40_000)[..8])
}

/// Whether a kernel would take the frame, whole, as TCP to a port of ours. Says no to whatever it
/// does not understand.
pub(crate) fn is_ours_to_the_kernel(frame: &[u8]) -> bool {
    taken(frame).unwrap_or(false)
}

fn taken(frame: &[u8]) -> Option<bool> {
    if frame.get(..6)? != MAC {
        return Some(false);
    }
    let mut rest = frame.get(12..)?;
    if be16(rest, 0)? == VLAN {
        rest = rest.get(4..)?;
    }
    let packet = rest.get(2..)?;
    let tcp = match be16(rest, 0)? {
        IPV4 => ipv4_tcp(packet)?,
        IPV6 => ipv6_tcp(packet)?,
        _ => return Some(false),
    };
    let port = be16(tcp, 2)?;
    Some(tcp.len() >= 20 && (port == HTTP || port >= CLIENT))
}

fn ipv4_tcp(packet: &[u8]) -> Option<&[u8]> {
    let header = usize::from(*packet.first()? & 0x0f) * 4;
    let right = packet[0] >> 4 == 4
        && header >= 20
        && be16(packet, 6)? & 0x1fff == 0
        && *packet.get(9)? == TCP
        && *packet.get(16..20)? == V4.octets();
    right.then(|| packet.get(header..usize::from(be16(packet, 2)?)))?
}

fn ipv6_tcp(packet: &[u8]) -> Option<&[u8]> {
    if *packet.first()? >> 4 != 6 || *packet.get(24..40)? != V6.octets() {
        return None;
    }
    let mut next = packet[6];
    let mut rest = packet.get(40..)?.get(..usize::from(be16(packet, 4)?))?;
    while next != TCP {
        let length = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*rest.get(1)?) + 1) * 8,
            AUTHENTICATION => (usize::from(*rest.get(1)?) + 2) * 4,
            FRAGMENT if be16(rest, 2)? & 0xfff8 == 0 => 8,
            _ => return None,
        };
        next = rest[0];
        rest = rest.get(length..)?;
    }
    Some(rest)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}
