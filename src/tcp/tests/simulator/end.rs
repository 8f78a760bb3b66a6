//! One end of one connection and its application; what the ends on one side share.

use super::super::buffers::TestBuffers;
use super::super::{
    BufferLimit, Buffers as _, Chance, CloseReason, Config, Context, Core, Duration, EcnMode,
    Events, FlowKey, Header, Instant, IsnGenerator, Keepalive, Listener, OptionsId, Segment,
    SocketOptions, State, SynCookies, SynEntry, SynVerdict, Tcb, TimeWait, TimeWaitVerdict, octets,
    reset_for,
};
use crate::tcp::congestion::Algorithm;

/// A core: what all connections on one side of the path share.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) core: Core,
    pub(super) buffers: TestBuffers,
    pub(super) listener: Listener,
}

impl Side {
    pub(super) fn new(chance: &mut Chance, connections: usize) -> Self {
        let config = Config {
            options: options(chance),
            receive_memory: 2_048 * connections * (4 + chance.below(200) as usize),
            sack: chance.percent(80),
            timestamps: chance.percent(70),
            window_scale: chance.percent(80),
            ecn: [EcnMode::Off, EcnMode::Passive, EcnMode::On][chance.below(3) as usize],
            // Whatever the weather, nobody gives up.
            retransmissions: 30,
            syn_retransmissions: 30,
            syn_ack_retransmissions: 30,
            orphan_timeout: Duration::from_secs(10_000),
            syn_queue: 1 + chance.below(4) as usize,
            // In bad weather a peer may wait for ever: see `in_fair_weather_cookies_do_as_well`.
            syn_cookies: SynCookies::Off,
            ..Config::default()
        };
        let mut secret = [0; 32];
        secret.fill_with(|| chance.next() as u8);
        Self {
            core: Core::new(config, IsnGenerator::new(secret)),
            buffers: TestBuffers::new(connections * (20 + chance.below(200) as usize)),
            listener: Listener::default(),
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

/// What an application may wish for, but for what gives up.
fn options(chance: &mut Chance) -> SocketOptions {
    let window = 1_000 << chance.below(10);
    SocketOptions {
        nodelay: chance.percent(30),
        cork: chance.percent(10),
        quickack: chance.percent(20),
        keepalive: chance.percent(30).then(|| Keepalive {
            idle: Duration::from_secs(5 + chance.below(20)),
            interval: Duration::from_secs(5),
            count: 100,
        }),
        receive_buffer: if chance.percent(70) {
            BufferLimit::Auto(window)
        } else {
            BufferLimit::Fixed(window)
        },
        send_buffer: BufferLimit::Fixed(4_000 << chance.below(6)),
        notsent_lowat: chance.percent(20).then(|| 1 + chance.below(20_000) as u32),
        congestion: Algorithm::ALL[chance.below(3) as usize],
        max_segment: chance.percent(20).then(|| 100 + chance.below(1_300) as u16),
        ..SocketOptions::default()
    }
}

#[derive(Debug)]
pub(super) enum Stage {
    Listening,
    HalfOpen(SynEntry),
    Open(Box<Tcb>),
    Waiting(TimeWait),
    Closed,
}

/// One end of a connection, and its application.
#[derive(Debug)]
pub(super) struct End {
    pub(super) key: FlowKey,
    pub(super) stage: Stage,
    pub(super) to_send: Vec<u8>,
    pub(super) written: usize,
    pub(super) received: Vec<u8>,
    /// Percent of the chances to read that are taken.
    pub(super) eagerness: u64,
    /// Whether it closes only after the peer has.
    pub(super) waits_for_peer: bool,
    /// When a client connects.
    pub(super) connects_at: Option<Instant>,
    pub(super) finished: Option<CloseReason>,
    /// Whether a client's SYN takes text along (RFC 7413).
    pub(super) opens_fast: bool,
    /// A server took text on the SYN, and is not established yet.
    is_early: bool,
}

impl End {
    /// An end that waits for a connection, with `longest` octets to send at the most.
    pub(super) fn new(chance: &mut Chance, key: FlowKey, longest: u64) -> Self {
        let len = match chance.below(4) {
            0 => 0,
            1 => chance.below(2_000),
            _ => chance.below(longest),
        };
        Self {
            key,
            stage: Stage::Listening,
            to_send: octets(len as usize),
            written: 0,
            received: Vec::new(),
            eagerness: 1 + chance.below(50) * chance.below(3),
            waits_for_peer: chance.percent(30),
            connects_at: None,
            finished: None,
            opens_fast: false,
            is_early: false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::HalfOpen(entry) => Some(entry.deadline),
            Stage::Open(tcb) => tcb.next_deadline(),
            Stage::Waiting(wait) => Some(wait.deadline),
            Stage::Listening | Stage::Closed => self.connects_at,
        }
    }

    pub(super) fn with<T>(
        &mut self,
        side: &mut Side,
        now: Instant,
        body: impl FnOnce(&mut Tcb, &mut Context<'_>) -> T,
    ) -> T {
        let Stage::Open(tcb) = &mut self.stage else {
            panic!("{:?} is not open", self.stage);
        };
        body(tcb, &mut side.context(now))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    fn connect(&mut self, side: &mut Side, now: Instant) {
        let tcb = Tcb::connect(&mut side.context(now), &self.key, 1_400, OptionsId::DEFAULT);
        self.stage = Stage::Open(Box::new(tcb));
        self.connects_at = None;
        if self.opens_fast {
            let (key, data) = (self.key, self.to_send.clone());
            self.written = self.with(side, now, |tcb, cx| tcb.send_early(cx, &key, &data));
        }
    }

    /// A segment arrives, and what its IP header says of ECN. Returns the stateless answer.
    pub(super) fn handle(
        &mut self,
        side: &mut Side,
        now: Instant,
        (segment, ecn): (&Segment<'_>, u8),
        chance: &mut Chance,
    ) -> Option<Header> {
        let key = self.key;
        match &mut self.stage {
            Stage::Closed => reset_for(segment),
            Stage::Listening => self.handle_listening(side, now, (segment, ecn), chance),
            Stage::HalfOpen(entry) => {
                match entry.handle_segment(&mut side.context(now), &key, segment) {
                    SynVerdict::Stays => None,
                    SynVerdict::SynAckAgain => Some(entry.syn_ack(&mut side.context(now), &key)),
                    SynVerdict::Gone => panic!("the peer has reset its own open"),
                    SynVerdict::Opens(tcb) => {
                        let entry = entry.clone();
                        self.stage = Stage::Open(Box::new(tcb));
                        let answer = self.handle_open(side, now, (segment, ecn), chance);
                        if self.with(side, now, |tcb, _| tcb.state()) == State::SynReceived {
                            // It folds back, as in the stack.
                            self.with(side, now, |tcb, cx| tcb.release(cx));
                            self.stage = Stage::HalfOpen(entry);
                        } else {
                            side.listener.forget();
                        }
                        answer
                    }
                }
            }
            Stage::Open(_) => self.handle_open(side, now, (segment, ecn), chance),
            Stage::Waiting(wait) => match wait.handle_segment(&mut side.context(now), segment) {
                TimeWaitVerdict::Acknowledge(header) => Some(header),
                TimeWaitVerdict::Drop => None,
                TimeWaitVerdict::Reopen { .. } => panic!("an old SYN has reopened"),
            },
        }
    }

    fn handle_listening(
        &mut self,
        side: &mut Side,
        now: Instant,
        (segment, ecn): (&Segment<'_>, u8),
        chance: &mut Chance,
    ) -> Option<Header> {
        if !SynEntry::opens(&segment.header) {
            let (listener, header) = (&mut side.listener, &segment.header);
            let mut cx = Context {
                now,
                buffers: &mut side.buffers,
                core: &mut side.core,
            };
            let Some(entry) = listener.handle_cookie(&mut cx, &self.key, header, 1_460) else {
                return reset_for(segment);
            };
            self.stage = Stage::Open(Box::new(entry.open(&mut cx, &self.key)));
            return self.handle_open(side, now, (segment, ecn), chance);
        }
        let mut cx = Context {
            now,
            buffers: &mut side.buffers,
            core: &mut side.core,
        };
        // Nothing when the queue is full: the SYN comes again.
        let entry = side
            .listener
            .handle_syn(&mut cx, &self.key, segment, 1_460, None)?;
        if entry.takes_text() {
            let tcb = entry.fast_open(&mut cx, &self.key);
            self.stage = Stage::Open(Box::new(tcb));
            self.is_early = true;
            let arrival = self.with(side, now, |tcb, _| tcb.handle_text_on_syn(segment.payload));
            self.take_text(side, now, arrival.text, chance);
            return None;
        }
        let answer = entry.syn_ack(&mut cx, &self.key);
        if !entry.is_cookie() {
            self.stage = Stage::HalfOpen(entry);
        }
        Some(answer)
    }

    /// The application reads as much of what has come as it pleases.
    fn take_text(&mut self, side: &mut Side, now: Instant, text: &[u8], chance: &mut Chance) {
        if text.is_empty() {
            return;
        }
        let unread = self.with(side, now, |tcb, cx| tcb.unread(cx.core));
        let consumed = if unread > 0 || !chance.percent(self.eagerness) {
            0
        } else if chance.percent(50) {
            text.len()
        } else {
            chance.below(text.len() as u64) as usize
        };
        self.received.extend_from_slice(&text[..consumed]);
        self.with(side, now, |tcb, cx| tcb.handle_text(cx, text, consumed));
    }

    /// A connection that took text on its SYN is established or gone.
    fn leave_early(&mut self, side: &mut Side, now: Instant) {
        let is_over = match &self.stage {
            Stage::Open(tcb) => tcb.state() != State::SynReceived,
            _ => true,
        };
        if self.is_early && is_over {
            self.is_early = false;
            side.listener.fast_open_ended(now, false);
        }
    }

    fn handle_open(
        &mut self,
        side: &mut Side,
        now: Instant,
        (segment, ecn): (&Segment<'_>, u8),
        chance: &mut Chance,
    ) -> Option<Header> {
        let arrival = self.with(side, now, |tcb, cx| {
            tcb.handle_marked_segment(cx, segment, ecn)
        });
        self.take_text(side, now, arrival.text, chance);
        self.leave_early(side, now);
        if arrival.events.contains(Events::RESET_SENDER) {
            return reset_for(segment);
        }
        None
    }

    pub(super) fn handle_timeout(&mut self, side: &mut Side, now: Instant) -> Option<Header> {
        match &mut self.stage {
            Stage::HalfOpen(entry) if entry.deadline <= now => {
                let mut cx = side.context(now);
                assert!(entry.handle_timeout(&mut cx), "the handshake is given up");
                return Some(entry.syn_ack(&mut cx, &self.key));
            }
            Stage::Waiting(wait) if wait.deadline <= now => self.stage = Stage::Closed,
            Stage::Open(tcb) => {
                tcb.handle_timeout(&mut side.context(now));
            }
            _ => {}
        }
        None
    }

    /// The application has its turn: connects, writes, reads, closes, each when it pleases.
    pub(super) fn run(&mut self, side: &mut Side, now: Instant, chance: &mut Chance) {
        if self.connects_at.is_some_and(|at| at <= now) {
            self.connect(side, now);
        }
        let Stage::Open(tcb) = &self.stage else {
            return;
        };
        let is_up = tcb.state().is_synchronized() && tcb.state() != State::TimeWait;
        if is_up || self.is_early {
            let burst = self.written + chance.below(30_000) as usize;
            let data = self.to_send[self.written..self.to_send.len().min(burst)].to_vec();
            self.written += self.with(side, now, |tcb, cx| tcb.send(cx, &data));
        }
        if chance.percent(self.eagerness) {
            while let Some(readable) = self.with(side, now, |tcb, cx| tcb.readable(cx.core)) {
                let len = readable.len();
                let consumed = if chance.percent(80) { len } else { len / 2 };
                self.received.extend_from_slice(&readable[..consumed]);
                self.with(side, now, |tcb, cx| tcb.consume(cx, readable, consumed));
            }
        }
        if is_up && self.written == self.to_send.len() {
            let peer_closed = self.with(side, now, |tcb, cx| {
                tcb.is_peer_closed() && tcb.unread(cx.core) == 0
            });
            if peer_closed {
                self.with(side, now, |tcb, cx| tcb.close(cx));
            } else if !self.waits_for_peer {
                self.with(side, now, |tcb, cx| tcb.shutdown(cx));
            }
        }
    }

    /// After all that may be sent has been: the books are right, and something is going to happen.
    pub(super) fn check_progress(&self, side: &Side) {
        let Stage::Open(tcb) = &self.stage else {
            return;
        };
        tcb.check_progress(&side.core);
    }

    /// What the stack does with a connection that has ended.
    pub(super) fn retire(&mut self, side: &mut Side, now: Instant) {
        let Stage::Open(tcb) = &mut self.stage else {
            return;
        };
        let mut cx = side.context(now);
        if matches!(tcb.state(), State::Closed | State::TimeWait) {
            assert_eq!(tcb.next_deadline(), None, "{tcb:?}");
        }
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

    /// Whether the application or a buffer has something to do that no timer knows of.
    pub(super) fn is_busy(&self, side: &Side) -> bool {
        let Stage::Open(tcb) = &self.stage else {
            return false;
        };
        tcb.waits_for_buffer()
            || tcb.is_starved()
            || tcb.unread(&side.core) > 0
            || self.written < self.to_send.len()
            || tcb.is_peer_closed()
            || side.buffers.available() == 0
    }

    /// Everything went as both applications wanted it.
    #[track_caller]
    pub(super) fn check(&self, peer: &Self) {
        let is_closed = matches!(self.stage, Stage::Closed);
        assert!(
            is_closed,
            "{:?}, where the peer has {:?}",
            self.stage, peer.finished
        );
        assert_eq!(self.deadline(), None);
        assert_eq!(self.finished, Some(CloseReason::Finished));
        assert!(
            self.received == peer.to_send,
            "{} octets of {}",
            self.received.len(),
            peer.to_send.len()
        );
    }
}

/// Some of the time until a client connects.
pub(super) fn later(chance: &mut Chance, now: Instant) -> Option<Instant> {
    Some(now + Duration::from_millis(chance.below(500)))
}
