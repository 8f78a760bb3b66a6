//! The deny list: it drops what is ours, and nothing else.

use std::net::{Ipv4Addr, Ipv6Addr};

use corelane::xdp::{LoadOptions, Prefix, Program};

use crate::frames::*;
use crate::{Judge, with_veth};

fn prefixes<const N: usize>(texts: [&str; N]) -> std::collections::BTreeSet<Prefix> {
    texts.map(|text| text.parse().unwrap()).into()
}

fn from_v4(source: Ipv4Addr) -> Vec<u8> {
    let packet = Ipv4 {
        source,
        ..Default::default()
    };
    packet.frame(&tcp(40_000, HTTP))
}

fn from_v6(source: Ipv6Addr) -> Vec<u8> {
    to_us(IPV6, &ipv6(source, V6, TCP, &tcp(40_000, HTTP)))
}

/// The list as it is shown.
fn list(program: &Program) -> Vec<(String, u64)> {
    let denied = program.denied().unwrap().into_iter();
    denied
        .map(|(prefix, frames)| (prefix.to_string(), frames))
        .collect()
}

/// Every shape of frame that would be redirected, from the peer.
fn ours() -> Vec<Vec<u8>> {
    let http = tcp(40_000, HTTP);
    let v4 = Ipv4::default().packet(&http);
    let v6 = ipv6(V6_PEER, V6, TCP, &http);
    let fragment_of = |field| Ipv4 {
        fragment: field,
        ..Default::default()
    };
    vec![
        to_us(IPV4, &v4),
        to_us(VLAN, &tag(5, IPV4, &v4)),
        Ipv4 {
            options: &[1; 40],
            ..Default::default()
        }
        .frame(&http),
        Ipv4::default().frame(&tcp(40_000, CLIENT)),
        fragment_of(MORE).frame(&http),
        fragment_of(MORE | 5).frame(&[0; 32]),
        Ipv4 {
            protocol: ICMP,
            ..Default::default()
        }
        .frame(&icmp(3, &quote_ipv4(V4, TCP, HTTP))),
        to_us(IPV6, &v6),
        to_us(VLAN, &tag(0, IPV6, &v6)),
        ipv6_frame(HOP_BY_HOP, &extension(TCP, 0, &http)),
        ipv6_frame(FRAGMENT, &fragment(TCP, 0, true, 1, &http)),
        ipv6_frame(FRAGMENT, &fragment(TCP, 5, false, 1, &[0; 32])),
        ipv6_frame(ICMPV6, &icmp(2, &quote_ipv6(V6, TCP, HTTP))),
    ]
}

#[test]
fn what_would_be_ours_is_dropped_and_counted() {
    with_veth(|| {
        let judge = Judge::new();
        let peer = prefixes(["198.18.0.2", "fd00::2"]);
        judge.program.deny(&peer).unwrap();
        for frame in ours() {
            judge.expect("dropped_denied", "denied", &frame);
        }
        let counts = [
            ("198.18.0.2/32".to_owned(), 7),
            ("fd00::2/128".to_owned(), 6),
        ];
        assert_eq!(list(&judge.program), counts);
        judge.expect("redirected_tcp", "a neighbour", &from_v4(V4_OTHER));
        judge.expect("redirected_tcp", "a neighbour", &from_v6(V6_OTHER));

        judge.program.undeny(&peer).unwrap();
        assert!(list(&judge.program).is_empty());
        for frame in ours() {
            let (_, counter) = judge.judge(&frame);
            assert!(counter.starts_with("redirected"), "{counter}: {frame:02x?}");
        }
        // Who comes back starts with nothing.
        judge.program.deny(&peer).unwrap();
        assert!(list(&judge.program).iter().all(|(_, frames)| *frames == 0));
    });
}

