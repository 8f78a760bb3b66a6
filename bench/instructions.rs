//! Instructions per operation of the hot paths, which do not depend on what else the machine does.
//!
//! `scripts/instructions` runs each case below under valgrind's callgrind, which counts what happens
//! within [`counted`] and nothing else, and compares it with `bench/instructions.txt`. Without
//! valgrind every case runs once, to show that it works. Nothing here reads a clock or is random.

use std::hint::black_box;

#[path = "../tests/support/crowd.rs"]
mod crowd;
#[path = "../tests/support/memory.rs"]
mod memory;

use corelane::flow_table::FlowTable;
use corelane::ring::BATCH;
use corelane::services::Discard;
use corelane::time::{Duration, Instant};
use corelane::timer_wheel::TimerWheel;
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{Flags, Header, Options, Timestamps};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, parse};
use crowd::Crowd;
use memory::{CLIENT, Echo, Host, LINK, SERVER, Source};

/// Text of a request, and of its answer.
const TEXT: [u8; 64] = [7; 64];
/// Text of a full segment.
const FULL: [u8; 1_460] = [7; 1_460];
/// Segments of bulk in one turn.
const BULK: usize = 32;
/// Turns before those that are counted: what is made when it is first needed is there.
const WARM: usize = 1_000;

/// Runs so many turns or operations and returns how many operations that was.
type Case = fn(usize) -> usize;

const CASES: &[(&str, Case)] = &[
    ("parse_64", parse_64),
    ("flow_table_lookup", flow_table_lookup),
    ("wheel_schedule_and_advance", wheel_schedule_and_advance),
    ("request_response_64_alone", |turns| {
        request_response(1, turns)
    }),
    ("request_response_64_batch", |turns| {
        request_response(BATCH, turns)
    }),
    ("receive_1460", receive_1460),
    ("send_1460", send_1460),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("list"), None) => CASES.iter().for_each(|(name, _)| println!("{name}")),
        (Some("run"), Some(wanted)) => {
            let case = CASES.iter().find(|(name, _)| *name == wanted);
            let (_, run) = case.unwrap_or_else(|| panic!("no case {wanted}"));
            println!("{}", run(1_000));
        }
        // By cargo, with whatever arguments it has for benches.
        _ => {
            for (name, run) in CASES {
                println!("{name}: {} operations", run(10));
            }
        }
    }
}

/// What callgrind counts. Its name is what `scripts/instructions` asks for.
#[inline(never)]
fn counted<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// A server whose turns are counted once it is `on`.
struct Counted<H> {
    host: H,
    on: bool,
}

impl<H: Host> Host for Counted<H> {
    fn receive(&mut self, frame: &[u8]) -> bool {
        self.host.receive(frame)
    }

    fn turn(&mut self, now: Instant) {
        if self.on {
            counted(|| self.host.turn(now));
        } else {
            self.host.turn(now);
        }
    }

    fn take_sent(&mut self, wire: impl FnMut(&[u8])) {
        self.host.take_sent(wire);
    }
}

fn key(number: u32) -> FlowKey {
    let [a, b, c, d] = number.to_be_bytes();
    FlowKey {
        local: SERVER,
        remote: Address::from_ipv4([10 + a, b, c, d]),
        local_port: 80,
        remote_port: 40_000,
    }
}

/// A frame of 64 octets of text, with timestamps and every checksum.
fn parse_64(times: usize) -> usize {
    let route = Route {
        link: LINK,
        key: FlowKey {
            local: CLIENT,
            remote: SERVER,
            local_port: 40_000,
            remote_port: 80,
        },
        hop_limit: 64,
        traffic_class: 0,
        identification: 0,
    };
    let header = Header {
        seq: 1,
        ack: 2,
        flags: Flags::ACK | Flags::PSH,
        window: 1_000,
        urgent: 0,
        options: Options {
            timestamps: Some(Timestamps { tsval: 3, tsecr: 4 }),
            ..Options::default()
        },
    };
    let mut frame = vec![0; MAX_HEADERS];
    let len = segment_headers(&mut frame, &route, &header, (TEXT.len(), Sum::of(&TEXT)));
    frame.extend(TEXT);
    let frame = &frame[MAX_HEADERS - len..];
    counted(|| {
        for _ in 0..times {
            let packet = parse(black_box(frame), ChecksumPolicy::Full);
            assert!(black_box(packet).is_ok());
        }
    });
    times
}

fn flow_table_lookup(times: usize) -> usize {
    const FLOWS: u32 = 10_000;
    let mut table = FlowTable::with_capacity(FLOWS as usize, [1, 2]);
    for number in 0..FLOWS {
        table.insert(key(number), number).expect("there is room");
    }
    // Far from each other.
    let keys: Vec<FlowKey> = (0..times as u32).map(|n| key(n * 7_919 % FLOWS)).collect();
    counted(|| {
        for key in &keys {
            assert!(table.lookup(black_box(key)).is_some());
        }
    });
    times
}

/// A retransmission timer is set anew for one connection after another, and 10 us pass each time.
fn wheel_schedule_and_advance(times: usize) -> usize {
    const ENTRIES: u32 = 1_000;
    let mut now = Instant::from_millis(1_000);
    let mut wheel = TimerWheel::new(now);
    let mut expired = Vec::with_capacity(ENTRIES as usize);
    let mut turns = |times: usize| {
        for n in 0..times as u32 {
            wheel.schedule(n % ENTRIES, now + Duration::from_millis(200));
            now += Duration::from_micros(10);
            wheel.advance(now, &mut expired);
        }
        assert!(expired.is_empty(), "each is set again after 10 ms");
    };
    turns(20 * ENTRIES as usize);
    counted(|| turns(times));
    times
}

/// The server's part of requests and answers, so many in each turn.
fn request_response(clients: usize, turns: usize) -> usize {
    let server = Counted {
        host: crowd::server(clients, Echo),
        on: false,
    };
    let mut crowd = Crowd::of(server, clients);
    crowd.open(0..clients);
    for turn in 0..WARM + turns {
        crowd.server.on = turn >= WARM;
        crowd.ask(0..clients, &TEXT, clients);
    }
    turns * clients
}

/// The server's part of full segments received, which its application consumes.
fn receive_1460(turns: usize) -> usize {
    let server = Counted {
        host: crowd::server(1, Discard),
        on: false,
    };
    let mut crowd = Crowd::of(server, 1).for_bulk(BULK * FULL.len());
    crowd.connect(0);
    for turn in 0..WARM + turns {
        crowd.server.on = turn >= WARM;
        crowd.upload(0, &FULL, BULK);
    }
    turns * BULK
}

/// The server's part of full segments sent, every second of which is acknowledged.
fn send_1460(turns: usize) -> usize {
    let server = Counted {
        host: crowd::server(1, Source),
        on: false,
    };
    let mut crowd = Crowd::of(server, 1).for_bulk(BULK * FULL.len());
    crowd.connect(0);
    let mut segments = 0;
    for turn in 0..WARM + turns {
        crowd.server.on = turn >= WARM;
        let sent = crowd.download(0, 2 * FULL.len() as u32);
        if turn >= WARM {
            assert_eq!(sent, BULK, "the window is always full");
            segments += sent;
        }
    }
    segments
}
