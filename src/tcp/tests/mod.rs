//! TCP segment by segment, on virtual time: one file per RFC topic, and a simulator of two ends.
//!
//! Sequence numbers are relative, as in the RFC's examples: `seq` of what arrives and `ack` of
//! what is sent count from the peer's ISS, the other two from ours. The handshake takes 0, so text
//! starts at 1.

mod blind;
mod buffers;
mod chrono;
mod clock_wrap;
mod close;
mod crash;
mod delayed_ack;
mod dsack;
mod ecn;
mod fast_open;
mod handshake;
mod hostile;
mod keepalive;
mod listen;
mod memory;
mod options;
mod pacing;
mod path;
mod paws;
mod persist;
mod pmtud;
mod prr;
mod quick_ack;
mod rack;
mod receive_tuning;
mod recovery;
mod reneging;
mod reno;
mod reset;
mod retransmission;
mod rfc2525;
mod rto;
mod sack;
mod sack_recovery;
mod sack_rules;
mod scale;
mod segments;
mod sequence_wrap;
mod setup;
mod shrunk_window;
mod simulator;
mod slow_start;
mod socket_options;
mod starvation;
mod states;
mod steps;
mod syn_cookies;
mod text;
mod time_wait;
mod time_wait_reuse;
mod timestamps;
mod tlp;
mod undo;
mod urgent;
mod user_timeout;
mod window;
mod wrap;

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use self::buffers::TestBuffers;
use self::setup::{HalfOpen, Setup};
use super::*;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, Header, Options, SackBlock, Segment, Timestamps};
use crate::wire::{Address, FlowKey};

const FIN: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
const RST_ACK: Flags = Flags(Flags::RST.0 | Flags::ACK.0);

/// A segment as tests write it. `None` in what is expected means "whatever".
#[derive(Clone, Copy, Debug)]
struct Seg<'a> {
    seq: u32,
    ack: u32,
    flags: Flags,
    window: Option<u16>,
    text: &'a [u8],
    /// The peer's TSval and TSecr; filled in by the fixture if they are in use and not given.
    timestamps: Option<(u32, u32)>,
    no_timestamps: bool,
    sack: Option<&'a [(u32, u32)]>,
}

/// The segment that most are variations of.
const ACK: Seg<'static> = Seg {
    seq: 1,
    ack: 1,
    flags: Flags::ACK,
    window: None,
    text: &[],
    timestamps: None,
    no_timestamps: false,
    sack: None,
};

/// A segment that was sent, with relative numbers.
#[derive(Clone, Debug)]
struct Sent {
    seq: u32,
    ack: u32,
    header: Header,
    text: Vec<u8>,
    ecn: u8,
}

/// A segment of this peer arrives.
macro_rules! recv {
    ($t:expr, $seg:expr) => {
        $t.recv($seg)
    };
}

/// Exactly these segments have been sent since the last look.
macro_rules! sent {
    ($t:expr, [$($seg:expr),* $(,)?]) => { $t.expect(&[$($seg),*]) };
}

macro_rules! sent_nothing {
    ($t:expr) => {
        $t.expect(&[])
    };
}

/// Virtual time passes; timers fire on their way.
macro_rules! advance {
    ($t:expr, $n:literal ms) => {
        $t.advance(Duration::from_millis($n))
    };
    ($t:expr, $n:literal s) => {
        $t.advance(Duration::from_secs($n))
    };
}

use {advance, recv, sent, sent_nothing};

fn established() -> Host {
    Setup::default().established()
}

/// What the application does with text that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Application {
    Consumes,
    Keeps,
}

/// One end and the memory around it. Checks at its end that nothing is left of the connection.
#[derive(Debug)]
struct Host {
    now: Instant,
    core: Core,
    buffers: TestBuffers,
    tcb: Tcb,
    irs: u32,
    peer_window: u16,
    tsval: u32,
    tsecr: u32,
    application: Application,
    received: Vec<u8>,
    /// The ECN field of what arrives.
    ecn: u8,
    events: Events,
    outbox: VecDeque<Sent>,
}

impl Host {
    fn new(
        now: Instant,
        irs: u32,
        peer_window: u16,
        core: Core,
        buffers: TestBuffers,
        tcb: Tcb,
    ) -> Self {
        Self {
            now,
            core,
            buffers,
            tcb,
            irs,
            peer_window,
            tsval: 0,
            tsecr: 0,
            application: Application::Consumes,
            received: Vec::new(),
            ecn: 0,
            events: Events::NONE,
            outbox: VecDeque::new(),
        }
    }

