//! What a connection has counted, for `ss`. Octets follow from sequence numbers, which only need
//! somebody to count how often they come round.

use slab::Slab;

use super::arena_id::arena_id;
use super::chrono::Chrono;
use super::context::Core;
use super::seq::Seq;
use super::tcb::Tcb;

/// See the module. Segments wrap like Linux's.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    pub(super) segs_in: u32,
    pub(super) segs_out: u32,
    pub(super) data_segs_in: u32,
    pub(super) data_segs_out: u32,
    /// Octets sent again.
    pub(super) octets_retransmitted: u32,
    /// Segments received out of order.
    pub(super) out_of_order: u32,
    ledger: Option<LedgerId>,
}

/// What is counted and remembered of a connection from its first text on: many wait long for
/// theirs, and some for ever.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) chrono: Chrono,
    /// When linger ends, in milliseconds of the clock, after a close that began one; 0: none did.
    pub(super) lingers_until: u32,
    /// How many segments out of order the path has delivered, at the most.
    pub(super) reordering: u16,
    /// How often SND.UNA and RCV.NXT have come round to where they began.
    una_wraps: u16,
    nxt_wraps: u16,
}

arena_id! {
    /// Which [`Ledger`] of the core's arena a connection has.
    pub(super) LedgerId
}

/// The arena of all connections of a core.
pub(super) type LedgerArena = Slab<Ledger>;

impl Tcb {
    /// Its ledger, if it has one.
    pub(super) fn ledger<'a>(&self, core: &'a Core) -> Option<&'a Ledger> {
        core.ledgers.get(self.statistics.ledger?.index())
    }

    /// The same, to write into.
    pub(super) fn ledger_mut<'a>(&self, core: &'a mut Core) -> Option<&'a mut Ledger> {
        core.ledgers.get_mut(self.statistics.ledger?.index())
    }

    /// Its ledger, from now on.
    pub(super) fn open_ledger<'a>(&mut self, core: &'a mut Core) -> &'a mut Ledger {
        let id = *self
            .statistics
            .ledger
            .get_or_insert_with(|| LedgerId::new(core.ledgers.insert(Ledger::default())));
        &mut core.ledgers[id.index()]
    }

    pub(super) fn forget_ledger(&mut self, core: &mut Core) {
        if let Some(id) = self.statistics.ledger.take() {
            core.ledgers.remove(id.index());
        }
    }

    /// SND.UNA moves right.
    pub(super) fn advance_una(&mut self, core: &mut Core, una: Seq) {
        if una.since(self.snd.iss) < self.snd.una.since(self.snd.iss) {
            let wraps = &mut self.open_ledger(core).una_wraps;
            *wraps = wraps.saturating_add(1);
        }
        self.snd.una = una;
    }

    /// RCV.NXT moves right.
    pub(super) fn advance_nxt(&mut self, core: &mut Core, nxt: Seq) {
        if nxt.since(self.rcv.irs) < self.rcv.nxt.since(self.rcv.irs) {
            let wraps = &mut self.open_ledger(core).nxt_wraps;
            *wraps = wraps.saturating_add(1);
        }
        self.rcv.nxt = nxt;
    }

    /// Octets of text that the peer has acknowledged.
    pub(super) fn octets_acked(&self, core: &Core) -> u64 {
        let wraps = self.ledger(core).map_or(0, |ledger| ledger.una_wraps);
        let numbers = absolute(wraps, self.snd.una.since(self.snd.iss));
        let fin_is_acked = self.snd.una.after(self.snd.end);
        numbers.saturating_sub(1 + u64::from(fin_is_acked))
    }

    /// Octets of text received in order.
    pub(super) fn octets_received(&self, core: &Core) -> u64 {
        let wraps = self.ledger(core).map_or(0, |ledger| ledger.nxt_wraps);
        let numbers = absolute(wraps, self.rcv.nxt.since(self.rcv.irs));
        numbers.saturating_sub(1 + u64::from(self.is_peer_closed()))
    }

    /// Octets of text that have left, those that were sent again included.
    pub(super) fn octets_sent(&self, core: &Core) -> u64 {
        let text_end = self.snd.nxt.min(self.snd.end);
        let in_flight = if text_end.after(self.snd.una) {
            let syn_is_out = self.snd.una == self.snd.iss;
            text_end.since(self.snd.una) - u32::from(syn_is_out)
        } else {
            0
        };
        let again = u64::from(self.statistics.octets_retransmitted);
        self.octets_acked(core) + u64::from(in_flight) + again
    }
}

fn absolute(wraps: u16, since: u32) -> u64 {
    (u64::from(wraps) << 32) + u64::from(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place in the arena has a tag at most.
    #[test]
    fn a_ledger_is_small() {
        assert!(size_of::<Ledger>() <= 32, "{}", size_of::<Ledger>());
    }
}
