//! What RFC 9293 section 3.1 asks of a receiver and of a sender of headers.

use super::*;
use crate::wire::MacAddr;
use crate::wire::emit::{MAX_HEADERS, Route, segment_headers};
use crate::wire::tcp::{FastOpen, Header, Options, SackBlock, Timestamps};

fn parsed(bits: u8, options: &[u8], text: &[u8]) -> Header {
    let header_len = 20 + options.len();
    let frame = tcp_v4(header_len + text.len(), |tcp| {
        tcp[12] = ((header_len / 4) << 4) as u8;
        tcp[13] = bits;
        tcp[20..header_len].copy_from_slice(options);
        tcp[header_len..].copy_from_slice(text);
    });
    segment(&frame, Full).3.header
}

fn route(key: FlowKey) -> Route {
    Route {
        link: Link {
            local: MacAddr([2, 0, 0, 0, 0, 1]),
            remote: MacAddr([2, 0, 0, 0, 0, 2]),
            vlan: None,
        },
        key,
        hop_limit: 64,
        traffic_class: 0,
        identification: 0,
    }
}

/// The reserved bits are for others to use; a receiver that minds them keeps them unused for ever.
#[test]
fn reserved_bits_are_ignored() {
    for reserved in 0..16 {
        let frame = tcp_v4(20, |tcp| tcp[12] |= reserved);
        let header = segment(&frame, Full).3.header;
        assert_eq!(header.flags, Flags::ACK, "{reserved:#x}");
    }
}

/// MUST-64: an option begins wherever the one before it ends.
#[test]
fn options_need_no_alignment() {
    let mss = [2, 4, 5, 0xb4];
    for before in 0..4 {
        let mut options = vec![1; before];
        options.extend(mss);
        options.extend(vec![1; 4 - before]);
        let header = parsed(Flags::SYN.0, &options, &[]);
        assert_eq!(header.options.mss, Some(1_460), "{before}");
    }
    // Behind one of three octets, and without any NOP.
    let header = parsed(Flags::SYN.0, &[3, 3, 7, 2, 4, 5, 0xb4, 0], &[]);
    assert_eq!(
        (header.options.window_scale, header.options.mss),
        (Some(7), Some(1_460))
    );
    let mut timestamps = vec![3, 3, 7, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 4, 2, 0];
    let header = parsed(Flags::SYN.0, &timestamps, &[]);
    assert_eq!(
        header.options.timestamps,
        Some(Timestamps { tsval: 1, tsecr: 2 })
    );
    assert!(header.options.sack_permitted);
    timestamps.rotate_left(3);
    assert!(
        parsed(Flags::ACK.0, &timestamps, b"x")
            .options
            .timestamps
            .is_some()
    );
}

