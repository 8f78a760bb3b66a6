//! Startup and Drain (draft-ietf-ccwg-bbr-06 sections 5.3.1 and 5.3.2).

use super::loss::is_inflight_too_high;
use super::{Bbr, Event, State};

/// BBRStartupFullLossCnt.
const STARTUP_FULL_LOSS_COUNT: u8 = 6;
/// Section 5.3.1.2: rounds without much growth.
const FULL_BW_ROUNDS: u8 = 3;
/// Section 5.3.2.
const MOST_DRAIN_ROUNDS: u32 = 3;

/// The estimator of section 5.3.1.2: does more speed bring more bandwidth?
#[derive(Clone, Debug, Default)]
pub(super) struct FullBw {
    /// BBR.full_bw.
    pub(super) bw: u64,
    count: u8,
    /// BBR.full_bw_now.
    pub(super) now: bool,
    /// BBR.full_bw_reached.
    pub(super) reached: bool,
}

impl FullBw {
    /// ResetFullBW().
    pub(super) fn reset(&mut self) {
        self.bw = 0;
        self.count = 0;
        self.now = false;
    }
}

impl Bbr {
    /// CheckFullBWReached().
    pub(super) fn check_full_bw_reached(&mut self, event: &Event) {
        let full = &mut self.full_bw;
        if full.now || !self.round.has_started || event.rs.is_app_limited {
            return;
        }
        let rate = event.delivery_rate;
        if rate >= full.bw.saturating_add(full.bw / 4) {
            full.reset();
            full.bw = rate;
            return;
        }
        full.count += 1;
        full.now = full.count >= FULL_BW_ROUNDS;
        full.reached |= full.now;
    }

    /// CheckStartupDone().
    pub(super) fn check_startup_done(&mut self, event: &Event) {
        if self.state == State::Startup && self.has_startup_high_loss(event) {
            self.exit_startup_for_congestion();
        }
        self.end_loss_round();
        if self.state == State::Startup && self.full_bw.reached {
            self.enter_drain();
        }
    }

    /// CheckStartupHighLoss() of section 5.3.1.3: a round of recovery, at its end more than 2 %
    /// lost, in several places.
    fn has_startup_high_loss(&self, event: &Event) -> bool {
        let in_recovery_for_a_round = self
            .recovery_round
            .is_some_and(|round| self.round.count.wrapping_sub(round) >= 1);
        in_recovery_for_a_round
            && self.loss_round_start
            && self.loss_events_in_round >= STARTUP_FULL_LOSS_COUNT
            && is_inflight_too_high(&event.rs)
    }

    pub(super) fn exit_startup_for_congestion(&mut self) {
        self.note_startup_in_undo();
        self.full_bw.reached = true;
        self.inflight_longterm = self.bdp(100).max(self.inflight_latest);
        self.enter_drain();
    }

    /// EnterDrain().
    fn enter_drain(&mut self) {
        self.state = State::Drain;
        self.drain_start_round = self.round.count;
    }

    /// CheckDrainDone().
    pub(super) fn check_drain_done(&mut self, event: &Event) {
        let rounds = self.round.count.wrapping_sub(self.drain_start_round);
        if self.state == State::Drain
            && (event.inflight <= self.inflight(self.bw, 100) || rounds > MOST_DRAIN_ROUNDS)
        {
            // EnterProbeBW().
            self.start_probe_bw_down(event.now);
        }
    }
}
