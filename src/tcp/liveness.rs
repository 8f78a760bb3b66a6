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
        let fin_is_acked = self.fin == FinState::None || self.snd.una.after(self.snd.end);
        let is_acked = self.snd.una.at_or_after(self.snd.end) && fin_is_acked;
        !matches!(self.state, State::Closed | State::TimeWait) && !is_acked
    }

    /// Sets the timer that gives the connection up. It is lazy: an acknowledgment only moves
    /// `waiting_since`.
    pub(super) fn arm_give_up(&mut self, cx: &Context<'_>) {
        let lingers = self.closed && matches!(self.options(cx.core).linger, Linger::For(_));
        if lingers && self.timers.is_set(Timer::GiveUp) {
            // What linger allows is reckoned from the close.
            return;
        }
        match self.patience(cx.core) {
            Some(limit) if self.is_waiting() => {
                let left = limit.saturating_sub(elapsed(cx.now, self.waiting_since));
                self.timers.set(Timer::GiveUp, cx.now + left);
            }
            _ => self.timers.stop(Timer::GiveUp),
        }
    }

    /// How long what was written may wait for its acknowledgment.
    fn patience(&self, core: &Core) -> Option<Duration> {
        let user_timeout = self.options(core).user_timeout;
        let orphan = self.closed.then_some(core.config.orphan_timeout);
        let limit = user_timeout.into_iter().chain(orphan).min();
        limit.map(|limit| limit.min(LONGEST))
    }

    /// The application has closed: what is not acknowledged may take its time, within limits.
    /// Without one, an orphan whose peer keeps its window closed would stay for ever.
    pub(super) fn start_orphan(&mut self, cx: &Context<'_>) {
        match self.options(cx.core).linger {
            Linger::For(limit) if self.is_waiting() => {
                self.timers.set(Timer::GiveUp, cx.now + limit);
            }
            _ => self.arm_give_up(cx),
        }
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
        let lingers = self.closed && matches!(self.options(cx.core).linger, Linger::For(_));
        if !lingers {
            let limit = self.patience(cx.core)?;
            if elapsed(cx.now, self.waiting_since) < limit {
                self.arm_give_up(cx);
                return None;
            }
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
