//! The retransmission timeout (RFC 6298 rules 5.4 to 5.7, RFC 5681 section 3.1).

use super::Phase;
use super::frto::Frto;
use crate::tcp::context::Context;
use crate::tcp::input::Events;
use crate::tcp::send_queue::SendSegment;
use crate::tcp::state::{Event, State};
use crate::tcp::tcb::{FinState, Tcb};
use crate::tcp::timers::Timer;
use crate::time::Duration;

/// RFC 7765 section 4's rrthresh: with as many segments, fast retransmit works.
const RESTART_THRESHOLD: u16 = 4;
const LEAST_RESTART: Duration = Duration::from_millis(1);

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
        if self.flight_size() > 0 {
            self.timers
                .set(Timer::Retransmission, cx.now + self.rtt.rto());
        } else {
            self.timers.stop(Timer::Retransmission);
        }
        Events::NONE
    }

    /// What is overdue is taken for lost.
    fn enter_loss(&mut self, cx: &mut Context<'_>) {
        let is_again = self.recovery.phase == Phase::Loss;
        // RFC 5681 section 3.1: ssthresh stays when the same segment's retransmission is lost; but
        // one that fast recovery has sent is not a timer's.
        let first = !is_again || !self.send.head_was_retransmitted(&cx.core.segments);
        let flight_size = self.flight_size();
        self.controller.on_timeout(cx.now, flight_size, first);
        let limit = self.overdue_before(cx.now);
        let sack = self.sack;
        let is_overdue = |segment: &SendSegment| !sack || segment.sent_at <= limit;
        let segments = &mut cx.core.segments;
        if self.send.mark_lost_on_timeout(segments, &is_overdue) {
            cx.core.counters.sack_reneging += 1;
        }
        self.recovery.phase = Phase::Loss;
        self.recovery.duplicates = 0;
        self.recovery.departed = 0;
        // RFC 6582 section 4.
        self.recovery.recover = self.snd.nxt - 1;
        self.timers.stop(Timer::LossDetection);
        if !is_again {
            self.begin_undo(true);
        } else if let Some(undo) = self.undo_state() {
            // RFC 5682 section 2.1 step 1: not for a timeout within the recovery from one.
            undo.frto = Frto::Off;
        }
        self.on_window_reduced();
        self.ecn.begin_recovery(false);
        self.question_path(cx);
        if self.snd.fin == FinState::Sent {
            self.snd.fin = FinState::Due;
        }
    }

    /// RFC 6298 rules 5.2 and 5.3, with RFC 7765's restart: of few segments in flight, none is
    /// given more than an RTO since it was sent, for there is nothing behind it to tell of its loss.
    pub(in crate::tcp) fn restart_retransmission_timer(&mut self, cx: &Context<'_>) {
        if self.flight_size() == 0 {
            return self.timers.stop(Timer::Retransmission);
        }
        let rto = self.rtt.rto();
        let recovers = matches!(self.recovery.phase, Phase::Recovery | Phase::Loss);
        let is_tail = !recovers && self.send.segments() < RESTART_THRESHOLD;
        let age = match self.send.first_sent(&cx.core.segments) {
            Some(first) if is_tail => cx.now.saturating_since(first.sent_at),
            _ => Duration::ZERO,
        };
        // Section 4: what is overdue already waits for a timer's tick.
        let left = rto.saturating_sub(age).max(LEAST_RESTART);
        self.timers.set(Timer::Retransmission, cx.now + left);
    }

    /// The peer is taken for dead.
    pub(in crate::tcp) fn time_out(&mut self, cx: &mut Context<'_>) -> Events {
        cx.core.counters.timed_out += 1;
        self.finish(cx, Event::Reset, self.timeout_reason());
        Events::CLOSED
    }
}
