//! What `ss` shows of recovery.

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

    /// Segments that the peer says it has got twice (RFC 2883).
    pub(in crate::tcp) fn dsack_dups(&self) -> u16 {
        self.recovery.dsack_dups
    }
}
