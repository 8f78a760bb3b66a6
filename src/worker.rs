//! A pinned thread that turns a [`Stack`], and the mailbox by which others speak to it.
//!
//! Workers share nothing but mailboxes: bounded queues without locks, and an eventfd that wakes a
//! worker up who sleeps. Orders come from the server; a stray frame, from the worker before, and
//! what this one does not know goes on to the worker behind.

mod bucket;
mod filter;
mod mailbox;
mod wake;

use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use core_affinity::CoreId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;

use self::bucket::Bucket;
pub use self::filter::Filter;
pub use self::mailbox::{Answer, Mailbox, Order, Phase, Tally};
pub use self::wake::Wake;
use crate::ring::PacketIo;
use crate::stack::Stack;
use crate::time::{Clock, Duration, Instant};

/// How long an adaptive worker looks for work before it sleeps: longer than a segment takes to come
/// back over a local network, short against a scheduler's slice.
const SPIN: Duration = Duration::from_micros(50);
/// What the kernel may add to a sleep to wake several threads at once, in nanoseconds.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(1_000);
/// How often a worker that does not sleep reads its orders.
const CONTROL_INTERVAL: Duration = Duration::from_millis(1);
/// The longest sleep: what a lost wakeup of a driver could cost.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// The sleep when there is no file to sleep on, or one that only says that it has failed.
const NAP: Duration = Duration::from_millis(1);
/// How often a worker that drains closes the connections that have become idle.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);
/// Strays that one worker hands on per second, and at once. The path does not have to be fast; it
/// must not be a way to make the others slow.
const STRAYS_PER_SECOND: u64 = 20_000;
/// See [`STRAYS_PER_SECOND`].
const STRAY_BURST: u64 = 256;
/// Strays that one turn takes in.
const STRAYS_PER_TURN: usize = 64;

/// Active opens that one turn takes in.
const OPENINGS_PER_TURN: usize = 64;

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Idle {
    /// Looks on for 50 us, then sleeps on its sockets.
    #[default]
    Adaptive,
    /// Never sleeps: least latency, one CPU each.
    Spin,
    /// Sleeps at once: least CPU.
    Interrupt,
}

impl Idle {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Adaptive, Self::Spin, Self::Interrupt];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Spin => "spin",
            Self::Interrupt => "interrupt",
        }
    }

    /// How long to look for work before a sleep; `None`: for ever.
    const fn patience(self) -> Option<Duration> {
        match self {
            Self::Adaptive => Some(SPIN),
            Self::Spin => None,
            Self::Interrupt => Some(Duration::ZERO),
        }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Idle {
    type Err = UnknownIdle;

    fn from_str(word: &str) -> Result<Self, UnknownIdle> {
        let named = Self::ALL.into_iter().find(|idle| idle.name() == word);
        named.ok_or_else(|| UnknownIdle(word.to_owned()))
    }
}

impl TryFrom<String> for Idle {
    type Error = UnknownIdle;

    fn try_from(word: String) -> Result<Self, UnknownIdle> {
        word.parse()
    }
}

/// There is no idle policy of that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no idle policy \"{0}\"; there are: adaptive, spin, interrupt")]
pub struct UnknownIdle(String);

/// Where and how a worker works.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its CPU.
    pub core: usize,
    /// See [`Idle`].
    pub idle: Idle,
    /// The clock of all workers.
    pub clock: Clock,
    /// Its own mailbox.
    pub mailbox: Arc<Mailbox>,
    /// The mailbox of the worker that gets its strays; `None` if it is alone.
    pub next: Option<Arc<Mailbox>>,
    /// The system calls that it may make once its stack is there; `None`: all.
    pub filter: Option<Filter>,
}

