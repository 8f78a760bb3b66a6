//! SYN cookies that the XDP program sends: it knows the secrets, but of no connection. Another stack
//! that answers every SYN with a cookie stands in for it.

#[path = "support/memory.rs"]
mod memory;

use corelane::ring::sim::SimDevice;
use corelane::stack::Stack;
use corelane::tcp::{Config, SynCookies};
use corelane::time::{Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{Flags, Header, Options, Timestamps};
use corelane::wire::{ChecksumPolicy, FlowKey, Packet, parse};
use memory::{CLIENT, Closes, LINK, SERVER, SERVER_MAC, Settings, count, io};

const PORT: u16 = 80;
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

struct World {
    now: Instant,
    server: Stack<SimDevice>,
    program: Stack<SimDevice>,
}

fn stack(tcp: Config) -> Stack<SimDevice> {
    let settings = Settings {
        tcp,
        ..Settings::default()
    };
    let mut stack = memory::stack(SERVER_MAC, &settings);
    stack.listen(&[SERVER], PORT, Closes);
    stack
}

impl World {
    fn new(syn_queue: usize) -> Self {
        Self {
            now: Instant::from_millis(10_000),
            server: stack(Config {
                syn_queue,
                ..Config::default()
            }),
            program: stack(Config {
                syn_cookies: SynCookies::Always,
                ..Config::default()
            }),
        }
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.server.turn(self.now);
        }
    }

    fn segment(&self, flags: Flags, numbers: (u32, u32), tsecr: u32) -> Header {
        Header {
            seq: numbers.0,
            ack: numbers.1,
            flags,
            window: 1_000,
            options: Options {
                timestamps: Some(Timestamps {
                    tsval: self.now.as_millis() as u32,
                    tsecr,
                }),
                ..Options::default()
            },
            ..Header::default()
        }
    }

    fn syn(&self, seq: u32) -> Header {
        self.segment(Flags::SYN, (seq, 0), 0)
    }

    /// The acknowledgment of a SYN-ACK.
    fn ack(&self, syn_ack: &Header) -> Header {
        assert_eq!(syn_ack.flags, SYN_ACK);
        let numbers = (syn_ack.ack, syn_ack.seq.wrapping_add(1));
        let timestamps = syn_ack.options.timestamps.expect("they were offered");
        self.segment(Flags::ACK, numbers, timestamps.tsval)
    }

    fn ask_server(&mut self, port: u16, header: &Header, text: &[u8]) -> Vec<Header> {
        ask(&mut self.server, self.now, port, header, text)
    }

    fn ask_program(&mut self, port: u16, header: &Header) -> Header {
        let mut answers = ask(&mut self.program, self.now, port, header, &[]);
        answers.pop().expect("a cookie")
    }

    fn expect_cookies(&mut self, count: usize) {
        self.server.note_cookies(self.now, SERVER, PORT, count);
    }
}

fn ask(
    stack: &mut Stack<SimDevice>,
    now: Instant,
    port: u16,
    header: &Header,
    text: &[u8],
) -> Vec<Header> {
    let route = Route {
        link: LINK,
        key: FlowKey {
            local: CLIENT,
            remote: SERVER,
            local_port: port,
            remote_port: PORT,
        },
        hop_limit: 64,
        traffic_class: 0,
        identification: 0,
    };
    let mut frame = vec![0; MAX_HEADERS];
    let len = segment_headers(&mut frame, &route, header, (text.len(), Sum::of(text)));
    frame.extend(text);
    assert!(io(stack).receive(&frame[MAX_HEADERS - len..]));
    stack.turn(now);
    let mut answers = Vec::new();
    io(stack).take_sent(|sent| match parse(sent, ChecksumPolicy::Full) {
        Ok(Packet::Tcp { segment, .. }) => answers.push(segment.header),
        other => panic!("{other:?}"),
    });
    answers
}

#[test]
fn an_acknowledgment_is_taken_where_cookies_are_expected() {
    let mut world = World::new(100);
    let syn = world.syn(5_000);
    let cookie = world.ask_program(1_000, &syn);
    let ack = world.ack(&cookie);
    let answers = world.ask_server(1_000, &ack, &[]);
    assert!(answers[0].flags.contains(Flags::RST), "nobody has told it");
    world.expect_cookies(0);
    assert_eq!(world.ask_server(1_000, &ack, &[]), []);
    assert_eq!(world.server.live_connections(), 1);
    assert_eq!(count(&world.server, "syn_cookies_recv"), 1);
    // Not for ever.
    world.wait(130);
    let syn = world.syn(5_000);
    let cookie = world.ask_program(1_001, &syn);
    let ack = world.ack(&cookie);
    assert!(
        world.ask_server(1_001, &ack, &[])[0]
            .flags
            .contains(Flags::RST)
    );
}

