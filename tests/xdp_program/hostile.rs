//! Frames of a hostile network: whatever they are, the verdict is one of three, one counter says
//! why, and no TCP to a port of ours gets to the kernel.

use std::os::fd::{AsFd, AsRawFd};

use corelane::xdp::Verdict;
use libbpf_rs::libbpf_sys::{bpf_prog_test_run_opts, bpf_test_run_opts, xdp_md};

use crate::frames::*;
use crate::namespace::skip;
use crate::{Judge, with_veth};

/// One frame of each shape that is TCP of ours.
fn segments() -> Vec<Vec<u8>> {
    let http = tcp(40_000, HTTP);
    let v4 = Ipv4::default().packet(&http);
    let v6 = ipv6(V6_PEER, V6, TCP, &http);
    let chain = extension(
        ROUTING,
        0,
        &extension(FRAGMENT, 1, &fragment(TCP, 0, false, 1, &http)),
    );
    vec![
        to_us(IPV4, &v4),
        to_us(IPV6, &v6),
        to_us(VLAN, &tag(5, IPV4, &v4)),
        to_us(VLAN, &tag(0, IPV6, &v6)),
        Ipv4 {
            options: &[1; 40],
            ..Default::default()
        }
        .frame(&http),
        Ipv4 {
            fragment: MORE,
            ..Default::default()
        }
        .frame(&http),
        ipv6_frame(FRAGMENT, &fragment(TCP, 0, true, 1, &http)),
        ipv6_frame(HOP_BY_HOP, &chain),
        ipv6_frame(AUTHENTICATION, &authentication(TCP, &http)),
    ]
}

/// And of each that goes elsewhere or quotes.
fn others() -> Vec<Vec<u8>> {
    let quote = icmp(3, &quote_ipv4(V4, TCP, HTTP));
    vec![
        to_us(ARP, &[0; 28]),
        Ipv4::default().frame(&tcp(40_000, SSH)),
        Ipv4 {
            protocol: ICMP,
            ..Default::default()
        }
        .frame(&quote),
        ipv6_frame(ICMPV6, &icmp(2, &quote_ipv6(V6, TCP, HTTP))),
        ipv6_frame(FRAGMENT, &fragment(TCP, 5, true, 1, &[0; 32])),
        to_us(SERVICE_VLAN, &tag(0, VLAN, &tag(0, IPV4, &[0x45; 40]))),
    ]
}

#[test]
fn cut_short_at_every_length() {
    with_veth(|| {
        let judge = Judge::new();
        for frame in segments() {
            assert_ne!(judge.judge(&frame).0, Verdict::Pass, "{frame:02x?}");
            for length in 14..frame.len() {
                let (_, counter) = judge.judge(&frame[..length]);
                let fine = counter == "passed_malformed" || !counter.starts_with("passed");
                assert!(fine, "{counter} for {:02x?}", &frame[..length]);
            }
        }
        for frame in others() {
            for length in 14..frame.len() {
                judge.judge(&frame[..length]);
            }
        }
    });
}

/// A driver that splits headers may put any part of them into the first buffer.
#[test]
fn headers_split_over_buffers() {
    with_veth(|| {
        let judge = Judge::new();
        for mut frame in segments() {
            // The kernel makes a second buffer only for what is more than the first holds.
            frame.resize(200, 0);
            let whole = judge.judge(&frame).0;
            for first_buffer in 14..frame.len() {
                match run_split(&judge, &frame, first_buffer) {
                    Ok(verdict) => assert_eq!(verdict, whole, "{first_buffer} of {frame:02x?}"),
                    Err(libc::EINVAL) => {
                        skip("it needs Linux 6.18");
                        return;
                    }
                    Err(error) => panic!("error {error}"),
                }
            }
        }
    });
}

/// Runs the program with only so many octets in the first buffer; yields the error number.
fn run_split(judge: &Judge, frame: &[u8], first_buffer: usize) -> Result<Verdict, i32> {
    let mut context = xdp_md {
        data_end: first_buffer as u32,
        ..Default::default()
    };
    let mut options = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as _,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        ctx_in: (&raw mut context).cast(),
        ctx_size_in: size_of::<xdp_md>() as u32,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the options, the context and the frame live for the call.
    let result =
        unsafe { bpf_prog_test_run_opts(judge.program.as_fd().as_raw_fd(), &raw mut options) };
    match (result, options.retval) {
        (0, 1) => Ok(Verdict::Drop),
        (0, 2) => Ok(Verdict::Pass),
        (0, 4) => Ok(Verdict::Redirect),
        (0, other) => Ok(Verdict::Unexpected(other)),
        (error, _) => Err(-error),
    }
}

