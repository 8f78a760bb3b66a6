//! Passive opens of one stack beside each other (RFC 9293 section 3.9.1.1), frame by frame.

#[path = "support/memory.rs"]
mod memory;

use std::num::NonZeroU8;
use std::sync::mpsc::{Receiver, Sender, channel};

use corelane::ring::sim::SimDevice;
use corelane::stack::{Service, Socket, Stack};
use corelane::tcp::{Config, SocketOptions, SynCookies};
use corelane::time::{Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{Flags, Header};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, Packet, parse};
use memory::{CLIENT, Closes, LINK, SERVER_MAC, START, Settings, count, io};

const ONE: Address = memory::SERVER;
const OTHER: Address = Address::from_ipv4([198, 18, 0, 3]);
const NEITHER: Address = Address::from_ipv4([198, 18, 0, 5]);
const ONE_V6: Address = v6(1);
const CLIENT_V6: Address = v6(2);
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

const fn v6(last: u8) -> Address {
    let mut octets = [0; 16];
    (octets[0], octets[15]) = (0xfd, last);
    Address::from_ipv6(octets)
}

/// Says its name when a connection opens.
struct Named(&'static str, Sender<&'static str>);

impl Service for Named {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {
        self.1.send(self.0).unwrap();
    }

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }
}

struct Server {
    now: Instant,
    /// The Differentiated Services octet and the TTL of what came last.
    said: (u8, u8),
    /// The frame that came last.
    last: Vec<u8>,
    stack: Stack<SimDevice>,
    opened: Receiver<&'static str>,
}

impl Server {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(tcp: Config) -> Self {
        let settings = Settings {
            tcp,
            ..Settings::default()
        };
        let (sender, opened) = channel();
        let mut stack = memory::stack(SERVER_MAC, &settings);
        stack.listen(&[ONE], 7, Named("one", sender.clone()));
        stack.listen(&[OTHER], 7, Named("other", sender.clone()));
        stack.listen(&[ONE, OTHER], 8, Named("both", sender));
        Self {
            now: START,
            said: (0, 0),
            last: Vec::new(),
            stack,
            opened,
        }
    }

    /// A segment of the peer's `from` to `to`; what comes back.
    fn exchange(&mut self, from: u16, to: (Address, u16), header: &Header) -> Option<Header> {
        self.exchange_text(from, to, header, &[])
    }

    /// The same of a segment with text.
    fn exchange_text(
        &mut self,
        from: u16,
        to: (Address, u16),
        header: &Header,
        text: &[u8],
    ) -> Option<Header> {
        let route = Route {
            link: LINK,
            key: FlowKey {
                local: if to.0.is_ipv4() { CLIENT } else { CLIENT_V6 },
                remote: to.0,
                local_port: from,
                remote_port: to.1,
            },
            hop_limit: 64,
            traffic_class: 0,
            identification: 0,
        };
        let mut frame = vec![0; MAX_HEADERS];
        let payload = (text.len(), Sum::of(text));
        let len = segment_headers(&mut frame, &route, header, payload);
        frame.extend(text);
        assert!(io(&mut self.stack).receive(&frame[MAX_HEADERS - len..]));
        self.now += Duration::from_micros(100);
        self.stack.turn(self.now);
        let mut answer = None;
        let (said, last) = (&mut self.said, &mut self.last);
        io(&mut self.stack).take_sent(|frame| match parse(frame, ChecksumPolicy::Full) {
            Ok(Packet::Tcp { key, segment, .. }) => {
                // Behind Ethernet.
                *said = (frame[14 + 1], frame[14 + 8]);
                last.clear();
                last.extend_from_slice(frame);
                assert_eq!((key.remote, key.remote_port), to, "it answers itself");
                assert!(answer.replace(segment.header).is_none(), "one answer");
            }
            other => panic!("{other:?}"),
        });
        answer
    }

    /// The whole handshake. Who heard of it.
    fn open(&mut self, from: u16, to: (Address, u16)) -> &'static str {
        let syn = Header {
            seq: 99,
            flags: Flags::SYN,
            window: 1_000,
            ..Header::default()
        };
        let syn_ack = self.exchange(from, to, &syn).expect("an answer");
        assert_eq!((syn_ack.flags, syn_ack.ack), (SYN_ACK, 100));
        let ack = Header {
            seq: 100,
            ack: syn_ack.seq.wrapping_add(1),
            flags: Flags::ACK,
            ..syn
        };
        assert_eq!(self.exchange(from, to, &ack), None);
        self.opened.try_recv().expect("it is open")
    }
}

