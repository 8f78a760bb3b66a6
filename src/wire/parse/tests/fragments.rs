//! What the headers of a fragment must say (RFC 791 section 3.2, RFC 8200 section 4.5).

use super::*;
use crate::wire::{DatagramKey, Fragment};

/// An IPv4 fragment; `field` is flags and offset.
fn fragment_v4(field: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = ipv4_frame(TCP, FROM, TO, &[], payload);
    frame[18..20].copy_from_slice(&0x1234u16.to_be_bytes());
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame[24..26].fill(0);
    let checksum = Sum::of(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// An IPv6 fragment; `field` is offset and flags.
fn fragment_v6(next: u8, field: u16, payload: &[u8]) -> Vec<u8> {
    let mut part = vec![next, 0];
    part.extend(field.to_be_bytes());
    part.extend([0x12, 0x34, 0x56, 0x78]);
    part.extend(payload);
    ipv6_frame(44, "fd00::9", "fd00::1", &part)
}

fn fragment(frame: &[u8]) -> Result<Fragment<'_>, Malformed> {
    match parse(frame, Full) {
        Ok(Packet::Fragment { fragment, .. }) => Ok(fragment),
        Ok(other) => panic!("{other:?}"),
        Err(reason) => Err(reason),
    }
}

/// A TCP header of `words` words and text up to `len` octets.
fn segment_of(words: u8, len: usize) -> Vec<u8> {
    let mut octets = vec![7; len];
    octets[12] = words << 4;
    octets
}

#[test]
fn a_fragment_names_its_datagram_and_its_place() {
    let payload = segment_of(5, 24);
    let frame = fragment_v4(0x2000, &payload);
    let datagram = DatagramKey {
        source: Address::from_ipv4(FROM),
        destination: Address::from_ipv4(TO),
        identification: 0x1234,
    };
    let first = Fragment {
        datagram,
        ecn: 0,
        offset: 0,
        more: true,
        headers: 0,
        payload: &payload,
    };
    assert_eq!(fragment(&frame), Ok(first));
    let last = fragment_v4(3, b"abc");
    let last = fragment(&last).unwrap();
    assert_eq!(
        (last.offset, last.more, last.payload),
        (24, false, &b"abc"[..])
    );

    let frame = fragment_v6(6, 0x0101, &payload);
    let datagram = DatagramKey {
        source: address("fd00::9"),
        destination: address("fd00::1"),
        identification: 0x1234_5678,
    };
    let middle = Fragment {
        datagram,
        offset: 0x100,
        ..first
    };
    assert_eq!(fragment(&frame), Ok(middle));
}

#[test]
fn a_fragment_that_others_follow_is_a_multiple_of_eight_octets() {
    let reason = Err(Malformed::FragmentLengthIllegal);
    for len in [25, 31] {
        assert_eq!(fragment(&fragment_v4(0x2000, &segment_of(5, len))), reason);
        assert_eq!(fragment(&fragment_v6(6, 1, &segment_of(5, len))), reason);
        assert!(fragment(&fragment_v4(2, &segment_of(5, len))).is_ok());
        assert!(fragment(&fragment_v6(6, 16, &segment_of(5, len))).is_ok());
    }
    assert_eq!(fragment(&fragment_v4(2, &[])), reason);
    assert_eq!(fragment(&fragment_v6(6, 16, &[])), reason);
}

#[test]
fn no_fragment_ends_beyond_the_largest_datagram() {
    let reason = Err(Malformed::FragmentBeyondDatagram);
    // 65512 and what follows, of 65515.
    assert!(fragment(&fragment_v4(8_189, &[0; 3])).is_ok());
    assert_eq!(fragment(&fragment_v4(8_189, &[0; 4])), reason);
    assert!(fragment(&fragment_v6(6, 65_528, &[0; 7])).is_ok());
    assert_eq!(fragment(&fragment_v6(6, 65_528, &[0; 8])), reason);
}

#[test]
fn the_first_fragment_has_all_headers() {
    let tiny = Err(Malformed::FragmentTiny);
    assert_eq!(fragment(&fragment_v4(0x2000, &[7; 16])), tiny);
    assert!(fragment(&fragment_v4(0x2000, &segment_of(15, 24))).is_ok());
    assert_eq!(fragment(&fragment_v6(6, 1, &[7; 16])), tiny);
    assert_eq!(fragment(&fragment_v6(6, 1, &segment_of(7, 24))), tiny);
    assert!(fragment(&fragment_v6(6, 1, &segment_of(6, 24))).is_ok());
    // Destination options that go on in the next fragment, and those that do not.
    assert_eq!(
        fragment(&fragment_v6(60, 1, &[6, 2, 1, 4, 0, 0, 0, 0])),
        tiny
    );
    let whole = [&[6, 0, 1, 4, 0, 0, 0, 0], &segment_of(6, 24)[..]].concat();
    assert_eq!(fragment(&fragment_v6(60, 1, &whole)).unwrap().headers, 8);
}

#[test]
fn what_is_behind_a_fragment_header_is_judged_as_well() {
    let behind = |next: u8, payload: &[u8]| fragment(&fragment_v6(next, 1, payload)).unwrap_err();
    let padding = [6, 0, 1, 4, 0, 0, 0, 0];
    assert_eq!(behind(0, &padding), Malformed::Ipv6HopByHopMisplaced);
    assert_eq!(behind(44, &padding), Malformed::Ipv6ExtensionsTooMany);
    assert_eq!(behind(17, &padding), Malformed::ProtocolUnknown);
    assert_eq!(behind(58, &padding), Malformed::ProtocolUnknown);
    // A later one may say what it likes.
    assert!(fragment(&fragment_v6(17, 9, &padding)).is_ok());
    let mut udp = fragment_v4(0x2000, &[0; 24]);
    udp[23] = 17;
    udp[24..26].fill(0);
    let checksum = Sum::of(&udp[14..34]).finish();
    udp[24..26].copy_from_slice(&checksum.to_be_bytes());
    assert_eq!(fragment(&udp), Err(Malformed::ProtocolUnknown));
}
