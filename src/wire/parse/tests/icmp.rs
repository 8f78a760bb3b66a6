//! ICMP and ICMPv6 errors, true and false.

use super::*;
use crate::wire::icmp::IcmpError;
use crate::wire::{ICMP, ICMPV6};

/// An ICMP message with a right checksum that quotes a segment which `quoted` sent.
fn icmp_v4(kind: u8, code: u8, quote: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0][..], quote].concat();
    let checksum = Sum::of(&message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    ipv4_frame(ICMP, [198, 18, 0, 254], TO, &[], &message)
}

fn icmp_v6(kind: u8, code: u8, quote: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0][..], quote].concat();
    let (router, us) = (address("fd00::fe"), address("fd00::1"));
    let pseudo_header = Sum::of_pseudo(&router, &us, message.len() as u32, ICMPV6);
    let checksum = Sum::of(&message).plus(pseudo_header).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    ipv6_frame(ICMPV6, "fd00::fe", "fd00::1", &message)
}

fn v4_quote() -> Vec<u8> {
    let segment = [0, 80, 0x9c, 0x40, 1, 2, 3, 4];
    ipv4_frame(TCP, TO, FROM, &[1, 1, 1, 0], &segment)[14..].to_vec()
}

fn v6_quote() -> Vec<u8> {
    ipv6_frame(TCP, "fd00::1", "fd00::9", &[0, 80, 0x9c, 0x40, 1, 2, 3, 4])[14..].to_vec()
}

#[test]
fn what_each_icmp_error_says() {
    use IcmpError::*;
    let v4 = [
        (3, 0, Some(Unreachable)),
        (3, 1, Some(Unreachable)),
        (3, 2, Some(PortUnreachable)),
        (3, 3, Some(PortUnreachable)),
        (3, 4, Some(PacketTooBig { mtu: 0, quoted: 32 })),
        (3, 13, Some(Unreachable)),
        (4, 0, None),
        (5, 1, None),
        (8, 0, None),
        (11, 0, Some(Other)),
        (12, 0, Some(Other)),
    ];
    let v6 = [
        (1, 0, Some(Unreachable)),
        (1, 1, Some(Unreachable)),
        (1, 4, Some(PortUnreachable)),
        (2, 0, Some(PacketTooBig { mtu: 0, quoted: 48 })),
        (3, 0, Some(Other)),
        (4, 0, Some(Other)),
        (4, 1, Some(PortUnreachable)),
        (128, 0, None),
        (135, 0, None),
    ];
    let frames = v4.map(|(kind, code, says)| (icmp_v4(kind, code, &v4_quote()), v4_key(), says));
    let frames = frames
        .into_iter()
        .chain(v6.map(|(kind, code, says)| (icmp_v6(kind, code, &v6_quote()), v6_key(), says)));
    for (frame, flow, says) in frames {
        match (parse(&frame, Full), says) {
            (Ok(Packet::IcmpError { key, seq, error }), Some(says)) => {
                assert_eq!((key, seq, error), (flow, 0x0102_0304, says));
            }
            (Err(Malformed::IcmpTypeIgnored), None) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn icmp_errors_that_lie() {
    let quote = v4_quote();
    let edited = |at: usize, octet: u8| {
        let mut quote = v4_quote();
        quote[at] = octet;
        icmp_v4(3, 1, &quote)
    };
    assert_eq!(
        reason(&icmp_v4(3, 1, &quote[..31])),
        Some(Malformed::IcmpQuoteTruncated)
    );
    assert_eq!(
        reason(&icmp_v4(3, 1, &quote[..19])),
        Some(Malformed::IcmpQuoteTruncated)
    );
    assert_eq!(reason(&edited(0, 0x65)), Some(Malformed::IcmpQuoteIllegal));
    assert_eq!(reason(&edited(0, 0x44)), Some(Malformed::IcmpQuoteIllegal));
    assert_eq!(reason(&edited(7, 1)), Some(Malformed::IcmpQuoteFragment));
    assert_eq!(reason(&edited(9, 17)), Some(Malformed::IcmpQuoteNotTcp));
    assert_eq!(reason(&edited(15, 2)), Some(Malformed::IcmpQuoteForeign));
    let mut frame = icmp_v4(3, 1, &quote);
    *frame.last_mut().unwrap() ^= 1;
    assert_eq!(reason(&frame), Some(Malformed::IcmpChecksumWrong));
    assert_eq!(
        reason(&ipv4_frame(ICMP, FROM, TO, &[], &[3, 1, 0, 0, 0, 0, 0])),
        Some(Malformed::IcmpHeaderTruncated)
    );

    let mut quote = v6_quote();
    assert_eq!(
        reason(&icmp_v6(1, 0, &quote[..47])),
        Some(Malformed::IcmpQuoteTruncated)
    );
    quote[6] = 44;
    assert_eq!(
        reason(&icmp_v6(1, 0, &quote)),
        Some(Malformed::IcmpQuoteNotTcp)
    );
    // The checksum of ICMPv6 covers the pseudo-header.
    let mut frame = icmp_v6(1, 0, &v6_quote());
    frame[14 + 23] ^= 1;
    assert_eq!(reason(&frame), Some(Malformed::IcmpChecksumWrong));
    // ICMP of the other version is no ICMP.
    assert_eq!(
        reason(&ipv6_frame(ICMP, "fd00::9", "fd00::1", &[0; 64])),
        Some(Malformed::ProtocolUnknown)
    );
    assert_eq!(
        reason(&ipv4_frame(ICMPV6, FROM, TO, &[], &[0; 64])),
        Some(Malformed::ProtocolUnknown)
    );
}
