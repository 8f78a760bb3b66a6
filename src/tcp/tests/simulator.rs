//! Two ends and a network that loses, doubles, delays and reorders, all by a seed.
//!
//! Whatever it does, both streams arrive whole, both ends close, and nothing is left.

use std::collections::BTreeMap;

use super::*;
use crate::tcp::receive_queue::ReceiveMemory;

const SEEDS: u64 = 300;
/// Enough for the worst seed; a stall would reach it.
const PATIENCE: Duration = Duration::from_secs(1_500);

/// What the network does, in percent and milliseconds.
#[derive(Clone, Copy, Debug)]
struct Weather {
    loss: u64,
    duplication: u64,
    reordering: u64,
    delay: u64,
    jitter: u64,
    /// Percent of the turns in which the kernel gives its buffers back.
    completion: u64,
}

#[derive(Debug)]
enum Stage {
    Listening(Listener),
    HalfOpen(Listener, SynEntry),
    Open(Box<Tcb>),
    Waiting(TimeWait),
    Closed,
}

/// One end, its memory and its application.
#[derive(Debug)]
struct End {
    core: Core,
    buffers: TestBuffers,
    key: FlowKey,
    stage: Stage,
    to_send: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    /// Percent of the chances to read that are taken.
    eagerness: u64,
    /// Whether it closes only after the peer has.
    waits_for_peer: bool,
    finished: Option<CloseReason>,
}

