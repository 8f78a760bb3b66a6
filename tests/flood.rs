//! A stack under a flood, frame by frame: SYN cookies (RFC 4987 section 3.6), how large answers to
//! strangers are, and how many resets they get.

#[path = "support/memory.rs"]
mod memory;

use std::sync::mpsc::channel;

use corelane::ring::sim::SimDevice;
use corelane::stack::{ServiceId, Stack, Stray};
use corelane::tcp::{CloseReason, Config, SynCookies};
use corelane::time::{Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{FastOpen, Flags, Header, Options, Timestamps};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr, Packet, parse};
use memory::{CLIENT, CLIENT_MAC, Echo, LINK, Pattern, SERVER, SERVER_MAC, Settings, count, io};

const SERVER_V6: Address = v6(1);
const CLIENT_V6: Address = v6(2);
const PORT: u16 = 7;
/// Nobody listens there.
const CLOSED: u16 = 8;
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const ETHERNET: usize = 14;

const fn v6(last: u8) -> Address {
    let mut octets = [0; 16];
    (octets[0], octets[15]) = (0xfd, last);
    Address::from_ipv6(octets)
}

fn stack(mac: MacAddr, tcp: Config, max_connections: usize) -> Stack<SimDevice> {
    let settings = Settings {
        tcp,
        max_connections,
        ..Settings::default()
    };
    memory::stack(mac, &settings)
}

/// From `key`'s local end, with a right checksum.
fn frame(key: FlowKey, header: &Header, text: &[u8]) -> Vec<u8> {
    let route = Route {
        link: LINK,
        key,
        hop_limit: 64,
        traffic_class: 0,
        identification: 0,
    };
    let mut frame = vec![0; MAX_HEADERS];
    let len = segment_headers(&mut frame, &route, header, (text.len(), Sum::of(text)));
    frame.extend(text);
    frame.split_off(MAX_HEADERS - len)
}

fn from_peer(ipv6: bool, local_port: u16, remote_port: u16) -> FlowKey {
    let (local, remote) = if ipv6 {
        (CLIENT_V6, SERVER_V6)
    } else {
        (CLIENT, SERVER)
    };
    FlowKey {
        local,
        remote,
        local_port,
        remote_port,
    }
}

/// A stack that serves, and what it answers.
struct Server {
    now: Instant,
    stack: Stack<SimDevice>,
}

impl Server {
    fn new(tcp: Config, max_connections: usize) -> Self {
        let mut stack = stack(SERVER_MAC, tcp, max_connections);
        stack.listen(&[SERVER, SERVER_V6], PORT, Echo);
        Self {
            now: Instant::from_millis(10_000),
            stack,
        }
    }

    fn with(tcp: Config) -> Self {
        Self::new(tcp, 10_000)
    }

    /// What comes back for a frame, and how many octets of IP.
    fn answers(&mut self, frame: &[u8]) -> (Vec<Header>, usize) {
        assert!(io(&mut self.stack).receive(frame));
        self.now += Duration::from_nanos(100);
        self.stack.turn(self.now);
        let (mut headers, mut octets) = (Vec::new(), 0);
        io(&mut self.stack).take_sent(|sent| {
            octets += sent.len() - ETHERNET;
            match parse(sent, ChecksumPolicy::Full) {
                Ok(Packet::Tcp { segment, .. }) => headers.push(segment.header),
                other => panic!("{other:?}"),
            }
        });
        (headers, octets)
    }

    #[track_caller]
    fn answer(&mut self, key: FlowKey, header: &Header, text: &[u8]) -> Option<Header> {
        let (mut headers, _) = self.answers(&frame(key, header, text));
        assert!(headers.len() <= 1, "{headers:?}");
        headers.pop()
    }

    fn count(&self, name: &str) -> u64 {
        count(&self.stack, name)
    }
}

fn syn(options: Options) -> Header {
    Header {
        seq: 5_000,
        flags: Flags::SYN,
        window: 1_000,
        options,
        ..Header::default()
    }
}

fn ack(syn_ack: &Header) -> Header {
    Header {
        seq: syn_ack.ack,
        ack: syn_ack.seq.wrapping_add(1),
        flags: Flags::ACK,
        window: 1_000,
        options: Options {
            timestamps: syn_ack.options.timestamps.map(|it| Timestamps {
                tsval: 2,
                tsecr: it.tsval,
            }),
            ..Options::default()
        },
        ..Header::default()
    }
}

