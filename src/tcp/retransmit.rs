//! What is sent again: what is missing, and nothing else; and what is sent to find out.

use super::loss::Phase;
use super::output::{Payload, SegmentBuilder, Transmit};
use super::tcb::FinState;
use crate::wire::tcp::Flags;

impl SegmentBuilder<'_, '_> {
    /// The first lost segment, if the congestion window has room for it.
    pub(super) fn retransmission(&mut self) -> Option<Transmit> {
        let tcb = &mut *self.tcb;
        let was_deferred = std::mem::take(&mut tcb.pending.deferred);
        if tcb.holds_retransmissions() {
            return None;
        }
        let segments = &mut self.cx.core.segments;
        let lost = tcb.send.first_lost(segments)?;
        let (seq, is_too_big, sent_at) = (lost.seq, lost.len > tcb.smss, lost.sent_at);
        let len = lost.len.min(tcb.smss);
        let end = seq + u32::from(len);
        let payload = Payload {
            buffer: lost.buffer.id(),
            skip: lost.skip,
            len,
        };
        let fits = tcb.pipe() + u32::from(len) <= tcb.controller.cwnd() || tcb.pipe() == 0;
        // Whatever is in flight, a timeout sends the first segment (RFC 6298 rule 5.4), and without
        // SACK so do a third duplicate and each partial acknowledgment (RFC 5681 section 3.2 step 3,
        // RFC 6582 section 3.2 step 3).
        let is_urgent = seq == tcb.snd.una
            && match tcb.recovery.phase() {
                Phase::Loss => true,
                Phase::Recovery => !tcb.sack,
                Phase::Open | Phase::Disorder => false,
            };
        if !(is_urgent || fits && tcb.pacing_allows(self.cx.now)) {
            return None;
        }
        if !self.cx.buffers.is_idle(payload.buffer) || is_too_big && !tcb.cut_lost(self.cx) {
            // The kernel still reads the frame; COMPLETION will bring us back here.
            self.cx.core.counters.retransmits_deferred += u64::from(!was_deferred);
            tcb.pending.deferred = true;
            return None;
        }
        let departure = tcb.on_departure(self.cx.now, u32::from(len));
        let segments = &mut self.cx.core.segments;
        // The peer echoes the timestamp of the segment that last moved its RCV.NXT, which may be the
        // first in flight, sent before the one that is lost.
        let first = tcb.send.first_sent(segments);
        let original = first.map_or(sent_at, |first| first.sent_at.min(sent_at));
        tcb.send
            .mark_retransmitted(segments, self.cx.now, departure);
        tcb.on_retransmitted(self.cx.now, original, seq, len);
        tcb.sent_at = self.cx.now;
        self.count_retransmission(len);
        let fin = end == self.tcb.snd.end && self.fin_was_sent();
        if fin {
            self.tcb.snd.fin = FinState::Sent;
        }
        self.arm_retransmission();
        Some(self.text_segment(seq, payload, fin))
    }

    /// TLP_send_probe() (RFC 8985 section 7.3): new text whatever the congestion window says, or
    /// else the last segment again.
    pub(super) fn loss_probe(&mut self) -> Option<Transmit> {
        if let Some(transmit) = self.new_text() {
            self.tcb.on_probe_sent(self.cx, false);
            return Some(transmit);
        }
        let tcb = &mut *self.tcb;
        tcb.pending.loss_probe = false;
        let segments = &mut self.cx.core.segments;
        let transmit = if let Some(last) = tcb.send.latest_in_flight(segments) {
            let (seq, len, end) = (last.seq, last.len, last.end());
            let payload = Payload {
                buffer: last.buffer.id(),
                skip: last.skip,
                len,
            };
            if !self.cx.buffers.is_idle(payload.buffer) {
                // The kernel has not sent it yet: that it is not acknowledged says nothing.
                return None;
            }
            let departure = tcb.on_departure(self.cx.now, u32::from(len));
            tcb.send.mark_probed(segments, self.cx.now, departure);
            tcb.sent_at = self.cx.now;
            self.count_retransmission(len);
            let fin = end == self.tcb.snd.end && self.fin_was_sent();
            self.text_segment(seq, payload, fin)
        } else if self.fin_was_sent() {
            self.count_retransmission(0);
            self.transmit(self.tcb.snd.end, Flags::FIN | Flags::ACK, None)
        } else {
            return None;
        };
        self.tcb.on_probe_sent(self.cx, true);
        Some(transmit)
    }

    /// A segment with so much text, or a FIN alone, is sent again.
    pub(super) fn count_retransmission(&mut self, len: u16) {
        let tcb = &mut *self.tcb;
        tcb.retransmits = tcb.retransmits.saturating_add(1);
        let again = &mut tcb.statistics.octets_retransmitted;
        *again = again.wrapping_add(u32::from(len));
        self.cx.core.counters.retrans_segs += 1;
    }
}
