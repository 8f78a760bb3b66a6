//! What a sender spends its time on, for `ss`: Linux's `tcp_chrono`. The states exclude each other,
//! and the sum of them is the time in which something was written and not acknowledged.
//!
//! Times are told by a clock of milliseconds, as by Linux's of jiffies: what begins and ends within
//! one counts for none or for one, and right on the average.

use super::context::Context;
use super::liveness::{elapsed, millis};
use super::tcb::Tcb;
use crate::time::{Duration, Instant};

/// What a sender is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sender {
    /// All that was written is acknowledged.
    #[default]
    Idle,
    /// Something is not, and nothing else keeps it but the network and congestion control.
    Busy,
    /// Something waits for the peer's window.
    RwndLimited,
    /// All is sent, the congestion window has room for more, and the application has more but may
    /// not write it: the send buffer is full.
    SndbufLimited,
}

/// How long it was at each.
#[derive(Debug, Default)]
pub(super) struct Chrono {
    at: Sender,
    /// In milliseconds, as all that follows.
    since: u32,
    busy: u32,
    rwnd_limited: u32,
    sndbuf_limited: u32,
}

/// The sums as `ss` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    /// With something written that is not acknowledged, the others included.
    pub(super) busy: Duration,
    pub(super) rwnd_limited: Duration,
    pub(super) sndbuf_limited: Duration,
}

impl Chrono {
    /// From now on it is at `to`.
    fn switch(&mut self, now: Instant, to: Sender) {
        if self.at == to {
            return;
        }
        let now = millis(now);
        let spent = now.wrapping_sub(self.since);
        if let Some(sum) = self.sum(self.at) {
            *sum = sum.saturating_add(spent);
        }
        self.at = to;
        self.since = now;
    }

    fn sum(&mut self, at: Sender) -> Option<&mut u32> {
        match at {
            Sender::Idle => None,
            Sender::Busy => Some(&mut self.busy),
            Sender::RwndLimited => Some(&mut self.rwnd_limited),
            Sender::SndbufLimited => Some(&mut self.sndbuf_limited),
        }
    }

    /// Up to now.
    pub(super) fn spent(&self, now: Instant) -> Spent {
        let time = |sum: u32, at: Sender| {
            let going_on = if self.at == at {
                elapsed(now, self.since)
            } else {
                Duration::ZERO
            };
            Duration::from_millis(u64::from(sum)) + going_on
        };
        let rwnd_limited = time(self.rwnd_limited, Sender::RwndLimited);
        let sndbuf_limited = time(self.sndbuf_limited, Sender::SndbufLimited);
        Spent {
            busy: time(self.busy, Sender::Busy) + rwnd_limited + sndbuf_limited,
            rwnd_limited,
            sndbuf_limited,
        }
    }
}

impl Tcb {
    /// Text is written.
    pub(super) fn note_written(&mut self, cx: &mut Context<'_>) {
        let chrono = &mut self.open_ledger(cx.core).chrono;
        if chrono.at == Sender::Idle {
            chrono.switch(cx.now, Sender::Busy);
        }
    }

    /// Text is acknowledged, or thrown away.
    pub(super) fn note_acknowledged(&mut self, cx: &mut Context<'_>) {
        if self.send.is_empty() {
            self.spends_time(cx, Sender::Idle);
        }
    }

    /// All that is written has been sent: the application has no more, or may not write it.
    pub(super) fn note_all_sent(&mut self, cx: &mut Context<'_>) {
        let is_limited =
            self.wants_send && self.pipe() < self.controller.cwnd() && self.has_full_buffer(cx);
        let to = if is_limited {
            Sender::SndbufLimited
        } else {
            Sender::Busy
        };
        self.spends_time(cx, to);
    }

    /// Something that is not acknowledged waits for something else from now on.
    pub(super) fn spends_time(&mut self, cx: &mut Context<'_>, at: Sender) {
        let now = cx.now;
        if let Some(ledger) = self.ledger_mut(cx.core)
            && ledger.chrono.at != Sender::Idle
        {
            ledger.chrono.switch(now, at);
        }
    }
}
