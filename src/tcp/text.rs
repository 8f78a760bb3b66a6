//! The text of a segment and its FIN (RFC 9293 section 3.10.7.4, seventh and eighth check).

use super::context::Context;
use super::input::{Arrival, Events};
use super::liveness::millis;
use super::memory_pressure::MemoryPressure;
use super::receive_queue::QueueId;
use super::seq::Seq;
use super::state::{Event, State};
use super::tcb::{AckDue, CloseReason, Tcb};
use crate::wire::tcp::Flags;

impl Tcb {
    /// Trims text to the window. Returns what is in order; what is not is stored.
    pub(super) fn handle_text_part<'a>(
        &mut self,
        cx: &mut Context<'_>,
        seq: Seq,
        text: &'a [u8],
        flags: Flags,
        events: &mut Events,
    ) -> &'a [u8] {
        if !self.state.may_receive() {
            return &[];
        }
        let had_text = !text.is_empty();
        self.report_old_part(cx, seq, text.len());
        let (seq, text, fin) = self.trim(seq, text, flags.contains(Flags::FIN));
        if fin {
            self.rcv.set_fin(Some(seq + text.len() as u32));
        }
        if self.closed && !text.is_empty() {
            self.abort_on_data(cx);
            *events |= Events::CLOSED;
            return &[];
        }
        if text.is_empty() {
            // A probe of a closed window wants an answer (RFC 9293 section 3.8.6.1), and so does a
            // FIN that cannot be taken yet.
            if had_text || fin && seq != self.rcv.nxt {
                self.owe_duplicate_ack();
            }
            self.handle_fin(cx);
        } else if seq == self.rcv.nxt {
            self.report_stored_part(cx, seq, text.len());
            return text;
        } else {
            self.store_out_of_order(cx, seq, text);
        }
        &[]
    }

    /// Text on a SYN with a right Fast Open cookie (RFC 7413 section 4.2.2): as much as the window
    /// of a SYN-ACK can say. To be consumed as any other.
    pub fn handle_text_on_syn<'a>(&mut self, text: &'a [u8]) -> Arrival<'a> {
        let (_, text, _) = self.trim(self.rcv.nxt, text, false);
        Arrival {
            events: Events::OPENED | Events::ACCEPTED,
            text,
        }
    }

    /// Says how much of [`Arrival::text`] the application has consumed; the rest is kept for it.
    /// Only now is the text received: what meets a limit is not, and will come again.
    pub fn handle_text(&mut self, cx: &mut Context<'_>, text: &[u8], consumed: usize) {
        if self.state == State::Closed {
            return;
        }
        let consumed = consumed.min(text.len());
        let rest = &text[consumed..];
        if self.closed && !rest.is_empty() {
            return self.abort_on_data(cx);
        }
        let start = self.rcv.nxt + consumed as u32;
        if consumed > 0
            && let Some(id) = self.receive
        {
            cx.core.receive.skip_to(id, start);
        }
        let stored = if rest.is_empty() {
            0
        } else {
            let id = *self
                .receive
                .get_or_insert_with(|| cx.core.receive.open(start));
            store_in_order(cx, id, start, rest)
        };
        let refused = rest.len() - stored;
        cx.core.counters.receive_memory_exhausted += refused as u64;
        self.note_text(cx);
        self.advance_nxt(cx.core, start + stored as u32);
        // What is longer than the path allows is several segments in one frame.
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.rcv.rmss = self.rcv.rmss.max(len.min(self.opening.path_mss));
        let filled_gap = self.absorb_stored(cx);
        self.drop_empty_receive_queue(cx.core);
        self.schedule_ack(cx, filled_gap);
        if refused > 0 {
            // It must come again, and the peer must learn soon of what has not been taken.
            self.pending.ack = AckDue::Now;
        }
        self.tune_window(cx.core, cx.now);
        self.handle_fin(cx);
    }

    /// RFC 9293 section 3.6.1 (SHLD-3): nobody will ever read this.
    fn abort_on_data(&mut self, cx: &mut Context<'_>) {
        cx.core.counters.aborts_on_data += 1;
        self.finish(cx, Event::Reset, CloseReason::Aborted);
        self.pending.reset = true;
    }

    /// RCV.NXT moves over what was stored behind it. Returns whether a gap was there.
    fn absorb_stored(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(id) = self.receive else { return false };
        let ranges = cx.core.receive.ranges(id);
        let had_gap = ranges
            .last()
            .is_some_and(|range| range.end.after(self.rcv.nxt));
        let contiguous_end = cx.core.receive.start(id) + cx.core.receive.contiguous(id);
        self.advance_nxt(cx.core, self.rcv.nxt.max(contiguous_end));
        had_gap
    }

    /// The part of the text that lies in the window, and whether the FIN does.
    fn trim<'a>(&self, seq: Seq, text: &'a [u8], fin: bool) -> (Seq, &'a [u8], bool) {
        let old = if seq.before(self.rcv.nxt) {
            self.rcv.nxt.since(seq) as usize
        } else {
            0
        };
        if old > text.len() {
            // Only a retransmitted FIN lies behind old text; it is known already.
            return (self.rcv.nxt, &[], false);
        }
        let (seq, text) = (seq + old as u32, &text[old..]);
        let room = if seq.before(self.rcv.edge) {
            self.rcv.edge.since(seq) as usize
        } else {
            0
        };
        if text.len() > room {
            (seq, &text[..room], false)
        } else {
            (seq, text, fin)
        }
    }

    fn store_out_of_order(&mut self, cx: &mut Context<'_>, seq: Seq, text: &[u8]) {
        let nxt = self.rcv.nxt;
        let cause = self.cause_out_of_order(cx, seq, text.len());
        let id = *self
            .receive
            .get_or_insert_with(|| cx.core.receive.open(nxt));
        let now = millis(cx.now);
        let receive = &mut cx.core.receive;
        receive.touch(id, now);
        let stored = receive.write(id, seq, text);
        if stored < text.len() && receive.pressure() >= MemoryPressure::OutOfOrder {
            let pruned = receive.reclaim(now);
            cx.core.counters.out_of_order_pruned += u64::from(pruned);
            cx.core.counters.memory_out_of_order_refused += 1;
        }
        if stored == 0 {
            cx.core.counters.out_of_order_dropped += 1;
        } else {
            cx.core.counters.out_of_order_queued += 1;
        }
        self.drop_empty_receive_queue(cx.core);
        self.statistics.out_of_order = self.statistics.out_of_order.wrapping_add(1);
        self.owe_duplicate_ack_for(cx.core, cause);
    }

    /// Eighth check: the FIN counts when all text before it has arrived.
    fn handle_fin(&mut self, cx: &mut Context<'_>) {
        if self.state.may_receive() && self.rcv.fin().is_some_and(|fin| fin.before(self.rcv.nxt)) {
            // Text has come where the FIN was said to be: it was none.
            self.rcv.set_fin(None);
        }
        if self.rcv.fin() != Some(self.rcv.nxt) || !self.state.may_receive() {
            return;
        }
        self.advance_nxt(cx.core, self.rcv.nxt + 1);
        // It may lie right behind a window that is full.
        self.rcv.edge = self.rcv.edge.max(self.rcv.nxt);
        self.pending.ack = AckDue::Now;
        if self.state == State::FinWait2 {
            self.enter_time_wait(cx, Event::Fin);
        } else {
            self.transition(Event::Fin);
        }
    }
}

/// Stores text that is next in order, if need be in place of the connection's text out of order:
/// that would wait for ever for what it keeps out. Where memory is short, it goes in any case.
fn store_in_order(cx: &mut Context<'_>, id: QueueId, start: Seq, text: &[u8]) -> usize {
    let receive = &mut cx.core.receive;
    let stored = receive.write(id, start, text);
    let is_whole = stored == text.len();
    if is_whole && receive.pressure() < MemoryPressure::OutOfOrder {
        return stored;
    }
    let at = if is_whole {
        // Behind what it has joined.
        receive.start(id) + receive.contiguous(id)
    } else {
        start + stored as u32
    };
    let pruned = receive.prune(id, at);
    cx.core.counters.out_of_order_pruned += u64::from(pruned);
    if is_whole || pruned == 0 {
        return stored;
    }
    stored + receive.write(id, at, &text[stored..])
}
