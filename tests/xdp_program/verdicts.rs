//! Well-formed frames: who gets them.

use std::net::Ipv4Addr;

use corelane::wire::Address;

use crate::frames::*;
use crate::{Judge, with_veth};

fn v4_tcp(port: u16) -> Vec<u8> {
    Ipv4::default().frame(&tcp(40_000, port))
}

fn v6_tcp(port: u16) -> Vec<u8> {
    ipv6_frame(TCP, &tcp(40_000, port))
}

#[test]
fn the_kernels_traffic_passes() {
    with_veth(|| {
        let judge = Judge::new();
        let echo = icmp(8, b"ping");
        let solicitation = icmp(135, &V6.octets());
        let http = tcp(40_000, HTTP);
        let other_v4 = Ipv4 {
            destination: V4_OTHER,
            ..Default::default()
        };
        let other_v6 = to_us(IPV6, &ipv6(V6_PEER, V6_OTHER, TCP, &http));
        let v4 = |protocol| Ipv4 {
            protocol,
            ..Default::default()
        };
        judge.expect("passed_not_ip", "ARP request", &to_us(ARP, &[0; 28]));
        judge.expect("passed_not_ip", "unknown type", &to_us(0x1234, &[0; 46]));
        judge.expect("passed_icmp", "echo", &v4(ICMP).frame(&echo));
        judge.expect(
            "passed_icmp",
            "IPv6 echo",
            &ipv6_frame(ICMPV6, &icmp(128, b"ping")),
        );
        judge.expect("passed_icmp", "NDP", &ipv6_frame(ICMPV6, &solicitation));
        judge.expect("passed_other_port", "ssh", &v4_tcp(SSH));
        judge.expect("passed_other_port", "ssh over IPv6", &v6_tcp(SSH));
        judge.expect(
            "passed_other_port",
            "below the client ports",
            &v4_tcp(CLIENT - 1),
        );
        judge.expect(
            "passed_other_address",
            "http elsewhere",
            &other_v4.frame(&http),
        );
        judge.expect("passed_other_address", "http elsewhere, IPv6", &other_v6);
        judge.expect(
            "passed_other_protocol",
            "UDP",
            &v4(UDP).frame(&udp(40_000, HTTP)),
        );
        judge.expect(
            "passed_other_protocol",
            "UDP/IPv6",
            &ipv6_frame(UDP, &udp(40_000, HTTP)),
        );
        for mac in [[0xff; 6], [0x02, 0, 0, 0, 0, 9], [0x01, 0, 0x5e, 0, 0, 1]] {
            let frame = ethernet(mac, IPV4, &Ipv4::default().packet(&http));
            judge.expect("passed_other_mac", "other MAC", &frame);
        }
        // An IPv4 service is not to be reached through IPv6.
        let mapped = to_us(IPV6, &ipv6(V6_PEER, V4.to_ipv6_mapped(), TCP, &http));
        judge.expect("passed_malformed", "mapped address", &mapped);
    });
}

#[test]
fn served_flows_are_redirected() {
    with_veth(|| {
        let judge = Judge::new();
        let http = tcp(40_000, HTTP);
        for options in [&[1; 4][..], &[1; 40]] {
            let frame = Ipv4 {
                options,
                ..Default::default()
            }
            .frame(&http);
            judge.expect("redirected_tcp", "IPv4 options", &frame);
        }
        for port in [HTTP, CLIENT, u16::MAX] {
            judge.expect("redirected_tcp", "IPv4", &v4_tcp(port));
            judge.expect("redirected_tcp", "IPv6", &v6_tcp(port));
        }
        let large = [http, vec![0; 8940]].concat();
        judge.expect(
            "redirected_tcp",
            "many buffers",
            &Ipv4::default().frame(&large),
        );
        judge.expect(
            "redirected_tcp",
            "many buffers, IPv6",
            &ipv6_frame(TCP, &large),
        );
    });
}