/// Starts a worker's thread: pins it, then has it make its stack, so that the stack's memory is
/// near its core. [`Mailbox::phase`] tells how far it is.
///
/// # Errors
///
/// The OS makes no thread.
pub fn spawn<P, B>(setup: Setup, build: B) -> io::Result<thread::JoinHandle<()>>
where
    P: PacketIo + 'static,
    B: FnOnce(Instant) -> Stack<P> + Send + 'static,
{
    thread::Builder::new()
        .name(format!("corelane-{}", setup.core))
        .spawn(move || {
            // Says that the worker has ended, also when it panics.
            let _end = mailbox::EndOnDrop(Arc::clone(&setup.mailbox));
            if !core_affinity::set_for_current(CoreId { id: setup.core }) {
                setup.mailbox.set_phase(Phase::NotPinned);
                return;
            }
            // So that a deadline of microseconds, as pacing sets them, is not slept over; without
            // it a sleep lasts up to 50 us longer.
            let _ = rustix::thread::set_current_timer_slack(TIMER_SLACK);
            let stack = build(setup.clock.now());
            if setup.filter.as_ref().is_some_and(|it| it.apply().is_err()) {
                setup.mailbox.set_phase(Phase::NotConfined);
                return;
            }
            setup.mailbox.set_phase(Phase::Running);
            Worker::new(setup, stack).run();
        })
}

/// One core's worker. See the module's text.
struct Worker<P: PacketIo> {
    stack: Stack<P>,
    clock: Clock,
    patience: Option<Duration>,
    mailbox: Arc<Mailbox>,
    next: Option<Arc<Mailbox>>,
    bucket: Bucket,
    tally: Tally,
    /// When to close idle connections again, since the order to drain.
    next_drain: Option<Instant>,
    aborting: bool,
}

impl<P: PacketIo> Worker<P> {
    fn new(setup: Setup, stack: Stack<P>) -> Self {
        Self {
            stack,
            clock: setup.clock,
            patience: setup.idle.patience(),
            bucket: Bucket::new(STRAYS_PER_SECOND, STRAY_BURST, setup.clock.now()),
            mailbox: setup.mailbox,
            next: setup.next,
            tally: Tally::default(),
            next_drain: None,
            aborting: false,
        }
    }

    fn run(mut self) {
        // Of our own, so that they can be polled while the stack turns.
        let files: Option<Vec<OwnedFd>> = self
            .stack
            .queues()
            .map(|queue| queue.io.poll_fd()?.try_clone_to_owned().ok())
            .collect();
        let mailbox = Arc::clone(&self.mailbox);
        let mut bed = Bed::new(mailbox.wake(), files.as_deref());
        let mut last_active = self.clock.now();
        let mut next_control = last_active;
        loop {
            let now = self.clock.now();
            self.take_strays(now);
            self.take_openings(now);
            if now >= next_control {
                next_control = now + CONTROL_INTERVAL;
                if self.take_orders(now).is_break() {
                    return;
                }
            }
            let turn = self.stack.turn(now);
            self.tally.turns += 1;
            self.pass_strays(now);
            if self.aborting && self.stack.live_connections() == 0 {
                self.aborting = false;
                self.mailbox.set_phase(Phase::Aborted);
            }
            if turn.frames > 0 || turn.busy {
                last_active = now;
                continue;
            }
            match self.patience {
                Some(patience) if now.saturating_since(last_active) >= patience => {
                    self.sleep(turn.deadline, &mut bed);
                    next_control = Instant::ZERO;
                }
                _ => std::hint::spin_loop(),
            }
        }
    }

    /// Sleeps until a frame, a letter or `deadline` comes.
    fn sleep(&mut self, deadline: Option<Instant>, bed: &mut Bed<'_>) {
        self.mailbox.set_live(self.stack.live_connections());
        let now = self.clock.now();
        let deadlines = [deadline, self.next_drain, Some(now + LONGEST_SLEEP)];
        let left = deadlines
            .into_iter()
            .flatten()
            .map(|deadline| deadline.saturating_since(now))
            .min()
            .unwrap_or(LONGEST_SLEEP);
        if left == Duration::ZERO || !self.mailbox.fall_asleep() {
            return;
        }
        self.tally.sleeps += 1;
        bed.sleep(left);
        self.mailbox.wake_up();
    }

