use proptest::prelude::*;

use super::ChecksumPolicy::{Full, FullOrPartial};
use super::*;
use crate::wire::emit::{MAX_HEADERS, Route, segment_headers};
use crate::wire::fixtures::*;
use crate::wire::icmp::IcmpError;
use crate::wire::tcp::{Flags, Header, Options, SackBlock, Timestamps};
use crate::wire::{ICMP, ICMPV6, MacAddr, TCP};

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
            IcmpError::PacketTooBig { mtu: 1300 },
        ),
        (
            TOO_BIG_V6,
            key(us.1, 57_144, "fd00:b::1", 8080),
            3_792_255_790 + 5,
            IcmpError::PacketTooBig { mtu: 1300 },
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
        (3, 4, Some(PacketTooBig { mtu: 0 })),
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
        (2, 0, Some(PacketTooBig { mtu: 0 })),
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

#[test]
fn link_layers() {
    let mut frame = tcp_v4(20, |_| {});
    assert_eq!(reason(&frame), None);
    frame[0] = 3;
    assert_eq!(reason(&frame), Some(Malformed::EthernetDestinationGroup));
    frame[0] = 2;
    frame[6] = 0xff;
    assert_eq!(reason(&frame), Some(Malformed::EthernetSourceGroup));
    frame[6] = 2;
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    assert_eq!(reason(&frame), Some(Malformed::EtherTypeUnknown));

    let packet = &tcp_v4(20, |_| {})[14..];
    let tagged = ethernet(0x8100, &[&[0x60, 0x07, 0x08, 0x00], packet].concat());
    let (link, ..) = segment(&tagged, Full);
    assert_eq!(link.vlan, Some(0x6007));
    assert_eq!(reason(&tagged[..17]), Some(Malformed::VlanTagTruncated));
    let stacked = ethernet(
        0x8100,
        &[&[0, 7, 0x81, 0x00, 0, 8, 0x08, 0x00], packet].concat(),
    );
    assert_eq!(reason(&stacked), Some(Malformed::VlanTagsStacked));
    let service = ethernet(0x88a8, &[&[0, 7, 0x08, 0x00], packet].concat());
    assert_eq!(reason(&service), Some(Malformed::VlanTagsStacked));
}

#[test]
fn padding_is_no_payload() {
    let mut frame = tcp_v4(21, |tcp| tcp[20] = b'x');
    frame.extend([0xee; 5]);
    assert_eq!(segment(&frame, Full).3.payload, b"x");
    let mut frame = ipv6_frame(TCP, "fd00::9", "fd00::1", &tcp_bytes(&v6_key(), 20, |_| {}));
    frame.extend([0xee; 6]);
    assert_eq!(segment(&frame, Full).3.payload, b"");
}

#[test]
fn ipv4_headers_that_lie() {
    let edited = |at: usize, octet: u8| {
        let mut frame = tcp_v4(40, |_| {});
        frame[14 + at] = octet;
        frame[24..26].fill(0);
        let header_len = usize::from(frame[14] & 15).max(5) * 4;
        let checksum = Sum::of(&frame[14..14 + header_len]).finish();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame
    };
    assert_eq!(reason(&edited(0, 0x55)), Some(Malformed::Ipv4VersionWrong));
    assert_eq!(
        reason(&edited(0, 0x44)),
        Some(Malformed::Ipv4HeaderLengthTooSmall)
    );
    assert_eq!(
        reason(&tcp_v4(20, |_| {})[..14 + 39]),
        Some(Malformed::Ipv4TotalLengthBeyondFrame)
    );
    assert_eq!(
        reason(&edited(3, 19)),
        Some(Malformed::Ipv4TotalLengthTooSmall)
    );
    assert_eq!(
        reason(&edited(3, 61)),
        Some(Malformed::Ipv4TotalLengthBeyondFrame)
    );
    assert_eq!(reason(&edited(9, 17)), Some(Malformed::ProtocolUnknown));
    let mut frame = tcp_v4(20, |_| {});
    frame[22] ^= 1;
    assert_eq!(reason(&frame), Some(Malformed::Ipv4ChecksumWrong));
    assert_eq!(
        reason(&frame[..14 + 19]),
        Some(Malformed::Ipv4HeaderTruncated)
    );

    for (flags, offset) in [(0x20, 0), (0, 1), (0x1f, 0xff), (0x60, 0)] {
        let mut frame = edited(7, offset);
        frame[20] = flags;
        frame[24..26].fill(0);
        let checksum = Sum::of(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        match parse(&frame, Full) {
            Ok(Packet::Fragment { local }) => assert_eq!(local, Address::from_ipv4(TO)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn ipv4_options() {
    let tcp = tcp_bytes(&v4_key(), 20, |_| {});
    for (options, expected) in [
        (&[1, 1, 1, 0][..], None),
        (&[0, 99, 99, 99], None),
        (&[148, 4, 0, 0], None),
        (&[131, 3, 4, 0], Some(Malformed::Ipv4SourceRoute)),
        (&[1, 137, 3, 4], Some(Malformed::Ipv4SourceRoute)),
        (&[7, 0, 0, 0], Some(Malformed::Ipv4OptionsIllegal)),
        (&[7, 1, 0, 0], Some(Malformed::Ipv4OptionsIllegal)),
        (&[7, 5, 0, 0], Some(Malformed::Ipv4OptionsIllegal)),
        (&[1, 1, 1, 7], Some(Malformed::Ipv4OptionsIllegal)),
    ] {
        assert_eq!(
            reason(&ipv4_frame(TCP, FROM, TO, options, &tcp)),
            expected,
            "{options:?}"
        );
    }
}

#[test]
fn ipv6_headers_that_lie() {
    let frame = ipv6_frame(TCP, "fd00::9", "fd00::1", &tcp_bytes(&v6_key(), 20, |_| {}));
    assert_eq!(reason(&frame), None);
    assert_eq!(
        reason(&frame[..14 + 39]),
        Some(Malformed::Ipv6HeaderTruncated)
    );
    assert_eq!(
        reason(&frame[..frame.len() - 1]),
        Some(Malformed::Ipv6PayloadLengthBeyondFrame)
    );
    let mut wrong = frame.clone();
    wrong[14] = 0x40;
    assert_eq!(reason(&wrong), Some(Malformed::Ipv6VersionWrong));
    let mut mapped = frame.clone();
    mapped[22..38].copy_from_slice(Address::from_ipv4(FROM).octets());
    assert_eq!(reason(&mapped), Some(Malformed::Ipv6SourceMapped));
    let mut mapped = frame;
    mapped[38..54].copy_from_slice(Address::from_ipv4(TO).octets());
    assert_eq!(reason(&mapped), Some(Malformed::Ipv6DestinationMapped));
}

#[test]
fn ipv6_extension_headers() {
    let tcp = tcp_bytes(&v6_key(), 20, |_| {});
    let judge = |first: u8, extensions: &[u8]| {
        let frame = ipv6_frame(first, "fd00::9", "fd00::1", &[extensions, &tcp].concat());
        match parse(&frame, Full) {
            Ok(Packet::Tcp { .. }) => Ok("tcp"),
            Ok(Packet::Fragment { .. }) => Ok("fragment"),
            Ok(other) => panic!("{other:?}"),
            Err(reason) => Err(reason),
        }
    };
    // Padding only, in one and in two units of 8 octets.
    assert_eq!(judge(0, &[6, 0, 1, 4, 0, 0, 0, 0]), Ok("tcp"));
    assert_eq!(
        judge(60, &[6, 1, 0, 0, 1, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Ok("tcp")
    );
    // An unknown option that may be skipped, and those that may not.
    assert_eq!(judge(60, &[6, 0, 0x3e, 4, 0, 0, 0, 0]), Ok("tcp"));
    for kind in [0x7e, 0xbe, 0xfe] {
        assert_eq!(
            judge(60, &[6, 0, kind, 4, 0, 0, 0, 0]),
            Err(Malformed::Ipv6OptionUnknown)
        );
    }
    assert_eq!(
        judge(60, &[6, 0, 1, 5, 0, 0, 0, 0]),
        Err(Malformed::Ipv6OptionsIllegal)
    );
    assert_eq!(
        judge(60, &[6, 0, 1, 3, 0, 0, 0, 1]),
        Err(Malformed::Ipv6OptionsIllegal)
    );
    assert_eq!(
        judge(60, &[6, 9, 1, 4, 0, 0, 0, 0]),
        Err(Malformed::Ipv6ExtensionTruncated)
    );
    // Routing headers.
    assert_eq!(judge(43, &[6, 0, 0, 0, 0, 0, 0, 0]), Ok("tcp"));
    assert_eq!(
        judge(43, &[6, 0, 4, 1, 0, 0, 0, 0]),
        Err(Malformed::Ipv6RoutingSegmentsLeft)
    );
    // Fragments: more to come, in the middle, atomic (with reserved bits set).
    assert_eq!(judge(44, &[6, 0, 0, 1, 0, 0, 0, 0]), Ok("fragment"));
    assert_eq!(judge(44, &[6, 0, 0, 8, 0, 0, 0, 0]), Ok("fragment"));
    assert_eq!(judge(44, &[6, 0, 0, 6, 0, 0, 0, 0]), Ok("tcp"));
    // Order, number, unknown ones, no next header.
    assert_eq!(
        judge(60, &[0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]),
        Err(Malformed::Ipv6HopByHopMisplaced)
    );
    for (count, expected) in [(7, Ok("tcp")), (8, Err(Malformed::Ipv6ExtensionsTooMany))] {
        let mut chain = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        chain[(count - 1) * 8] = 6;
        assert_eq!(judge(60, &chain), expected, "{count}");
    }
    assert_eq!(judge(59, &[]), Err(Malformed::ProtocolUnknown));
    assert_eq!(
        judge(51, &[6, 0, 0, 0, 0, 0, 0, 0]),
        Err(Malformed::ProtocolUnknown)
    );
    let cut = ipv6_frame(60, "fd00::9", "fd00::1", &[6]);
    assert_eq!(reason(&cut), Some(Malformed::Ipv6ExtensionTruncated));
    let cut = ipv6_frame(44, "fd00::9", "fd00::1", &[6, 0, 0, 0, 0, 0, 0]);
    assert_eq!(reason(&cut), Some(Malformed::Ipv6ExtensionTruncated));
}

#[test]
fn martians() {
    let v4 = |from: [u8; 4], to: [u8; 4]| reason(&ipv4_frame(TCP, from, to, &[], &[0; 20]));
    assert_eq!(v4([0, 1, 2, 3], TO), Some(Malformed::SourceUnspecified));
    assert_eq!(v4([127, 0, 0, 1], TO), Some(Malformed::SourceLoopback));
    assert_eq!(v4([239, 1, 2, 3], TO), Some(Malformed::SourceMulticast));
    assert_eq!(v4([255; 4], TO), Some(Malformed::SourceBroadcast));
    assert_eq!(v4(FROM, [0; 4]), Some(Malformed::DestinationUnspecified));
    assert_eq!(
        v4(FROM, [127, 9, 9, 9]),
        Some(Malformed::DestinationLoopback)
    );
    assert_eq!(
        v4(FROM, [224, 0, 0, 1]),
        Some(Malformed::DestinationMulticast)
    );
    assert_eq!(v4(FROM, [255; 4]), Some(Malformed::DestinationBroadcast));
    let v6 = |from: &str, to: &str| reason(&ipv6_frame(TCP, from, to, &[0; 20]));
    assert_eq!(v6("::", "fd00::1"), Some(Malformed::SourceUnspecified));
    assert_eq!(v6("::1", "fd00::1"), Some(Malformed::SourceLoopback));
    assert_eq!(v6("ff02::1", "fd00::1"), Some(Malformed::SourceMulticast));
    assert_eq!(v6("fd00::9", "::"), Some(Malformed::DestinationUnspecified));
    assert_eq!(v6("fd00::9", "::1"), Some(Malformed::DestinationLoopback));
    assert_eq!(
        v6("fd00::9", "ff02::1"),
        Some(Malformed::DestinationMulticast)
    );
}

#[test]
fn segments_that_lie() {
    let judge = |len: usize, edit: fn(&mut [u8])| reason(&tcp_v4(len, edit));
    assert_eq!(judge(20, |_| {}), None);
    let short = ipv4_frame(TCP, FROM, TO, &[], &[0; 19]);
    assert_eq!(reason(&short), Some(Malformed::TcpHeaderTruncated));
    assert_eq!(
        judge(20, |tcp| tcp[12] = 4 << 4),
        Some(Malformed::TcpDataOffsetTooSmall)
    );
    assert_eq!(
        judge(20, |tcp| tcp[12] = 6 << 4),
        Some(Malformed::TcpDataOffsetBeyondSegment)
    );
    assert_eq!(
        judge(20, |tcp| tcp[..2].fill(0)),
        Some(Malformed::TcpSourcePortZero)
    );
    assert_eq!(
        judge(20, |tcp| tcp[2..4].fill(0)),
        Some(Malformed::TcpDestinationPortZero)
    );
    let land = ipv4_frame(
        TCP,
        TO,
        TO,
        &[],
        &tcp_bytes(&v4_key(), 20, |tcp| {
            tcp[..4].copy_from_slice(&[0, 80, 0, 80]);
        }),
    );
    assert_eq!(reason(&land), Some(Malformed::TcpFromItself));
    let mut frame = tcp_v4(20, |_| {});
    *frame.last_mut().unwrap() ^= 1;
    assert_eq!(reason(&frame), Some(Malformed::TcpChecksumWrong));
}

#[test]
fn fields_without_their_bit_are_zero() {
    let frame = tcp_v4(20, |tcp| {
        tcp[4..].copy_from_slice(&[9, 9, 9, 9, 9, 9, 9, 9, 0x50, 0, 9, 9, 0, 0, 9, 9])
    });
    let header = segment(&frame, Full).3.header;
    assert_eq!((header.seq, header.ack, header.urgent), (0x0909_0909, 0, 0));
    assert_eq!((header.flags, header.window), (Flags(0), 0x0909));
}

/// The options of a segment whose header ends in `options`.
fn options(flags: Flags, options: &[u8]) -> Result<Options, Malformed> {
    let len = 20 + options.len().next_multiple_of(4);
    let frame = tcp_v4(len, |tcp| {
        tcp[12] = ((len / 4) << 4) as u8;
        tcp[13] = flags.0;
        tcp[20..20 + options.len()].copy_from_slice(options);
    });
    match parse(&frame, Full)? {
        Packet::Tcp { segment, .. } => Ok(segment.header.options),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tcp_options_with_illegal_lengths_cost_the_segment() {
    for bytes in [
        &[2, 0, 5, 0xb4][..],
        &[2, 1, 5, 0xb4],
        &[2, 3, 5, 1],
        &[2, 5, 5, 0xb4],
        &[3, 4, 1, 0],
        &[4, 3, 0, 0],
        &[8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[5, 2, 0, 0],
        &[5, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[254, 0, 0, 0],
        &[254, 5, 0, 0],
        &[1, 1, 1, 254],
        &[1, 1, 1, 2],
    ] {
        assert_eq!(
            options(Flags::SYN, bytes),
            Err(Malformed::TcpOptionsIllegal),
            "{bytes:?}"
        );
    }
}

#[test]
fn tcp_options_unknown_twice_and_out_of_place() {
    let unknown = options(Flags::SYN, &[254, 6, 1, 2, 3, 4, 34, 2, 2, 4, 5, 0xb4]).unwrap();
    assert_eq!(
        unknown,
        Options {
            mss: Some(1460),
            ..Options::default()
        }
    );
    let twice = options(Flags::SYN, &[2, 4, 5, 0xb4, 2, 4, 0, 1, 3, 3, 7, 3, 3, 255]).unwrap();
    assert_eq!((twice.mss, twice.window_scale), (Some(1460), Some(7)));
    let ended = options(Flags::SYN, &[4, 2, 0, 2, 2, 2, 2, 2]).unwrap();
    assert_eq!(
        ended,
        Options {
            sack_permitted: true,
            ..Options::default()
        }
    );
    let late = options(Flags::ACK, &[2, 4, 5, 0xb4, 4, 2, 3, 3, 7]).unwrap();
    assert_eq!(late, Options::default());
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

#[test]
fn no_prefix_of_a_frame_is_a_frame() {
    for hex in [
        SYN_ACK_V4,
        DATA_V4,
        SYN_ACK_V6,
        FIN_V6,
        UNREACHABLE_V4,
        UNREACHABLE_V6,
        TOO_BIG_V4,
    ] {
        let frame = octets(hex);
        assert!(parse(&frame, Full).is_ok());
        for len in 0..frame.len() {
            assert!(parse(&frame[..len], Full).is_err(), "{len} octets of {hex}");
        }
    }
}

#[test]
fn every_bit_is_covered_by_a_checksum_or_read() {
    for hex in [DATA_V4, SYN_ACK_V4, SYN_ACK_V6, FIN_V6] {
        let original = octets(hex);
        let is_ipv4 = original[12] == 8;
        let (link, flow, ecn, good) = segment(&original, Full);
        let mut frame = original.clone();
        for bit in 0..frame.len() * 8 {
            let octet = bit / 8;
            frame[octet] ^= 1 << (bit % 8);
            match parse(&frame, Full) {
                Err(_) => {}
                // Only MAC addresses, and in IPv6 also traffic class, flow label and hop limit,
                // have no checksum in the frame.
                Ok(Packet::Tcp {
                    link: l,
                    key: k,
                    ecn: e,
                    segment: s,
                }) => {
                    assert_eq!((k, &s), (flow, &good), "bit {bit} of {hex}");
                    match octet {
                        0..12 => assert_ne!(l, link),
                        14..18 | 21 => assert!(!is_ipv4 && l == link),
                        _ => panic!("bit {bit} of {hex} is not covered"),
                    }
                    assert_eq!(e != ecn, octet == 15 && (4..6).contains(&(bit % 8)));
                }
                Ok(other) => panic!("bit {bit} of {hex}: {other:?}"),
            }
            frame[octet] ^= 1 << (bit % 8);
        }
    }
}

fn any_address(is_ipv4: bool) -> impl Strategy<Value = Address> {
    any::<[u8; 16]>()
        .prop_map(move |mut octets| {
            if is_ipv4 {
                Address::from_ipv4([octets[0], octets[1], octets[2], octets[3]])
            } else {
                octets[0] = 0xfd;
                Address::from_ipv6(octets)
            }
        })
        .prop_filter("unicast", |address| {
            matches!(kind_of(address), Kind::Unicast)
        })
}

prop_compose! {
    fn any_key()(is_ipv4 in any::<bool>())(
        local in any_address(is_ipv4),
        remote in any_address(is_ipv4),
        local_port in 1..=u16::MAX,
        remote_port in 1..=u16::MAX,
    ) -> FlowKey {
        FlowKey { local, remote, local_port, remote_port }
    }
}

prop_compose! {
    fn any_options()(
        mss in any::<Option<u16>>(),
        window_scale in any::<Option<u8>>(),
        sack_permitted in any::<bool>(),
        timestamps in any::<Option<(u32, u32)>>(),
        sack in prop::collection::vec(any::<(u32, u32)>(), 0..=4),
    ) -> Options {
        let mut options = Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps: timestamps.map(|(tsval, tsecr)| Timestamps { tsval, tsecr }),
            ..Options::default()
        };
        let room = options.sack_room();
        options.sack.extend(
            sack.into_iter().take(room).map(|(left, right)| SackBlock { left, right }),
        );
        options
    }
}

prop_compose! {
    fn any_header()(
        seq in any::<u32>(),
        ack in any::<u32>(),
        flags in any::<u8>(),
        window in any::<u16>(),
        urgent in any::<u16>(),
        options in any_options(),
    ) -> Header {
        let mut header = Header { seq, ack, flags: Flags(flags), window, urgent, options };
        if !header.flags.contains(Flags::ACK) {
            header.ack = 0;
        }
        if !header.flags.contains(Flags::URG) {
            header.urgent = 0;
        }
        if !header.flags.contains(Flags::SYN) {
            header.options.mss = None;
            header.options.window_scale = None;
            header.options.sack_permitted = false;
        }
        header
    }
}

prop_compose! {
    fn any_route()(
        local in any::<[u8; 6]>(),
        remote in any::<[u8; 6]>(),
        vlan in any::<Option<u16>>(),
        key in any_key(),
        hop_limit in any::<u8>(),
        ecn in 0u8..4,
        identification in any::<u16>(),
    ) -> Route {
        let unicast = |[a, b, c, d, e, f]: [u8; 6]| MacAddr([a & !1, b, c, d, e, f]);
        let link = Link { local: unicast(local), remote: unicast(remote), vlan };
        Route { link, key, hop_limit, ecn, identification }
    }
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed(
        route in any_route(),
        header in any_header(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut frame = vec![0xa5; MAX_HEADERS + payload.len()];
        let (headroom, data) = frame.split_at_mut(MAX_HEADERS);
        let sum = Sum::of_copy(data, &payload);
        let len = segment_headers(headroom, &route, &header, (payload.len(), sum));
        prop_assert!(header.options.len() <= 40);
        prop_assert!(frame[..MAX_HEADERS - len].iter().all(|&octet| octet == 0xa5));
        let (link, key, ecn, parsed) = segment(&frame[MAX_HEADERS - len..], Full);
        prop_assert_eq!((link.local, link.remote), (route.link.remote, route.link.local));
        prop_assert_eq!(link.vlan, route.link.vlan);
        prop_assert_eq!((key, ecn), (route.key.reversed(), route.ecn));
        prop_assert_eq!(parsed.payload, &payload[..]);
        prop_assert_eq!(parsed.header, header);
    }

    #[test]
    fn no_octets_panic(frame in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&frame, FullOrPartial);
    }

    /// Random octets rarely get past a checksum; here both are mended after the damage.
    #[test]
    fn no_damage_panics(
        which in 0usize..9,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let frames = [
            SYN_V4_PARTIAL, SACK_V4_PARTIAL, TOO_BIG_V4, SACK_V6_PARTIAL, TOO_BIG_V6,
            UNREACHABLE_V4, UNREACHABLE_V6, SYN_ACK_V4, SYN_ACK_V6,
        ];
        let mut frame = octets(frames[which]);
        for (at, octet) in damage {
            let at = 14 + at.index(frame.len().min(110) - 14);
            frame[at] = octet;
        }
        mend(&mut frame);
        let _ = parse(&frame, FullOrPartial);
        let cut = cut.index(frame.len());
        let _ = parse(&frame[..cut], FullOrPartial);
    }
}

/// Puts the right checksums where they belong if there are no options or extension headers.
fn mend(frame: &mut [u8]) {
    let is_ipv4 = frame[12] == 8;
    let ip_len = if is_ipv4 {
        usize::from(frame[14] & 15).max(5) * 4
    } else {
        40
    };
    let packet = &mut frame[14..];
    if is_ipv4 {
        let ip_len = ip_len.min(packet.len());
        packet[10..12].fill(0);
        let checksum = Sum::of(&packet[..ip_len]).finish();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
    let (source, destination) = if is_ipv4 {
        let octets = |at: usize| [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]];
        (
            Address::from_ipv4(octets(12)),
            Address::from_ipv4(octets(16)),
        )
    } else {
        let octets = |at: usize| *packet[at..].first_chunk::<16>().unwrap();
        (
            Address::from_ipv6(octets(8)),
            Address::from_ipv6(octets(24)),
        )
    };
    let protocol = packet[if is_ipv4 { 9 } else { 6 }];
    let Some(upper) = packet.get_mut(ip_len..) else {
        return;
    };
    let at = if protocol == TCP { 16 } else { 2 };
    if upper.len() < at + 2 {
        return;
    }
    upper[at..at + 2].fill(0);
    let mut sum = Sum::of(upper);
    if protocol != ICMP {
        sum = sum.plus(Sum::of_pseudo(
            &source,
            &destination,
            upper.len() as u32,
            protocol,
        ));
    }
    upper[at..at + 2].copy_from_slice(&sum.finish().to_be_bytes());
}
