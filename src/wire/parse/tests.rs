//! Frames for the tests of the parser, most of them with a lie in one place.

mod fragments;
mod headers;
mod icmp;
mod linux;
mod properties;
mod segments;

use super::ChecksumPolicy::Full;
use super::*;
use crate::wire::TCP;
use crate::wire::tcp::Flags;

fn address(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn key(local: &str, local_port: u16, remote: &str, remote_port: u16) -> FlowKey {
    FlowKey {
        local: address(local),
        remote: address(remote),
        local_port,
        remote_port,
    }
}

fn segment(frame: &[u8], policy: ChecksumPolicy) -> (Link, FlowKey, u8, Segment<'_>) {
    match parse(frame, policy) {
        Ok(Packet::Tcp {
            link,
            key,
            ecn,
            segment,
        }) => (link, key, ecn, segment),
        other => panic!("{other:?}"),
    }
}

fn reason(frame: &[u8]) -> Option<Malformed> {
    parse(frame, Full).err()
}

/// An Ethernet header and what follows it.
fn ethernet(ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(packet);
    frame
}

/// A frame with a right header checksum. `options` is a multiple of 4 octets.
fn ipv4_frame(protocol: u8, from: [u8; 4], to: [u8; 4], options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut header = vec![0x40 | (header_len / 4) as u8, 0];
    header.extend(((header_len + payload.len()) as u16).to_be_bytes());
    header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    header.extend(from);
    header.extend(to);
    header.extend(options);
    let checksum = Sum::of(&header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    ethernet(0x0800, &[&header, payload].concat())
}

fn ipv6_frame(next: u8, from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(address(from).octets());
    packet.extend(address(to).octets());
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}

/// A bare segment with a right checksum; `edit` may break all but that.
fn tcp_bytes(key: &FlowKey, len: usize, edit: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[..2].copy_from_slice(&key.remote_port.to_be_bytes());
    bytes[2..4].copy_from_slice(&key.local_port.to_be_bytes());
    bytes[12] = 5 << 4;
    bytes[13] = Flags::ACK.0;
    edit(&mut bytes);
    let sum = Sum::of(&bytes).plus(Sum::of_pseudo_header(key, len as u32));
    bytes[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    bytes
}

const FROM: [u8; 4] = [198, 18, 0, 9];
const TO: [u8; 4] = [198, 18, 0, 1];

fn v4_key() -> FlowKey {
    key("198.18.0.1", 80, "198.18.0.9", 40_000)
}

fn v6_key() -> FlowKey {
    key("fd00::1", 80, "fd00::9", 40_000)
}

fn tcp_v4(len: usize, edit: impl Fn(&mut [u8])) -> Vec<u8> {
    ipv4_frame(TCP, FROM, TO, &[], &tcp_bytes(&v4_key(), len, edit))
}

#[test]
fn reasons_have_names_of_their_own() {
    for (number, reason) in Malformed::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, number);
        assert!(
            reason
                .name()
                .bytes()
                .all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        );
        assert!(
            Malformed::ALL[..number]
                .iter()
                .all(|other| other.name() != reason.name())
        );
    }
}
