//! When text that was received in order is acknowledged (RFC 9293 section 3.8.6.3, RFC 5681 section
//! 4.2): with every second full segment or after 40 ms, but at once while the peer is in slow start
//! and needs every acknowledgment to grow (Linux's quick ACK mode).

use super::context::{Context, Core};
use super::liveness::{elapsed, millis};
use super::tcb::{AckDue, Tcb};
use super::timers::Timer;
use crate::time::Duration;

/// Acknowledgments that are not delayed at the beginning, after silence and after a gap.
pub(super) const QUICK_ACKS: u8 = 16;
/// An answer that follows text so soon takes its acknowledgment along, and so will the next.
const ANSWER: Duration = Duration::from_millis(40);

impl Tcb {
    /// At once for every second full segment and when a gap is there or has just been filled, else
    /// soon.
    pub(super) fn schedule_ack(&mut self, cx: &mut Context<'_>, filled_gap: bool) {
        if filled_gap {
            self.forgive_duplicate_acks(cx.core);
            self.acknowledge_quickly();
        }
        let unacknowledged = self.rcv.nxt.since(self.rcv.acked);
        if filled_gap || self.is_quick(cx.core) || unacknowledged >= 2 * u32::from(self.rcv.rmss) {
            self.pending.ack = AckDue::Now;
        } else if self.pending.ack == AckDue::No {
            self.pending.ack = AckDue::Delayed;
            self.timers
                .set(Timer::DelayedAck, cx.now + cx.core.config.delayed_ack);
        }
    }

    /// Whether acknowledgments do not wait.
    pub(super) fn is_quick(&self, core: &Core) -> bool {
        self.quick_acks > 0 && !self.answers || self.options(core).quickack
    }

    /// Text has arrived. After a silence of more than an RTO the peer starts slowly again.
    pub(super) fn note_text(&mut self, cx: &Context<'_>) {
        if elapsed(cx.now, self.text_at) > self.rtt.rto() {
            self.quick_acks = QUICK_ACKS;
        }
        self.text_at = millis(cx.now);
    }

    /// What the peer sends has met trouble: it recovers by what we say.
    fn acknowledge_quickly(&mut self) {
        self.quick_acks = QUICK_ACKS;
        self.answers = false;
    }

    /// Text goes out. If it answers text, acknowledgments will have company.
    pub(super) fn note_answer(&mut self, cx: &Context<'_>) {
        let has_received = self.rcv.nxt.since(self.rcv.irs) > 1;
        if has_received && elapsed(cx.now, self.text_at) < ANSWER {
            self.answers = true;
        }
    }

    /// Company did not come in time: this was no conversation.
    pub(super) fn handle_delayed_ack_timeout(&mut self) {
        if self.pending.ack == AckDue::Delayed {
            self.pending.ack = AckDue::Now;
            self.answers = false;
        }
    }

    /// An acknowledgment goes out, with text or without.
    pub(super) fn note_acknowledgment(&mut self) {
        if self.rcv.acked != self.rcv.nxt {
            self.quick_acks = self.quick_acks.saturating_sub(1);
        }
        self.rcv.acked = self.rcv.nxt;
        self.pending.ack = AckDue::No;
        self.timers.stop(Timer::DelayedAck);
    }
}
