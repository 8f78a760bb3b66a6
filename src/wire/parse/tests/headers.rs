//! Headers that lie, layer by layer.

use super::*;
use crate::wire::tcp::{FastOpen, Options};

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

    for (flags, offset) in [(0x20, 0), (0, 1), (0x1f, 0xf0), (0x60, 0)] {
        let tcp = tcp_bytes(&v4_key(), 24, |_| {});
        let mut frame = ipv4_frame(TCP, FROM, TO, &[], &tcp);
        frame[21] = offset;
        frame[20] = flags;
        frame[24..26].fill(0);
        let checksum = Sum::of(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        match parse(&frame, Full) {
            Ok(Packet::Fragment { fragment, .. }) => {
                assert_eq!(fragment.datagram.destination, Address::from_ipv4(TO));
            }
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
    let tcp = tcp_bytes(&v6_key(), 24, |_| {});
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
    let unknown = options(Flags::SYN, &[254, 6, 1, 2, 3, 4, 35, 2, 2, 4, 5, 0xb4]).unwrap();
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

/// RFC 7413 section 4.1.1 with errata 4238: no cookie, or one of 4 to 16 octets, an even number;
/// anything else, and one without SYN, is ignored.
#[test]
fn a_fast_open_option_of_illegal_length_or_without_syn_is_ignored() {
    let cookie = |flags, len: u8| {
        let mut bytes = vec![34, 2 + len];
        bytes.extend(0..len);
        bytes.resize(bytes.len().next_multiple_of(4), 1);
        options(flags, &bytes).unwrap().fast_open
    };
    assert_eq!(cookie(Flags::SYN, 0), Some(FastOpen::REQUEST));
    for len in 1..=18 {
        let octets: Vec<u8> = (0..len).collect();
        let legal = (4..=16).contains(&len) && len % 2 == 0;
        assert_eq!(
            cookie(Flags::SYN, len),
            legal.then(|| FastOpen::new(&octets).unwrap())
        );
        assert_eq!(cookie(Flags::ACK, len), None);
    }
}