#[test]
fn the_kernels_traffic_is_nobodys_to_deny() {
    with_veth(|| {
        let judge = Judge::new();
        let ssh = tcp(40_000, SSH);
        let v4 = |protocol| Ipv4 {
            protocol,
            ..Default::default()
        };
        let other = Ipv4 {
            destination: V4_OTHER,
            ..Default::default()
        };
        let kernels = [
            to_us(ARP, &[0; 28]),
            Ipv4::default().frame(&ssh),
            other.frame(&tcp(40_000, HTTP)),
            v4(UDP).frame(&udp(40_000, HTTP)),
            v4(ICMP).frame(&icmp(8, b"ping")),
            v4(ICMP).frame(&icmp(3, &quote_ipv4(V4, TCP, SSH))),
            Ipv4 {
                fragment: MORE,
                ..Default::default()
            }
            .frame(&ssh),
            // Goes where its first fragment went.
            Ipv4 {
                fragment: 5,
                ..Default::default()
            }
            .frame(&[0; 8]),
            to_us(VLAN, &tag(5, IPV4, &Ipv4::default().packet(&ssh))),
            ipv6_frame(TCP, &ssh),
            ipv6_frame(ICMPV6, &icmp(135, &V6.octets())),
            ipv6_frame(ICMPV6, &icmp(1, &quote_ipv6(V6, TCP, SSH))),
            ethernet([0xff; 6], IPV4, &Ipv4::default().packet(&tcp(40_000, HTTP))),
        ];
        let before: Vec<_> = kernels.iter().map(|frame| judge.judge(frame)).collect();
        let all = prefixes(["0.0.0.0/0", "::/0", "198.18.0.2", "fd00::2"]);
        judge.program.deny(&all).unwrap();
        let after: Vec<_> = kernels.iter().map(|frame| judge.judge(frame)).collect();
        assert_eq!(before, after);
        assert!(
            after
                .iter()
                .all(|(_, counter)| counter.starts_with("passed"))
        );
        assert!(list(&judge.program).iter().all(|(_, frames)| *frames == 0));
        judge.expect("dropped_denied", "ours", &from_v4(V4_PEER));
        judge.expect("dropped_denied", "ours, IPv6", &from_v6(V6_PEER));
    });
}

#[test]
fn a_prefix_denies_what_it_says_and_no_more() {
    with_veth(|| {
        let judge = Judge::new();
        // Each with its first and last address, and the ones before and behind.
        let v4 = [
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], None),
            (
                "198.18.0.0/15",
                ["198.18.0.0", "198.19.255.255"],
                Some(["198.17.255.255", "198.20.0.0"]),
            ),
            (
                "198.18.7.0/24",
                ["198.18.7.0", "198.18.7.255"],
                Some(["198.18.6.255", "198.18.8.0"]),
            ),
            (
                "198.18.7.6/31",
                ["198.18.7.6", "198.18.7.7"],
                Some(["198.18.7.5", "198.18.7.8"]),
            ),
            (
                "198.18.7.7/32",
                ["198.18.7.7", "198.18.7.7"],
                Some(["198.18.7.6", "198.18.7.8"]),
            ),
        ];
        for (prefix, within, without) in v4 {
            let set = prefixes([prefix]);
            judge.program.deny(&set).unwrap();
            for address in within {
                judge.expect("dropped_denied", prefix, &from_v4(address.parse().unwrap()));
            }
            for address in without.into_iter().flatten() {
                judge.expect("redirected_tcp", prefix, &from_v4(address.parse().unwrap()));
            }
            judge.expect("redirected_tcp", prefix, &from_v6(V6_PEER));
            judge.program.undeny(&set).unwrap();
        }
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let v6 = [
            ("::/0", ["::", last], None),
            (
                "fd00::/8",
                ["fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
                Some(["fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe00::"]),
            ),
            (
                "fd00:0:0:7::/64",
                ["fd00:0:0:7::", "fd00::7:ffff:ffff:ffff:ffff"],
                Some(["fd00::6:ffff:ffff:ffff:ffff", "fd00:0:0:8::"]),
            ),
            (
                "fd00::6/127",
                ["fd00::6", "fd00::7"],
                Some(["fd00::5", "fd00::8"]),
            ),
            (
                "fd00::7/128",
                ["fd00::7", "fd00::7"],
                Some(["fd00::6", "fd00::8"]),
            ),
        ];
        for (prefix, within, without) in v6 {
            let set = prefixes([prefix]);
            judge.program.deny(&set).unwrap();
            for address in within {
                judge.expect("dropped_denied", prefix, &from_v6(address.parse().unwrap()));
            }
            for address in without.into_iter().flatten() {
                judge.expect("redirected_tcp", prefix, &from_v6(address.parse().unwrap()));
            }
            // Mapped into IPv6 it would be within the first.
            judge.expect("redirected_tcp", prefix, &from_v4(V4_PEER));
            judge.program.undeny(&set).unwrap();
        }
    });
}

