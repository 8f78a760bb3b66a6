//! The limit on the SYNs of each source.
//!
//! What passes depends on the time that a test takes, so each of them says how much may pass at
//! most in the time that it has taken.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use corelane::time::Clock;
use corelane::xdp::{LoadOptions, SynLimit, SynTerms, Verdict};

use crate::frames::*;
use crate::{Judge, with_veth};

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

fn limit(rate: u32, burst: u32, ipv4_prefix: u8, ipv6_prefix: u8) -> Option<SynLimit> {
    let terms = SynTerms {
        rate,
        burst,
        ipv4_prefix,
        ipv6_prefix,
    };
    Some(SynLimit::try_from(terms).unwrap())
}

fn segment(port: u16, flags: u8) -> Vec<u8> {
    let mut segment = tcp(40_000, port);
    segment[13] = flags;
    segment
}

fn v4(source: Ipv4Addr, flags: u8) -> Vec<u8> {
    let packet = Ipv4 {
        source,
        ..Default::default()
    };
    packet.frame(&segment(HTTP, flags))
}

fn v6(source: Ipv6Addr, flags: u8) -> Vec<u8> {
    to_us(IPV6, &ipv6(source, V6, TCP, &segment(HTTP, flags)))
}

/// How many of `frames` are redirected; the others must be dropped.
fn redirected<'a>(judge: &Judge, frames: impl IntoIterator<Item = &'a Vec<u8>>) -> u64 {
    let mut count = 0;
    for frame in frames {
        match judge.program.judge(frame).unwrap() {
            Verdict::Redirect => count += 1,
            verdict => assert_eq!(verdict, Verdict::Drop),
        }
    }
    count
}

/// Uses up what the source of a frame has, at one token a second.
fn exhaust(judge: &Judge, frame: &[u8]) {
    while judge.judge(frame).1 != "dropped_syn_limit" {}
}

#[test]
fn nobody_is_limited_unless_asked_for() {
    with_veth(|| {
        let judge = Judge::new();
        let syn = v4(V4_PEER, SYN);
        assert_eq!(redirected(&judge, vec![&syn; 2_000]), 2_000);
        judge.program.set_syn_limit(limit(1, 1, 32, 64)).unwrap();
        exhaust(&judge, &syn);
        judge.program.set_syn_limit(None).unwrap();
        assert_eq!(redirected(&judge, vec![&syn; 2_000]), 2_000);
    });
}

#[test]
fn a_burst_passes_and_then_the_rate() {
    with_veth(|| {
        let tagged = Ipv4::default().packet(&segment(HTTP, SYN));
        let frames = [
            v4(V4_PEER, SYN),
            // ECN's flags (RFC 3168 section 6.1.1) and a tag make no difference.
            to_us(VLAN, &tag(5, IPV4, &tagged)),
            v4(V4_PEER, SYN | 0xc0),
        ];
        for (rate, burst) in [(1, 10), (10, 1), (200, 50)] {
            let judge = Judge::new();
            judge
                .program
                .set_syn_limit(limit(rate, burst, 32, 64))
                .unwrap();
            let clock = Clock::start();
            let start = clock.now();
            let passed = redirected(&judge, frames.iter().cycle().take(900));
            let millis = clock.now().saturating_since(start).as_millis() + 1;
            let most = u64::from(burst) + u64::from(rate) * millis / 1_000 + 1;
            let range = u64::from(burst)..=most;
            assert!(range.contains(&passed), "{passed} of {range:?}, {rate}/s");
        }
    });
}

#[test]
fn a_bucket_fills_again_and_not_over() {
    with_veth(|| {
        let judge = Judge::new();
        judge.program.set_syn_limit(limit(20, 5, 32, 64)).unwrap();
        let syn = v6(V6_PEER, SYN);
        for _ in 0..3 {
            exhaust(&judge, &syn);
            // Full after a quarter of a second.
            pause(Duration::from_millis(600));
            let clock = Clock::start();
            let start = clock.now();
            let passed = redirected(&judge, vec![&syn; 50]);
            let millis = clock.now().saturating_since(start).as_millis() + 1;
            let most = 5 + 20 * millis / 1_000 + 1;
            assert!((5..=most).contains(&passed), "{passed} of 5 to {most}");
        }
    });
}

/// A bucket that was used up under one limit is no debt under the next.
#[test]
fn a_changed_limit_holds_at_once() {
    with_veth(|| {
        let judge = Judge::new();
        let syn = v4(V4_PEER, SYN);
        judge
            .program
            .set_syn_limit(limit(1, 100_000, 32, 64))
            .unwrap();
        assert_eq!(redirected(&judge, vec![&syn; 5_000]), 5_000);
        judge.program.set_syn_limit(limit(100, 10, 32, 64)).unwrap();
        let _ = redirected(&judge, [&syn]);
        pause(Duration::from_millis(300));
        assert!(redirected(&judge, vec![&syn; 10]) == 10);
    });
}

#[test]
fn only_syns_to_services_are_limited() {
    with_veth(|| {
        let judge = Judge::new();
        judge.program.set_syn_limit(limit(1, 1, 32, 64)).unwrap();
        let to = |port, flags| Ipv4::default().frame(&segment(port, flags));
        for _ in 0..2 {
            for flags in [
                0,
                ACK,
                SYN | ACK,
                RST,
                SYN | RST,
                ACK | 0x08,
                ACK | 0x01,
                0x29,
            ] {
                judge.expect("redirected_tcp", "no SYN", &v4(V4_PEER, flags));
                judge.expect("redirected_tcp", "no SYN, IPv6", &v6(V6_PEER, flags));
            }
            judge.expect("redirected_tcp", "to a client port", &to(CLIENT, SYN));
            judge.expect("passed_other_port", "to the kernel", &to(SSH, SYN));
            exhaust(&judge, &v4(V4_PEER, SYN));
            exhaust(&judge, &v6(V6_PEER, SYN));
            // Christmas trees are SYNs.
            exhaust(&judge, &v4(V4_PEER, 0x2b));
        }
    });
}

