//! SYN cookies: what the program answers is what user space would answer, and user space takes the
//! acknowledgment.

#[path = "../support/memory.rs"]
mod memory;

use corelane::ring::sim::SimDevice;
use corelane::services::{Kind, http::Limits};
use corelane::stack::Stack;
use corelane::tcp::{Config, Core, EcnMode, IsnGenerator, Listener, SocketOptions, SynCookies};
use corelane::time::{Clock, Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{FastOpen, Flags, Header, Options, Timestamps};
use corelane::wire::{Address, ChecksumPolicy, CookieTerms, FlowKey, Link, MacAddr, Packet, parse};
use corelane::xdp::LoadOptions;
use memory::{Settings, count, io};

use crate::frames::*;
use crate::{Judge, with_veth};

/// That of [`memory::stack`] with the server's Ethernet address.
const SECRET: [u8; 32] = [1; 32];
const MTU: u16 = 1_500;

/// The program and a stack that agree on everything.
struct Both {
    judge: Judge,
    stack: Stack<SimDevice>,
    clock: Clock,
}

fn address(ipv6: bool, peer: bool) -> Address {
    match (ipv6, peer) {
        (false, false) => Address::from_ipv4(V4.octets()),
        (false, true) => Address::from_ipv4(V4_PEER.octets()),
        (true, false) => Address::from_ipv6(V6.octets()),
        (true, true) => Address::from_ipv6(V6_PEER.octets()),
    }
}

fn terms(config: &Config, ipv6: bool) -> CookieTerms {
    let core = Core::new(config.clone(), IsnGenerator::new(SECRET));
    let headers = if ipv6 { 60 } else { 40 };
    Listener::default().cookie_terms(&core, MTU - headers)
}

impl Both {
    fn new(config: Config) -> Self {
        let config = Config {
            syn_cookies: SynCookies::Always,
            ..config
        };
        let judge = Judge::with(LoadOptions::default());
        let clock = Clock::start();
        // As the server does it: the program's clock is behind.
        let then = clock.now().as_nanos() - Duration::from_secs(2).as_nanos();
        let secrets = IsnGenerator::new(SECRET).cookie_secrets(Instant::from_nanos(then));
        judge.program.set_cookie_secrets(&secrets).unwrap();
        let addresses = [false, true].map(|ipv6| address(ipv6, false));
        for (ipv6, address) in [false, true].into_iter().zip(addresses) {
            let terms = terms(&config, ipv6);
            judge.program.send_cookies(address, HTTP, &terms).unwrap();
        }
        let settings = Settings {
            tcp: config,
            ..Settings::default()
        };
        let mut stack = memory::stack(MacAddr(MAC), &settings);
        for address in addresses {
            Kind::Http.listen_with(
                &mut stack,
                &[address],
                HTTP,
                settings.tcp.options.clone(),
                Limits::default(),
            );
        }
        Self {
            judge,
            stack,
            clock,
        }
    }

    /// What the stack sends for a frame.
    fn stack_answers(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        assert!(io(&mut self.stack).receive(frame));
        self.stack.turn(self.clock.now());
        let mut sent = Vec::new();
        io(&mut self.stack).take_sent(|frame| sent.push(frame.to_vec()));
        assert!(sent.len() <= 1);
        sent.pop()
    }

    fn program_answers(&self, frame: &[u8]) -> Option<Vec<u8>> {
        self.judge.program.answer(frame).unwrap()
    }

    /// Both answer alike, and the stack takes the acknowledgment of what the program has sent.
    #[track_caller]
    fn assert_alike(&mut self, syn: &[u8]) -> Header {
        // In this order, however long the test is kept from the CPU between.
        let answer = self.program_answers(syn).expect("the program answers");
        let expected = self.stack_answers(syn).expect("the stack answers");
        let (expected_link, key, expected) = read(&expected);
        let (link, answered_key, mut answer) = read(&answer);
        assert_eq!((link, answered_key), (expected_link, key));
        let said = answer.clone();
        // The program's clock is a second behind, so that the stack's is never behind it.
        if let (Some(a), Some(b)) = (&mut answer.options.timestamps, expected.options.timestamps) {
            let behind = b.tsval.wrapping_sub(a.tsval);
            assert!((900..60_000).contains(&behind), "{behind}");
            a.tsval = b.tsval;
        }
        // A step of 64 s may have ended in that second.
        answer.seq = expected.seq;
        assert_eq!(answer, expected);
        let before = count(&self.stack, "syn_cookies_recv");
        let route = Route {
            link: LINK,
            key,
            hop_limit: 64,
            traffic_class: 0,
            identification: 0,
        };
        let acknowledgment = Header {
            seq: said.ack,
            ack: said.seq.wrapping_add(1),
            flags: Flags::ACK,
            window: 500,
            options: Options {
                timestamps: said.options.timestamps.map(|it| Timestamps {
                    tsval: it.tsecr,
                    tsecr: it.tsval,
                }),
                ..Options::default()
            },
            ..Header::default()
        };
        self.stack_answers(&frame(&route, &acknowledgment, &[]));
        assert_eq!(count(&self.stack, "syn_cookies_recv"), before + 1);
        said
    }
}

const LINK: Link = Link {
    local: MacAddr(PEER_MAC),
    remote: MacAddr(MAC),
    vlan: None,
};

fn route(ipv6: bool, port: u16) -> Route {
    Route {
        link: LINK,
        key: FlowKey {
            local: address(ipv6, true),
            remote: address(ipv6, false),
            local_port: port,
            remote_port: HTTP,
        },
        hop_limit: 64,
        traffic_class: 0,
        identification: 7,
    }
}

fn frame(route: &Route, header: &Header, text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; MAX_HEADERS];
    let len = segment_headers(&mut frame, route, header, (text.len(), Sum::of(text)));
    frame.extend(text);
    frame.split_off(MAX_HEADERS - len)
}