fn all_options() -> Options {
    Options {
        mss: Some(1_460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { tsval: 1, tsecr: 0 }),
        ..Options::default()
    }
}

fn always() -> Config {
    Config {
        syn_cookies: SynCookies::Always,
        ..Config::default()
    }
}

/// The queue is tiny and the flood never ends; the honest client notices nothing of it.
#[test]
fn an_honest_client_is_served_through_a_flood() {
    for mode in [SynCookies::Auto, SynCookies::Always] {
        let mut server = Server::with(Config {
            syn_queue: 8,
            syn_cookies: mode,
            ..Config::default()
        });
        let (sender, results) = channel();
        let mut client = stack(CLIENT_MAC, Config::default(), 100);
        let service = client.host(Pattern {
            total: 100_000,
            results: sender,
        });
        let mut done = 0;
        for round in 0u32..20_000 {
            server.now += Duration::from_micros(10);
            for flood in 0..8u32 {
                let number = round * 8 + flood;
                let [_, a, b, c] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
                let key = FlowKey {
                    local: Address::from_ipv4([198, 19, a, b]),
                    ..from_peer(false, 1_024 + u16::from(c), PORT)
                };
                assert!(io(&mut server.stack).receive(&frame(key, &syn(all_options()), &[])));
            }
            if round > 10 && round % 1_000 == 11 && round < 10_000 {
                let key = from_peer(false, 40_000 + (round / 1_000) as u16, PORT);
                client.connect(server.now, key, LINK, 0, service).unwrap();
            }
            client.turn(server.now);
            io(&mut client).take_sent(|sent| assert!(io(&mut server.stack).receive(sent)));
            server.stack.turn(server.now);
            io(&mut server.stack).take_sent(|sent| {
                // What goes to those who have not asked is lost.
                let parsed = parse(sent, ChecksumPolicy::Full);
                if matches!(parsed, Ok(Packet::Tcp { key, .. }) if key.local == CLIENT) {
                    assert!(io(&mut client).receive(sent));
                }
            });
            while let Ok(result) = results.try_recv() {
                assert_eq!(result, (100_000, CloseReason::Finished));
                done += 1;
            }
            if done == 10 {
                break;
            }
        }
        assert_eq!(done, 10, "{:?}", server.stack.counters().stack);
        assert!(server.count("syn_cookies_sent") > 10_000);
        assert_eq!(server.count("syn_cookies_recv"), 10);
        assert_eq!(server.count("syn_cookies_failed"), 0);
        assert_eq!(server.count("listen_overflows"), 0);
        let kept = server.stack.live_connections();
        assert!(kept <= 8, "{kept}");
        assert_eq!(count(&client, "retrans_segs"), 0, "nothing was lost");
        let floods = server.stack.take_floods(server.now);
        assert_eq!(floods.len(), usize::from(mode == SynCookies::Auto));
        assert!(
            floods
                .iter()
                .all(|it| it.port == PORT && it.terms.is_some())
        );
    }
}

/// As in Linux: a cookie that is wrong is answered like any other segment of no connection.
#[test]
fn a_wrong_cookie_is_reset() {
    let mut server = Server::with(always());
    let key = from_peer(false, 1_000, PORT);
    let syn_ack = server.answer(key, &syn(all_options()), &[]).unwrap();
    let mut wrong = ack(&syn_ack);
    wrong.ack = wrong.ack.wrapping_sub(100);
    let reset = server.answer(key, &wrong, b"text").unwrap();
    assert_eq!((reset.flags, reset.seq), (Flags::RST, wrong.ack));
    assert_eq!(server.count("syn_cookies_failed"), 1);
    assert_eq!(server.stack.live_connections(), 0);
    assert_eq!(server.answer(key, &ack(&syn_ack), &[]), None);
    assert_eq!(server.stack.live_connections(), 1);
    // The connection is there: the same again is for it, and so is what follows.
    assert_eq!(server.answer(key, &ack(&syn_ack), &[]), None);
    let echo = server.answer(key, &ack(&syn_ack), b"text").unwrap();
    assert_eq!(echo.ack, syn_ack.ack.wrapping_add(4));
    assert_eq!(server.count("syn_cookies_recv"), 1);
}

