//! The service of one worker: it opens its share of the connections by itself, keeps to the clock, and
//! reports in the end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::channel::Sender;

use super::options::{Options, Work};
use super::report::Report;
use super::talk::{Script, Talk};
use crate::services::cyclic;
use crate::stack::{ConnectError, Destination, Service, Socket, Wish};
use crate::tcp::{CloseReason, Counters};
use crate::time::{Duration, Instant};

/// How often to look whether it has begun.
const BEGIN_POLL: Duration = Duration::from_millis(1);
/// How often to look at the clock and to tell how far it is, and at how much of a stream has arrived.
const TICK: Duration = Duration::from_millis(10);
/// How long a place is left empty after its connection has failed: who refuses is not asked without
/// end.
const PAUSE: Duration = Duration::from_millis(100);
/// Handshakes under way per worker: Linux lets 4096 wait, and programs that listen often fewer. With a
/// connection per request all are under way.
const HANDSHAKES: usize = 256;
/// Nanoseconds of a second.
const SECOND: u128 = 1_000_000_000;

/// What all workers are told.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) options: Options,
    /// Set when it begins.
    pub(super) go: OnceLock<Go>,
    /// Set when it is to end early.
    pub(super) stop: AtomicBool,
    /// How far all of them are together.
    pub(super) gauges: Gauges,
}

/// How to begin.
#[derive(Debug)]
pub(super) struct Go {
    /// The ways to the server, at least one.
    pub(super) ways: Vec<Destination>,
    pub(super) workers: u32,
}

/// Sums over all workers.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) requests: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) open: AtomicU64,
}

