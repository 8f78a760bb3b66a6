//! A hierarchical timing wheel of (slot index, deadline), at most one entry per index.
//!
//! Nine levels of 64 slots; a slot of level 0 is one tick of 2^13 ns (8.2 us), one of level `n`
//! spans 64^n ticks, so that the wheel covers all of [`Instant`]. An entry is in the lowest level
//! whose current turn holds its deadline. When time enters a slot of a higher level its entries
//! move down. A bitmap per level says which slots hold entries, so that [`advance`] costs as much
//! as entries expire or move down, never as much as time has passed; an entry moves at most eight
//! times in its life.
//!
//! Deadlines are rounded up to a tick: an entry never expires early, and up to one tick late.
//!
//! Timers are lazy, and that is the caller's job: who has a deadline that moves later leaves the
//! wheel alone, finds at the expiry that it is not due, and schedules again. Scheduling an index
//! that is in the wheel already re-links it in O(1), for deadlines that move earlier.
//!
//! The scheme is that of Varghese and Lauck (1987, scheme 7).
//!
//! [`advance`]: TimerWheel::advance

use crate::memory::Chunks;
use crate::time::Instant;

/// Nanoseconds of a tick, as a power of two.
const TICK_BITS: u32 = 13;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
/// Enough for each of the 51 bits of a tick.
const LEVELS: usize = 9;

/// The list of entries whose deadline had passed when they were scheduled.
const DUE: usize = LEVELS * SLOTS;
/// No index: the end of a list.
const NIL: u32 = u32::MAX;

/// A wheel of deadlines.
#[derive(Debug)]
pub struct TimerWheel {
    /// The tick that time has reached; all entries outside of [`DUE`] are later.
    now: u64,
    len: usize,
    /// Which slots of each level hold entries.
    occupied: [u64; LEVELS],
    /// The first entry of each slot's list, and of [`DUE`].
    heads: [u32; LEVELS * SLOTS + 1],
    nodes: Chunks<Node>,
}

/// An entry, in the doubly linked list of its slot. Which that is follows from the deadline and from
/// what time it is: an entry moves when time enters its slot.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// [`Instant::FAR_FUTURE`] if the index is not in the wheel.
    deadline: Instant,
    previous: u32,
    next: u32,
}

const _: () = assert!(size_of::<Node>() == 16);

const ABSENT: Node = Node {
    deadline: Instant::FAR_FUTURE,
    previous: NIL,
    next: NIL,
};

impl TimerWheel {
    /// Octets that an index takes.
    #[cfg(test)]
    pub(crate) const NODE: usize = size_of::<Node>();

    /// An empty wheel.
    pub fn new(now: Instant) -> Self {
        Self {
            now: tick_before(now),
            len: 0,
            occupied: [0; LEVELS],
            heads: [NIL; LEVELS * SLOTS + 1],
            nodes: Chunks::new(),
        }
    }

    /// Sets the deadline of `index`, instead of the one that it has, if it has one. A deadline
    /// that has passed expires at the next [`advance`](Self::advance);
    /// [`Instant::FAR_FUTURE`] is no deadline and cancels.
    ///
    /// Memory is proportional to the greatest index: indices are dense.
    pub fn schedule(&mut self, index: u32, deadline: Instant) {
        self.cancel(index);
        if deadline == Instant::FAR_FUTURE {
            return;
        }
        self.reserve(index);
        self.len += 1;
        self.link(index, deadline);
    }

    /// Takes `index` out of the wheel, if it is there.
    pub fn cancel(&mut self, index: u32) {
        if self.deadline(index).is_none() {
            return;
        }
        let Node {
            deadline,
            previous,
            next,
        } = std::mem::replace(&mut self.nodes[index], ABSENT);
        self.len -= 1;
        if next != NIL {
            self.nodes[next].previous = previous;
        }
        if previous != NIL {
            self.nodes[previous].next = next;
            return;
        }
        let list = self.list_for(deadline);
        debug_assert_eq!(self.heads[list], index);
        self.heads[list] = next;
        if next == NIL && list != DUE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }

    /// The deadline of `index`, as it was scheduled.
    pub fn deadline(&self, index: u32) -> Option<Instant> {
        let node = self.nodes.get(index)?;
        (node.deadline != Instant::FAR_FUTURE).then_some(node.deadline)
    }

    /// Moves time to `now`; the indices whose deadline has passed leave the wheel and are added to
    /// `expired`, in no particular order. Time does not move back.
    pub fn advance(&mut self, now: Instant, expired: &mut Vec<u32>) {
        let due = std::mem::replace(&mut self.heads[DUE], NIL);
        self.empty_list(due, expired);

        let before = self.now;
        self.now = before.max(tick_before(now));
        // Bottom up: what moves down lands in levels that are done, past the new time.
        for level in 0..LEVELS {
            let passed = before >> shift(level) != self.now >> shift(level);
            if !passed {
                break;
            }
            let same_turn = before >> shift(level + 1) == self.now >> shift(level + 1);
            let until = (self.now >> shift(level)) as usize % SLOTS;
            let entered = if same_turn {
                u64::MAX >> (SLOTS - 1 - until)
            } else {
                u64::MAX
            };
            let mut slots = self.occupied[level] & entered;
            self.occupied[level] &= !entered;
            while slots != 0 {
                let slot = slots.trailing_zeros() as usize;
                slots &= slots - 1;
                let head = std::mem::replace(&mut self.heads[level * SLOTS + slot], NIL);
                self.empty_list(head, expired);
            }
        }
    }