#[test]
fn frames_count_for_the_longest_prefix() {
    with_veth(|| {
        let judge = Judge::new();
        let nested = prefixes(["198.18.0.0/15", "198.18.0.0/24", "198.18.0.2"]);
        judge.program.deny(&nested).unwrap();
        let counts = || -> Vec<u64> {
            let list = list(&judge.program);
            list.into_iter().map(|(_, frames)| frames).collect()
        };
        let addresses = [
            V4_PEER,
            V4_PEER,
            V4_PEER,
            V4_OTHER,
            V4_OTHER,
            Ipv4Addr::new(198, 19, 0, 1),
        ];
        for address in addresses {
            judge.expect("dropped_denied", "nested", &from_v4(address));
        }
        assert_eq!(counts(), [1, 2, 3]);
        judge.program.undeny(&prefixes(["198.18.0.0/24"])).unwrap();
        judge.expect("dropped_denied", "still nested", &from_v4(V4_OTHER));
        assert_eq!(counts(), [2, 3]);
    });
}

#[test]
fn a_change_is_made_whole_or_not_at_all() {
    with_veth(|| {
        let options = LoadOptions {
            denied: 3,
            ..Default::default()
        };
        let judge = Judge::with(options);
        let program = &judge.program;
        let shown = || -> Vec<String> {
            let list = list(program);
            list.into_iter().map(|(prefix, _)| prefix).collect()
        };
        program.deny(&prefixes(["198.18.0.0/15"])).unwrap();

        let error = program.deny(&prefixes(["198.18.0.0/15", "198.18.0.2"]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "198.18.0.0/15 is in the deny list already"
        );
        assert_eq!(shown(), ["198.18.0.0/15"]);
        // Within one that is there, but not there itself.
        for text in ["198.18.0.0/16", "198.18.0.2", "198.0.0.0/8", "fd00::2"] {
            let error = program
                .undeny(&prefixes(["198.18.0.0/15", text]))
                .unwrap_err();
            assert!(
                error.to_string().contains("is not in the deny list"),
                "{error}"
            );
            assert_eq!(shown(), ["198.18.0.0/15"]);
        }

        let four = prefixes(["198.18.0.2", "198.18.0.3", "198.18.0.4", "fd00::2"]);
        let error = program.deny(&four).unwrap_err().to_string();
        assert!(
            error.contains("no room for 198.18.0.4/32: 3 prefixes"),
            "{error}"
        );
        assert_eq!(shown(), ["198.18.0.0/15"]);
        judge.expect("redirected_tcp", "rolled back", &from_v6(V6_PEER));
        // Each family has its own room.
        let six = prefixes(["198.18.0.2", "198.18.0.3", "fd00::2", "fd00::3", "fd00::4"]);
        program.deny(&six).unwrap();
        assert_eq!(shown().len(), 6);
        let error = program
            .deny(&prefixes(["fd00::5"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("fd00::5/128"), "{error}");
        program.undeny(&prefixes(["fd00::2"])).unwrap();
        program.deny(&prefixes(["fd00::5"])).unwrap();
        assert_eq!(shown().last().unwrap(), "fd00::5/128");
    });
}