impl Gauges {
    /// What was `told` before is `now`.
    fn tell(&self, told: &mut [u64; 5], now: [u64; 5]) {
        let gauges = [
            &self.requests,
            &self.received,
            &self.sent,
            &self.errors,
            &self.open,
        ];
        for ((gauge, told), now) in gauges.into_iter().zip(told).zip(now) {
            // What has become less is added as well: sums wrap.
            gauge.fetch_add(now.wrapping_sub(*told), Ordering::Relaxed);
            *told = now;
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Caller {
    terms: Arc<Terms>,
    index: u32,
    done: Sender<Report>,
    phase: Phase,
    script: Script,
    report: Report,
    places: Places,
    start: Instant,
    next_tick: Instant,
    /// When a connection became established for the last time.
    opened_at: Instant,
    /// Since when connections are only held.
    held_since: Option<Instant>,
    /// The last time that is known where none is said.
    now: Instant,
    told: [u64; 5],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Running,
    Ended,
}

/// The connections that a worker may have. Each has a place, whose number is the token.
#[derive(Debug, Default)]
struct Places {
    /// When the next request of each is due, or its SYN was.
    due: Vec<Instant>,
    ready: VecDeque<u32>,
    paused: VecDeque<(Instant, u32)>,
    /// Handshakes under way.
    opening: usize,
    /// With a rate and a connection per request: when the next one is due.
    next_open: Instant,
    /// From one request to the next: of a connection, or of the worker if it opens one for each.
    interval: Duration,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    place: u32,
    /// What was wrong has been counted.
    failed: bool,
    task: Task,
}

#[derive(Debug)]
enum Task {
    // Boxed: of idle ones there may be many.
    Talk(Box<Talk>),
    Send {
        written: u64,
        acked: u64,
        moved: Instant,
        look_at: Instant,
    },
    Receive {
        position: u64,
        moved: Instant,
    },
    Hold,
}

impl Caller {
    /// Of worker `index`.
    pub(super) fn new(terms: Arc<Terms>, index: u32, done: Sender<Report>) -> Self {
        Self {
            script: Script::new(&terms.options),
            terms,
            index,
            done,
            phase: Phase::Waiting,
            report: Report::new(),
            places: Places::default(),
            start: Instant::ZERO,
            next_tick: Instant::ZERO,
            opened_at: Instant::ZERO,
            held_since: None,
            now: Instant::ZERO,
            told: [0; 5],
        }
    }

    fn begin(&mut self, now: Instant) -> bool {
        let terms = Arc::clone(&self.terms);
        let Some(go) = terms.go.get() else {
            return false;
        };
        self.phase = Phase::Running;
        self.start = now;
        self.opened_at = now;
        self.places = Places::new(&terms.options, self.index, go.workers, now);
        true
    }

    /// Looks at the clock. Returns whether that was the end.
    fn tick(&mut self, now: Instant, counters: &Counters) -> bool {
        self.next_tick = now + TICK;
        let is_over = self.is_over(now) || self.terms.stop.load(Ordering::Relaxed);
        let report = &mut self.report;
        let all = [
            report.requests,
            report.received,
            report.sent,
            report.errors.total(),
            report.open,
        ];
        self.terms.gauges.tell(&mut self.told, all);
        if is_over {
            self.phase = Phase::Ended;
            report.connecting = self.places.opening as u64;
            report.elapsed = now.saturating_since(self.start);
            report.segments_sent = counters.out_segs;
            report.segments_received = counters.in_segs;
            report.retransmissions = counters.retrans_segs;
            // Who waited for it may have given up.
            let _ = self.done.send(report.clone());
        }
        is_over
    }

    fn is_over(&mut self, now: Instant) -> bool {
        let options = &self.terms.options;
        if !options.idle {
            return now.saturating_since(self.start) >= options.duration;
        }
        let all = self.report.open == self.places.due.len() as u64;
        if all || now.saturating_since(self.opened_at) >= options.timeout {
            self.held_since.get_or_insert(now);
        }
        let held = |since| now.saturating_since(since) >= options.duration;
        self.held_since.is_some_and(held)
    }

    fn task(&self, now: Instant) -> Task {
        let options = &self.terms.options;
        match options.target.work {
            _ if options.idle => Task::Hold,
            work @ (Work::Http | Work::Echo) => Task::Talk(Box::new(Talk::new(work, now))),
            Work::Discard => Task::Send {
                written: 0,
                acked: 0,
                moved: now,
                look_at: now + TICK,
            },
            Work::Chargen => Task::Receive {
                position: 0,
                moved: now,
            },
        }
    }

    /// Whatever the connection may do now.
    fn go_on(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        match &mut connection.task {
            Task::Talk(talk) => {
                let place = connection.place as usize;
                if self.terms.options.rate.is_none() {
                    talk.begin_all(&self.script, self.now);
                } else if let Some(due) = self.places.due.get_mut(place) {
                    talk.begin_due(&self.script, self.now, due, self.places.interval);
                }
                talk.write(&self.script, socket, &mut self.report);
            }
            Task::Send { written, .. } => {
                let mut at = *written;
                let sent = socket.send_with(usize::MAX, |room| {
                    cyclic::fill(&cyclic::PRINTABLE, at, room);
                    at += room.len() as u64;
                    room.len()
                });
                *written += sent as u64;
            }
            Task::Receive { .. } | Task::Hold => {}
        }
    }

    /// The connection is of no use any more, for a reason that has been counted.
    fn give_up(connection: &mut Connection, socket: &mut Socket<'_>) {
        connection.failed = true;
        if let Task::Talk(talk) = &mut connection.task {
            talk.give_up();
        }
        socket.abort();
    }

    fn read_answers(&mut self, connection: &mut Connection, socket: &mut Socket<'_>, data: &[u8]) {
        let Task::Talk(talk) = &mut connection.task else {
            return;
        };
        if !talk.read(&mut self.script, self.now, data, &mut self.report) {
            self.report.errors.bad_answer += 1;
            return Self::give_up(connection, socket);
        }
        if !talk.is_last() {
            return self.go_on(connection, socket);
        }
        // An HTTP server was told that this is the end, and closes first.
        if !talk.is_waiting() && self.terms.options.target.work == Work::Echo {
            socket.close();
        }
    }

    /// How much of a stream the server has by now, and whether it is getting on.
    fn look_at_stream(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        let Task::Send {
            acked,
            moved,
            look_at,
            ..
        } = &mut connection.task
        else {
            return;
        };
        let total = socket.info().octets_acked;
        if total > *acked {
            self.report.sent += total - *acked;
            *acked = total;
            *moved = self.now;
        }
        *look_at = self.now + TICK;
    }

    /// When the connection has waited too long.
    fn patience_ends(&self, connection: &Connection) -> Option<Instant> {
        let since = match &connection.task {
            Task::Talk(talk) => talk.waits_since()?,
            Task::Send { moved, .. } | Task::Receive { moved, .. } => *moved,
            Task::Hold => return None,
        };
        Some(since + self.terms.options.timeout)
    }

    fn leave(&mut self, place: u32, failed: bool) {
        match failed {
            true => self.places.paused.push_back((self.now + PAUSE, place)),
            false => self.places.ready.push_back(place),
        }
    }
}

impl Places {
    fn new(options: &Options, index: u32, workers: u32, now: Instant) -> Self {
        let workers = workers.max(1);
        let all = options.connections;
        let share = all / workers + u32::from(index < all % workers);
        // Each connection has the same part of the rate, or each of a worker's places.
        let one = |rate: u64| SECOND * u128::from(all) / u128::from(rate.max(1));
        let nanos = options.rate.map_or(0, one);
        let between = |places: u32| {
            let nanos = nanos / u128::from(places.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).max(1))
        };
        let apart = between(share);
        Self {
            // The connections' requests come one after the other, not all at once.
            due: (0..share).map(|place| now + apart * place.into()).collect(),
            ready: (0..share).collect(),
            paused: VecDeque::new(),
            opening: 0,
            next_open: now,
            interval: if options.close { apart } else { between(1) },
        }
    }

    /// The place whose connection is to be opened now.
    fn next(&mut self, now: Instant, options: &Options) -> Option<u32> {
        while let Some((_, place)) = self.paused.pop_front_if(|(until, _)| *until <= now) {
            self.ready.push_back(place);
        }
        let is_paced = options.close && options.rate.is_some();
        if (!options.close && self.opening >= HANDSHAKES) || (is_paced && now < self.next_open) {
            return None;
        }
        let place = self.ready.pop_front()?;
        let due = self.due.get_mut(place as usize)?;
        if is_paced {
            *due = self.next_open;
            self.next_open += self.interval;
        } else if !options.has_answers() || options.close {
            *due = now;
        }
        self.opening += 1;
        Some(place)
    }
}

impl Service for Caller {
    type Connection = Connection;

    fn poll_open(&mut self, now: Instant, counters: &Counters) -> Wish {
        self.now = now;
        if self.phase == Phase::Waiting && !self.begin(now) {
            return Wish::Until(now + BEGIN_POLL);
        }
        if self.phase == Phase::Ended {
            return Wish::Until(Instant::FAR_FUTURE);
        }
        if now >= self.next_tick && self.tick(now, counters) {
            return Wish::Until(Instant::FAR_FUTURE);
        }
        let options = &self.terms.options;
        let ways = self.terms.go.get().map_or(&[][..], |go| &go.ways);
        let workers = self.terms.go.get().map_or(1, |go| go.workers);
        match self.places.next(now, options) {
            Some(place) => {
                let number = place as usize * workers as usize + self.index as usize;
                Wish::Open(ways[number % ways.len()], place.into())
            }
            None if self.places.ready.is_empty() => Wish::Until(self.next_tick),
            None if options.close && options.rate.is_some() => {
                Wish::Until(self.places.next_open.min(self.next_tick))
            }
            None => Wish::Until(self.next_tick),
        }
    }

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Connection {
        self.now = socket.now();
        // The token is a place's number.
        let place = socket.token().unwrap_or_default() as u32;
        self.places.opening = self.places.opening.saturating_sub(1);
        self.report.opened += 1;
        self.report.open += 1;
        self.opened_at = self.now;
        if self.report.open == self.places.due.len() as u64 {
            let took = self.now.saturating_since(self.start);
            self.report.opening.get_or_insert(took);
        }
        let since = self.places.due.get(place as usize).copied();
        let since = since.unwrap_or(self.now);
        let mut connection = Connection {
            place,
            failed: false,
            task: self.task(self.now),
        };
        if self.phase == Phase::Ended {
            return connection;
        }
        match &mut connection.task {
            Task::Talk(talk) if self.terms.options.close => talk.begin_only(&self.script, since),
            Task::Talk(_) => {}
            _ => self.report.record(since, self.now),
        }
        self.go_on(&mut connection, socket);
        connection
    }

    fn on_data(
        &mut self,
        connection: &mut Connection,
        socket: &mut Socket<'_>,
        data: &[u8],
    ) -> usize {
        if self.phase == Phase::Ended || connection.failed {
            return data.len();
        }
        self.now = socket.now();
        self.report.received += data.len() as u64;
        match &mut connection.task {
            Task::Talk(_) => self.read_answers(connection, socket, data),
            Task::Receive { position, moved } => {
                *moved = self.now;
                let is_right =
                    !self.terms.options.verify || cyclic::matches(&cyclic::LINES, *position, data);
                *position += data.len() as u64;
                if !is_right {
                    self.report.errors.bad_answer += 1;
                    Self::give_up(connection, socket);
                }
            }
            Task::Send { .. } | Task::Hold => {}
        }
        data.len()
    }

    fn on_writable(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        self.now = socket.now();
        if self.phase == Phase::Running && !connection.failed {
            self.go_on(connection, socket);
        }
    }

    fn on_peer_close(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        if let Task::Talk(talk) = &mut connection.task
            && self.phase == Phase::Running
        {
            talk.read_end(socket.now(), &mut self.report);
        }
        socket.close();
    }

    fn deadline(&self, connection: &Connection) -> Option<Instant> {
        if self.phase == Phase::Ended || connection.failed {
            return None;
        }
        let next = match &connection.task {
            Task::Talk(talk) if self.terms.options.rate.is_some() => self
                .places
                .due
                .get(connection.place as usize)
                .filter(|_| talk.may_begin(&self.script))
                .copied(),
            Task::Send { look_at, .. } => Some(*look_at),
            _ => None,
        };
        next.into_iter().chain(self.patience_ends(connection)).min()
    }

    fn on_timer(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        self.now = socket.now();
        if self.phase == Phase::Ended {
            return;
        }
        self.look_at_stream(connection, socket);
        let is_late = self
            .patience_ends(connection)
            .is_some_and(|due| due <= self.now);
        match &mut connection.task {
            // It has its answer, and waits for the server to close.
            Task::Talk(talk) if is_late && !talk.is_waiting() => {
                talk.give_up();
                socket.close();
            }
            _ if is_late => {
                self.report.errors.timed_out += 1;
                Self::give_up(connection, socket);
            }
            _ => self.go_on(connection, socket),
        }
    }

    fn on_connect_failed(&mut self, _: SocketAddr, token: u64, error: ConnectError) {
        if self.phase != Phase::Running {
            return;
        }
        self.places.opening = self.places.opening.saturating_sub(1);
        self.report.errors.count_failed_open(error);
        self.leave(token as u32, true);
    }

    fn on_close(&mut self, connection: Connection, reason: CloseReason) {
        if self.phase != Phase::Running {
            return;
        }
        self.report.open -= 1;
        let is_over = match &connection.task {
            Task::Talk(talk) if talk.is_waiting() => false,
            // A server may end connections on which nothing is due.
            Task::Talk(talk) => talk.is_last() || reason == CloseReason::Finished,
            Task::Send { .. } | Task::Receive { .. } | Task::Hold => false,
        };
        if !is_over && !connection.failed {
            self.report.errors.count_end(reason);
        }
        self.leave(connection.place, connection.failed || !is_over);
    }
}
