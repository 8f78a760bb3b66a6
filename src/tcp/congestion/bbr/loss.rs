//! What losses do to the model (draft-ietf-ccwg-bbr-06 sections 5.5.10 and 5.5.11).
//!
//! The draft calls HandleLostPacket() for each packet. Here an acknowledgment tells at once how
//! much it has shown to be lost; the volume that was in flight is that of the newest packet that it
//! delivers, as in BBR version 2.

use super::{Bbr, INFINITE_RATE, INFINITE_VOLUME, State};
use crate::tcp::congestion::Ack;
use crate::tcp::rate::RateSample;
use crate::time::Instant;

/// BBR.LossThresh: 2 %, as a divisor.
const LOSS_THRESH: u32 = 50;

/// BBR.Beta: 0.7.
fn beta(volume: u32) -> u32 {
    (u64::from(volume) * 7 / 10) as u32
}

/// Section 2.15.
#[derive(Clone, Debug, Default)]
pub(super) struct Undo {
    state: Option<State>,
    bw_shortterm: u64,
    inflight_shortterm: u32,
    inflight_longterm: u32,
}

/// IsInflightTooHigh(). Without SACK one loss per round trip is all that can be seen; what was lost
/// then is told by duplicate acknowledgments, and counts in the same way.
pub(super) fn is_inflight_too_high(rs: &RateSample) -> bool {
    rs.lost > rs.tx_in_flight / LOSS_THRESH
}

impl Bbr {
    /// HandleLostPacket() for all that `ack` shows to be lost.
    pub(super) fn handle_loss(&mut self, ack: &Ack) {
        self.note_loss();
        self.loss_events_in_round = self.loss_events_in_round.saturating_add(1);
        if !self.is_bw_probe_sample {
            return;
        }
        if let Some(rs) = &ack.rate
            && is_inflight_too_high(rs)
        {
            let is_app_limited = rs.is_app_limited || rs.prior_delivered < self.app_limited_until;
            self.handle_inflight_too_high(ack.now, rs.tx_in_flight, is_app_limited);
        }
    }

    /// Section 3.7: a mark is congestion.
    pub(super) fn handle_mark(&mut self, now: Instant) {
        self.note_loss();
        if self.is_bw_probe_sample {
            self.handle_inflight_too_high(now, self.inflight_latest, false);
        } else if self.state == State::Startup {
            self.exit_startup_for_congestion();
        }
    }

    /// NoteLoss().
    fn note_loss(&mut self) {
        if !self.is_loss_in_round {
            self.loss_round_delivered = self.delivered;
            self.save_cwnd();
            self.save_state_upon_loss();
        }
        self.is_loss_in_round = true;
    }

    /// Where the connection is in recovery, for Startup's exit.
    pub(super) fn note_recovery(&mut self, ack: &Ack) {
        if ack.in_recovery {
            self.recovery_round.get_or_insert(self.round.count);
        } else {
            self.recovery_round = None;
            self.in_recovery = false;
        }
    }

    /// HandleInflightTooHigh() of section 5.5.10.2.
    fn handle_inflight_too_high(&mut self, now: Instant, tx_in_flight: u32, is_app_limited: bool) {
        self.prev_probe_too_high = true;
        // Only once per probe.
        self.is_bw_probe_sample = false;
        if !is_app_limited {
            self.inflight_longterm = tx_in_flight.max(beta(self.target_inflight()));
        }
        if self.state == State::Up {
            self.undo.state = Some(State::Up);
            self.start_probe_bw_down(now);
        }
    }

    /// AdaptLowerBoundsFromCongestion() and what follows of it, once per round.
    pub(super) fn adapt_lower_bounds_from_congestion(&mut self) {
        if self.is_loss_in_round && !self.state.is_probing() {
            // InitLowerBounds().
            if self.bw_shortterm == INFINITE_RATE {
                self.bw_shortterm = self.max_bw.get();
            }
            if self.inflight_shortterm == INFINITE_VOLUME {
                self.inflight_shortterm = self.window.cwnd;
            }
            // LossLowerBounds().
            self.bw_shortterm = self.bw_latest.max(self.bw_shortterm / 10 * 7);
            self.inflight_shortterm = self.inflight_latest.max(beta(self.inflight_shortterm));
        }
    }

    /// The end of UpdateCongestionSignals(), which Startup must see first.
    pub(super) fn end_loss_round(&mut self) {
        if self.loss_round_start {
            self.is_loss_in_round = false;
            self.loss_events_in_round = 0;
        }
    }

    /// ResetShortTermModel().
    pub(super) fn reset_short_term_model(&mut self) {
        self.bw_shortterm = INFINITE_RATE;
        self.inflight_shortterm = INFINITE_VOLUME;
    }

    /// SaveStateUponLoss() without the window, of section 5.5.11.1.
    pub(super) fn save_state_upon_loss(&mut self) {
        self.undo = Undo {
            state: None,
            bw_shortterm: self.bw_shortterm,
            inflight_shortterm: self.inflight_shortterm,
            inflight_longterm: self.inflight_longterm,
        };
    }

    /// That Startup has ended because of a loss.
    pub(super) fn note_startup_in_undo(&mut self) {
        self.undo.state = Some(State::Startup);
    }

    /// HandleSpuriousLossDetection() of section 5.5.11.2.
    pub(super) fn handle_spurious_loss_detection(&mut self, now: Instant) {
        self.in_recovery = false;
        self.restore_cwnd();
        self.is_loss_in_round = false;
        self.full_bw.reset();
        let undo = std::mem::take(&mut self.undo);
        self.bw_shortterm = self.bw_shortterm.max(undo.bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(undo.inflight_shortterm);
        self.inflight_longterm = self.inflight_longterm.max(undo.inflight_longterm);
        match undo.state {
            Some(State::Startup) if self.state != State::Startup => {
                self.full_bw.reached = false;
                if self.state != State::ProbeRtt {
                    self.state = State::Startup;
                }
            }
            Some(State::Up) if !matches!(self.state, State::Up | State::ProbeRtt) => {
                self.start_probe_bw_refill(now);
            }
            _ => {}
        }
    }
}