/// Only what is right in every checksum is read.
fn read(frame: &[u8]) -> (Link, FlowKey, Header) {
    match parse(frame, ChecksumPolicy::Full) {
        Ok(Packet::Tcp {
            link,
            key,
            ecn: 0,
            segment,
        }) => {
            assert!(segment.payload.is_empty());
            (link, key, segment.header)
        }
        other => panic!("{other:?}"),
    }
}

fn syn(options: Options) -> Header {
    Header {
        seq: 0xffff_ffff,
        flags: Flags::SYN,
        window: 64_240,
        options,
        ..Header::default()
    }
}

fn offers(mss: Option<u16>, scale: Option<u8>, sack: bool, timestamps: bool) -> Options {
    Options {
        mss,
        window_scale: scale,
        sack_permitted: sack,
        timestamps: timestamps.then_some(Timestamps {
            tsval: 0x0102_0304,
            tsecr: 0,
        }),
        ..Options::default()
    }
}

#[test]
fn the_program_answers_as_the_stack_does() {
    with_veth(|| {
        let mut both = Both::new(Config::default());
        let mut port = 1_024;
        for ipv6 in [false, true] {
            for bits in 0..16_u8 {
                let has = |bit: u8| bits & bit != 0;
                for mss in [None, Some(0), Some(536), Some(1_460), Some(9_000)] {
                    let scale = has(1).then_some(bits * 4);
                    let mut header = syn(offers(mss, scale, has(2), has(4)));
                    if has(8) {
                        header.flags = Flags::SYN | Flags::ECE | Flags::CWR;
                    }
                    port += 1;
                    let said = both.assert_alike(&frame(&route(ipv6, port), &header, &[]));
                    assert_eq!(said.flags.contains(Flags::ECE), has(8) && has(4));
                    assert_eq!(said.options.sack_permitted, has(2) && has(4));
                }
            }
        }
        let answered = both.judge.program.counters().unwrap();
        let (_, answered) = answered.iter().find(|it| it.0 == "answered_syn").unwrap();
        assert_eq!(*answered, 2 * 16 * 5);
    });
}

