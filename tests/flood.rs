//! A stack under a flood, frame by frame: how large answers to strangers are, and how many resets they
//! get.

#[path = "support/memory.rs"]
mod memory;

use corelane::ring::sim::SimDevice;
use corelane::stack::{ServiceId, Stack};
use corelane::tcp::Config;
use corelane::time::{Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{FastOpen, Flags, Header, Options, Timestamps};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr, Packet, parse};
use memory::{CLIENT, CLIENT_MAC, Echo, LINK, SERVER, SERVER_MAC, Settings, count, io};

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

fn all_options() -> Options {
    Options {
        mss: Some(1_460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { tsval: 1, tsecr: 0 }),
        ..Options::default()
    }
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
        Before::HalfOpen => {
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
