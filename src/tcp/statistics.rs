//! What a connection has counted, for `ss`. Octets follow from sequence numbers, which only need
//! somebody to count how often they come round.

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
    /// How often SND.UNA and RCV.NXT have come round to where they began.
    una_wraps: u16,
    nxt_wraps: u16,
}

impl Tcb {
    /// SND.UNA moves right.
    pub(super) fn advance_una(&mut self, una: Seq) {
        if una.since(self.snd.iss) < self.snd.una.since(self.snd.iss) {
            self.statistics.una_wraps = self.statistics.una_wraps.saturating_add(1);
        }
        self.snd.una = una;
    }

    /// RCV.NXT moves right.
    pub(super) fn advance_nxt(&mut self, nxt: Seq) {
        if nxt.since(self.rcv.irs) < self.rcv.nxt.since(self.rcv.irs) {
            self.statistics.nxt_wraps = self.statistics.nxt_wraps.saturating_add(1);
        }
        self.rcv.nxt = nxt;
    }

    /// Octets of text that the peer has acknowledged.
    pub(super) fn octets_acked(&self) -> u64 {
        let numbers = absolute(self.statistics.una_wraps, self.snd.una.since(self.snd.iss));
        let fin_is_acked = self.snd.una.after(self.snd.end);
        numbers.saturating_sub(1 + u64::from(fin_is_acked))
    }

    /// Octets of text received in order.
    pub(super) fn octets_received(&self) -> u64 {
        let numbers = absolute(self.statistics.nxt_wraps, self.rcv.nxt.since(self.rcv.irs));
        numbers.saturating_sub(1 + u64::from(self.is_peer_closed()))
    }

    /// Octets of text that have left, those that were sent again included.
    pub(super) fn octets_sent(&self) -> u64 {
        let text_end = self.snd.nxt.min(self.snd.end);
        let in_flight = if text_end.after(self.snd.una) {
            let syn_is_out = self.snd.una == self.snd.iss;
            text_end.since(self.snd.una) - u32::from(syn_is_out)
        } else {
            0
        };
        self.octets_acked() + u64::from(in_flight) + u64::from(self.statistics.octets_retransmitted)
    }
}

fn absolute(wraps: u16, since: u32) -> u64 {
    (u64::from(wraps) << 32) + u64::from(since)
}
