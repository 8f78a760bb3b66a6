//! How long a connection waits for its peer: keepalive (RFC 9293 section 3.8.4), the user timeout
//! (RFC 5482, local part), what linger allows after a close, and what orphans are allowed at all.

use super::context::{Context, Core};
use super::input::Events;
use super::options::Linger;
use super::state::{Event, State};
use super::tcb::{CloseReason, FinState, Tcb};
use super::timers::Timer;
use crate::time::{Duration, Instant};

/// The longest time that is told from a clock of 32 bits, whatever is asked for: 24 days.
const LONGEST: Duration = Duration::from_millis(1 << 31);

/// Milliseconds of the clock, modulo 2^32: seven weeks.
pub(super) fn millis(now: Instant) -> u32 {
    now.as_millis() as u32
}

/// Time since `then`, in milliseconds modulo 2^32.
pub(super) fn elapsed(now: Instant, then: u32) -> Duration {
    Duration::from_millis(u64::from(millis(now).wrapping_sub(then)))
}

/// Time until `then`, in milliseconds modulo 2^32; none if it has passed.
fn remaining(now: Instant, then: u32) -> Duration {
    let left = then.wrapping_sub(millis(now));
    if left > LONGEST.as_millis() as u32 {
        return Duration::ZERO;
    }
    Duration::from_millis(u64::from(left))
}

impl Tcb {
    /// The peer has been heard, or keepalive begins: the silence starts now.
    pub(super) fn restart_keepalive(&mut self, core: &Core, now: Instant) {
        if let Some(keepalive) = self.options(core).keepalive
            && self.state.is_synchronized()
            && self.state != State::TimeWait
        {
            self.keepalive_probes = 0;
            self.timers.set(Timer::Keepalive, now + keepalive.idle);
        }
    }

    /// The peer has been silent for too long, or has not answered a probe. `None`: the connection
    /// goes on.
    pub(super) fn handle_keepalive_timeout(&mut self, cx: &mut Context<'_>) -> Option<Events> {
        let options = self.options(cx.core);
        let (keepalive, user_timeout) = (options.keepalive?, options.user_timeout);
        if self.flight_size() > 0 || self.timers.is_set(Timer::Persist) {
            // The retransmission or the persist timer probes already, and decides (MUST-26).
            self.restart_keepalive(cx.core, cx.now);
            return None;
        }
        let is_dead = match user_timeout {
            // As Linux has it, and RFC 5482's idea: one limit for whatever is not answered.
            Some(limit) => {
                self.keepalive_probes > 0 && elapsed(cx.now, self.heard_at) >= limit.min(LONGEST)
            }
            // MUST-29: not by one probe that is lost.
            None => self.keepalive_probes >= keepalive.count,
        };
        if is_dead {
            return Some(self.time_out(cx));
        }
        self.keepalive_probes = self.keepalive_probes.saturating_add(1);
        self.timers
            .set(Timer::Keepalive, cx.now + keepalive.interval);
        self.pending.probe = true;
        cx.core.counters.keepalive_probes += 1;
        None
    }

    /// Something begins to wait for its acknowledgment.
    pub(super) fn start_waiting(&mut self, cx: &Context<'_>) {
        self.waiting_since = millis(cx.now);
        self.arm_give_up(cx);
    }

    /// Whether something was written, or a SYN or FIN is due or sent, and not acknowledged.
    pub(super) fn is_waiting(&self) -> bool {
        let fin_is_acked = self.snd.fin == FinState::None || self.snd.una.after(self.snd.end);
        let is_acked = self.snd.una.at_or_after(self.snd.end) && fin_is_acked;
        !matches!(self.state, State::Closed | State::TimeWait) && !is_acked
    }

    /// How long text of this connection has waited: to be acknowledged, or to be sent at all. A peer
    /// that takes a little now and then makes the latter no shorter. `None` if there is none.
    pub fn stalled_for(&self, core: &Core, now: Instant) -> Option<Duration> {
        if self.send.is_empty() {
            return None;
        }
        let unsent = self.send.first_unsent(&core.segments);
        let unsent = unsent.map(|segment| now.saturating_since(segment.sent_at));
        unsent.max(Some(elapsed(now, self.waiting_since)))
    }

    /// Sets the timer that gives the connection up. It is lazy: an acknowledgment only moves
    /// `waiting_since`.
    pub(super) fn arm_give_up(&mut self, cx: &Context<'_>) {
        match self.patience(cx.core, cx.now) {
            Some(left) if self.is_waiting() => self.timers.set(Timer::GiveUp, cx.now + left),
            _ => self.timers.stop(Timer::GiveUp),
        }
    }

    /// How long what was written may still wait for its acknowledgment: the user timeout counts from
    /// the last one, linger from the close; the sooner of them ends it.
    fn patience(&self, core: &Core, now: Instant) -> Option<Duration> {
        let waited = elapsed(now, self.waiting_since);
        let user_timeout = self.options(core).user_timeout;
        let user_timeout = user_timeout.map(|limit| limit.min(LONGEST).saturating_sub(waited));
        let lingers_until = self.ledger(core).map_or(0, |ledger| ledger.lingers_until);
        let orphan = match lingers_until {
            _ if !self.closed => None,
            0 => Some(
                core.config
                    .orphan_timeout
                    .min(LONGEST)
                    .saturating_sub(waited),
            ),
            until => Some(remaining(now, until)),
        };
        user_timeout.into_iter().chain(orphan).min()
    }

    /// The application has closed: what is not acknowledged may take its time, within limits.
    /// Without one, an orphan whose peer keeps its window closed would stay for ever.
    pub(super) fn start_orphan(&mut self, cx: &mut Context<'_>) {
        if let Linger::For(limit) = self.options(cx.core).linger
            && self.is_waiting()
        {
            let until = millis(cx.now + limit.min(LONGEST)).max(1);
            self.open_ledger(cx.core).lingers_until = until;
        }
        self.arm_give_up(cx);
        self.start_fin_wait_2(cx);
    }

    pub(super) fn start_fin_wait_2(&mut self, cx: &Context<'_>) {
        if self.closed && self.state == State::FinWait2 {
            let limit = self.options(cx.core).fin_wait_2;
            self.timers.set(Timer::GiveUp, cx.now + limit);
        }
    }

    /// See [`arm_give_up`](Self::arm_give_up). `None`: the connection goes on.
    pub(super) fn handle_give_up_timeout(&mut self, cx: &mut Context<'_>) -> Option<Events> {
        if self.closed && self.state == State::FinWait2 {
            return Some(self.time_out(cx));
        }
        if !self.is_waiting() {
            return None;
        }
        if self.patience(cx.core, cx.now)? > Duration::ZERO {
            self.arm_give_up(cx);
            return None;
        }
        if !self.closed {
            return Some(self.time_out(cx));
        }
        // A peer that is there must not wait for the rest.
        cx.core.counters.orphans_given_up += 1;
        self.finish(cx, Event::Reset, CloseReason::TimedOut);
        self.pending.reset = true;
        Some(Events::CLOSED)
    }
}
