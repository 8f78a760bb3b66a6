//! Long transfers from one side to the other through one bottleneck, without a copy of the text:
//! fast enough to simulate minutes.

use super::super::*;
use super::network::{Counts, Link, Packet, Path};
use crate::tcp::congestion::Algorithm;
use crate::wire::checksum::Sum;

/// Text of every segment; nobody looks at it.
static TEXT: [u8; 1_460] = [0; 1_460];
/// Ethernet and IPv4 headers.
const LOWER_HEADERS: usize = 14 + 20;

/// Buffers that know only how long they are.
#[derive(Debug, Default)]
struct Lengths {
    lengths: Vec<usize>,
    free: Vec<u32>,
}

impl Buffers for Lengths {
    fn allocate(&mut self) -> Option<Buffer> {
        let id = self.free.pop().unwrap_or_else(|| {
            self.lengths.push(0);
            self.lengths.len() as u32 - 1
        });
        self.lengths[id as usize] = 0;
        Some(Buffer::new(BufferId(id)))
    }

    fn available(&self) -> usize {
        1 << 20
    }

    fn capacity(&self) -> usize {
        TEXT.len()
    }

    fn room(&self, buffer: BufferId) -> usize {
        self.capacity() - self.lengths[buffer.0 as usize]
    }

    fn append_with(
        &mut self,
        buffer: BufferId,
        room: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> usize {
        let room = room.min(self.room(buffer));
        let written = fill(&mut [0; TEXT.len()][..room]);
        self.lengths[buffer.0 as usize] += written;
        written
    }

    fn append(&mut self, buffer: BufferId, data: &[u8]) -> usize {
        self.append_with(buffer, data.len(), &mut |room| room.len())
    }

    fn split(&mut self, buffer: BufferId, at: usize) -> Option<Buffer> {
        let rest = self.allocate()?;
        self.lengths[rest.id().0 as usize] = self.lengths[buffer.0 as usize] - at;
        self.lengths[buffer.0 as usize] = at;
        Some(rest)
    }

    fn checksum(&mut self, _buffer: BufferId, _skip: usize) -> Sum {
        Sum::default()
    }

    fn is_idle(&self, _buffer: BufferId) -> bool {
        true
    }

    fn release(&mut self, buffer: Buffer) {
        self.free.push(buffer.id().0);
    }
}

/// A segment on its way.
#[derive(Clone, Debug)]
struct Sending {
    flow: usize,
    header: Header,
    ecn: u8,
    len: usize,
}

impl Packet for Sending {
    fn octets(&self) -> usize {
        LOWER_HEADERS + self.header.wire_len() + self.len
    }

    fn corrupt(&mut self, _chance: &mut Chance) {
        unreachable!("no path of bulk transfers damages packets");
    }

    fn mark(&mut self) -> bool {
        let is_capable = self.ecn != 0;
        if is_capable {
            self.ecn = 3;
        }
        is_capable
    }
}

/// A core.
#[derive(Debug)]
struct Memory {
    core: Core,
    buffers: Lengths,
}

impl Memory {
    fn new(algorithm: Algorithm, ecn: EcnMode, secret: u8) -> Self {
        let config = Config {
            options: SocketOptions {
                congestion: algorithm,
                ..SocketOptions::default()
            },
            ecn,
            ..Config::default()
        };
        Self {
            core: Core::new(config, IsnGenerator::new([secret; 32])),
            buffers: Lengths::default(),
        }
    }

    fn context(&mut self, now: Instant) -> Context<'_> {
        Context {
            now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        }
    }
}

/// One end of a flow, with a core of its own.
#[derive(Debug)]
struct Peer {
    memory: Memory,
    tcb: Tcb,
    received: u64,
}

impl Peer {
    fn new(memory: Memory, tcb: Tcb) -> Self {
        Self {
            memory,
            tcb,
            received: 0,
        }
    }