/// Cut off or in the next fragment, flags are no way round the limit.
#[test]
fn who_hides_the_flags_sends_a_syn() {
    with_veth(|| {
        let judge = Judge::new();
        judge.program.set_syn_limit(limit(1, 1, 32, 64)).unwrap();
        let data = segment(HTTP, ACK);
        let first_v4 = |payload: &[u8]| {
            let packet = Ipv4 {
                fragment: MORE,
                ..Default::default()
            };
            packet.frame(payload)
        };
        let first_v6 = |payload: &[u8]| ipv6_frame(FRAGMENT, &fragment(TCP, 0, true, 1, payload));
        judge.expect("redirected_fragment", "shown", &first_v4(&data));
        judge.expect("redirected_fragment", "shown", &first_v6(&data));
        exhaust(&judge, &first_v4(&data[..8]));
        exhaust(&judge, &first_v6(&data[..8]));
        exhaust(&judge, &Ipv4::default().frame(&data[..13]));
        judge.expect("redirected_fragment", "shown", &first_v4(&data));
        judge.expect("redirected_fragment", "shown", &first_v6(&data));
        exhaust(&judge, &first_v4(&segment(HTTP, SYN)));
    });
}

#[test]
fn a_source_is_what_begins_alike() {
    with_veth(|| {
        let judge = Judge::new();
        let check = |frames: [Vec<u8>; 3], what: &str| {
            let [base, other, same] = frames;
            let _ = redirected(&judge, vec![&base; 400]);
            assert_eq!(redirected(&judge, vec![&other; 100]), 100, "{what}, other");
            // Far fewer than a source of its own would have, however slow the machine is.
            assert!(redirected(&judge, vec![&same; 100]) < 50, "{what}, same");
        };
        for (bits, base, other, same) in [
            (32, "198.18.7.1", "198.18.7.0", "198.18.7.1"),
            (31, "198.18.8.1", "198.18.8.2", "198.18.8.0"),
            (24, "198.18.9.1", "198.18.10.1", "198.18.9.255"),
            (8, "10.18.7.1", "11.18.7.1", "10.0.0.0"),
        ] {
            judge
                .program
                .set_syn_limit(limit(1, 200, bits, 64))
                .unwrap();
            let frames = [base, other, same].map(|text| v4(text.parse().unwrap(), SYN));
            check(frames, base);
        }
        for (bits, base, other, same) in [
            (128, "fd00:0:0:7::1", "fd00:0:0:7::2", "fd00:0:0:7::1"),
            (64, "fd00:0:1:7::1", "fd00:0:1:6::1", "fd00:0:1:7:ffff::"),
            (56, "fd00:0:2:7::1", "fd00:0:2:107::1", "fd00:0:2:ff::1"),
            (1, "fd00:0:3:7::1", "7d00:0:3:7::1", "ff00::"),
        ] {
            judge
                .program
                .set_syn_limit(limit(1, 200, 32, bits))
                .unwrap();
            let frames = [base, other, same].map(|text| v6(text.parse().unwrap(), SYN));
            check(frames, base);
        }
        // All together, but the families apart.
        let judge = Judge::new();
        judge.program.set_syn_limit(limit(1, 1, 0, 0)).unwrap();
        exhaust(&judge, &v4(V4_PEER, SYN));
        judge.expect("redirected_tcp", "IPv6", &v6(V6_PEER, SYN));
        // A source that would be an IPv4 one's is nobody's.
        judge.program.set_syn_limit(limit(1, 1, 32, 128)).unwrap();
        let mapped = v6(V4_OTHER.to_ipv6_mapped(), SYN);
        judge.expect("dropped_malformed", "mapped", &mapped);
        judge.expect("redirected_tcp", "not used up", &v4(V4_OTHER, SYN));
    });
}

/// With too many sources the oldest are forgotten: a limit is never a way to keep others out.
#[test]
fn too_many_sources_are_forgotten_and_never_refused() {
    with_veth(|| {
        let options = LoadOptions {
            syn_sources: 1_024,
            ..Default::default()
        };
        let judge = Judge::with(options);
        judge.program.set_syn_limit(limit(1, 1, 32, 128)).unwrap();
        let mut second = 0;
        for number in 0..10_000_u32 {
            let address = Ipv4Addr::from(0xc612_0000 + number);
            let syn = match number % 2 {
                0 => v4(address, SYN),
                _ => v6(address.to_ipv6_compatible(), SYN),
            };
            assert_eq!(redirected(&judge, [&syn]), 1, "the first of {address}");
            second += redirected(&judge, [&syn]);
        }
        // But for those that the machine took a second over.
        assert!(second < 100, "{second} passed a second time");
    });
}

#[test]
fn who_is_denied_uses_nothing_up() {
    with_veth(|| {
        let judge = Judge::new();
        judge.program.set_syn_limit(limit(1, 1, 24, 64)).unwrap();
        let peer = [V4_PEER.to_string().parse().unwrap()].into();
        judge.program.deny(&peer).unwrap();
        for _ in 0..10 {
            judge.expect("dropped_denied", "denied", &v4(V4_PEER, SYN));
        }
        judge.expect("redirected_tcp", "of its prefix", &v4(V4_OTHER, SYN));
    });
}

#[expect(clippy::disallowed_methods, reason = "the kernel's clock is no other")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