/// MUST-42: several listen on one port at different addresses, and one listens at several.
#[test]
fn listeners_of_one_port_are_told_apart_by_address() {
    let mut server = Server::new();
    assert_eq!(server.open(1_000, (ONE, 7)), "one");
    assert_eq!(server.open(1_000, (OTHER, 7)), "other");
    assert_eq!(server.open(1_001, (ONE, 8)), "both");
    assert_eq!(server.open(1_001, (OTHER, 8)), "both");
    let syn = Header {
        flags: Flags::SYN,
        ..Header::default()
    };
    for nobody in [(NEITHER, 7), (ONE, 9)] {
        let answer = server.exchange(1_000, nobody, &syn).expect("an answer");
        assert!(answer.flags.contains(Flags::RST), "{nobody:?}");
    }
}

/// MUST-41 and MUST-42: a listener that starts later disturbs neither connections nor the other
/// listeners, and may take a port of which a connection is half open.
#[test]
fn a_passive_open_disturbs_nobody() {
    let mut server = Server::new();
    assert_eq!(server.open(1_000, (ONE, 7)), "one");
    let half_open = Header {
        seq: 99,
        flags: Flags::SYN,
        window: 1_000,
        ..Header::default()
    };
    let syn_ack = server.exchange(1_001, (ONE, 7), &half_open).expect("one");
    let (sender, opened) = channel();
    server.stack.listen(&[NEITHER], 7, Named("late", sender));
    assert_eq!(server.stack.live_connections(), 2, "one is half open");
    let ack = Header {
        seq: 100,
        ack: syn_ack.seq.wrapping_add(1),
        flags: Flags::ACK,
        ..half_open
    };
    assert_eq!(server.exchange(1_001, (ONE, 7), &ack), None);
    assert_eq!(server.opened.try_recv(), Ok("one"));
    assert_eq!(server.open(1_002, (ONE, 7)), "one");
    let syn = Header {
        flags: Flags::SYN,
        ..Header::default()
    };
    let answer = server.exchange(1_000, (NEITHER, 7), &syn).expect("one");
    assert_eq!(answer.flags, SYN_ACK);
    assert_eq!(opened.try_iter().count(), 0, "it is only half open");
}

/// Says what its peer asks for in one octet, with that octet in its own IP headers.
struct Marked;

impl Service for Marked {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
        socket.update_options(|options| options.traffic_class = data[0]);
        socket.send(data);
        data.len()
    }
}

/// MUST-48 and MUST-49: what the application has asked for is in every IP header, from the SYN-ACK
/// on; and may be changed later.
#[test]
fn ip_headers_say_what_the_options_say() {
    let mut server = Server::new();
    let options = SocketOptions {
        traffic_class: 0xb8,
        hop_limit: NonZeroU8::new(3).unwrap(),
        ..SocketOptions::default()
    };
    server.stack.listen_with(&[ONE], 9, options, Marked);
    let syn = Header {
        seq: 99,
        flags: Flags::SYN,
        window: 1_000,
        ..Header::default()
    };
    let syn_ack = server.exchange(1_000, (ONE, 9), &syn).expect("an answer");
    assert_eq!((syn_ack.flags, server.said), (SYN_ACK, (0xb8, 3)));
    let ack = Header {
        seq: 100,
        ack: syn_ack.seq.wrapping_add(1),
        flags: Flags::ACK,
        ..syn.clone()
    };
    assert_eq!(server.exchange(1_000, (ONE, 9), &ack), None);
    // An acknowledgment with text. ECN's bits are not the application's.
    let answer = server.exchange_text(1_000, (ONE, 9), &ack, &[0x2b]);
    assert!(answer.is_some());
    assert_eq!(server.said, (0x28, 3));
    // One without.
    let old = Header { seq: 99, ..ack };
    assert!(server.exchange_text(1_000, (ONE, 9), &old, &[0]).is_some());
    assert_eq!(server.said, (0x28, 3));
    // Of nobody.
    let reset = server.exchange(1_000, (ONE, 10), &syn).expect("a reset");
    assert!(reset.flags.contains(Flags::RST));
    assert_eq!(server.said, (0, 64));
}

