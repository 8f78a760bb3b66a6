//! What others may leave for a worker, and what it tells them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

use crossbeam::queue::ArrayQueue;

use super::Wake;
use crate::stack::{AddressSet, Connection, Counters, Opening, Stray, SynFlood};
use crate::wire::Address;

/// Orders that may wait.
const ORDERS: usize = 16;
/// Answers that may wait; more would be of questions that nobody waits for any more.
const ANSWERS: usize = 2;
/// Strays that may wait: about 400 KiB of full frames.
const STRAYS: usize = 256;

/// Active opens that may wait.
const OPENINGS: usize = 256;

/// SYN floods that may wait to be told: a beginning and an end for many more ports and addresses
/// than are served, each at most once a minute.
const FLOODS: usize = 1_024;

/// What a worker may be told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Refuse new connections.
    Drain,
    /// Reset all connections.
    Abort,
    /// Reset the connections with these peers.
    AbortPeers(Arc<AddressSet>),
    /// The interface's MTU is this now.
    Mtu(u16),
    /// The XDP program has sent so many SYN cookies of a listener's since the last time, or is about to
    /// send some.
    CookiesSent {
        /// Its address.
        address: Address,
        /// Its port.
        port: u16,
        /// This worker's share.
        count: usize,
    },
    /// End.
    Stop,
    /// Answer with all connections.
    Connections(u64),
    /// Answer with the counters.
    Counters(u64),
}

/// What a worker answers.
#[derive(Debug)]
pub enum Answer {
    /// All its connections.
    Connections(Vec<Connection>),
    /// Its counters: its stack's and its own.
    Counters(Counters, Tally),
}

/// What a worker itself counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Turns of its loop.
    pub turns: u64,
    /// Times that it slept.
    pub sleeps: u64,
    /// Strays handed on.
    pub strays_sent: u64,
    /// Strays received.
    pub strays_received: u64,
    /// Strays dropped because there were too many in too short a time.
    pub strays_dropped_rate: u64,
    /// Strays dropped because the next worker had not yet taken those before.
    pub strays_dropped_full: u64,
}

/// How far a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Its thread makes its stack.
    Starting,
    /// It turns.
    Running,
    /// It refuses new connections.
    Draining,
    /// It has reset all connections, and sent the resets.
    Aborted,
    /// It could not be pinned to its core and has ended.
    NotPinned,
    /// It could not be confined to its system calls and has ended.
    NotConfined,
    /// It has ended.
    Ended,
}

impl Phase {
    const ALL: [Self; 7] = [
        Self::Starting,
        Self::Running,
        Self::Draining,
        Self::Aborted,
        Self::NotPinned,
        Self::NotConfined,
        Self::Ended,
    ];
}

/// Where a worker is spoken to. Nothing of it blocks, neither the worker nor those who write.
#[derive(Debug)]
pub struct Mailbox {
    orders: ArrayQueue<Order>,
    strays: ArrayQueue<Stray>,
    openings: ArrayQueue<Opening>,
    answers: ArrayQueue<(u64, Answer)>,
    floods: ArrayQueue<SynFlood>,
    wake: Wake,
    asleep: AtomicBool,
    phase: AtomicU8,
    live: AtomicUsize,
    /// Callbacks of applications that have panicked.
    panics: AtomicU64,
    /// Rung when the phase changes, or a flood is reported.
    phase_changed: Arc<Wake>,
    /// Rung when there is an answer.
    answered: Arc<Wake>,
}

impl Mailbox {
    /// An empty mailbox of a worker that is starting.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn new(phase_changed: Arc<Wake>, answered: Arc<Wake>) -> io::Result<Self> {
        Ok(Self {
            orders: ArrayQueue::new(ORDERS),
            strays: ArrayQueue::new(STRAYS),
            openings: ArrayQueue::new(OPENINGS),
            answers: ArrayQueue::new(ANSWERS),
            floods: ArrayQueue::new(FLOODS),
            wake: Wake::new()?,
            asleep: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Starting as u8),
            live: AtomicUsize::new(0),
            panics: AtomicU64::new(0),
            phase_changed,
            answered,
        })
    }

    /// Leaves an order; false if the worker has not read any for long.
    pub fn order(&self, order: Order) -> bool {
        let left = self.orders.push(order).is_ok();
        self.notify();
        left
    }

    /// Leaves an active open, or gives it back if there are too many.
    pub fn open(&self, opening: Opening) -> Result<(), Opening> {
        let left = self.openings.push(opening);
        self.notify();
        left
    }

    /// The answer to the order with this number, if it is there. Older ones are thrown away.
    pub fn take_answer(&self, id: u64) -> Option<Answer> {
        while let Some((answered, answer)) = self.answers.pop() {
            if answered == id {
                return Some(answer);
            }
        }
        None
    }

    /// How far the worker is.
    pub fn phase(&self) -> Phase {
        let phase = self.phase.load(Ordering::Acquire);
        Phase::ALL[usize::from(phase).min(Phase::ALL.len() - 1)]
    }

    /// Connections that the worker had when it last said so; never older than its phase.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Callbacks of applications that have panicked; looked at once in a while.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// The next SYN flood that has begun or ended.
    pub fn take_flood(&self) -> Option<SynFlood> {
        self.floods.pop()
    }

    /// Wakes the worker up, if it sleeps.
    pub(super) fn notify(&self) {
        // Pairs with the fence in `fall_asleep`: either we see that it sleeps, or it sees what we
        // left.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.wake.ring();
        }
    }

    /// Leaves a stray, without waking anyone up; false if there are too many.
    pub(super) fn deliver(&self, stray: Stray) -> bool {
        self.strays.push(stray).is_ok()
    }

    pub(super) fn next_order(&self) -> Option<Order> {
        self.orders.pop()
    }

    /// Every turn asks, and nearly always in vain: looking costs less than a `pop`, which has a
    /// fence.
    pub(super) fn next_stray(&self) -> Option<Stray> {
        if self.strays.is_empty() {
            return None;
        }
        self.strays.pop()
    }

    /// As cheap as [`next_stray`](Self::next_stray).
    pub(super) fn next_opening(&self) -> Option<Opening> {
        if self.openings.is_empty() {
            return None;
        }
        self.openings.pop()
    }

    pub(super) fn answer(&self, id: u64, answer: Answer) {
        self.answers.force_push((id, answer));
        self.answered.ring();
    }

    pub(super) fn report(&self, flood: SynFlood) {
        // One that is lost is a line of the log.
        let _ = self.floods.push(flood);
        self.phase_changed.ring();
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.phase_changed.ring();
    }

    pub(super) fn set_live(&self, live: usize) {
        self.live.store(live, Ordering::Release);
    }

    pub(super) fn set_panics(&self, panics: u64) {
        self.panics.store(panics, Ordering::Relaxed);
    }

    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Says that the worker is about to sleep; false if it must not, since something has come.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.orders.is_empty() && self.strays.is_empty() && self.openings.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// Sets the last phase when the worker's thread ends, however it does.
pub(super) struct EndOnDrop(pub(super) Arc<Mailbox>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if !matches!(self.0.phase(), Phase::NotPinned | Phase::NotConfined) {
            self.0.set_phase(Phase::Ended);
        }
    }
}
