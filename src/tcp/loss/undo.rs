//! Was it lost at all? A retransmission was spurious if the acknowledgment echoes a timestamp from
//! before it (the Eifel detection, RFC 3522), or if the peer reports as duplicates all that was sent
//! again (RFC 2883, as Linux's `undo_retrans`), or after a timeout by F-RTO (RFC 5682). Then
//! congestion control takes back its answer (RFC 4015).

use arrayvec::ArrayVec;

use super::frto::Frto;
use super::{News, Phase};
use crate::tcp::context::Context;
use crate::tcp::scoreboard::Range;
use crate::tcp::seq::Seq;
use crate::tcp::tcb::{FinState, Tcb};
use crate::time::Instant;

/// Ranges of duplicates that an episode keeps apart. Reports come in the order of retransmission, so
/// that they join; further ones do not count.
const MAX_REPORTED: usize = 4;

/// What must be known to undo an episode of recovery.
#[derive(Clone, Debug)]
pub(super) struct Undo {
    /// SND.UNA when the episode began.
    marker: Seq,
    /// Right behind the highest octet that was sent again.
    end: Seq,
    /// Octets sent again that the peer has not reported as duplicates; none at first.
    unreported: u32,
    /// What the peer has reported, so that none of it counts twice. Disjoint, in no order.
    reported: ArrayVec<Range, MAX_REPORTED>,
    was_retransmitted: bool,
    /// RFC 3522's RetransmitTS: when the first retransmission was sent, in milliseconds; and before
    /// that when the first segment in flight was.
    retransmit_ms: Option<(u32, u32)>,
    /// The first acknowledgment of something new decides (RFC 3522 section 3.2).
    eifel_is_done: bool,
    pub(super) frto: Frto,
    /// The episode is over; what is acknowledged beyond makes late reports implausible.
    until: Option<Seq>,
}

/// How an episode was found to be spurious.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spurious {
    /// By the echo of an old timestamp.
    Eifel,
    /// By D-SACK.
    Dsack,
    /// By what arrives after a timeout.
    Frto,
}

impl Undo {
    /// Joins a range to those that were reported. Returns how many octets of it are new; `None` if
    /// there are too many ranges.
    fn report(&mut self, (left, right): Range) -> Option<u32> {
        let mut new = right.since(left);
        let mut joined = (left, right);
        // Ranges are disjoint, so that what each has in common with the new one adds up.
        for &(start, end) in &self.reported {
            let (start, end) = (start.max(left), end.min(right));
            if start.before(end) {
                new -= end.since(start);
            }
        }
        let before = self.reported.clone();
        self.reported.retain(|&mut (start, end)| {
            let touches = start.at_or_before(joined.1) && joined.0.at_or_before(end);
            if touches {
                joined = (joined.0.min(start), joined.1.max(end));
            }
            !touches
        });
        if self.reported.try_push(joined).is_err() {
            self.reported = before;
            return None;
        }
        Some(new)
    }
}

impl Tcb {
    /// An episode begins. One that a timer begins again goes on as it was.
    pub(super) fn begin_undo(&mut self, with_frto: bool) {
        let una = self.snd.una;
        let episode = self.recovery.episode(una);
        episode.probe = None;
        episode.undo = Some(Undo {
            marker: una,
            end: una,
            unreported: 0,
            reported: ArrayVec::new(),
            was_retransmitted: false,
            retransmit_ms: None,
            eifel_is_done: false,
            frto: if with_frto { Frto::First } else { Frto::Off },
            until: None,
        });
        self.pending.loss_probe = false;
    }

    pub(super) fn undo_state(&mut self) -> Option<&mut Undo> {
        self.recovery.episode.as_mut()?.undo.as_mut()
    }

    /// The window was reduced for another reason: what has been saved is not what was before the
    /// episode.
    pub(in crate::tcp) fn forget_undo(&mut self) {
        if let Some(episode) = &mut self.recovery.episode {
            episode.undo = None;
        }
    }