/// A SYN came before the flood, and its repetition during it.
#[test]
fn a_half_open_connection_gives_way() {
    let mut world = World::new(100);
    let syn = world.syn(5_000);
    let own = world.ask_server(1_000, &syn, &[]).pop().unwrap();
    let cookie = world.ask_program(1_000, &syn);
    assert_ne!(cookie.seq, own.seq);
    let ack = world.ack(&cookie);
    // A wrong one is what it always was.
    world.expect_cookies(1);
    let wrong = Header {
        ack: ack.ack.wrapping_add(1_000),
        ..ack.clone()
    };
    assert!(
        world.ask_server(1_000, &wrong, &[])[0]
            .flags
            .contains(Flags::RST)
    );
    assert_eq!(world.ask_server(1_000, &ack, &[]), []);
    assert_eq!(count(&world.server, "syn_cookies_recv"), 1);
    assert_eq!(count(&world.server, "established"), 1);
    // The one of the other SYN-ACK would have opened it as well.
    let mut world = World::new(100);
    let own = world.ask_server(1_000, &syn, &[]).pop().unwrap();
    world.expect_cookies(1);
    let ack = world.ack(&own);
    assert_eq!(world.ask_server(1_000, &ack, &[]), []);
    assert_eq!(count(&world.server, "syn_cookies_recv"), 0);
    assert_eq!(count(&world.server, "established"), 1);
}

/// RFC 6191 section 2.
#[test]
fn a_time_wait_gives_way_to_what_is_newer() {
    let mut world = World::new(100);
    let syn = world.syn(5_000);
    let syn_ack = world.ask_server(1_000, &syn, &[]).pop().unwrap();
    let ack = world.ack(&syn_ack);
    let fin = world.ask_server(1_000, &ack, b"x").pop().unwrap();
    assert!(fin.flags.contains(Flags::FIN), "it closes first");
    let last = (fin.ack, fin.seq.wrapping_add(1));
    let last = world.segment(Flags::FIN | Flags::ACK, last, 0);
    world.ask_server(1_000, &last, &[]);
    assert_eq!(count(&world.server, "time_wait"), 1);
    // The same port again, a moment later; of an older SYN the timestamp says so.
    let old = world.syn(1_000);
    let old_cookie = world.ask_program(1_000, &old);
    let old_ack = world.ack(&old_cookie);
    world.expect_cookies(2);
    world.ask_server(1_000, &old_ack, &[]);
    assert_eq!(count(&world.server, "time_wait_recycled"), 0);
    world.now += Duration::from_millis(100);
    let new = world.syn(1_000);
    let cookie = world.ask_program(1_000, &new);
    let ack = world.ack(&cookie);
    assert_eq!(world.ask_server(1_000, &ack, &[]), []);
    assert_eq!(count(&world.server, "time_wait_recycled"), 1);
    assert_eq!(world.server.live_connections(), 1);
    let answer = world.ask_server(1_000, &ack, b"x");
    assert!(answer[0].flags.contains(Flags::FIN), "it serves");
}

#[test]
fn a_flood_ends_when_nothing_of_it_is_heard_any_more() {
    let mut world = World::new(10);
    for port in 1_000..1_020 {
        let syn = world.syn(1);
        world.ask_server(port, &syn, &[]);
    }
    let floods = world.server.take_floods(world.now);
    assert_eq!((floods[0].address, floods[0].port), (SERVER, PORT));
    let terms = floods[0].terms.expect("it has begun");
    assert_eq!(
        (terms.mss, terms.sack, terms.timestamps),
        (1_460, true, true)
    );
    // Longer than any of the SYNs lasts that came here.
    for _ in 0..300 {
        world.expect_cookies(1_000);
        world.wait(1);
        assert_eq!(world.server.take_floods(world.now), []);
    }
    // Whatever the MTU is by then.
    world.server.set_mtu(world.now, 1_400);
    let again = world.server.take_floods(world.now);
    assert_eq!(again[0].terms.map(|terms| terms.mss), Some(1_360));
    world.wait(64);
    assert_eq!(world.server.take_floods(world.now), []);
    world.wait(66);
    let floods = world.server.take_floods(world.now);
    assert_eq!(floods[0].terms, None, "it has ended");
}

/// What is told again goes on: an end is told once, whatever else changes at the same time.
#[test]
fn a_flood_that_ends_as_the_mtu_changes_is_told_to_have_ended() {
    let mut world = World::new(10);
    for port in 1_000..1_020 {
        let syn = world.syn(1);
        world.ask_server(port, &syn, &[]);
    }
    assert!(world.server.take_floods(world.now)[0].terms.is_some());
    world.wait(300);
    world.server.set_mtu(world.now, 1_400);
    let floods = world.server.take_floods(world.now);
    assert_eq!(floods.iter().map(|it| it.terms).collect::<Vec<_>>(), [None]);
    assert_eq!(world.server.take_floods(world.now), []);
}