/// No room for the connection is no reason for a reset: the client's next segment may find some.
#[test]
fn a_right_cookie_that_finds_no_room_is_dropped_and_counted() {
    let mut server = Server::new(always(), 1);
    let [first, second] = [1_000, 1_001].map(|port| from_peer(false, port, PORT));
    let [one, two] =
        [first, second].map(|key| server.answer(key, &syn(all_options()), &[]).unwrap());
    assert_eq!(server.answer(first, &ack(&one), &[]), None);
    assert_eq!(server.answer(second, &ack(&two), b"request"), None);
    assert_eq!(server.count("flow_table_full"), 1);
    assert_eq!(server.count("out_rsts"), 0);
    assert_eq!(server.stack.live_connections(), 1);
    let reset = Header {
        flags: Flags::RST,
        ..ack(&one)
    };
    assert_eq!(server.answer(first, &reset, &[]), None);
    assert_eq!(server.stack.live_connections(), 0);
    let echo = server.answer(second, &ack(&two), b"request").unwrap();
    assert_eq!(echo.ack, two.ack.wrapping_add(7));
}

/// A server that ends takes no new connections, from cookies neither.
#[test]
fn draining_takes_no_cookies() {
    let mut server = Server::with(always());
    let key = from_peer(true, 1_000, PORT);
    let syn_ack = server.answer(key, &syn(all_options()), &[]).unwrap();
    server.stack.drain(server.now);
    let reset = server.answer(key, &ack(&syn_ack), &[]).unwrap();
    assert_eq!(reset.flags, Flags::RST);
    assert_eq!(server.stack.live_connections(), 0);
}

/// Any worker can tell a cookie, but only the one that a segment reaches first looks.
#[test]
fn a_cookie_counts_where_its_acknowledgment_arrives() {
    let worker = || {
        let settings = Settings {
            tcp: always(),
            other_workers: 1,
            ..Settings::default()
        };
        let mut stack = memory::stack(SERVER_MAC, &settings);
        stack.listen(&[SERVER], PORT, Echo);
        let now = Instant::from_millis(10_000);
        Server { now, stack }
    };
    let [mut one, mut other] = [worker(), worker()];
    let key = from_peer(false, 1_000, PORT);
    let syn_ack = one.answer(key, &syn(all_options()), &[]).unwrap();
    let stray = Stray {
        frame: frame(key, &ack(&syn_ack), &[]).into(),
        checksums: ChecksumPolicy::Full,
        hops: 1,
    };
    other.stack.handle_stray(other.now, stray);
    assert_eq!(other.stack.live_connections(), 0);
    assert_eq!(other.count("out_rsts"), 1, "it was the last");
    other.stack.turn(other.now);
    io(&mut other.stack).take_sent(|_| ());
    assert_eq!(other.answer(key, &ack(&syn_ack), &[]), None);
    assert_eq!(other.stack.live_connections(), 1);
    assert_eq!(one.stack.live_connections(), 0);
}

#[test]
fn resets_to_strangers_have_a_limit_per_second() {
    let mut server = Server::with(Config {
        resets_per_second: 50,
        ..Config::default()
    });
    for second in 1..=3u64 {
        let mut resets = 0;
        for stray in 0..500u16 {
            let key = from_peer(stray % 2 == 0, 1_000 + stray, PORT);
            let header = Header {
                seq: 77,
                ack: 88,
                flags: Flags::ACK,
                ..Header::default()
            };
            resets += server.answers(&frame(key, &header, b"text")).0.len();
        }
        assert_eq!(resets, 50);
        assert_eq!(server.count("out_rsts"), 50 * second);
        assert_eq!(server.count("resets_suppressed"), 450 * second);
        server.now += Duration::from_secs(1);
    }
    // SYNs to nobody, too.
    for port in 0..60 {
        server.answers(&frame(
            from_peer(false, 100 + port, CLOSED),
            &syn(all_options()),
            &[],
        ));
    }
    assert_eq!(server.count("out_rsts"), 200);
    assert_eq!(server.count("resets_suppressed"), 3 * 450 + 10);
}

