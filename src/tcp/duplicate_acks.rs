//! Duplicate acknowledgments that are owed, and what each of them is to say.
//!
//! Each out-of-order or duplicate segment gets an acknowledgment of its own (RFC 5681 section 4.2),
//! and its first SACK block speaks of that very segment (RFC 2018 section 4). Input is done before
//! anything is sent, so the segments of a batch must be remembered until then.

use arrayvec::ArrayVec;
use slab::Slab;

use super::arena_id::arena_id;
use super::context::Core;
use super::seq::Seq;
use super::tcb::Tcb;

/// Causes remembered per connection. Further acknowledgments of the same turn go out as well, and
/// begin with the block of the latest arrival.
const MAX_CAUSES: usize = 16;

/// The segment for which a duplicate acknowledgment is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Text beyond a gap starts here: the first block is the one that holds it.
    OutOfOrder(Seq),
    /// Text from the first up to, not including, the second has arrived before: the first block
    /// reports it (RFC 2883).
    Duplicate(Seq, Seq),
}

/// The causes of one connection, in order of arrival.
pub(super) type Causes = ArrayVec<Cause, MAX_CAUSES>;

arena_id! {
    /// Which [`Causes`] of the core's arena a connection has; made when one is owed, given back when the
    /// last has been said.
    pub(super) CausesId
}

impl Tcb {
    /// An acknowledgment that is a segment of its own, about nothing in particular.
    pub(super) fn owe_duplicate_ack(&mut self) {
        self.pending.duplicate_acks = self.pending.duplicate_acks.saturating_add(1);
    }

    /// An acknowledgment that is a segment of its own and speaks of `cause` first.
    pub(super) fn owe_duplicate_ack_for(&mut self, core: &mut Core, cause: Cause) {
        self.owe_duplicate_ack();
        if !self.sack {
            return;
        }
        let id = *self.causes.get_or_insert_with(|| {
            let index = core.causes.insert(Causes::new());
            CausesId::new(index)
        });
        let is_full = core.causes[id.index()].try_push(cause).is_err();
        core.counters.duplicate_ack_causes_forgotten += u64::from(is_full);
    }

    /// The next duplicate acknowledgment that is owed, if one is: what it is to speak of.
    pub(super) fn next_duplicate_ack(&mut self, core: &mut Core) -> Option<Option<Cause>> {
        self.pending.duplicate_acks = self.pending.duplicate_acks.checked_sub(1)?;
        let cause = self.causes.and_then(|id| core.causes[id.index()].pop_at(0));
        if self.pending.duplicate_acks == 0 {
            self.forget_causes(core);
        }
        Some(cause)
    }

    /// RCV.NXT has moved although there is or was a gap: what was owed for text out of order would
    /// now pass for a duplicate of the acknowledgment that is due, and that one says it all. What
    /// has arrived twice it does not say (RFC 2883 section 4).
    pub(super) fn forgive_duplicate_acks(&mut self, core: &mut Core) {
        self.pending.duplicate_acks = 0;
        let Some(id) = self.causes else { return };
        let causes = &mut core.causes[id.index()];
        causes.retain(|cause| matches!(cause, Cause::Duplicate(..)));
        if causes.is_empty() {
            return self.forget_causes(core);
        }
        // At most MAX_CAUSES.
        self.pending.duplicate_acks = causes.len() as u8;
    }

    /// Nothing will be said of them any more.
    pub(super) fn forget_causes(&mut self, core: &mut Core) {
        if let Some(id) = self.causes.take() {
            core.causes.remove(id.index());
        }
    }
}

/// The arena of all connections of a core.
pub(super) type CausesArena = Slab<Causes>;
