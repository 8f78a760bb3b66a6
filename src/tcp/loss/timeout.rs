//! The retransmission timeout (RFC 6298 rules 5.4 to 5.7, RFC 5681 section 3.1).

use super::Phase;
use crate::tcp::context::Context;
use crate::tcp::input::Events;
use crate::tcp::state::{Event, State};
use crate::tcp::tcb::{FinState, Tcb};

impl Tcb {
    /// The retransmission timer has expired.
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
            self.enter_loss(cx);
        }
        self.restart_retransmission_timer(cx);
        Events::NONE
    }

    /// Everything in flight is taken for lost.
    fn enter_loss(&mut self, cx: &mut Context<'_>) {
        // RFC 5681 section 3.1: ssthresh stays when the same segment's retransmission is lost; but
        // one that fast recovery has sent is not a timer's.
        let first = self.recovery.phase != Phase::Loss
            || !self.send.head_was_retransmitted(&cx.core.segments);
        let flight_size = self.flight_size();
        self.controller.on_timeout(cx.now, flight_size, first);
        self.recovery.phase = Phase::Loss;
        self.recovery.duplicates = 0;
        self.recovery.departed = 0;
        // RFC 6582 section 4.
        self.recovery.recover = self.snd.nxt - 1;
        self.send.mark_all_lost(&mut cx.core.segments);
        self.on_window_reduced();
        self.question_path(cx);
        if self.fin == FinState::Sent {
            self.fin = FinState::Due;
        }
    }

    /// The peer is taken for dead.
    pub(in crate::tcp) fn time_out(&mut self, cx: &mut Context<'_>) -> Events {
        cx.core.counters.timed_out += 1;
        self.finish(cx, Event::Reset, self.timeout_reason());
        Events::CLOSED
    }
}
