//! Which segments are lost, and whether they were after all. How fast to send is
//! [`congestion`](super::congestion)'s to say.
//!
//! | file | what |
//! |---|---|
//! | `rack`, `tlp` | RFC 8985: loss by time of transmission; a probe when the tail may be lost |
//! | `sack`, `dsack` | the peer's SACK blocks (RFC 6675); its reports of duplicates (RFC 2883) |
//! | `newreno` | without SACK: duplicate and partial acknowledgments (RFC 5681, RFC 6582) |
//! | `timeout` | the retransmission timer (RFC 6298, RFC 7765) |
//! | `undo`, `frto` | what was lost in vain: Eifel (RFC 3522, RFC 4015), D-SACK, F-RTO (RFC 5682) |

mod dsack;
mod frto;
mod info;
mod newreno;
mod rack;
mod sack;
mod timeout;
mod tlp;
mod undo;

pub(super) use self::rack::Delivered;
use self::rack::Rack;
use self::tlp::Probe;
use self::undo::Undo;
use super::congestion::{Ack, Congestion};
use super::context::Context;
use super::seq::Seq;
use super::tcb::Tcb;
use super::timers::Timer;
use crate::time::Duration;

/// RFC 5681 section 3.2, RFC 6675 section 2, RFC 8985 section 6.2.
const DUPLICATE_THRESHOLD: u8 = 3;

/// How far behind SND.UNA a sequence number is remembered: what is acknowledged in a round trip, at
/// most 2^30 octets, must not take it beyond 2^31, where it would seem to lie ahead.
const MOST_BEHIND: u32 = 1 << 29;

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

impl Phase {
    /// Its name in `ss`, which is Linux's.
    pub(in crate::tcp) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Disorder => "disorder",
            Self::Recovery => "recovery",
            Self::Loss => "loss",
        }
    }
}

/// What [`Timer::LossDetection`] is set for (RFC 8985 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// The end of the reordering window.
    Reordering,
    /// The PTO.
    Probe,
}

/// What recovery always remembers.
#[derive(Debug)]
pub(in crate::tcp) struct Recovery {
    phase: Phase,
    awaited: Awaited,
    duplicates: u8,
    /// RACK.reo_wnd_mult and RACK.reo_wnd_persist.
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
    /// Segments that the peer says it has got twice; Linux's `tcpi_dsack_dups`.
    dsack_dups: u16,
    /// How often segments have arrived out of order; RACK.reordering_seen if ever.
    reord_seen: u8,
    /// RFC 6582's `recover`, RFC 6675's `RecoveryPoint`: nothing up to here may start another
    /// recovery.
    recover: Seq,
    /// Where the round trip ends: what is acknowledged beyond was sent after it had begun.
    round_end: Seq,
    /// Without SACK: octets that duplicate acknowledgments say have left the network.
    departed: u32,
    /// Octets that the acknowledgment at hand has shown to be lost.
    newly_lost: u32,
    /// What there is to remember while anything is doubtful.
    episode: Option<Box<Episode>>,
}

/// Made when the first thing goes wrong, freed when all is acknowledged and nothing can be undone.
#[derive(Debug)]
struct Episode {
    rack: Rack,
    /// Right behind the highest octet that RACK has found lost.
    lost_end: Seq,
    /// RACK.dsack_round.
    dsack_round: Option<Seq>,
    probe: Option<Probe>,
    undo: Option<Undo>,
}

/// What one acknowledgment has said, before recovery has thought about it.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct News {
    /// How far it has moved SND.UNA.
    pub(in crate::tcp) acked: u32,
    /// Whether it says something again (RFC 5681 section 2).
    pub(in crate::tcp) is_duplicate: bool,
    /// FlightSize and octets SACKed before it.
    pub(in crate::tcp) flight_size: u32,
    pub(in crate::tcp) was_sacked: u32,
    /// Octets that its SACK blocks newly name.
    pub(in crate::tcp) sacked: u32,
    /// Whether it echoes a mark (RFC 3168).
    pub(in crate::tcp) marked: bool,
    /// What the peer says it has got twice.
    pub(in crate::tcp) dsack: Option<(Seq, Seq)>,
    pub(in crate::tcp) delivered: Delivered,
    /// The round trip that it measures.
    pub(in crate::tcp) rtt: Option<Duration>,
}