impl End {
    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::HalfOpen(_, entry) => Some(entry.deadline),
            Stage::Open(tcb) => tcb.next_deadline(),
            Stage::Waiting(wait) => Some(wait.deadline),
            Stage::Listening(_) | Stage::Closed => None,
        }
    }

    fn with<T>(&mut self, now: Instant, body: impl FnOnce(&mut Tcb, &mut Context<'_>) -> T) -> T {
        let Stage::Open(tcb) = &mut self.stage else {
            panic!("{:?} is not open", self.stage);
        };
        let mut cx = Context {
            now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        };
        body(tcb, &mut cx)
    }

    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// A segment arrives. Returns the stateless answers.
    fn handle(&mut self, now: Instant, segment: &Segment<'_>, chance: &mut Chance) -> Vec<Header> {
        let mut cx = Context {
            now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        };
        match std::mem::replace(&mut self.stage, Stage::Closed) {
            Stage::Closed => reset_for(segment).into_iter().collect(),
            Stage::Listening(mut listener) => {
                if !SynEntry::opens(&segment.header) {
                    self.stage = Stage::Listening(listener);
                    return reset_for(segment).into_iter().collect();
                }
                let entry = listener
                    .handle_syn(&mut cx, &self.key, segment, 1_460, None)
                    .expect("the queue is empty");
                let answer = entry.syn_ack(&mut cx, &self.key);
                self.stage = Stage::HalfOpen(listener, entry);
                vec![answer]
            }
            Stage::HalfOpen(listener, mut entry) => {
                match entry.handle_segment(&mut cx, &self.key, segment) {
                    SynVerdict::Stays => {}
                    SynVerdict::SynAckAgain => {
                        let answer = entry.syn_ack(&mut cx, &self.key);
                        self.stage = Stage::HalfOpen(listener, entry);
                        return vec![answer];
                    }
                    SynVerdict::Gone => panic!("the peer has reset its own open"),
                    SynVerdict::Opens(tcb) => {
                        self.stage = Stage::Open(Box::new(tcb));
                        let answers = self.handle_open(now, segment, chance);
                        let state = self.with(now, |tcb, _| tcb.state());
                        if state != State::SynReceived {
                            return answers;
                        }
                    }
                }
                self.stage = Stage::HalfOpen(listener, entry);
                Vec::new()
            }
            Stage::Open(tcb) => {
                self.stage = Stage::Open(tcb);
                self.handle_open(now, segment, chance)
            }
            Stage::Waiting(mut wait) => {
                let verdict = wait.handle_segment(&mut cx, segment);
                self.stage = Stage::Waiting(wait);
                match verdict {
                    TimeWaitVerdict::Acknowledge(header) => vec![header],
                    TimeWaitVerdict::Drop => Vec::new(),
                    TimeWaitVerdict::Reopen { .. } => panic!("an old SYN has reopened"),
                }
            }
        }
    }

    fn handle_open(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        chance: &mut Chance,
    ) -> Vec<Header> {
        let arrival = self.with(now, |tcb, cx| tcb.handle_segment(cx, segment));
        if !arrival.text.is_empty() {
            let unread = self.with(now, |tcb, cx| tcb.unread(cx.core));
            let consumed = if unread > 0 || !chance.percent(self.eagerness) {
                0
            } else if chance.percent(50) {
                arrival.text.len()
            } else {
                chance.below(arrival.text.len() as u64) as usize
            };
            self.received.extend_from_slice(&arrival.text[..consumed]);
            self.with(now, |tcb, cx| tcb.handle_text(cx, arrival.text, consumed));
        }
        if arrival.events.contains(Events::RESET_SENDER) {
            return reset_for(segment).into_iter().collect();
        }
        Vec::new()
    }

    fn handle_timeout(&mut self, now: Instant) -> Vec<Header> {
        let mut cx = Context {
            now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        };
        match &mut self.stage {
            Stage::HalfOpen(_, entry) if entry.deadline <= now => {
                assert!(entry.handle_timeout(&mut cx), "the handshake is given up");
                return vec![entry.syn_ack(&mut cx, &self.key)];
            }
            Stage::Waiting(wait) if wait.deadline <= now => self.stage = Stage::Closed,
            Stage::Open(tcb) => {
                tcb.handle_timeout(&mut cx);
            }
            _ => {}
        }
        Vec::new()
    }

    /// The application has its turn: writes, reads, closes, each when it pleases.
    fn run(&mut self, now: Instant, chance: &mut Chance) {
        let is_up = matches!(&self.stage, Stage::Open(tcb)
            if tcb.state().is_synchronized() && tcb.state() != State::TimeWait);
        if is_up {
            let burst = self
                .to_send
                .len()
                .min(self.written + chance.below(30_000) as usize);
            let data = &self.to_send[self.written..burst].to_vec();
            self.written += self.with(now, |tcb, cx| tcb.send(cx, data));
        }
        if self.is_open() && chance.percent(self.eagerness) {
            while let Some(readable) = self.with(now, |tcb, cx| tcb.readable(cx.core)) {
                let len = readable.len();
                let consumed = if chance.percent(80) { len } else { len / 2 };
                self.received.extend_from_slice(&readable[..consumed]);
                self.with(now, |tcb, cx| tcb.consume(cx, readable, consumed));
            }
        }
        if is_up && self.written == self.to_send.len() {
            let peer_closed = self.with(now, |tcb, cx| {
                tcb.is_peer_closed() && tcb.unread(cx.core) == 0
            });
            if peer_closed {
                self.with(now, |tcb, cx| tcb.close(cx));
            } else if !self.waits_for_peer {
                self.with(now, |tcb, cx| tcb.shutdown(cx));
            }
        }
    }

    /// What the stack does with a connection that has ended.
    fn retire(&mut self, now: Instant) {
        let Stage::Open(tcb) = &mut self.stage else {
            return;
        };
        let mut cx = Context {
            now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        };
        if tcb.is_done() && tcb.unread(cx.core) == 0 {
            self.finished = Some(tcb.close_reason());
            self.stage = Stage::Closed;
        } else if tcb.state() == State::TimeWait && tcb.unread(cx.core) == 0 {
            let wait = tcb.time_wait(cx.core, now);
            tcb.release(&mut cx);
            self.finished = Some(CloseReason::Finished);
            self.stage = Stage::Waiting(wait);
        }
    }
}

struct Simulator {
    now: Instant,
    chance: Chance,
    weather: Weather,
    ends: [End; 2],
    network: BTreeMap<(Instant, u64), (usize, Header, Vec<u8>)>,
    sent: u64,
}

