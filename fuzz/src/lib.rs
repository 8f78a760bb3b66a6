//! What the targets share: frames whose checksums are right, so that a changed octet gets further
//! than to the checksum.

use corelane::wire::Address;
use corelane::wire::checksum::Sum;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;

/// Makes the checksums of a frame right, as far as it is one: IPv4's, and that of TCP or ICMP right
/// behind the IP header.
pub fn mend_checksums(frame: &mut [u8]) {
    let mut at = ETHERNET;
    if frame.get(12..14) == Some(&[0x81, 0x00]) {
        at += 4;
    }
    let Some(&[a, b]) = frame.get(at - 2..at) else {
        return;
    };
    let packet = &mut frame[at..];
    match [a, b] {
        [0x08, 0x00] => mend_ipv4(packet),
        [0x86, 0xdd] => mend_ipv6(packet),
        _ => {}
    }
}

fn mend_ipv4(packet: &mut [u8]) {
    let header = usize::from(packet.first().map_or(0, |first| first & 0x0f)) * 4;
    if header < IPV4 || packet.len() < header {
        return;
    }
    put(packet, 10, Sum::of(&zeroed(&packet[..header], 10)).finish());
    let end = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(packet.len());
    let address = |at: usize| Address::from_ipv4([0, 1, 2, 3].map(|next| packet[at + next]));
    let (source, destination) = (address(12), address(16));
    let protocol = packet[9];
    if let Some(upper) = packet.get_mut(header..end) {
        let pseudo = if protocol == ICMP { 0 } else { protocol };
        mend_upper(upper, &source, &destination, protocol, pseudo);
    }
}

fn mend_ipv6(packet: &mut [u8]) {
    if packet.len() < IPV6 {
        return;
    }
    let end = IPV6 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
    let end = end.min(packet.len());
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&packet[at..at + 16]);
        Address::from_ipv6(octets)
    };
    let (source, destination) = (address(8), address(24));
    let protocol = packet[6];
    mend_upper(
        &mut packet[IPV6..end],
        &source,
        &destination,
        protocol,
        protocol,
    );
}

fn mend_upper(upper: &mut [u8], source: &Address, destination: &Address, protocol: u8, pseudo: u8) {
    let at = match protocol {
        TCP => 16,
        ICMP | ICMPV6 => 2,
        _ => return,
    };
    if upper.len() < at + 2 {
        return;
    }
    let mut sum = Sum::of(&zeroed(upper, at));
    if pseudo != 0 {
        let mut header = [source.octets().as_slice(), destination.octets()].concat();
        if source.is_ipv4() && destination.is_ipv4() {
            header = [source.ipv4_octets(), destination.ipv4_octets()].concat();
        }
        header.extend((upper.len() as u32).to_be_bytes());
        header.extend([0, 0, 0, pseudo]);
        sum = sum.plus(Sum::of(&header));
    }
    put(upper, at, sum.finish());
}

fn zeroed(octets: &[u8], at: usize) -> Vec<u8> {
    let mut octets = octets.to_vec();
    octets[at..at + 2].fill(0);
    octets
}

fn put(octets: &mut [u8], at: usize, checksum: u16) {
    octets[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
