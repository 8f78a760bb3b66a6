//! Which segments are lost: by the peer's SACK blocks (RFC 6675), or without them by duplicate
//! acknowledgments (RFC 5681 section 3.2) and partial ones (RFC 6582); and by the retransmission
//! timer (RFC 6298). How fast to send is
//! [`congestion`](super::congestion)'s to say.

mod newreno;
mod sack;
mod timeout;

use super::congestion::{Ack, Congestion};
use super::context::Context;
use super::rate::Newest;
use super::seq::Seq;
use super::tcb::Tcb;
use crate::time::Duration;

/// RFC 5681 section 3.2.
const DUPLICATE_THRESHOLD: u8 = 3;

/// Where a connection is in recovering from loss; Linux's `ca_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tcp) enum Phase {
    /// Nothing is doubtful.
    Open,
    /// Duplicate acknowledgments have come, or SACK blocks: too few to tell.
    Disorder,
    /// Fast recovery.
    Recovery,
    /// The retransmission timer has expired; slow start sends again what is missing.
    Loss,
}

/// What recovery remembers.
#[derive(Debug)]
pub(in crate::tcp) struct Recovery {
    phase: Phase,
    duplicates: u8,
    /// RFC 6582's `recover`, RFC 6675's `RecoveryPoint`: nothing up to here may start another
    /// recovery.
    recover: Seq,
    /// Where the round trip ends: what is acknowledged beyond was sent after it had begun.
    round_end: Seq,
    /// Without SACK: octets that duplicate acknowledgments say have left the network.
    departed: u32,
}

/// What one acknowledgment has said, before recovery has thought about it.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tcp) struct News {
    /// How far it has moved SND.UNA.
    pub(in crate::tcp) acked: u32,
    /// Whether it says something again (RFC 5681 section 2, RFC 6675 section 2).
    pub(in crate::tcp) is_duplicate: bool,
    /// FlightSize and octets SACKed before it.
    pub(in crate::tcp) flight_size: u32,
    pub(in crate::tcp) sacked: u32,
    /// The round trip that it measures.
    pub(in crate::tcp) rtt: Option<Duration>,
    /// The newest segment that it delivers.
    pub(in crate::tcp) newest: Newest,
}

impl Recovery {
    pub(in crate::tcp) fn new(iss: Seq) -> Self {
        Self {
            phase: Phase::Open,
            duplicates: 0,
            // So that the first segment of all may start a recovery: step 2 wants an acknowledgment
            // of more than `recover`, and ours of the SYN covers ISS itself.
            recover: iss - 1,
            round_end: iss,
            departed: 0,
        }
    }

    pub(in crate::tcp) fn phase(&self) -> Phase {
        self.phase
    }

    /// It is known why something before `nxt` is lost, and that is no congestion: what else is said
    /// about this window counts for nothing, as after a timeout.
    pub(in crate::tcp) fn forgive(&mut self, nxt: Seq) {
        if self.phase != Phase::Recovery {
            self.phase = Phase::Loss;
            self.recover = nxt - 1;
            self.departed = 0;
        }
    }

    /// Octets that have left the network without SACK to say which.
    pub(in crate::tcp) fn departed(&self) -> u32 {
        self.departed
    }
}

impl Tcb {
    /// An acknowledgment that acknowledges, selectively or not, or is a duplicate.
    pub(in crate::tcp) fn recover(&mut self, cx: &mut Context<'_>, news: &News) {
        let departed = self.recovery.departed;
        if news.acked > 0 {
            self.recovery.duplicates = 0;
        } else {
            self.recovery.duplicates = self.recovery.duplicates.saturating_add(1);
        }
        if !self.sack {
            self.emulate_sack(news);
        }
        let was_lost = self.send.marked_lost();
        let was_recovering = self.recovery.phase == Phase::Recovery;
        if matches!(self.recovery.phase, Phase::Recovery | Phase::Loss) {
            self.go_on(cx, news);
        } else if self.detect_loss(cx) {
            self.enter_recovery(cx);
        } else {
            self.recovery.phase = if self.recovery.duplicates > 0 || self.send.sacked() > 0 {
                Phase::Disorder
            } else {
                Phase::Open
            };
        }
        let in_recovery = (was_recovering || self.recovery.phase == Phase::Recovery)
            && !self.ecn.has_reduced_for_recovery();
        let mut ack = Ack {
            now: cx.now,
            acked: news.acked,
            delivered: (news.acked + self.send.sacked() + self.recovery.departed)
                .saturating_sub(news.sacked + departed),
            lost: self.send.marked_lost().wrapping_sub(was_lost),
            flight_size: news.flight_size,
            pipe: self.pipe(),
            in_recovery,
            round_start: self.starts_round(),
            rtt: news.rtt,
            min_rtt: self.rtt.min_rtt(),
            srtt: self.rtt.srtt(),
            paced: self.is_paced(),
            rate: None,
        };
        ack.rate = self.sample_rate(&ack, &news.newest);
        self.controller.on_ack(&ack);
        if in_recovery && self.recovery.phase != Phase::Recovery {
            self.controller.on_recovered(cx.now, ack.pipe);
        }
        self.update_pacing(cx.core.config.pacing);
    }

    /// Outside of recovery. Returns whether something has been marked lost.
    fn detect_loss(&mut self, cx: &mut Context<'_>) -> bool {
        if self.sack {
            self.detect_loss_by_sack(cx)
        } else {
            self.detect_loss_by_duplicates(cx)
        }
    }

    /// In recovery, or after a timeout.
    fn go_on(&mut self, cx: &mut Context<'_>, news: &News) {
        if self.snd.una.after(self.recovery.recover) {
            self.recovery.phase = Phase::Open;
            self.recovery.departed = 0;
        } else if self.recovery.phase == Phase::Loss {
            // All but what was SACKed is marked already.
        } else if self.sack {
            self.go_on_by_sack(cx, news);
        } else if news.acked > 0 {
            // RFC 6582 section 3.2 step 3: the next hole is lost as well.
            self.send.mark_head_lost(&mut cx.core.segments);
        }
    }

    /// Something is lost, and the network congested.
    fn enter_recovery(&mut self, cx: &mut Context<'_>) {
        if self.lost_only_probe(cx) {
            return self.recovery.forgive(self.snd.nxt);
        }
        self.recovery.phase = Phase::Recovery;
        self.recovery.recover = self.snd.nxt - 1;
        // Not what limited transmit has added (RFC 5681 section 3.2 step 2).
        let flight_size = self.flight_size().min(self.controller.cwnd());
        if self.begins_reduction() {
            self.controller
                .on_congestion(cx.now, Congestion::Loss, flight_size);
            self.on_window_reduced();
        }
        cx.core.counters.fast_retransmits += 1;
    }

    /// Whether this acknowledgment begins a round trip.
    fn starts_round(&mut self) -> bool {
        let starts = self.snd.una.after(self.recovery.round_end);
        if starts {
            self.recovery.round_end = self.snd.nxt;
        }
        starts
    }
}