/// What the peer has done before the segment in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A SYN, of which an entry is kept.
    HalfOpen,
    /// A SYN that was answered with a cookie.
    Cookie,
    /// Nothing, on a port that nobody listens on.
    ClosedPort,
    /// Nothing, and the server is ending.
    Draining,
    /// The server has sent it a SYN.
    SynSent,
}

/// Whatever stands in its flags and options, and wherever it finds us: a segment from an address that
/// has not completed a handshake is worth no more than three times its size.
#[test]
fn no_answer_to_a_stranger_is_larger_than_three_times_its_cause() {
    let options = [
        Options::default(),
        all_options(),
        Options {
            fast_open: Some(FastOpen::REQUEST),
            ..Options::default()
        },
        Options {
            fast_open: FastOpen::new(&[7; 8]),
            mss: Some(1_460),
            ..Options::default()
        },
        Options {
            timestamps: Some(Timestamps { tsval: 9, tsecr: 9 }),
            ..Options::default()
        },
    ];
    let (mut asked, mut answered, mut largest) = (0u32, 0u32, 0.0f64);
    for before in [
        Before::Nothing,
        Before::HalfOpen,
        Before::Cookie,
        Before::ClosedPort,
        Before::Draining,
        Before::SynSent,
    ] {
        for ipv6 in [false, true] {
            for (index, options) in options.iter().enumerate() {
                let mut server = world(before);
                for flags in 0..=255u8 {
                    // One SYN-ACK after the other would be the timer's.
                    assert!(server.now < Instant::from_millis(10_900));
                    let cause = Cause {
                        ipv6,
                        port: 1_000 + u16::from(flags),
                        flags: Flags(flags),
                        options,
                        text: if flags & 1 == index as u8 & 1 {
                            b""
                        } else {
                            b"some text"
                        },
                    };
                    let (cost, gain) = provoke(&mut server, before, &cause);
                    asked += 1;
                    answered += u32::from(gain > 0);
                    let factor = gain as f64 / cost as f64;
                    assert!(factor <= 3.0, "{before:?} {cause:?}: {gain} for {cost}");
                    largest = largest.max(factor);
                }
            }
        }
    }
    // Not in vain: most of them are answered, and some with more than they are.
    assert!(answered > asked / 3, "{answered} of {asked}");
    assert!(largest > 1.0);
}

#[derive(Debug)]
struct Cause<'a> {
    ipv6: bool,
    port: u16,
    flags: Flags,
    options: &'a Options,
    text: &'a [u8],
}

/// No limit of the core keeps an answer back.
fn world(before: Before) -> Server {
    let mut server = Server::with(Config {
        syn_cookies: match before {
            Before::Cookie => SynCookies::Always,
            _ => SynCookies::Off,
        },
        fast_open_queue: 16,
        challenge_acks_per_second: 1_000_000,
        resets_per_second: 1_000_000,
        ..Config::default()
    });
    if before == Before::Draining {
        server.stack.drain(server.now);
    }
    server
}

/// Octets of IP of the cause, and of what it is answered with.
fn provoke(server: &mut Server, before: Before, cause: &Cause<'_>) -> (usize, usize) {
    let port = match before {
        Before::ClosedPort => CLOSED,
        _ => PORT,
    };
    let key = from_peer(cause.ipv6, cause.port, port);
    match before {
        Before::HalfOpen | Before::Cookie => {
            let syn_ack = server.answer(key, &syn(cause.options.clone()), &[]);
            assert_eq!(syn_ack.unwrap().flags, SYN_ACK);
        }
        Before::SynSent => {
            let link = Link {
                local: SERVER_MAC,
                remote: CLIENT_MAC,
                vlan: None,
            };
            let service = ServiceId::default();
            let (stack, now) = (&mut server.stack, server.now);
            stack
                .connect(now, key.reversed(), link, 0, service)
                .unwrap();
            stack.turn(now);
            io(stack).take_sent(|_| ());
        }
        Before::Nothing | Before::ClosedPort | Before::Draining => {}
    }
    let header = Header {
        seq: 5_001 + u32::from(cause.flags.0) % 3,
        ack: 0x1234_5678,
        flags: cause.flags,
        window: 1_000,
        urgent: 1,
        options: cause.options.clone(),
    };
    let frame = frame(key, &header, cause.text);
    let (_, gain) = server.answers(&frame);
    (frame.len() - ETHERNET, gain)
}