#[test]
fn extension_headers_are_followed() {
    with_veth(|| {
        let judge = Judge::new();
        for (port, counter) in [(HTTP, "redirected_tcp"), (SSH, "passed_other_port")] {
            let segment = tcp(40_000, port);
            let options = extension(TCP, 2, &segment);
            for kind in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS] {
                judge.expect(counter, "one extension", &ipv6_frame(kind, &options));
            }
            let ah = authentication(TCP, &segment);
            judge.expect(counter, "AH", &ipv6_frame(AUTHENTICATION, &ah));
            let chain = extension(ROUTING, 0, &extension(AUTHENTICATION, 1, &ah));
            judge.expect(counter, "three", &ipv6_frame(HOP_BY_HOP, &chain));
            let atomic = fragment(TCP, 0, false, 1, &segment);
            judge.expect(
                counter,
                "atomic fragment (RFC 6946)",
                &ipv6_frame(FRAGMENT, &atomic),
            );
            let longest = (0..5).fold(segment.clone(), |inner, i| {
                extension(if i == 0 { TCP } else { DESTINATION_OPTIONS }, 255, &inner)
            });
            judge.expect(counter, "long", &ipv6_frame(DESTINATION_OPTIONS, &longest));
        }
        let chain = (0..7).fold(tcp(40_000, HTTP), |inner, i| {
            extension(if i == 0 { TCP } else { DESTINATION_OPTIONS }, 0, &inner)
        });
        let elsewhere = ipv6(V6_PEER, V6_OTHER, DESTINATION_OPTIONS, &chain);
        let ours = ipv6_frame(DESTINATION_OPTIONS, &chain);
        judge.expect("dropped_header_chain", "too many", &ours);
        judge.expect("passed_other_address", "too many", &to_us(IPV6, &elsewhere));
        let udp = extension(UDP, 0, &udp(40_000, HTTP));
        judge.expect(
            "passed_other_protocol",
            "UDP",
            &ipv6_frame(HOP_BY_HOP, &udp),
        );
    });
}

#[test]
fn one_vlan_tag_is_served() {
    with_veth(|| {
        let judge = Judge::new();
        let v4 = Ipv4::default().packet(&tcp(40_000, HTTP));
        let v6 = ipv6(V6_PEER, V6, TCP, &tcp(40_000, HTTP));
        for control in [0, 5, 0xe000 | 5] {
            judge.expect(
                "redirected_tcp",
                "IPv4",
                &to_us(VLAN, &tag(control, IPV4, &v4)),
            );
            judge.expect(
                "redirected_tcp",
                "IPv6",
                &to_us(VLAN, &tag(control, IPV6, &v6)),
            );
        }
        judge.expect("passed_not_ip", "ARP", &to_us(VLAN, &tag(5, ARP, &[0; 28])));
        let double = tag(5, VLAN, &tag(6, IPV4, &v4));
        judge.expect("passed_vlan", "two tags", &to_us(VLAN, &double));
        judge.expect("passed_vlan", "two tags", &to_us(SERVICE_VLAN, &double));
        judge.expect(
            "passed_vlan",
            "service tag",
            &to_us(SERVICE_VLAN, &tag(5, IPV4, &v4)),
        );
        // The kernel reads these as untagged, and we cannot.
        let priority = tag(0, VLAN, &tag(0, IPV4, &v4));
        judge.expect(
            "dropped_malformed",
            "two priority tags",
            &to_us(VLAN, &priority),
        );
        let three = tag(0, VLAN, &priority);
        judge.expect(
            "dropped_malformed",
            "three priority tags",
            &to_us(VLAN, &three),
        );
        let ssh = Ipv4::default().packet(&tcp(40_000, SSH));
        let priority = tag(0, VLAN, &tag(0, IPV4, &ssh));
        judge.expect(
            "passed_other_port",
            "priority tags",
            &to_us(VLAN, &priority),
        );
    });
}

#[test]
fn a_missing_socket_is_a_counted_drop() {
    with_veth(|| {
        let judge = Judge::new();
        judge.program.clear_socket(0).unwrap();
        let unreachable = icmp(3, &quote_ipv4(V4, TCP, HTTP));
        let unreachable = Ipv4 {
            protocol: ICMP,
            ..Default::default()
        }
        .frame(&unreachable);
        let later = Ipv4 {
            fragment: 3,
            ..Default::default()
        }
        .frame(&[0; 32]);
        judge.expect("dropped_no_socket", "IPv4", &v4_tcp(HTTP));
        judge.expect("dropped_no_socket", "IPv6", &v6_tcp(HTTP));
        judge.expect("dropped_no_socket", "ICMP", &unreachable);
        judge.expect("dropped_no_socket", "fragment", &later);
        judge.expect("passed_other_port", "the kernel's", &v4_tcp(SSH));
    });
}