    fn with<T>(&mut self, now: Instant, body: impl FnOnce(&mut Tcb, &mut Context<'_>) -> T) -> T {
        body(&mut self.tcb, &mut self.memory.context(now))
    }

    fn poll(&mut self, now: Instant) -> Option<Transmit> {
        self.with(now, |tcb, cx| tcb.poll_transmit(cx))
    }

    /// Text is consumed at once.
    fn handle(&mut self, now: Instant, header: Header, ecn: u8, len: usize) {
        let segment = Segment {
            header,
            payload: &TEXT[..len],
        };
        let arrival = self.with(now, |tcb, cx| tcb.handle_marked_segment(cx, &segment, ecn));
        if arrival.text.is_empty() {
            return;
        }
        self.received += arrival.text.len() as u64;
        self.with(now, |tcb, cx| {
            tcb.handle_text(cx, arrival.text, arrival.text.len());
        });
        while let Some(readable) = self.with(now, |tcb, cx| tcb.readable(cx.core)) {
            let len = readable.len();
            self.received += len as u64;
            self.with(now, |tcb, cx| tcb.consume(cx, readable, len));
        }
    }

    /// The application has always more to send.
    fn fill(&mut self, now: Instant) {
        self.with(now, |tcb, cx| {
            tcb.send_with(cx, usize::MAX, &mut |room| room.len())
        });
    }
}

/// One transfer: its receiver, which has opened the connection, and its sender.
#[derive(Debug)]
struct Flow([Peer; 2]);

const RECEIVER: usize = 0;
const SENDER: usize = 1;

impl Flow {
    /// The handshake starts at `start` and loses nothing. Returns the flow, and when the sender
    /// has the last segment of the handshake.
    fn open(number: usize, algorithm: Algorithm, start: Instant, path: &Path) -> (Self, Instant) {
        let delay = path.delay;
        let ecn = if path.mark_at == usize::MAX {
            EcnMode::Off
        } else {
            EcnMode::On
        };
        let key = FlowKey {
            local_port: 40_000 + number as u16,
            remote_port: 80,
            ..Setup::default().key()
        };
        let mut memory = Memory::new(algorithm, ecn, 1);
        let tcb = Tcb::connect(&mut memory.context(start), &key, 1_460, OptionsId::DEFAULT);
        let mut receiver = Peer::new(memory, tcb);
        let syn = Segment {
            header: receiver.poll(start).expect("a SYN").header,
            payload: &[],
        };

        let (key, now) = (key.reversed(), start + delay);
        let mut memory = Memory::new(algorithm, ecn, 2);
        let mut cx = memory.context(now);
        let entry = Listener::default().handle_syn(&mut cx, &key, &syn, 1_460, None);
        let mut entry = entry.expect("the queue is empty");
        let syn_ack = entry.syn_ack(&mut cx, &key);

        let now = now + delay;
        receiver.handle(now, syn_ack, 0, 0);
        let ack = Segment {
            header: receiver.poll(now).expect("an ACK").header,
            payload: &[],
        };

        let now = now + delay;
        let verdict = entry.handle_segment(&mut memory.context(now), &key, &ack);
        let SynVerdict::Opens(tcb) = verdict else {
            panic!("it does not open");
        };
        let mut sender = Peer::new(memory, tcb);
        sender.handle(now, ack.header, 0, 0);
        assert_eq!(sender.tcb.state(), State::Established);
        (Self([receiver, sender]), now)
    }
}

/// Transfers side by side.
#[derive(Debug)]
pub(super) struct Bulk {
    now: Instant,
    /// Acknowledgments, then text.
    links: [Link<Sending>; 2],
    flows: Vec<Flow>,
}

impl Bulk {
    /// `path` is that of the text. Acknowledgments come back in the same time, all of them.
    pub(super) fn new(path: Path, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let back = Path {
            delay: path.delay,
            jitter: path.jitter,
            ..Path::default()
        };
        Self {
            now: Instant::from_millis(1_000),
            links: [back, path].map(|path| Link::new(path, Chance::new(chance.next()))),
            flows: Vec::new(),
        }
    }

    /// One more transfer begins. Call [`run`](Self::run) to let it go on.
    pub(super) fn begin(&mut self, algorithm: Algorithm) {
        let path = &self.links[SENDER].path;
        let (flow, begins) = Flow::open(self.flows.len(), algorithm, self.now, path);
        // What is under way goes on in the meantime.
        self.run(begins);
        self.flows.push(flow);
    }

    /// Octets that each receiver's application has got.
    pub(super) fn received(&self) -> Vec<u64> {
        let receivers = self.flows.iter().map(|flow| &flow.0[RECEIVER]);
        receivers.map(|peer| peer.received).collect()
    }

    /// What the senders' cores have counted.
    pub(super) fn senders(&self) -> impl Iterator<Item = &Counters> {
        let senders = self.flows.iter().map(|flow| &flow.0[SENDER]);
        senders.map(|peer| &peer.memory.core.counters)
    }

    /// What has become of the segments with text.
    pub(super) fn counts(&self) -> Counts {
        self.links[SENDER].counts
    }

    /// Time passes until `end`.
    pub(super) fn run(&mut self, end: Instant) {
        self.turn();
        while let Some(next) = self.next().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = end;
    }

    /// Time passes.
    pub(super) fn run_for(&mut self, time: Duration) {
        self.run(self.now + time);
    }

    fn next(&self) -> Option<Instant> {
        let arrivals = self.links.iter().filter_map(Link::next);
        let peers = self.flows.iter().flat_map(|flow| &flow.0);
        let timers = peers.filter_map(|peer| peer.tcb.next_deadline());
        arrivals.chain(timers).min()
    }

    fn turn(&mut self) {
        let now = self.now;
        for to in [RECEIVER, SENDER] {
            while let Some(it) = self.links[1 - to].receive(now) {
                self.flows[it.flow].0[to].handle(now, it.header, it.ecn, it.len);
            }
        }
        for (number, flow) in self.flows.iter_mut().enumerate() {
            flow.0[SENDER].fill(now);
            for (from, peer) in flow.0.iter_mut().enumerate() {
                if peer
                    .tcb
                    .next_deadline()
                    .is_some_and(|deadline| deadline <= now)
                {
                    peer.with(now, |tcb, cx| tcb.handle_timeout(cx));
                }
                while let Some(transmit) = peer.poll(now) {
                    let sending = Sending {
                        flow: number,
                        header: transmit.header,
                        ecn: transmit.ecn,
                        len: transmit
                            .payload
                            .map_or(0, |payload| usize::from(payload.len)),
                    };
                    self.links[from].send(now, sending);
                }
            }
        }
    }
}