impl Simulator {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let weather = Weather {
            loss: chance.below(4) * chance.below(4),
            duplication: chance.below(5),
            reordering: chance.below(20),
            delay: chance.below(60),
            jitter: 1 + chance.below(10),
            completion: 2 + chance.below(99),
        };
        let now = Instant::from_nanos(1_000_000_000 + chance.below(20_000_000_000_000));
        let key = Setup::default().key();
        let core = |chance: &mut Chance| {
            let config = Config {
                receive_buffer: 1_000 << chance.below(10),
                receive_memory: 2_048 * (4 + chance.below(200) as usize),
                send_buffers: 4 << chance.below(6),
                sack: chance.percent(80),
                timestamps: chance.percent(70),
                window_scale: chance.percent(80),
                retransmissions: 30,
                ..Config::default()
            };
            let mut secret = [0; 32];
            secret.fill_with(|| chance.next() as u8);
            Core::new(config, IsnGenerator::new(secret))
        };
        let end = |chance: &mut Chance, key: FlowKey, stage| {
            let len = match chance.below(4) {
                0 => 0,
                1 => chance.below(2_000),
                _ => chance.below(150_000),
            };
            End {
                core: core(chance),
                buffers: TestBuffers::new(20 + chance.below(200) as usize),
                key,
                stage,
                to_send: octets(len as usize),
                written: 0,
                received: Vec::new(),
                eagerness: 1 + chance.below(50) * chance.below(3),
                waits_for_peer: chance.percent(30),
                finished: None,
            }
        };
        let mut client = end(&mut chance, key, Stage::Closed);
        let server = end(
            &mut chance,
            key.reversed(),
            Stage::Listening(Listener::default()),
        );
        client.waits_for_peer &= !server.waits_for_peer;
        let mut cx = Context {
            now,
            buffers: &mut client.buffers,
            core: &mut client.core,
        };
        let mut tcb = Tcb::connect(&mut cx, &key, 1_400);
        tcb.set_nodelay(chance.percent(50));
        client.stage = Stage::Open(Box::new(tcb));
        Self {
            now,
            chance,
            weather,
            ends: [client, server],
            network: BTreeMap::new(),
            sent: 0,
        }
    }

    /// A segment enters the network.
    fn send(&mut self, to: usize, header: Header, text: Vec<u8>) {
        let weather = self.weather;
        let copies = 1 + u64::from(self.chance.percent(weather.duplication));
        for _ in 0..copies {
            if self.chance.percent(weather.loss) {
                continue;
            }
            let mut delay = weather.delay * 1_000;
            if self.chance.percent(weather.reordering) {
                delay += self.chance.below(1_000 * weather.jitter);
            }
            self.sent += 1;
            let at = self.now + Duration::from_micros(delay);
            self.network
                .insert((at, self.sent), (to, header.clone(), text.clone()));
        }
    }

    fn poll(&mut self, from: usize) {
        while self.ends[from].is_open() {
            let end = &mut self.ends[from];
            let Some(transmit) = end.with(self.now, |tcb, cx| tcb.poll_transmit(cx)) else {
                break;
            };
            let text = transmit
                .payload
                .map_or_else(Vec::new, |payload| end.buffers.emit(&payload));
            self.send(1 - from, transmit.header, text);
        }
        self.ends[from].retire(self.now);
    }

    /// Everything that is due now.
    fn turn(&mut self) {
        for i in 0..2 {
            if self.chance.percent(self.weather.completion) {
                self.ends[i].buffers.complete();
            }
            self.ends[i].buffers.hold = self.chance.percent(50);
        }
        while let Some(entry) = self.network.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, header, payload) = entry.remove();
            let segment = Segment {
                header,
                payload: &payload,
            };
            let answers = self.ends[to].handle(self.now, &segment, &mut self.chance);
            for answer in answers {
                self.send(1 - to, answer, Vec::new());
            }
        }
        for i in 0..2 {
            for answer in self.ends[i].handle_timeout(self.now) {
                self.send(1 - i, answer, Vec::new());
            }
            self.ends[i].run(self.now, &mut self.chance);
            self.poll(i);
        }
    }

    /// Whether an application or a buffer has something to do that no timer knows of.
    fn is_busy(&self) -> bool {
        self.ends.iter().any(|end| match &end.stage {
            Stage::Open(tcb) => {
                tcb.waits_for_buffer()
                    || tcb.is_starved()
                    || tcb.unread(&end.core) > 0
                    || end.written < end.to_send.len()
                    || tcb.is_peer_closed()
                    || end.buffers.available() == 0
            }
            _ => false,
        })
    }

    fn next(&self) -> Option<Instant> {
        let arrival = self.network.keys().next().map(|key| key.0);
        let timers = self.ends.iter().filter_map(End::deadline).min();
        let busy = self
            .is_busy()
            .then_some(self.now + Duration::from_millis(5));
        [arrival, timers, busy].into_iter().flatten().min()
    }

    /// Runs to the end and returns what both ends have counted, and when that was.
    fn run(mut self) -> ([Counters; 2], Instant) {
        let limit = self.now + PATIENCE;
        self.turn();
        while let Some(next) = self.next() {
            self.now = self.now.max(next);
            assert!(self.now < limit, "a stall: {:#?}", self.ends);
            self.turn();
        }
        let [client, server] = &mut self.ends;
        for (end, peer) in [(&*client, &*server), (&*server, &*client)] {
            assert!(matches!(end.stage, Stage::Closed), "{:?}", end.stage);
            assert_eq!(end.finished, Some(CloseReason::Finished));
            assert!(
                end.received == peer.to_send,
                "{} octets of {}",
                end.received.len(),
                peer.to_send.len()
            );
            assert!(end.core.is_empty());
        }
        for end in [client, server] {
            end.buffers.complete();
            assert_eq!(end.buffers.in_use, 0);
        }
        let counters = [self.ends[0].core.counters, self.ends[1].core.counters];
        (counters, self.now)
    }
}

