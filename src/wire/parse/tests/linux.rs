//! What Linux sends.

use super::super::ChecksumPolicy::FullOrPartial;
use super::super::is_partial;
use super::*;
use crate::wire::MacAddr;
use crate::wire::fixtures::*;
use crate::wire::icmp::IcmpError;
use crate::wire::tcp::{Header, Options, SackBlock, Timestamps};

#[test]
fn a_syn_of_linux() {
    let frame = octets(SYN_V4_PARTIAL);
    let (link, flow, ecn, syn) = segment(&frame, FullOrPartial);
    assert_eq!(link.local, MacAddr([2, 0, 0, 0, 0, 0x0e]));
    assert_eq!(link.remote, MacAddr([2, 0, 0, 0, 0, 0x0a]));
    assert_eq!((link.vlan, ecn), (None, 0));
    assert_eq!(flow, key("198.18.1.1", 8080, "198.18.0.1", 60_052));
    let options = Options {
        mss: Some(1460),
        window_scale: Some(10),
        sack_permitted: true,
        timestamps: Some(Timestamps {
            tsval: 349_702_723,
            tsecr: 0,
        }),
        ..Options::default()
    };
    assert_eq!(options.len(), 20);
    let header = Header {
        seq: 3_867_939_506,
        flags: Flags::SYN,
        window: 64_240,
        options,
        ..<_>::default()
    };
    assert_eq!(
        syn,
        Segment {
            header,
            payload: &[]
        }
    );
}

#[test]
fn segments_of_linux_with_whole_checksums() {
    let frame = octets(SYN_ACK_V4);
    let (_, _, _, syn_ack) = segment(&frame, Full);
    assert_eq!(syn_ack.header.flags, Flags::SYN | Flags::ACK);
    assert_eq!(
        (syn_ack.header.seq, syn_ack.header.ack),
        (2_628_505_192, 602_909_182)
    );
    assert_eq!(syn_ack.header.options.mss, Some(1460));

    let frame = octets(DATA_V4);
    let (_, flow, _, data) = segment(&frame, Full);
    assert_eq!(flow, key("198.18.0.1", 60_080, "198.18.1.1", 8080));
    assert_eq!(data.payload, b"reply!\n");
    assert_eq!(data.header.flags, Flags::PSH | Flags::ACK);

    let frame = octets(SYN_ACK_V6);
    let (_, flow, _, syn_ack) = segment(&frame, Full);
    assert_eq!(flow, key("fd00:a::1", 57_158, "fd00:b::1", 8080));
    assert_eq!(
        (syn_ack.header.window, syn_ack.header.options.mss),
        (64_260, Some(1440))
    );

    let frame = octets(FIN_V6);
    let (_, _, _, fin) = segment(&frame, Full);
    assert_eq!(fin.header.flags, Flags::FIN | Flags::ACK);
    let timestamps = Timestamps {
        tsval: 2_030_740_258,
        tsecr: 3_945_101_457,
    };
    assert_eq!(fin.header.options.timestamps, Some(timestamps));
}

#[test]
fn a_partial_checksum_is_right_only_where_it_is_expected() {
    for hex in [
        SYN_V4_PARTIAL,
        DATA_V4_PARTIAL,
        SACK_V4_PARTIAL,
        DATA_V6_PARTIAL,
        SACK_V6_PARTIAL,
    ] {
        let mut frame = octets(hex);
        assert_eq!(reason(&frame), Some(Malformed::TcpChecksumWrong));
        assert!(parse(&frame, FullOrPartial).is_ok());
        // A partial sum is for exactly these addresses, and this length.
        let source = if frame[12] == 8 { 29 } else { 37 };
        frame[source] ^= 1;
        if frame[12] == 8 {
            frame[24..26].fill(0);
            let checksum = Sum::of(&frame[14..34]).finish();
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        assert_eq!(
            parse(&frame, FullOrPartial).err(),
            Some(Malformed::TcpChecksumWrong)
        );
    }
    for hex in [SYN_ACK_V4, DATA_V4, SYN_ACK_V6, FIN_V6] {
        assert!(parse(&octets(hex), FullOrPartial).is_ok());
    }
}

#[test]
fn a_partial_checksum_is_compared_in_ones_complement() {
    assert!(is_partial(0, Sum(0xffff)));
    assert!(is_partial(0xffff, Sum(0xffff)));
    assert!(is_partial(0x1234, Sum(0x1234)));
    assert!(!is_partial(!0x1234, Sum(0x1234)));
    assert!(!is_partial(0, Sum(1)));
}

#[test]
fn sack_blocks_of_linux() {
    for (hex, left, right) in [
        (
            SACK_V4_PARTIAL,
            3_867_939_507u32 + 2901,
            3_867_939_507u32 + 3005,
        ),
        (SACK_V6_PARTIAL, 3_792_255_790 + 2861, 3_792_255_790 + 3005),
    ] {
        let frame = octets(hex);
        let (_, _, _, ack) = segment(&frame, FullOrPartial);
        assert_eq!(ack.header.options.sack[..], [SackBlock { left, right }]);
        assert_eq!(ack.header.options.len(), 24);
    }
}

#[test]
fn icmp_errors_of_linux() {
    let us = ("198.18.0.1", "fd00:a::1");
    for (hex, flow, first_seq, expected) in [
        (
            TOO_BIG_V4,
            key(us.0, 60_052, "198.18.1.1", 8080),
            3_867_939_507 + 5,
            IcmpError::PacketTooBig {
                mtu: 1300,
                quoted: 1500,
            },
        ),
        (
            TOO_BIG_V6,
            key(us.1, 57_144, "fd00:b::1", 8080),
            3_792_255_790 + 5,
            IcmpError::PacketTooBig {
                mtu: 1300,
                quoted: 1500,
            },
        ),
        (
            UNREACHABLE_V4,
            key(us.0, 35_684, "198.19.0.9", 8080),
            2_996_148_667,
            IcmpError::Unreachable,
        ),
        (
            UNREACHABLE_V6,
            key(us.1, 52_060, "fd00:c::9", 8080),
            118_077_522,
            IcmpError::Unreachable,
        ),
        (
            TIME_EXCEEDED_V4,
            key(us.0, 60_066, "198.18.1.1", 8080),
            3_021_328_399,
            IcmpError::Other,
        ),
    ] {
        match parse(&octets(hex), Full) {
            Ok(Packet::IcmpError { key, seq, error }) => {
                assert_eq!((key, seq, error), (flow, first_seq, expected));
            }
            other => panic!("{other:?}"),
        }
    }
}