impl Recovery {
    pub(in crate::tcp) fn new(iss: Seq) -> Self {
        Self {
            phase: Phase::Open,
            awaited: Awaited::Probe,
            duplicates: 0,
            reo_wnd_mult: 1,
            reo_wnd_persist: 0,
            dsack_dups: 0,
            reord_seen: 0,
            // So that the first segment of all may start a recovery: step 2 wants an acknowledgment
            // of more than `recover`, and ours of the SYN covers ISS itself.
            recover: iss - 1,
            round_end: iss,
            departed: 0,
            newly_lost: 0,
            episode: None,
        }
    }

    pub(in crate::tcp) fn phase(&self) -> Phase {
        self.phase
    }

    /// Octets that have left the network without SACK to say which.
    pub(in crate::tcp) fn departed(&self) -> u32 {
        self.departed
    }

    #[cfg(test)]
    pub(in crate::tcp) fn set_recover(&mut self, recover: Seq) {
        self.recover = recover;
    }

    #[cfg(test)]
    pub(in crate::tcp) fn see_reordering(&mut self) {
        self.reord_seen = 1;
    }

    fn episode(&mut self, una: Seq) -> &mut Episode {
        self.episode.get_or_insert_with(|| {
            Box::new(Episode {
                rack: Rack::new(una),
                lost_end: una,
                dsack_round: None,
                probe: None,
                undo: None,
            })
        })
    }
}

impl Tcb {
    /// An acknowledgment that acknowledges, selectively or not, or reports a duplicate, or is one.
    pub(in crate::tcp) fn recover(&mut self, cx: &mut Context<'_>, news: &News) {
        let departed = self.recovery.departed;
        self.recovery.newly_lost = 0;
        if !self.sack {
            self.count_duplicate(news);
        }
        self.update_rack(cx, news);
        if let Some(block) = news.dsack {
            self.take_dsack(cx, block);
        }
        let recovered = self.controller_recovers();
        let is_calm = matches!(self.recovery.phase, Phase::Open | Phase::Disorder);
        let repaired = self.end_probe(cx, news) && is_calm && self.begins_reduction();
        if repaired {
            self.forget_undo();
            self.tell_loss(cx, news.flight_size);
        }
        let spurious = self.find_spurious(news);
        match spurious {
            Some(spurious) => self.undo(cx, spurious),
            None => self.go_on(cx, news),
        }
        let recovers = self.controller_recovers();
        let in_recovery = recovered || repaired || recovers;
        let mut ack = Ack {
            now: cx.now,
            acked: news.acked,
            delivered: (news.acked + self.send.sacked() + self.recovery.departed)
                .saturating_sub(news.was_sacked + departed),
            lost: self.recovery.newly_lost,
            outstanding: news.flight_size.saturating_sub(news.was_sacked + departed),
            pipe: self.pipe(),
            in_recovery,
            ends_recovery: in_recovery && !recovers && spurious.is_none(),
            round_start: self.starts_round(),
            rtt: news.rtt,
            min_rtt: self.rtt.min_rtt(),
            srtt: self.rtt.srtt(),
            paced: self.is_paced(cx.core.config.pacing),
            rate: None,
        };
        ack.rate = self.sample_rate(&ack, &news.delivered.newest);
        if news.marked
            && let Some(bulk) = &mut self.bulk
        {
            bulk.delivery.on_marked(ack.delivered);
        }
        self.controller.on_ack(&ack);
        if spurious.is_some() {
            // A mark's reduction stays: it was no loss that the router has told of.
            if !self.ecn.has_reduced_for_recovery() {
                self.controller.on_spurious(cx.now);
            }
        }
        self.update_pacing(cx.core.config.pacing);
        self.arm_after_ack(cx, news.acked > 0);
        self.forget_episode();
    }

    /// Whether the controller knows of a recovery: one whose window a mark had reduced before is
    /// none to it.
    fn controller_recovers(&self) -> bool {
        self.recovery.phase == Phase::Recovery && !self.ecn.has_reduced_for_recovery()
    }