/// RFC 2474 section 3 and RFC 3168 section 5: six bits of the application's and two of ECN's, in the
/// second octet of an IPv4 header, and across the first two of an IPv6 one. Only new text is
/// ECN-capable.
#[test]
fn the_traffic_class_is_where_each_ip_version_has_it() {
    for server_address in [ONE, ONE_V6] {
        let mut server = Server::new();
        let options = SocketOptions {
            traffic_class: 0xb8,
            ..SocketOptions::default()
        };
        let services = [server_address];
        server.stack.listen_with(&services, 9, options, Marked);
        // Version and traffic class, and with IPv6 the flow label.
        let begins = |server: &Server, class: u8| {
            let expected = if server_address.is_ipv4() {
                [0x45, class]
            } else {
                [0x60 | class >> 4, class << 4]
            };
            assert_eq!(server.last[14..16], expected);
            if !server_address.is_ipv4() {
                assert_eq!(server.last[16..18], [0, 0]);
            }
        };
        let to = (server_address, 9);
        let syn = Header {
            seq: 99,
            flags: Flags::SYN | Flags::ECE | Flags::CWR,
            window: 1_000,
            ..Header::default()
        };
        let syn_ack = server.exchange(1_000, to, &syn).expect("an answer");
        assert_eq!(syn_ack.flags, SYN_ACK | Flags::ECE);
        begins(&server, 0xb8);
        let ack = Header {
            seq: 100,
            ack: syn_ack.seq.wrapping_add(1),
            flags: Flags::ACK,
            ..syn
        };
        assert_eq!(server.exchange(1_000, to, &ack), None);
        // New text: the class that it asks for, and ECT(0).
        assert!(server.exchange_text(1_000, to, &ack, &[0x28]).is_some());
        begins(&server, 0x2a);
        // An acknowledgment.
        let old = Header { seq: 99, ..ack };
        assert!(server.exchange_text(1_000, to, &old, &[0]).is_some());
        begins(&server, 0x28);
    }
}

/// A TIME-WAIT makes room for a SYN that is taken, and for no other (RFC 9293 section 3.6.1).
#[test]
fn a_syn_that_the_full_queue_refuses_does_not_end_a_time_wait() {
    let mut server = Server::with(Config {
        syn_queue: 1,
        syn_cookies: SynCookies::Off,
        ..Config::default()
    });
    server.stack.listen(&[ONE], 9, Closes);
    let to = (ONE, 9);
    let syn = Header {
        seq: 99,
        flags: Flags::SYN,
        window: 1_000,
        ..Header::default()
    };
    let syn_ack = server.exchange(1_000, to, &syn).expect("an answer");
    let ack = Header {
        seq: 100,
        ack: syn_ack.seq.wrapping_add(1),
        flags: Flags::ACK,
        ..syn.clone()
    };
    assert_eq!(server.exchange(1_000, to, &ack), None);
    let fin = server.exchange_text(1_000, to, &ack, b"x").expect("a FIN");
    assert!(fin.flags.contains(Flags::FIN));
    let last = Header {
        seq: 101,
        ack: ack.ack.wrapping_add(1),
        flags: Flags::FIN | Flags::ACK,
        ..syn.clone()
    };
    let answer = server.exchange(1_000, to, &last).expect("an answer");
    assert_eq!((answer.flags, answer.ack), (Flags::ACK, 102));
    // Somebody fills the queue.
    let other = server.exchange(1_001, to, &syn).expect("an answer");
    assert_eq!(other.flags, SYN_ACK);

    let again = Header {
        seq: 10_000,
        ..syn.clone()
    };
    assert_eq!(server.exchange(1_000, to, &again), None);
    assert_eq!(count(&server.stack, "listen_overflows"), 1);
    assert_eq!(count(&server.stack, "time_wait_recycled"), 0);
    // It is still there: the peer's FIN is answered, and not with a reset.
    let answer = server.exchange(1_000, to, &last).expect("an answer");
    assert_eq!((answer.flags, answer.ack), (Flags::ACK, 102));

    // With room it gives way.
    let third = Header {
        seq: 100,
        ack: other.seq.wrapping_add(1),
        flags: Flags::ACK,
        ..syn
    };
    assert_eq!(server.exchange(1_001, to, &third), None);
    let answer = server.exchange(1_000, to, &again).expect("an answer");
    assert_eq!((answer.flags, answer.ack), (SYN_ACK, 10_001));
    assert_eq!(count(&server.stack, "time_wait_recycled"), 1);
}