    /// Runs `body` with the connection and its context.
    fn with<T>(&mut self, body: impl FnOnce(&mut Tcb, &mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            now: self.now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        };
        body(&mut self.tcb, &mut cx)
    }

    fn state(&self) -> State {
        self.tcb.state()
    }

    fn counters(&self) -> &Counters {
        &self.core.counters
    }

    fn handle(&mut self, segment: &Segment<'_>) {
        let ecn = self.ecn;
        let arrival = self.with(|tcb, cx| tcb.handle_marked_segment(cx, segment, ecn));
        self.events |= arrival.events;
        if arrival.text.is_empty() {
            return;
        }
        let reads = self.application == Application::Consumes && self.tcb.unread(&self.core) == 0;
        let consumed = if reads { arrival.text.len() } else { 0 };
        self.received.extend_from_slice(&arrival.text[..consumed]);
        self.with(|tcb, cx| tcb.handle_text(cx, arrival.text, consumed));
        if self.application == Application::Consumes {
            self.read(usize::MAX);
        }
    }

    /// The application reads what was kept for it.
    fn read(&mut self, mut limit: usize) -> usize {
        let before = self.received.len();
        while limit > 0 {
            let Some(readable) = self.with(|tcb, cx| tcb.readable(cx.core)) else {
                break;
            };
            let len = readable.len().min(limit);
            self.received.extend_from_slice(&readable[..len]);
            self.with(|tcb, cx| tcb.consume(cx, readable, len));
            limit -= len;
        }
        self.received.len() - before
    }

    fn header(&self, seg: &Seg<'_>) -> Header {
        let timestamps = self
            .tcb
            .timestamps
            .filter(|_| !seg.no_timestamps)
            .map(|_| seg.timestamps.unwrap_or((self.tsval, self.tsecr)));
        Header {
            seq: self.irs.wrapping_add(seg.seq),
            ack: if seg.flags.contains(Flags::ACK) {
                self.tcb.snd.iss.0.wrapping_add(seg.ack)
            } else {
                0
            },
            flags: seg.flags,
            window: seg.window.unwrap_or(self.peer_window),
            urgent: 0,
            options: Options {
                timestamps: timestamps.map(|(tsval, tsecr)| Timestamps { tsval, tsecr }),
                sack: self.sack_blocks(seg.sack.unwrap_or_default()),
                ..Options::default()
            },
        }
    }

    /// The peer's blocks, which count from our ISS.
    fn sack_blocks(&self, blocks: &[(u32, u32)]) -> ArrayVec<SackBlock, 4> {
        let iss = self.tcb.snd.iss.0;
        let absolute = |&(left, right): &(u32, u32)| SackBlock {
            left: iss.wrapping_add(left),
            right: iss.wrapping_add(right),
        };
        blocks.iter().map(absolute).collect()
    }

    fn recv(&mut self, seg: Seg<'_>) {
        let header = self.header(&seg);
        self.handle(&Segment {
            header,
            payload: seg.text,
        });
    }

    #[track_caller]
    fn poll(&mut self) {
        // More than any burst here, and a loop that never ends is found.
        for _ in 0..5_000 {
            let Some(transmit) = self.with(|tcb, cx| tcb.poll_transmit(cx)) else {
                self.tcb.send.check(&self.core.segments);
                return;
            };
            let text = transmit
                .payload
                .map_or_else(Vec::new, |payload| self.buffers.emit(&payload));
            if let Some(timestamps) = transmit.header.options.timestamps {
                self.tsecr = timestamps.tsval;
            }
            self.outbox.push_back(Sent {
                seq: transmit.header.seq.wrapping_sub(self.tcb.snd.iss.0),
                ack: if transmit.header.flags.contains(Flags::ACK) {
                    transmit.header.ack.wrapping_sub(self.irs)
                } else {
                    0
                },
                header: transmit.header,
                text,
                ecn: transmit.ecn,
            });
        }
        panic!("poll_transmit never ends");
    }

    #[track_caller]
    fn sent(&mut self) -> Vec<Sent> {
        self.poll();
        self.outbox.drain(..).collect()
    }

    /// The only segment that was sent.
    #[track_caller]
    fn sent_one(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:#?}");
        sent.remove(0)
    }