#[test]
fn fragments_of_one_datagram_stay_together() {
    with_veth(|| {
        let judge = Judge::new();
        let v4 = |id, fragment, payload: &[u8]| {
            Ipv4 {
                id,
                fragment,
                ..Default::default()
            }
            .frame(payload)
        };
        let v6 = |next, id, offset, more, payload: &[u8]| {
            ipv6_frame(FRAGMENT, &fragment(next, offset, more, id, payload))
        };
        let (http, ssh) = (tcp(40_000, HTTP), tcp(40_000, SSH));
        let (ours, kernels) = ("redirected_fragment", "passed_fragment");
        judge.expect(ours, "first of ours", &v4(1, MORE, &http[..16]));
        judge.expect(ours, "later of ours", &v4(1, MORE | 2, &http[..8]));
        judge.expect(ours, "first of ours, IPv6", &v6(TCP, 1, 0, true, &http));
        judge.expect(ours, "later of ours, IPv6", &v6(TCP, 1, 2, false, &[0; 9]));
        judge.expect(kernels, "first of the kernel's", &v4(2, MORE, &ssh[..16]));
        judge.expect(
            kernels,
            "later of the kernel's",
            &v4(2, MORE | 2, &ssh[..8]),
        );
        judge.expect(kernels, "last of the kernel's", &v4(2, 3, &[0; 5]));
        judge.expect(
            kernels,
            "first of the kernel's, IPv6",
            &v6(TCP, 2, 0, true, &ssh),
        );
        judge.expect(
            kernels,
            "later of the kernel's, IPv6",
            &v6(TCP, 2, 2, false, &[0; 9]),
        );
        judge.expect(ours, "unknown", &v4(3, 2, &http[..8]));
        judge.expect(ours, "unknown, IPv6", &v6(TCP, 3, 2, false, &[0; 9]));
        judge.expect(ours, "the kernel's number again", &v4(2, MORE, &http[..16]));
        judge.expect(ours, "the kernel's number again", &v4(2, 2, &[0; 8]));
        judge.expect(
            "passed_other_protocol",
            "UDP",
            &v6(UDP, 4, 0, true, &udp(1, HTTP)),
        );
        judge.expect(
            "passed_other_protocol",
            "UDP",
            &v6(UDP, 4, 2, false, &[0; 9]),
        );
        judge.expect("passed_icmp", "large echo", &{
            Ipv4 {
                protocol: ICMP,
                fragment: MORE,
                ..Default::default()
            }
            .frame(&icmp(8, &[0; 8]))
        });
        // UDP behind an option: only the first fragment shows that it is not TCP.
        let hidden = extension(UDP, 0, &udp(1, HTTP));
        judge.expect(
            kernels,
            "hidden UDP",
            &v6(DESTINATION_OPTIONS, 5, 0, true, &hidden),
        );
        judge.expect(
            kernels,
            "hidden UDP",
            &v6(DESTINATION_OPTIONS, 5, 2, false, &[0; 9]),
        );
        let other = Ipv4 {
            destination: V4_OTHER,
            fragment: 2,
            ..Default::default()
        };
        judge.expect(
            "passed_other_address",
            "fragment elsewhere",
            &other.frame(&[0; 8]),
        );
    });
}

#[test]
fn a_first_fragment_without_ports_is_dropped() {
    with_veth(|| {
        let judge = Judge::new();
        let tiny = "dropped_tiny_fragment";
        let segment = tcp(40_000, SSH);
        let v4 = Ipv4 {
            fragment: MORE,
            ..Default::default()
        };
        for length in 0..4 {
            judge.expect(tiny, "IPv4", &v4.frame(&segment[..length]));
            let mut padded = v4.frame(&segment[..length]);
            padded.resize(60, 0);
            judge.expect(tiny, "padded", &padded);
            let v6 = fragment(TCP, 0, true, 1, &segment[..length]);
            judge.expect(tiny, "IPv6", &ipv6_frame(FRAGMENT, &v6));
        }
        judge.expect("passed_fragment", "just enough", &v4.frame(&segment[..4]));
        // The chain goes on in the next fragment (RFC 7112 forbids that).
        let chain = fragment(DESTINATION_OPTIONS, 0, true, 1, &[]);
        judge.expect(tiny, "no chain", &ipv6_frame(FRAGMENT, &chain));
        let chain = fragment(DESTINATION_OPTIONS, 0, true, 1, &extension(TCP, 0, &[]));
        judge.expect(tiny, "chain without ports", &ipv6_frame(FRAGMENT, &chain));
    });
}