#[test]
fn lying_headers() {
    with_veth(|| {
        let judge = Judge::new();
        let frame = Ipv4::default().frame(&tcp(40_000, HTTP));
        let with = |at: usize, value: &[u8]| {
            let mut changed = frame.clone();
            changed[at..at + value.len()].copy_from_slice(value);
            changed
        };
        judge.expect("dropped_malformed", "version 5", &with(14, &[0x55]));
        judge.expect("dropped_malformed", "IHL 4", &with(14, &[0x44]));
        judge.expect(
            "dropped_malformed",
            "IHL behind the frame",
            &with(14, &[0x4f]),
        );
        judge.expect("dropped_malformed", "total length 0", &with(16, &[0, 0]));
        judge.expect("dropped_malformed", "total length 23", &with(16, &[0, 23]));
        judge.expect(
            "redirected_tcp",
            "total length too large",
            &with(16, &[0xff, 0xff]),
        );
        judge.expect("redirected_tcp", "data offset 0", &with(46, &[0]));
        judge.expect("redirected_tcp", "data offset 15", &with(46, &[0xf0]));
        judge.expect(
            "redirected_tcp",
            "reserved fragment bit",
            &with(20, &[0x80, 0]),
        );
        let elsewhere = Ipv4 {
            destination: V4_OTHER,
            ..Default::default()
        };
        let mut elsewhere = elsewhere.frame(&tcp(40_000, HTTP));
        elsewhere[14] = 0x44;
        judge.expect("passed_malformed", "IHL 4 elsewhere", &elsewhere);

        let frame = ipv6_frame(HOP_BY_HOP, &extension(TCP, 0, &tcp(40_000, HTTP)));
        let with = |at: usize, value: &[u8]| {
            let mut changed = frame.clone();
            changed[at..at + value.len()].copy_from_slice(value);
            changed
        };
        judge.expect("dropped_malformed", "version 7", &with(14, &[0x70]));
        judge.expect(
            "dropped_malformed",
            "extension behind the frame",
            &with(55, &[255]),
        );
        judge.expect("dropped_malformed", "payload length 8", &with(18, &[0, 8]));
        judge.expect("redirected_tcp", "payload length 0", &with(18, &[0, 0]));
        judge.expect(
            "redirected_tcp",
            "payload too long",
            &with(18, &[0xff, 0xff]),
        );
    });
}

#[test]
fn random_and_mutated_frames() {
    with_veth(|| {
        let judge = Judge::new();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let seeds: Vec<_> = segments().into_iter().chain(others()).collect();
        let (mut ours, mut passed) = (0, 0);
        for round in 0..30_000 {
            let frame = match round % 4 {
                0 => noise(&mut random),
                _ => mutate(&mut random, &seeds),
            };
            let (verdict, counter) = judge.judge(&frame);
            if is_ours_to_the_kernel(&frame) {
                ours += 1;
                assert_ne!(
                    verdict,
                    Verdict::Pass,
                    "{counter}, round {round}: {frame:02x?}"
                );
            }
            passed += usize::from(verdict == Verdict::Pass);
        }
        // The rounds reach both sides of the decision.
        assert!(ours > 1_000, "{ours} frames of ours");
        assert!(passed > 1_000, "{passed} frames passed");
    });
}

/// Octets without sense behind our address and a type that is looked into.
fn noise(random: &mut Random) -> Vec<u8> {
    let kind = [IPV4, IPV6, VLAN, SERVICE_VLAN][random.below(4)];
    let length = random.below(200);
    let mut payload: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    if let (Some(first), true) = (payload.first_mut(), random.below(2) == 0) {
        *first = if kind == IPV4 { 0x45 } else { 0x60 };
    }
    to_us(kind, &payload)
}

/// A good frame with up to four octets changed, behind the addresses of the link.
fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = seeds[random.below(seeds.len())].clone();
    for _ in 0..random.below(5) {
        let at = 12 + random.below(frame.len() - 12);
        frame[at] = match random.below(3) {
            0 => frame[at] ^ (1 << random.below(8)),
            1 => [0, 1, 4, 5, TCP, FRAGMENT, DESTINATION_OPTIONS, 0xff][random.below(8)],
            _ => random.next() as u8,
        };
    }
    if random.below(8) == 0 {
        frame.truncate(14 + random.below(frame.len() - 13));
    }
    frame
}

/// xorshift64*: the same frames in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
