//! What holds for all frames: no panic, nothing unread, and what is emitted is parsed.

use proptest::prelude::*;

use super::super::ChecksumPolicy::FullOrPartial;
use super::super::{Kind, kind_of};
use super::*;
use crate::wire::emit::{MAX_HEADERS, Route, segment_headers};
use crate::wire::fixtures::*;
use crate::wire::tcp::{FastOpen, Header, Options, SackBlock, Timestamps};
use crate::wire::{ICMP, MacAddr};

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
        cookie in prop::option::of(prop::collection::vec(any::<u8>(), 0..=16)),
    ) -> Options {
        let mut options = Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps: timestamps.map(|(tsval, tsecr)| Timestamps { tsval, tsecr }),
            fast_open: cookie.and_then(|cookie| FastOpen::new(&cookie)),
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
            header.options.fast_open = None;
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
        traffic_class: u8,
        identification in any::<u16>(),
    ) -> Route {
        let unicast = |[a, b, c, d, e, f]: [u8; 6]| MacAddr([a & !1, b, c, d, e, f]);
        let link = Link { local: unicast(local), remote: unicast(remote), vlan };
        Route { link, key, hop_limit, traffic_class, identification }
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
        prop_assert_eq!((key, ecn), (route.key.reversed(), route.traffic_class & 3));
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