#[test]
fn both_streams_arrive_whole_and_nothing_is_left() {
    let mut weathered = BTreeMap::new();
    for seed in seeds(SEEDS) {
        let _replay = Replay {
            seed,
            of: "simulator",
        };
        for counters in Simulator::new(seed).run().0 {
            for (name, count) in counters.named() {
                *weathered.entry(name).or_insert(0) += count;
            }
        }
    }
    if std::env::var("CORELANE_SEED").is_ok() {
        return;
    }
    // What the weather is for has happened.
    for name in [
        "retrans_segs",
        "timeouts",
        "fast_retransmits",
        "retransmits_deferred",
        "syn_ack_retransmits",
        "out_of_order_queued",
        "duplicates",
        "window_probes",
        "time_wait",
    ] {
        assert!(weathered[name] > 1, "{name}: {weathered:?}");
    }
}

/// Both ends open at the same time (RFC 9293 section 3.5, figure 8).
#[test]
fn simultaneous_opens_arrive_whole_too() {
    for seed in seeds(SEEDS) {
        let _replay = Replay {
            seed,
            of: "simulator",
        };
        let mut simulator = Simulator::new(seed);
        let now = simulator.now;
        let server = &mut simulator.ends[1];
        let mut cx = Context {
            now,
            buffers: &mut server.buffers,
            core: &mut server.core,
        };
        let tcb = Tcb::connect(&mut cx, &server.key, 1_400);
        server.stage = Stage::Open(Box::new(tcb));
        simulator.run();
    }
}

/// Nothing is sent twice without a reason, and nobody waits for a timer.
#[test]
fn in_fair_weather_nothing_is_sent_twice() {
    for seed in seeds(SEEDS) {
        let _replay = Replay {
            seed,
            of: "simulator",
        };
        let mut simulator = Simulator::new(seed);
        simulator.weather = Weather {
            loss: 0,
            duplication: 0,
            reordering: 0,
            completion: 100,
            ..simulator.weather
        };
        for end in &mut simulator.ends {
            end.eagerness = 100;
            end.core.config.receive_buffer = 1 << 19;
            end.core.receive = ReceiveMemory::new(1 << 22);
        }
        let start = simulator.now;
        let delay = simulator.weather.delay;
        let (counters, end) = simulator.run();
        for counters in counters {
            assert_eq!(counters.retrans_segs, 0, "{counters:?}");
            assert_eq!(counters.timeouts, 0, "{counters:?}");
            assert_eq!(counters.duplicates, 0, "{counters:?}");
        }
        // At 4 segments a round trip at the least, with delayed acknowledgments and 2MSL.
        let elapsed = end.saturating_since(start);
        let limit = 62_000 + 60 * (2 * delay + 45);
        assert!(elapsed < Duration::from_millis(limit), "{elapsed}");
    }
}