/// MUST-5: an option may come in any segment; what has no meaning there is skipped, and what follows
/// it is read.
#[test]
fn options_come_in_any_segment() {
    let options = [2, 4, 5, 0xb4, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    for flags in [Flags::ACK, Flags::ACK | Flags::FIN, Flags::RST, Flags::SYN] {
        let header = parsed(flags.0, &options, b"text");
        assert_eq!(header.options.mss.is_some(), flags == Flags::SYN);
        assert_eq!(
            header.options.timestamps,
            Some(Timestamps { tsval: 1, tsecr: 2 })
        );
    }
}

/// MUST-4: the end of the list ends it, wherever it is; what lies behind is padding.
#[test]
fn the_end_of_the_list_ends_it() {
    let header = parsed(Flags::SYN.0, &[0, 2, 4, 5, 2, 4, 5, 0xb4], &[]);
    assert_eq!(header.options, Options::default());
    let header = parsed(Flags::SYN.0, &[2, 4, 5, 0xb4, 0, 0xff, 0xff, 0xff], &[]);
    assert_eq!(header.options.mss, Some(1_460));
}

/// MUST-2, MUST-68 and MUST-69: each option that we send has its length, all else is NOPs, and the
/// checksum is right over both versions of IP.
#[test]
fn what_we_send_is_options_and_nops() {
    let sets = (0..64).map(|bits| Options {
        mss: (bits & 1 != 0).then_some(1_460),
        window_scale: (bits & 2 != 0).then_some(7),
        sack_permitted: bits & 4 != 0,
        timestamps: (bits & 8 != 0).then_some(Timestamps { tsval: 1, tsecr: 2 }),
        sack: if bits & 16 != 0 {
            [SackBlock { left: 1, right: 2 }].into_iter().collect()
        } else {
            Default::default()
        },
        fast_open: if bits & 48 == 32 {
            FastOpen::new(&[7; 8])
        } else {
            None
        },
    });
    for options in sets {
        for key in [v4_key(), v6_key()] {
            let header = Header {
                flags: Flags::SYN | Flags::ACK,
                options: options.clone(),
                ..Header::default()
            };
            let mut frame = vec![0; MAX_HEADERS];
            let len = segment_headers(&mut frame, &route(key), &header, (0, Sum::default()));
            let tcp = &frame[MAX_HEADERS - header.wire_len()..];
            let sum = Sum::of(tcp).plus(Sum::of_pseudo_header(&key, tcp.len() as u32));
            assert_eq!(sum.finish(), 0, "the checksum is right");
            assert!(len <= MAX_HEADERS);
            let mut rest = &tcp[20..];
            assert!(rest.len().is_multiple_of(4));
            let mut kinds = Vec::new();
            while let [kind, after @ ..] = rest {
                if *kind == 1 {
                    rest = after;
                    continue;
                }
                let expected = match kind {
                    2 => 4,
                    3 => 3,
                    4 => 2,
                    5 | 8 | 34 => 10,
                    other => panic!("option {other}"),
                };
                assert_eq!(rest[1], expected, "the length of option {kind}");
                kinds.push(*kind);
                rest = &rest[usize::from(expected)..];
            }
            kinds.sort_unstable();
            let all = [(1, 2), (2, 3), (4, 4), (16, 5), (8, 8), (32, 34)];
            let given = [
                options.mss.is_some(),
                options.window_scale.is_some(),
                options.sack_permitted,
                !options.sack.is_empty(),
                options.timestamps.is_some(),
                options.fast_open.is_some(),
            ];
            let expected: Vec<u8> = all
                .iter()
                .zip(given)
                .filter(|(_, given)| *given)
                .map(|((_, kind), _)| *kind)
                .collect();
            assert_eq!(kinds, expected);
        }
    }
}

/// RFC 1122 section 3.2.1.7: the TTL is for routers; a host that has a datagram keeps it.
#[test]
fn a_hop_limit_is_no_reason() {
    for hop_limit in [0, 1, 255] {
        let mut frame = tcp_v4(20, |_| {});
        frame[22] = hop_limit;
        frame[24..26].fill(0);
        let checksum = Sum::of(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(reason(&frame), None, "{hop_limit}");
        let mut frame = ipv6_frame(TCP, "fd00::9", "fd00::1", &tcp_bytes(&v6_key(), 20, |_| {}));
        frame[21] = hop_limit;
        assert_eq!(reason(&frame), None, "{hop_limit}");
    }
}

/// RFC 1191 and RFC 6864 section 4: DF is set and nothing is a fragment, so that the identification
/// may be anything.
#[test]
fn every_datagram_says_do_not_fragment() {
    for identification in [0, 1, 0xffff] {
        let route = Route {
            identification,
            ..route(v4_key())
        };
        let mut frame = vec![0; MAX_HEADERS];
        let header = Header::default();
        let len = segment_headers(&mut frame, &route, &header, (0, Sum::default()));
        let ip = &frame[MAX_HEADERS - len + 14..];
        assert_eq!(ip[4..6], identification.to_be_bytes());
        assert_eq!(ip[6..8], [0x40, 0]);
    }
}