#[test]
fn what_the_configuration_says_is_in_the_answer() {
    with_veth(|| {
        let everything = syn(offers(Some(1_460), Some(7), true, true));
        let options = SocketOptions {
            traffic_class: 0xb8,
            ..SocketOptions::default()
        };
        let with_class = Config {
            options,
            ..Config::default()
        };
        for config in [
            with_class,
            Config {
                sack: false,
                ..Config::default()
            },
            Config {
                timestamps: false,
                ..Config::default()
            },
            Config {
                window_scale: false,
                ecn: EcnMode::Off,
                ..Config::default()
            },
        ] {
            let mut both = Both::new(config);
            for ipv6 in [false, true] {
                both.assert_alike(&frame(&route(ipv6, 1_024), &everything, &[]));
            }
        }
    });
}

#[test]
fn a_tag_and_padding_stay() {
    with_veth(|| {
        let mut both = Both::new(Config::default());
        let header = syn(offers(Some(1_460), None, false, false));
        for ipv6 in [false, true] {
            let mut tagged = route(ipv6, 2_000);
            tagged.link.vlan = Some(5);
            both.assert_alike(&frame(&tagged, &header, &[]));
            let mut padded = frame(&route(ipv6, 2_001), &syn(Options::default()), &[]);
            padded.resize(padded.len().max(60) + 6, 0xaa);
            let before = both.program_answers(&padded).unwrap();
            assert!(before.len() >= 60);
            both.assert_alike(&padded);
        }
    });
}

/// Octets of options as a hostile peer may have them.
#[test]
fn options_are_read_as_the_stack_reads_them() {
    with_veth(|| {
        let mut both = Both::new(Config::default());
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let known: [&[u8]; 10] = [
            &[0],
            &[1],
            &[2, 4, 2, 24],
            &[3, 3, 9],
            &[3, 3, 200],
            &[4, 2],
            &[5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            &[8, 10, 1, 2, 3, 4, 0, 0, 0, 0],
            &[254, 6, 1, 2, 3, 4],
            &[2, 4, 5, 220],
        ];
        let (mut alike, mut refused) = (0, 0);
        for round in 0..3_000_u16 {
            let mut options = Vec::new();
            while random() % 6 != 0 {
                options.extend(known[(random() % 10) as usize]);
            }
            // Sometimes a length or a kind is wrong.
            if round % 3 == 0 && !options.is_empty() {
                let at = random() as usize % options.len();
                options[at] = random() as u8 % 12;
            }
            options.resize(options.len().next_multiple_of(4), (random() % 2) as u8);
            options.truncate(40);
            let route = route(round % 2 == 0, 3_000 + round);
            let frame = with_options(&route, &options);
            match both.stack_answers(&frame) {
                Some(_) => {
                    both.assert_alike(&frame);
                    alike += 1;
                }
                None => {
                    assert_eq!(both.program_answers(&frame), None, "{options:?}");
                    refused += 1;
                }
            }
        }
        assert!(alike > 1_000 && refused > 100, "{alike} {refused}");
    });
}

/// A SYN with these octets of options.
fn with_options(route: &Route, options: &[u8]) -> Vec<u8> {
    // Text that becomes options by the data offset.
    let mut frame = frame(route, &syn(Options::default()), options);
    let tcp = frame.len() - options.len() - 20;
    frame[tcp + 12] = ((20 + options.len() as u8) / 4) << 4;
    frame[tcp + 16..tcp + 18].fill(0);
    let len = (20 + options.len()) as u32;
    let sum = Sum::of_pseudo_header(&route.key, len).plus(Sum::of(&frame[tcp..]));
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum.finish().to_be_bytes());
    frame
}

