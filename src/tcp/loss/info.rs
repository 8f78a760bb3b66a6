//! What `ss` shows of recovery.

use super::DUPLICATE_THRESHOLD;
use crate::tcp::context::Core;
use crate::tcp::tcb::Tcb;
use crate::time::Duration;

impl Tcb {
    /// Linux's `ca_state`: open, disorder, recovery, loss.
    pub(in crate::tcp) fn ca_state(&self) -> &'static str {
        self.recovery.phase.name()
    }

    /// The least round trip of the last ten seconds.
    pub(in crate::tcp) fn min_rtt(&self) -> Option<Duration> {
        self.rtt.min_rtt()
    }

    /// Acknowledgments that have shown segments to arrive out of order.
    pub(in crate::tcp) fn reord_seen(&self) -> u8 {
        self.recovery.reord_seen
    }

    /// How many segments out of order they have arrived at the most; three while fewer, for that is
    /// when duplicate acknowledgments begin to mean a loss.
    pub(in crate::tcp) fn reordering(&self, core: &Core) -> u32 {
        let most = self.ledger(core).map_or(0, |ledger| ledger.reordering);
        u32::from(most.max(u16::from(DUPLICATE_THRESHOLD)))
    }

    /// Of [`delivered`](Self::delivered): what acknowledgments with an echo of congestion have.
    pub(in crate::tcp) fn delivered_ce(&self) -> Option<u64> {
        Some(self.bulk.as_ref()?.delivery.delivered_ce())
    }

    /// Segments that the peer says it has got twice (RFC 2883).
    pub(in crate::tcp) fn dsack_dups(&self) -> u16 {
        self.recovery.dsack_dups
    }
}