    #[track_caller]
    fn expect(&mut self, expected: &[Seg<'_>]) {
        let sent = self.sent();
        let matches = sent.len() == expected.len()
            && sent
                .iter()
                .zip(expected)
                .all(|(sent, seg)| self.is(sent, seg));
        assert!(matches, "sent {}\nnot {}", show(&sent), show_all(expected));
    }

    /// PSH says nothing about the protocol, and is looked at where it matters.
    fn is(&self, sent: &Sent, seg: &Seg<'_>) -> bool {
        let sack = || {
            sent.header
                .options
                .sack
                .iter()
                .map(|block| {
                    (
                        block.left.wrapping_sub(self.irs),
                        block.right.wrapping_sub(self.irs),
                    )
                })
                .collect::<Vec<_>>()
        };
        sent.seq == seg.seq
            && (sent.ack == seg.ack || !seg.flags.contains(Flags::ACK))
            && sent.header.flags.0 & !Flags::PSH.0 == seg.flags.0
            && sent.text == seg.text
            && seg.window.is_none_or(|window| sent.header.window == window)
            && seg.sack.is_none_or(|blocks| sack() == blocks)
    }

    /// Goes through every deadline on the way.
    #[track_caller]
    fn advance(&mut self, time: Duration) {
        self.poll();
        let target = self.now + time;
        for _ in 0..10_000 {
            match self.tcb.next_deadline() {
                Some(deadline) if deadline <= target => {
                    self.now = self.now.max(deadline);
                    let events = self.with(|tcb, cx| tcb.handle_timeout(cx));
                    self.events |= events;
                    self.tsval += 1;
                    self.poll();
                }
                _ => {
                    self.tsval += time.as_millis() as u32;
                    self.now = target;
                    return;
                }
            }
        }
        panic!("timers never come to rest");
    }

    /// The application sends; all of it must fit.
    #[track_caller]
    fn send(&mut self, data: &[u8]) {
        let sent = self.with(|tcb, cx| tcb.send(cx, data));
        assert_eq!(sent, data.len());
    }

    fn shutdown(&mut self) {
        self.with(|tcb, cx| tcb.shutdown(cx));
    }

    fn close(&mut self) {
        self.with(|tcb, cx| tcb.close(cx));
    }

    fn abort(&mut self) {
        self.with(|tcb, cx| tcb.abort(cx));
    }

    #[track_caller]
    fn happened(&mut self, events: Events) {
        assert!(self.events.contains(events), "{:?}", self.events);
        self.events = Events::NONE;
    }

    /// Whether it is in fast recovery.
    fn in_recovery(&self) -> bool {
        self.tcb.recovery.phase() == loss::Phase::Recovery
    }

    /// Octets of text that are out and not acknowledged; a FIN counts.
    fn flight(&self) -> u32 {
        self.tcb.flight_size()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.with(|tcb, cx| tcb.release(cx));
        self.buffers.complete();
        assert!(self.core.is_empty(), "the core holds something");
        assert_eq!(self.buffers.in_use, 0, "buffers are lost");
    }
}

fn show(sent: &[Sent]) -> String {
    sent.iter()
        .map(|sent| {
            format!(
                "\n  seq {} ack {} flags {:#04x} window {} text {} octets {:?}",
                sent.seq,
                sent.ack,
                sent.header.flags.0,
                sent.header.window,
                sent.text.len(),
                sent.header.options
            )
        })
        .collect()
}

fn show_all(segments: &[Seg<'_>]) -> String {
    segments
        .iter()
        .map(|seg| {
            format!(
                "\n  seq {} ack {} flags {:#04x} window {:?} text {} octets sack {:?}",
                seg.seq,
                seg.ack,
                seg.flags.0,
                seg.window,
                seg.text.len(),
                seg.sack
            )
        })
        .collect()
}

/// `len` octets that differ from each other near by.
fn octets(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// A small, seeded source of chance (xorshift64*).
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 up to but not `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound.max(1)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Seeds up to `count`; or one, or a range of them (`5..9`), from the environment.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let Ok(wish) = std::env::var("CORELANE_SEED") else {
        return 0..count;
    };
    let number = |text: &str| text.parse().expect("a number");
    match wish.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&wish)..number(&wish) + 1,
    }
}

/// Says on failure how to see it again.
struct Replay {
    seed: u64,
    of: &'static str,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, of } = self;
            eprintln!("replay: CORELANE_SEED={seed} cargo test --lib tcp::tests::{of}");
        }
    }
}