    /// An instant that is not later than the one at which the next entry expires; `None` if there
    /// is no entry. [`advance`](Self::advance) to this instant always comes nearer to an expiry: a
    /// worker that sleeps until then and looks again misses nothing and does not spin.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.heads[DUE] != NIL {
            return Some(Instant::from_nanos(self.now << TICK_BITS));
        }
        // All entries of a level expire before those of the next.
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let slot = u64::from(self.occupied[level].trailing_zeros());
        let turn = self.now >> shift(level + 1) << shift(level + 1);
        let tick = turn + (slot << shift(level));
        // The last tick of all begins past the end of time.
        Some(Instant::from_nanos(tick.saturating_mul(1 << TICK_BITS)))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Goes through a list that is not linked to its slot any more: what is due expires, the rest
    /// finds its new slot.
    fn empty_list(&mut self, head: u32, expired: &mut Vec<u32>) {
        let mut index = head;
        while index != NIL {
            let Node { deadline, next, .. } = self.nodes[index];
            if tick_after(deadline) <= self.now {
                self.nodes[index] = ABSENT;
                self.len -= 1;
                expired.push(index);
            } else {
                self.link(index, deadline);
            }
            index = next;
        }
    }

    /// Puts an entry at the head of the list of its slot.
    fn link(&mut self, index: u32, deadline: Instant) {
        let list = self.list_for(deadline);
        let next = std::mem::replace(&mut self.heads[list], index);
        if next != NIL {
            self.nodes[next].previous = index;
        }
        if list != DUE {
            self.occupied[list / SLOTS] |= 1 << (list % SLOTS);
        }
        self.nodes[index] = Node {
            deadline,
            previous: NIL,
            next,
        };
    }

    /// Level times 64 plus slot, or [`DUE`].
    fn list_for(&self, deadline: Instant) -> usize {
        let tick = tick_after(deadline);
        if tick <= self.now {
            return DUE;
        }
        // The highest digit (base 64) in which the two differ is the level.
        let level = ((tick ^ self.now).ilog2() / LEVEL_BITS) as usize;
        let slot = (tick >> shift(level)) as usize % SLOTS;
        level * SLOTS + slot
    }

    fn reserve(&mut self, index: u32) {
        while self.nodes.len() <= index {
            self.nodes.push(ABSENT);
        }
    }
}

/// Bits of a tick below the digit of `level`.
const fn shift(level: usize) -> u32 {
    level as u32 * LEVEL_BITS
}

const fn tick_before(instant: Instant) -> u64 {
    instant.as_nanos() >> TICK_BITS
}

