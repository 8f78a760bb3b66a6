//! What is given up when what waits to be sent has used up frames, and the heap's share of text as
//! well: the connections whose text has waited longest. Whoever never opens its window, or opens it a
//! little at a time, pins what is written for it for as long as it likes (CVE-2008-4609, "sockstress").

use super::Stack;
use super::demux::Handle;
use super::port::Port;
use crate::ring::PacketIo;
use crate::time::{Duration, Instant};

/// Slots of the flow table looked at per turn.
const LOOK: u32 = 256;
/// Who has waited for so long goes first, and if there is nobody, who has waited for half of that, and
/// so on: the search needs no list of who waits, and finds who has waited longest but for a factor of
/// two.
const LONGEST: Duration = Duration::from_secs(64);
/// Who has waited for less may be on a path that is slow and no more: a first window of text takes so
/// long at 5 KiB/s.
const SHORTEST: Duration = Duration::from_secs(16);
/// After so long without a search, the next begins anew.
const CALM: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The slot to look at next.
    hand: u32,
    /// How long a text may have waited.
    patience: Duration,
    /// When there was last something to search for.
    searched_at: Instant,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            hand: 0,
            patience: LONGEST,
            searched_at: Instant::ZERO,
        }
    }
}

impl<P: PacketIo> Stack<P> {
    /// Looks on for connections to give up, as long as there is need.
    pub(super) fn shed_stalled(&mut self, now: Instant) {
        if !self.ports.iter().any(Port::is_exhausted) {
            return;
        }
        if now.saturating_since(self.sweep.searched_at) > CALM {
            self.sweep = Sweep::default();
        }
        self.sweep.searched_at = now;
        for _ in 0..LOOK {
            if self.sweep.hand >= self.table.slots() {
                self.sweep.hand = 0;
                let half = Duration::from_nanos(self.sweep.patience.as_nanos() / 2);
                self.sweep.patience = half.max(SHORTEST);
                return;
            }
            let slot = self.sweep.hand;
            self.sweep.hand += 1;
            if self.give_up_stalled(now, slot) && !self.ports.iter().any(Port::is_exhausted) {
                return;
            }
        }
    }

    /// Resets the connection in this slot if its text has waited for too long. Returns whether it has.
    fn give_up_stalled(&mut self, now: Instant, slot: u32) -> bool {
        let Some(id) = self.table.id_at(slot) else {
            return false;
        };
        let (Some(&Handle::Flow(index)), Some(&key)) = (self.table.get(id), self.table.key(id))
        else {
            return false;
        };
        let Some(flow) = self.flows.get(index) else {
            return false;
        };
        let is_exhausted = self.ports[usize::from(flow.queue)].is_exhausted();
        let stalled = flow.tcb.stalled_for(&self.core, now);
        if !is_exhausted || stalled.is_none_or(|stalled| stalled < self.sweep.patience) {
            return false;
        }
        self.core.counters.stalled_resets += 1;
        if let Some(mut conversation) = self.conversation(now, &key, index) {
            conversation.abort();
        }
        self.mark_dirty(id);
        true
    }
}