#[test]
fn icmp_errors_about_our_flows_are_redirected() {
    with_veth(|| {
        let judge = Judge::new();
        let v4 = |kind, quoted: &[u8]| {
            Ipv4 {
                protocol: ICMP,
                ..Default::default()
            }
            .frame(&icmp(kind, quoted))
        };
        let v6 = |kind, quoted: &[u8]| ipv6_frame(ICMPV6, &icmp(kind, quoted));
        for port in [HTTP, CLIENT] {
            for kind in [3, 4, 11, 12] {
                judge.expect(
                    "redirected_icmp",
                    "IPv4",
                    &v4(kind, &quote_ipv4(V4, TCP, port)),
                );
            }
            for kind in [1, 2, 3, 4] {
                judge.expect(
                    "redirected_icmp",
                    "IPv6",
                    &v6(kind, &quote_ipv6(V6, TCP, port)),
                );
            }
        }
        let passes = "passed_icmp";
        judge.expect(passes, "another port", &v4(3, &quote_ipv4(V4, TCP, SSH)));
        judge.expect(
            passes,
            "another port, IPv6",
            &v6(1, &quote_ipv6(V6, TCP, SSH)),
        );
        judge.expect(
            passes,
            "another source",
            &v4(3, &quote_ipv4(V4_OTHER, TCP, HTTP)),
        );
        judge.expect(
            passes,
            "another source, IPv6",
            &v6(1, &quote_ipv6(V6_OTHER, TCP, HTTP)),
        );
        judge.expect(passes, "UDP", &v4(3, &quote_ipv4(V4, UDP, HTTP)));
        judge.expect(passes, "UDP, IPv6", &v6(1, &quote_ipv6(V6, UDP, HTTP)));
        judge.expect(passes, "no error", &v4(0, &quote_ipv4(V4, TCP, HTTP)));
        judge.expect(passes, "a redirect", &v4(5, &quote_ipv4(V4, TCP, HTTP)));
        judge.expect(
            passes,
            "no error, IPv6",
            &v6(129, &quote_ipv6(V6, TCP, HTTP)),
        );
        let mapped = quote_ipv6(V4.to_ipv6_mapped(), TCP, HTTP);
        judge.expect(passes, "mapped source", &v6(1, &mapped));
        let quoted = Ipv4 {
            source: V4,
            options: &[1; 8],
            ..Default::default()
        };
        let quoted = quoted.packet(&tcp(HTTP, 40_000)[..8]);
        judge.expect("redirected_icmp", "quoted options", &v4(3, &quoted));
        let chain = extension(ICMPV6, 0, &icmp(2, &quote_ipv6(V6, TCP, HTTP)));
        judge.expect(
            "redirected_icmp",
            "behind options",
            &ipv6_frame(HOP_BY_HOP, &chain),
        );
    });
}

#[test]
fn services_change_while_it_runs() {
    with_veth(|| {
        let judge = Judge::new();
        let address = Address::from_ipv4(V4.octets());
        let program = &judge.program;
        program.add_service(address, SSH).unwrap();
        judge.expect("redirected_tcp", "added", &v4_tcp(SSH));
        program.remove_service(address, SSH).unwrap();
        program.remove_service(address, SSH).unwrap();
        judge.expect("passed_other_port", "removed", &v4_tcp(SSH));
        program.clear_services().unwrap();
        judge.expect("passed_other_address", "cleared", &v4_tcp(HTTP));
        judge.expect("passed_other_address", "cleared", &v4_tcp(CLIENT));
        judge.expect("passed_other_address", "cleared", &v6_tcp(HTTP));
        let error = program.add_service(address, HTTP).unwrap_err().to_string();
        assert_eq!(
            error,
            "198.18.0.1 is not a served address: add it before its services"
        );
        #[expect(clippy::reversed_empty_ranges, reason = "no client ports")]
        program.add_address(address, 1..=0).unwrap();
        judge.expect("passed_other_port", "no client ports", &v4_tcp(CLIENT));
        judge.expect("passed_other_port", "no client ports", &v4_tcp(0));
        let mac = corelane::wire::MacAddr([2, 0, 0, 0, 0, 9]);
        program.set_mac(mac).unwrap();
        judge.expect("passed_other_mac", "MAC changed", &v4_tcp(SSH));
        let frame = ethernet(mac.0, IPV4, &Ipv4::default().packet(&tcp(1, SSH)));
        judge.expect("passed_other_port", "MAC changed", &frame);
        for host in 0..255 {
            let more = Address::from(std::net::IpAddr::from(Ipv4Addr::new(198, 19, 0, host)));
            program.add_address(more, 1..=2).unwrap();
        }
        let one_more = Address::from_ipv4([198, 19, 1, 0]);
        let error = program
            .add_address(one_more, 1..=2)
            .unwrap_err()
            .to_string();
        assert!(error.contains("198.19.1.0 (at most 256 are)"), "{error}");
    });
}