#[test]
fn what_it_does_not_answer_goes_to_the_stack() {
    with_veth(|| {
        let both = Both::new(Config::default());
        let good = frame(&route(false, 4_000), &syn(Options::default()), &[]);
        assert!(both.program_answers(&good).is_some());
        let flags = |flags| Header {
            flags,
            ..syn(Options::default())
        };
        for (what, header) in [
            ("an acknowledgment", flags(Flags::ACK)),
            ("a SYN-ACK", flags(Flags::SYN | Flags::ACK)),
            ("a reset", flags(Flags::SYN | Flags::RST)),
            ("all at once", flags(Flags::SYN | Flags::FIN)),
        ] {
            let frame = frame(&route(false, 4_000), &header, &[]);
            assert_eq!(both.program_answers(&frame), None, "{what}");
            both.judge.expect("redirected_tcp", what, &frame);
        }
        let mut wrong = good.clone();
        wrong[14 + 20 + 16] ^= 0xff;
        assert_eq!(both.program_answers(&wrong), None, "a wrong checksum");
        both.judge
            .expect("redirected_tcp", "a wrong checksum", &wrong);
        let mut long = good.clone();
        long[14 + 20 + 12] = 15 << 4;
        assert_eq!(
            both.program_answers(&long),
            None,
            "a header beyond the segment"
        );
        // Nobody is there.
        for source in [[0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            let mut nobody = route(false, 4_000);
            nobody.key.local = Address::from_ipv4(source);
            let syn = frame(&nobody, &syn(Options::default()), &[]);
            assert_eq!(both.program_answers(&syn), None, "{source:?}");
        }
        for (first, last) in [(0, 0), (0, 1), (0xff, 2)] {
            let mut source = [0; 16];
            (source[0], source[15]) = (first, last);
            let mut nobody = route(true, 4_000);
            nobody.key.local = Address::from_ipv6(source);
            let syn = frame(&nobody, &syn(Options::default()), &[]);
            assert_eq!(both.program_answers(&syn), None, "{source:?}");
        }
        let options = Ipv4 {
            options: &[1, 1, 1, 0],
            ..Default::default()
        };
        let options = options.frame(&tcp(4_000, HTTP));
        assert_eq!(both.program_answers(&options), None, "IP options");
        // What a kernel leaves that has put its checksum off.
        let mut partial = good.clone();
        let sum = Sum::of_pseudo_header(&route(false, 4_000).key, 20).finish();
        partial[14 + 20 + 16..14 + 20 + 18].copy_from_slice(&(!sum).to_be_bytes());
        assert!(
            both.program_answers(&partial).is_some(),
            "a partial checksum"
        );
        // Not of a service of its own any more.
        both.judge
            .program
            .stop_cookies(address(false, false), HTTP)
            .unwrap();
        assert_eq!(both.program_answers(&good), None, "no more");
        both.judge.expect("redirected_tcp", "no more", &good);
    });
}

/// Text on a SYN is not taken, and Fast Open not gone along with: the peer sends it again.
#[test]
fn text_on_a_syn_is_left_out() {
    with_veth(|| {
        let both = Both::new(Config::default());
        let options = Options {
            fast_open: FastOpen::new(&[7; 8]),
            ..offers(Some(1_460), Some(7), true, true)
        };
        for ipv6 in [false, true] {
            let syn = frame(&route(ipv6, 5_000), &syn(options.clone()), &[b'x'; 700]);
            let (_, _, answer) = read(&both.program_answers(&syn).unwrap());
            assert_eq!(answer.ack, 0, "the SYN alone");
            assert_eq!(answer.options.fast_open, None);
        }
    });
}

#[test]
fn without_the_key_of_the_time_it_answers_nothing() {
    with_veth(|| {
        let both = Both::new(Config::default());
        let good = frame(&route(false, 6_000), &syn(Options::default()), &[]);
        let later = both.clock.now() + Duration::from_secs(3 * 64 * 64);
        let secrets = IsnGenerator::new(SECRET).cookie_secrets(later);
        both.judge.program.set_cookie_secrets(&secrets).unwrap();
        assert_eq!(both.program_answers(&good), None);
        both.judge.expect("redirected_tcp", "no key", &good);
    });
}
