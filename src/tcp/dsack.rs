//! Telling the peer what has arrived twice (RFC 2883), at once (RFC 5681 section 4.2). What the peer
//! tells us is `loss`'s.

use super::context::Context;
use super::duplicate_acks::Cause;
use super::seq::Seq;
use super::tcb::Tcb;

impl Tcb {
    /// The octets from `start` up to, not including, `end` have arrived before.
    pub(super) fn report_duplicate(&mut self, cx: &mut Context<'_>, start: Seq, end: Seq) {
        if self.sack && start.before(end) {
            cx.core.counters.dsack_sent += 1;
            self.owe_duplicate_ack_for(cx.core, Cause::Duplicate(start, end));
        } else {
            self.owe_duplicate_ack();
        }
    }

    /// Text in order begins with what has been received (section 4.1.3).
    pub(super) fn report_old_part(&mut self, cx: &mut Context<'_>, seq: Seq, len: usize) {
        let nxt = self.rcv.nxt;
        if self.sack && seq.before(nxt) && (seq + len as u32).after(nxt) {
            self.report_duplicate(cx, seq, nxt);
        }
    }

    /// Text in order has in it what is stored already (section 4: the first run of it).
    pub(super) fn report_stored_part(&mut self, cx: &mut Context<'_>, seq: Seq, len: usize) {
        if self.sack
            && self.receive.is_some()
            && let cause @ Cause::Duplicate(..) = self.cause_out_of_order(cx, seq, len)
        {
            self.owe_duplicate_ack_for(cx.core, cause);
        }
    }

    /// What a segment out of order is to be answered with: the first run of its octets that is
    /// stored already, if there is one (section 4: the first contiguous sequence only).
    pub(super) fn cause_out_of_order(&self, cx: &mut Context<'_>, seq: Seq, len: usize) -> Cause {
        let end = seq + len as u32;
        let ranges = self
            .receive
            .map_or(&[][..], |id| cx.core.receive.ranges(id));
        let first = ranges.partition_point(|range| range.end.at_or_before(seq));
        match ranges.get(first) {
            Some(range) if range.start.before(end) => {
                let (start, end) = (range.start.max(seq), range.end.min(end));
                cx.core.counters.duplicates += 1;
                cx.core.counters.dsack_sent += u64::from(self.sack);
                Cause::Duplicate(start, end)
            }
            _ => Cause::OutOfOrder(seq),
        }
    }
}