    fn take_orders(&mut self, now: Instant) -> ControlFlow<()> {
        while let Some(order) = self.mailbox.next_order() {
            match order {
                Order::Drain => {
                    self.drain(now);
                    self.mailbox.set_phase(Phase::Draining);
                }
                Order::Abort => {
                    self.stack.abort_all(now);
                    self.next_drain = None;
                    self.aborting = true;
                }
                Order::AbortPeers(peers) => {
                    self.stack.abort_peers(now, &peers);
                }
                Order::Mtu(mtu) => self.stack.set_mtu(now, mtu),
                Order::CookiesSent {
                    address,
                    port,
                    count,
                } => self.stack.note_cookies(now, address, port, count),
                Order::Stop => return ControlFlow::Break(()),
                Order::Connections(id) => {
                    let connections = self.stack.connections(now);
                    self.mailbox.answer(id, Answer::Connections(connections));
                }
                Order::Counters(id) => {
                    let answer = Answer::Counters(self.stack.counters(), self.tally);
                    self.mailbox.answer(id, answer);
                }
            }
        }
        if self.next_drain.is_some_and(|next| next <= now) {
            self.drain(now);
        }
        for flood in self.stack.take_floods(now) {
            self.mailbox.report(flood);
        }
        self.mailbox.set_panics(self.stack.application_panics());
        self.mailbox.set_live(self.stack.live_connections());
        ControlFlow::Continue(())
    }

    fn drain(&mut self, now: Instant) {
        self.stack.drain(now);
        self.next_drain = Some(now + DRAIN_INTERVAL);
        self.mailbox.set_live(self.stack.live_connections());
    }

    fn take_strays(&mut self, now: Instant) {
        for _ in 0..STRAYS_PER_TURN {
            let Some(stray) = self.mailbox.next_stray() else {
                return;
            };
            self.tally.strays_received += 1;
            self.stack.handle_stray(now, stray);
        }
    }

    fn take_openings(&mut self, now: Instant) {
        for _ in 0..OPENINGS_PER_TURN {
            let Some(opening) = self.mailbox.next_opening() else {
                return;
            };
            self.stack.handle_opening(now, &opening);
        }
    }

    fn pass_strays(&mut self, now: Instant) {
        let mut passed = false;
        for stray in self.stack.take_strays() {
            let Some(next) = &self.next else {
                continue;
            };
            if !self.bucket.take(now) {
                self.tally.strays_dropped_rate += 1;
            } else if next.deliver(stray) {
                self.tally.strays_sent += 1;
                passed = true;
            } else {
                self.tally.strays_dropped_full += 1;
            }
        }
        if passed && let Some(next) = &self.next {
            next.notify();
        }
    }
}

/// What a worker sleeps on: its wake-up call first, then its sockets.
struct Bed<'a> {
    files: Vec<PollFd<'a>>,
    wake: &'a Wake,
    /// Whether the sockets tell when a frame comes.
    pollable: bool,
}

impl<'a> Bed<'a> {
    fn new(wake: &'a Wake, sockets: Option<&'a [OwnedFd]>) -> Self {
        let mut files = vec![PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
        let sockets_in = sockets.unwrap_or_default().iter();
        files.extend(sockets_in.map(|socket| PollFd::new(socket, PollFlags::IN)));
        Self {
            files,
            wake,
            pollable: sockets.is_some(),
        }
    }

    fn sleep(&mut self, longest: Duration) {
        let longest = if self.pollable {
            longest
        } else {
            longest.min(NAP)
        };
        // A signal or whatever else ends the sleep early does no harm.
        let _ = poll(&mut self.files, Some(&timespec(longest)));
        let failed = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let sockets_failed = self.files[1..]
            .iter()
            .any(|file| file.revents().intersects(failed));
        if sockets_failed {
            // The interface is down or gone. The server looks after that; do not spin meanwhile.
            let _ = poll(&mut self.files[..1], Some(&timespec(NAP)));
        }
        if !self.files[0].revents().is_empty() {
            self.wake.clear();
        }
    }
}

/// As the kernel wants it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    let nanos = duration.as_nanos();
    Timespec {
        tv_sec: (nanos / 1_000_000_000).cast_signed(),
        tv_nsec: (nanos % 1_000_000_000).cast_signed(),
    }
}

#[cfg(test)]
mod tests;