const fn tick_after(instant: Instant) -> u64 {
    instant.as_nanos().div_ceil(1 << TICK_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::time::Duration;

    const TICK: u64 = 1 << TICK_BITS;
    const NOBODY: [u32; 0] = [];

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn expired(wheel: &mut TimerWheel, now: Instant) -> Vec<u32> {
        let mut expired = Vec::new();
        wheel.advance(now, &mut expired);
        expired.sort_unstable();
        expired
    }

    #[test]
    fn expires_at_the_deadline_or_one_tick_later_and_never_early() {
        for deadline in [
            1,
            TICK - 1,
            TICK,
            TICK + 1,
            64 * TICK,
            64 * TICK + 1,
            1 << 40,
        ] {
            let mut wheel = TimerWheel::new(Instant::ZERO);
            wheel.schedule(7, at(deadline));
            assert_eq!(wheel.deadline(7), Some(at(deadline)));
            assert_eq!(expired(&mut wheel, at(deadline - 1)), NOBODY);
            assert_eq!(
                expired(&mut wheel, at(deadline - 1 + TICK)),
                [7],
                "{deadline}"
            );
            assert_eq!(wheel.deadline(7), None);
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn boundaries_of_all_levels() {
        for start in [0, 1, 63, 64, 4095, 4096, (1 << 36) - 1, 1 << 36] {
            for level in 0..8 {
                for offset in [-1i64, 0, 1] {
                    let distance = (1u64 << (6 * (level + 1))).saturating_add_signed(offset);
                    let now = at(start * TICK);
                    let deadline = now + Duration::from_nanos(distance.saturating_mul(TICK));
                    let mut wheel = TimerWheel::new(now);
                    wheel.schedule(0, deadline);
                    assert_eq!(expired(&mut wheel, at(deadline.as_nanos() - 1)), NOBODY);
                    assert_eq!(expired(&mut wheel, deadline), [0]);
                }
            }
        }
    }

    #[test]
    fn a_deadline_in_the_past_expires_at_the_next_advance() {
        let mut wheel = TimerWheel::new(Instant::from_millis(5_000));
        wheel.schedule(1, Instant::from_millis(1));
        wheel.schedule(2, Instant::ZERO);
        assert!(wheel.next_deadline().unwrap() <= Instant::from_millis(5_000));
        assert_eq!(expired(&mut wheel, Instant::from_millis(5_000)), [1, 2]);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn far_future_is_no_deadline() {
        let mut wheel = TimerWheel::new(Instant::ZERO);
        wheel.schedule(1, Instant::FAR_FUTURE);
        assert_eq!(wheel.len(), 0);
        wheel.schedule(1, at(5));
        wheel.schedule(1, Instant::FAR_FUTURE);
        assert_eq!(wheel.len(), 0);
        wheel.schedule(1, at(u64::MAX - 1));
        assert_eq!(wheel.deadline(1), Some(at(u64::MAX - 1)));
        assert_eq!(expired(&mut wheel, at(u64::MAX - 2)), NOBODY);
        assert!(wheel.next_deadline().is_some());
    }

    #[test]
    fn time_does_not_move_back() {
        let mut wheel = TimerWheel::new(Instant::from_millis(100));
        wheel.schedule(1, Instant::from_millis(50));
        assert_eq!(expired(&mut wheel, Instant::ZERO), [1]);
        wheel.schedule(1, Instant::from_millis(101));
        assert_eq!(expired(&mut wheel, Instant::ZERO), NOBODY);
        assert_eq!(expired(&mut wheel, Instant::from_millis(102)), [1]);
    }

    #[test]
    fn cancel_in_the_middle_of_a_list() {
        let mut wheel = TimerWheel::new(Instant::ZERO);
        for index in 0..5 {
            wheel.schedule(index, at(100 * TICK));
        }
        wheel.cancel(2);
        wheel.cancel(4);
        wheel.cancel(0);
        wheel.cancel(0);
        wheel.cancel(9_999_999);
        assert_eq!(wheel.len(), 2);
        assert_eq!(expired(&mut wheel, at(100 * TICK)), [1, 3]);
    }

    /// A worker that sleeps until `next_deadline` wakes up a handful of times for a long timer.
    #[test]
    fn sleeping_until_the_next_deadline_reaches_it_in_few_steps() {
        let mut wheel = TimerWheel::new(at(123_456_789));
        let deadline = at(123_456_789) + Duration::from_secs(7_200);
        wheel.schedule(3, deadline);
        let mut now = Instant::ZERO;
        let mut wakeups = 0;
        while let Some(next) = wheel.next_deadline() {
            assert!(next > now, "it would spin");
            now = next;
            wakeups += 1;
            if expired(&mut wheel, now) == [3] {
                assert!(now >= deadline && now < deadline + Duration::from_nanos(TICK));
            }
        }
        assert!(wakeups <= LEVELS);
        assert!(wheel.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(u32, i64),
        Cancel(u32),
        Advance(u64),
        Sleep,
    }

    /// Spans of every magnitude, with a liking for the edges of levels.
    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![
            (0u32..63, any::<u64>()).prop_map(|(bits, n)| n & ((1 << bits) - 1)),
            (TICK_BITS..62, 0u64..3).prop_map(|(bits, n)| (1u64 << bits) - 1 + n),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u32..5_000, span()).prop_map(|(i, s)| Step::Schedule(i % 40 * 125, s as i64)),
            1 => (0u32..5_000, span()).prop_map(|(i, s)| Step::Schedule(i % 40 * 125, -(s as i64))),
            1 => (0u32..40).prop_map(|i| Step::Cancel(i * 125)),
            1 => span().prop_map(|s| Step::Advance(s >> 8)),
            1 => Just(Step::Sleep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn behaves_like_a_map(
            start in span(),
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let mut now = start;
            let mut wheel = TimerWheel::new(at(now));
            let mut model = BTreeMap::<u32, u64>::new();
            for step in steps {
                match step {
                    Step::Schedule(index, offset) => {
                        let deadline = now.saturating_add_signed(offset);
                        wheel.schedule(index, at(deadline));
                        model.insert(index, deadline);
                        if deadline == u64::MAX {
                            model.remove(&index);
                        }
                    }
                    Step::Cancel(index) => {
                        wheel.cancel(index);
                        model.remove(&index);
                    }
                    Step::Advance(span) => now = now.saturating_add(span),
                    Step::Sleep => {
                        if let Some(next) = wheel.next_deadline() {
                            let first = model.values().min().unwrap();
                            let fires = first.div_ceil(TICK).saturating_mul(TICK).max(now);
                            prop_assert!(next.as_nanos() <= fires);
                            now = now.max(next.as_nanos());
                        } else {
                            prop_assert!(model.is_empty());
                        }
                    }
                }
                let mut gone = Vec::new();
                wheel.advance(at(now), &mut gone);
                for index in gone {
                    let deadline = model.remove(&index);
                    prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "early");
                }
                let reached = now / TICK * TICK;
                prop_assert!(model.values().all(|&deadline| deadline > reached), "late");
                prop_assert_eq!(wheel.len(), model.len());
                for (&index, &deadline) in &model {
                    prop_assert_eq!(wheel.deadline(index), Some(at(deadline)));
                }
            }
        }
    }
}