    /// A lost segment is sent again; nothing in flight had been sent before `original`.
    pub(in crate::tcp) fn on_retransmitted(
        &mut self,
        now: Instant,
        original: Instant,
        seq: Seq,
        len: u16,
    ) {
        let sent_ms = (original.as_millis() as u32, now.as_millis() as u32);
        if let Some(undo) = self.undo_state() {
            undo.was_retransmitted = true;
            undo.unreported = undo.unreported.saturating_add(u32::from(len));
            undo.end = undo.end.max(seq + u32::from(len));
            undo.retransmit_ms = undo.retransmit_ms.or(Some(sent_ms));
        }
    }

    /// The peer reports a duplicate. It counts if it lies where this episode has sent again, and if
    /// there is room for one more. Returns whether there is.
    pub(super) fn count_undone(&mut self, left: Seq, right: Seq) -> bool {
        let undo = self
            .undo_state()
            .filter(|undo| left.at_or_after(undo.marker) && right.at_or_before(undo.end));
        let Some(undo) = undo else { return true };
        let new = undo.report((left, right));
        undo.unreported = undo.unreported.saturating_sub(new.unwrap_or(0));
        new.is_some()
    }

    /// The episode is over; duplicates may still be reported for a round trip.
    pub(super) fn keep_undo_until(&mut self, nxt: Seq) {
        if let Some(undo) = self.undo_state() {
            undo.until = Some(nxt);
        }
    }

    pub(super) fn find_spurious(&mut self, news: &News) -> Option<Spurious> {
        let una = self.snd.una;
        let phase = self.recovery.phase;
        let episode = self.recovery.episode.as_mut()?;
        let undo = episode.undo.as_mut()?;
        if undo.until.is_some_and(|until| una.after(until)) {
            episode.undo = None;
            return None;
        }
        if news.dsack.is_some() && undo.was_retransmitted && undo.unreported == 0 {
            return Some(Spurious::Dsack);
        }
        if !matches!(phase, Phase::Recovery | Phase::Loss) {
            return None;
        }
        if news.acked > 0 && undo.was_retransmitted && !undo.eifel_is_done {
            undo.eifel_is_done = true;
            let is_older = news
                .delivered
                .echo_ms
                .zip(undo.retransmit_ms)
                // An echo from before the original is none: a peer that sends back anything must not
                // undo everything.
                .is_some_and(|(echo, (original, again))| {
                    echo.wrapping_sub(original) < again.wrapping_sub(original)
                });
            // Only what was sent again can have been acknowledged too early.
            if is_older && news.delivered.retransmitted {
                return Some(Spurious::Eifel);
            }
        }
        let is_frto = phase == Phase::Loss
            && undo.frto != Frto::Off
            && news.delivered.original
            && !news.delivered.retransmitted;
        is_frto.then_some(Spurious::Frto)
    }

    /// Nothing was lost.
    pub(super) fn undo(&mut self, cx: &mut Context<'_>, spurious: Spurious) {
        let counters = &mut cx.core.counters;
        if self.recovery.phase == Phase::Loss {
            counters.spurious_rtos += 1;
        }
        match spurious {
            Spurious::Eifel => counters.eifel_undos += 1,
            Spurious::Dsack => counters.dsack_undos += 1,
            Spurious::Frto => counters.frto_undos += 1,
        }
        if matches!(self.recovery.phase, Phase::Recovery | Phase::Loss) {
            self.send.take_back_lost(&mut cx.core.segments);
            if self.snd.fin == FinState::Due && self.snd.nxt.after(self.snd.end) {
                self.snd.fin = FinState::Sent;
            }
            self.recovery.phase = Phase::Open;
            self.recovery.departed = 0;
            self.recovery.duplicates = 0;
            // RFC 4015 section 3.2: the next timeout is measured from here.
            self.rtt.on_spurious_timeout();
        }
        self.forget_undo();
    }
}