    fn go_on(&mut self, cx: &mut Context<'_>, news: &News) {
        let recovered = self.controller_recovers();
        let recovery = &mut self.recovery;
        let is_over = self.snd.una.after(recovery.recover);
        match recovery.phase {
            Phase::Recovery | Phase::Loss if is_over => {
                recovery.phase = Phase::Open;
                recovery.departed = 0;
                self.on_recovery_over();
            }
            Phase::Loss => {
                self.go_on_with_frto(cx, news);
                self.detect_lost_by_rack(cx);
            }
            Phase::Recovery => {
                self.detect_lost_by_rack(cx);
                if !self.sack && news.acked > 0 {
                    // RFC 6582 section 3.2 step 3: the next hole is lost as well.
                    let segments = &mut cx.core.segments;
                    self.recovery.newly_lost += self.send.mark_head_lost(segments);
                }
            }
            Phase::Open | Phase::Disorder => {}
        }
        if matches!(self.recovery.phase, Phase::Recovery | Phase::Loss) {
            return;
        }
        // What was sent after recovery had begun, and found lost during it, is another congestion
        // (RFC 6675 section 5).
        let lost_since = is_over && self.has_lost_beyond();
        if self.detect_loss(cx) || lost_since {
            if recovered {
                // It is measured by the window that the one before has left.
                let pipe = self.pipe();
                self.controller.on_recovered(cx.now, pipe);
            }
            // Not what the acknowledgment has left of it: what it has taken out of the network has not
            // been replaced yet.
            self.enter_recovery(cx, news.flight_size);
        } else {
            let is_doubtful = self.recovery.departed > 0 || self.send.sacked() > 0;
            self.recovery.phase = if is_doubtful {
                Phase::Disorder
            } else {
                Phase::Open
            };
        }
    }

    /// Whether something was found lost that is not acknowledged yet.
    fn has_lost_beyond(&self) -> bool {
        let episode = self.recovery.episode.as_ref();
        episode.is_some_and(|episode| episode.lost_end.after(self.snd.una))
    }

    /// Outside of recovery. Returns whether something has been found lost.
    fn detect_loss(&mut self, cx: &mut Context<'_>) -> bool {
        if self.sack {
            self.detect_lost_by_rack(cx);
        } else {
            self.detect_lost_by_duplicates(cx);
        }
        self.recovery.newly_lost > 0
    }

    /// Something is lost, and the network congested, in which `flight_size` octets were.
    fn enter_recovery(&mut self, cx: &mut Context<'_>, flight_size: u32) {
        if self.lost_only_probe(cx) {
            return self.forgive();
        }
        cx.core.counters.fast_retransmits += 1;
        if self.begins_reduction() {
            self.tell_loss(cx, flight_size);
        }
        self.recovery.phase = Phase::Recovery;
        self.recovery.recover = self.snd.nxt - 1;
        self.begin_undo(false);
    }

    /// It is known why something is lost, and that is no congestion: what else is said about this
    /// window counts for nothing, as after a timeout.
    pub(in crate::tcp) fn forgive(&mut self) {
        let nxt = self.snd.nxt;
        let recovery = &mut self.recovery;
        if recovery.phase != Phase::Recovery {
            recovery.phase = Phase::Loss;
            recovery.recover = nxt - 1;
            recovery.departed = 0;
            self.forget_undo();
        }
    }

    fn tell_loss(&mut self, cx: &Context<'_>, flight_size: u32) {
        // Not what limited transmit has added (RFC 5681 section 3.2 step 2).
        let flight_size = flight_size.min(self.controller.cwnd());
        self.controller
            .on_congestion(cx.now, Congestion::Loss, flight_size);
        self.on_window_reduced();
    }

    /// Whether this acknowledgment begins a round trip.
    fn starts_round(&mut self) -> bool {
        let starts = self.snd.una.after(self.recovery.round_end);
        if starts {
            self.recovery.round_end = self.snd.nxt;
            // So that they do not seem to lie ahead after 2^31 octets without a loss or a mark.
            let oldest = self.snd.una - MOST_BEHIND;
            self.recovery.recover = self.recovery.recover.max(oldest);
            self.ecn.forget_before(oldest);
        }
        starts
    }

    /// The timers of loss detection after an acknowledgment; that of RFC 6298 is set already.
    fn arm_after_ack(&mut self, cx: &Context<'_>, advanced: bool) {
        if self.flight_size() == 0 {
            self.timers.stop(Timer::LossDetection);
        } else if self.waits_for_reordering() {
            // It was set by the detection itself.
        } else if !self.may_probe() {
            self.timers.stop(Timer::LossDetection);
        } else if advanced || !self.timers.is_set(Timer::LossDetection) {
            self.schedule_probe(cx.now);
        }
    }

    fn waits_for_reordering(&self) -> bool {
        self.recovery.awaited == Awaited::Reordering && self.timers.is_set(Timer::LossDetection)
    }

    fn forget_episode(&mut self) {
        let is_over = self.recovery.phase == Phase::Open && self.flight_size() == 0;
        if is_over
            && self
                .recovery
                .episode
                .as_ref()
                .is_some_and(|episode| episode.probe.is_none() && episode.undo.is_none())
        {
            self.recovery.episode = None;
        }
    }
}
