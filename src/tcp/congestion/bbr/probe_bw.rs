//! ProbeBW (draft-ietf-ccwg-bbr-06 section 5.3.3): slower, as fast, refill, faster, in turn.

use super::{Bbr, Event, INFINITE_VOLUME, State};
use crate::tcp::congestion::bbr::control::MIN_PIPE_CWND;
use crate::tcp::congestion::bbr::loss::is_inflight_too_high;
use crate::time::{Duration, Instant};

/// Section 5.3.3.8.2: rounds after which Reno would have probed.
const MOST_RENO_ROUNDS: u32 = 63;

/// BBR.ack_phase: which phase of the cycle acknowledgments tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

impl Bbr {
    /// UpdateProbeBWCyclePhase().
    pub(super) fn update_probe_bw_cycle_phase(&mut self, event: &Event) {
        if !self.full_bw.reached || self.adapt_long_term_model(event) {
            return;
        }
        match self.state {
            State::Down => {
                if !self.is_time_to_probe_bw(event.now) && self.is_time_to_cruise(event) {
                    self.state = State::Cruise;
                }
            }
            State::Cruise => {
                self.is_time_to_probe_bw(event.now);
            }
            State::Refill => {
                // After one round of it.
                if self.round.has_started {
                    self.is_bw_probe_sample = true;
                    self.start_probe_bw_up(event);
                }
            }
            State::Up => {
                if self.is_time_to_go_down(event) {
                    // No high loss yet.
                    self.prev_probe_too_high = false;
                    self.start_probe_bw_down(event.now);
                }
            }
            State::Startup | State::Drain | State::ProbeRtt => {}
        }
    }

    /// StartProbeBW_DOWN().
    pub(super) fn start_probe_bw_down(&mut self, now: Instant) {
        self.reset_congestion_signals();
        self.probe_up_acked_per_inc = INFINITE_VOLUME;
        self.pick_probe_wait();
        self.cycle_stamp = now;
        self.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.state = State::Down;
    }

    /// StartProbeBW_REFILL().
    pub(super) fn start_probe_bw_refill(&mut self, _now: Instant) {
        self.reset_short_term_model();
        self.bw_probe_up_rounds = 0;
        self.bw_probe_up_acked = 0;
        self.prev_probe_precautionary = false;
        self.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::Refill;
    }

    /// StartProbeBW_UP().
    fn start_probe_bw_up(&mut self, event: &Event) {
        self.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.full_bw.reset();
        self.full_bw.bw = event.delivery_rate;
        self.state = State::Up;
        self.raise_inflight_longterm_slope();
    }

    /// IsTimeToProbeBW() of section 5.3.3.8.3.
    fn is_time_to_probe_bw(&mut self, now: Instant) -> bool {
        let is_time =
            now > self.cycle_stamp + self.bw_probe_wait || self.is_reno_coexistence_probe_time();
        if is_time {
            self.start_probe_bw_refill(now);
        }
        is_time
    }

    /// PickProbeWait(): chance keeps flows from probing all at once.
    fn pick_probe_wait(&mut self) {
        self.rounds_since_probe_up = self.chance.below(2) as u32;
        self.bw_probe_wait = Duration::from_millis(2_000 + self.chance.below(1_000));
    }

    /// IsRenoCoexistenceProbeTime(): the BDP in segments is how many rounds Reno needs to regain
    /// what a loss takes.
    fn is_reno_coexistence_probe_time(&self) -> bool {
        let reno_rounds = self.target_inflight() / self.smss().max(1);
        self.rounds_since_probe_up >= reno_rounds.min(MOST_RENO_ROUNDS)
    }

    /// TargetInflight().
    pub(super) fn target_inflight(&self) -> u32 {
        self.bdp(100).min(self.window.cwnd)
    }

    /// IsTimeToCruise().
    fn is_time_to_cruise(&self, event: &Event) -> bool {
        event.inflight <= self.inflight_with_headroom()
            && event.inflight <= self.inflight(self.max_bw.get(), 100)
    }

    /// IsTimeToGoDown().
    fn is_time_to_go_down(&mut self, event: &Event) -> bool {
        // Precautionary bandwidth probing: deceleration.
        if self.prev_probe_too_high && event.inflight >= self.inflight_longterm {
            self.prev_probe_precautionary = true;
            return true;
        }
        if self.is_cwnd_limited && self.window.cwnd >= self.inflight_longterm {
            // inflight_longterm is in the way, not the path.
            self.full_bw.reset();
            self.full_bw.bw = event.delivery_rate;
            return false;
        }
        self.full_bw.now
    }

    /// InflightWithHeadroom(): BBR.Headroom is 15 %.
    pub(super) fn inflight_with_headroom(&self) -> u32 {
        if self.inflight_longterm == INFINITE_VOLUME {
            return INFINITE_VOLUME;
        }
        let headroom = (u64::from(self.inflight_longterm) * 15 / 100) as u32;
        self.inflight_longterm
            .saturating_sub(headroom.max(self.smss()))
            .max(MIN_PIPE_CWND * self.smss())
    }

    /// RaiseInflightLongtermSlope().
    fn raise_inflight_longterm_slope(&mut self) {
        let growth = 1u32 << self.bw_probe_up_rounds;
        self.bw_probe_up_rounds = (self.bw_probe_up_rounds + 1).min(30);
        self.probe_up_acked_per_inc = (self.window.cwnd / growth).max(self.smss());
    }

    /// ProbeInflightLongtermUpward().
    fn probe_inflight_longterm_upward(&mut self, event: &Event) {
        if !self.is_cwnd_limited || self.window.cwnd < self.inflight_longterm {
            return;
        }
        self.bw_probe_up_acked = self.bw_probe_up_acked.saturating_add(event.newly_acked);
        let delta = self.bw_probe_up_acked / self.probe_up_acked_per_inc.max(1);
        self.bw_probe_up_acked -= delta * self.probe_up_acked_per_inc;
        let growth = delta.saturating_mul(self.smss());
        self.inflight_longterm = self.inflight_longterm.saturating_add(growth);
        if self.round.has_started {
            self.raise_inflight_longterm_slope();
        }
    }

    /// AdaptLongTermModel(). Returns whether it has changed the state.
    fn adapt_long_term_model(&mut self, event: &Event) -> bool {
        if self.ack_phase == AckPhase::ProbeStarting && self.round.has_started {
            self.ack_phase = AckPhase::ProbeFeedback;
        }
        if self.ack_phase == AckPhase::ProbeStopping && self.round.has_started {
            self.is_bw_probe_sample = false;
            self.ack_phase = AckPhase::Init;
            if self.state.is_probe_bw() {
                if !event.rs.is_app_limited {
                    self.max_bw.advance();
                }
                // Precautionary bandwidth probing: acceleration.
                if self.prev_probe_precautionary && !self.prev_probe_too_high {
                    self.start_probe_bw_refill(event.now);
                    return true;
                }
            }
        }
        if !is_inflight_too_high(&event.rs) && self.inflight_longterm != INFINITE_VOLUME {
            self.inflight_longterm = self.inflight_longterm.max(event.rs.tx_in_flight);
            if self.state == State::Up {
                self.probe_inflight_longterm_upward(event);
            }
        }
        false
    }
}
