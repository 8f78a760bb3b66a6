//! Fast retransmit and NewReno's fast recovery (RFC 6582), and the retransmission timeout.

use crate::tcp::congestion::{Ack, Congestion};
use crate::tcp::context::Context;
use crate::tcp::input::Events;
use crate::tcp::seq::Seq;
use crate::tcp::state::{Event, State};
use crate::tcp::tcb::{FinState, Tcb};

/// RFC 5681 section 3.2.
pub(super) const DUPLICATE_THRESHOLD: u8 = 3;

/// Where a connection is in recovering from loss.
#[derive(Debug)]
pub(in crate::tcp) struct Recovery {
    pub(super) duplicates: u8,
    pub(super) in_fast_recovery: bool,
    /// RFC 6582's `recover`: nothing up to here may start another recovery.
    pub(super) recover: Seq,
}

impl Recovery {
    pub(in crate::tcp) fn new(iss: Seq) -> Self {
        Self {
            duplicates: 0,
            in_fast_recovery: false,
            // So that the first segment of all may start a recovery: step 2 wants an acknowledgment
            // of more than `recover`, and ours of the SYN covers ISS itself.
            recover: iss - 1,
        }
    }

    /// What is in flight before `nxt` tells of no congestion: it is known why it is lost.
    pub(in crate::tcp) fn forgive(&mut self, nxt: Seq) {
        if !self.in_fast_recovery {
            self.recover = nxt - 1;
        }
    }

    /// Limited transmit (RFC 3042): segments that may go beyond the congestion window because as
    /// many have left the network, so that a small window still yields a third duplicate.
    pub(in crate::tcp) fn limited_transmit(&self) -> u32 {
        let doubtful = !self.in_fast_recovery && self.duplicates < DUPLICATE_THRESHOLD;
        if doubtful {
            u32::from(self.duplicates)
        } else {
            0
        }
    }
}

#[cfg(test)]
impl Recovery {
    pub(in crate::tcp) fn is_active(&self) -> bool {
        self.in_fast_recovery
    }
}

impl Tcb {
    pub(in crate::tcp) fn handle_duplicate_ack(&mut self, cx: &mut Context<'_>) {
        if self.recovery.in_fast_recovery {
            self.controller.on_duplicate_ack();
            return;
        }
        self.recovery.duplicates = self.recovery.duplicates.saturating_add(1);
        // RFC 6582 section 3.2 step 2: at or below `recover`, these are echoes of the last
        // recovery's own retransmissions.
        if self.recovery.duplicates == DUPLICATE_THRESHOLD
            && self.snd.una.after(self.recovery.recover + 1)
            && self.send.mark_head_lost(&mut cx.core.segments)
        {
            self.enter_recovery(cx);
            // Step 3 of RFC 5681 section 3.2: as many segments have left the network.
            if self.recovery.in_fast_recovery {
                for _ in 0..DUPLICATE_THRESHOLD {
                    self.controller.on_duplicate_ack();
                }
            }
        }
    }

    /// The first segment is lost, and the network congested.
    pub(super) fn enter_recovery(&mut self, cx: &mut Context<'_>) {
        self.pending.fast_retransmit = true;
        if self.lost_only_probe(cx) {
            return;
        }
        self.recovery.in_fast_recovery = true;
        self.recovery.recover = self.snd.nxt - 1;
        // Not what limited transmit has added (RFC 5681 section 3.2 step 2).
        let flight_size = self.flight_size().min(self.controller.cwnd());
        if !self.is_reduced_for_mark() {
            self.controller
                .on_congestion(cx.now, Congestion::Loss, flight_size);
            self.on_window_reduced();
        }
        cx.core.counters.fast_retransmits += 1;
    }

    /// New text was acknowledged outside of recovery.
    pub(super) fn tell_controller(&mut self, cx: &Context<'_>, acked: u32, flight_size: u32) {
        let pipe = self.pipe();
        self.controller.on_ack(&Ack {
            now: cx.now,
            acked,
            delivered: acked,
            flight_size,
            pipe,
            ..Ack::default()
        });
    }

    /// `acked` octets are newly acknowledged; `flight_size` were in flight before.
    pub(in crate::tcp) fn recover(&mut self, cx: &mut Context<'_>, acked: u32, flight_size: u32) {
        self.recovery.duplicates = 0;
        if !self.recovery.in_fast_recovery {
            return self.tell_controller(cx, acked, flight_size);
        }
        if self.snd.una.after(self.recovery.recover) {
            self.recovery.in_fast_recovery = false;
            let flight_size = self.flight_size();
            self.controller.on_recovered(cx.now, flight_size);
        } else {
            // Section 3.2 step 3: the next hole is lost as well.
            self.controller.on_partial_ack(acked);
            self.pending.fast_retransmit |= self.send.mark_head_lost(&mut cx.core.segments);
        }
    }

    /// The retransmission timer has expired (RFC 6298 rules 5.4 to 5.7).
    pub(in crate::tcp) fn handle_retransmission_timeout(&mut self, cx: &mut Context<'_>) -> Events {
        let config = &cx.core.config;
        let limit = match self.state {
            State::SynSent => config.syn_retransmissions,
            State::SynReceived => config.syn_ack_retransmissions,
            _ => config.retransmissions,
        };
        if self.rtt.expirations() >= limit {
            return self.time_out(cx);
        }
        cx.core.counters.timeouts += 1;
        self.rtt.on_timeout();
        if matches!(self.state, State::SynSent | State::SynReceived) {
            self.pending.syn = true;
        } else {
            let first = !self.send.head_was_retransmitted(&cx.core.segments);
            let flight_size = self.flight_size();
            self.controller.on_timeout(cx.now, flight_size, first);
            self.recovery.in_fast_recovery = false;
            self.recovery.duplicates = 0;
            self.recovery.recover = self.snd.nxt - 1;
            self.send.mark_all_lost(&mut cx.core.segments);
            self.on_window_reduced();
            self.question_path(cx);
            if self.fin == FinState::Sent {
                self.fin = FinState::Due;
            }
        }
        self.restart_retransmission_timer(cx);
        Events::NONE
    }

    /// The peer is taken for dead.
    pub(in crate::tcp) fn time_out(&mut self, cx: &mut Context<'_>) -> Events {
        cx.core.counters.timed_out += 1;
        self.finish(cx, Event::Reset, self.timeout_reason());
        Events::CLOSED
    }
}
