//! The control parameters (draft-ietf-ccwg-bbr-06 section 5.6): how fast, and how much.

use super::model::volume;
use super::{Bbr, Event, INFINITE_VOLUME, State};
use crate::tcp::congestion::window::initial_window;
use crate::tcp::pacing;
use crate::time::Duration;

/// BBR.MinPipeCwnd, in segments.
pub(super) const MIN_PIPE_CWND: u32 = 4;
/// BBR.PacingMarginPercent.
const PACING_MARGIN_PERCENT: u64 = 1;

impl State {
    /// BBR.pacing_gain, in percent (the table of section 5.6.1).
    fn pacing_gain(self) -> u64 {
        match self {
            Self::Startup => 277,
            Self::Drain => 50,
            Self::Down => 90,
            Self::Cruise | Self::Refill | Self::ProbeRtt => 100,
            Self::Up => 125,
        }
    }

    /// BBR.cwnd_gain, in percent.
    fn cwnd_gain(self) -> u64 {
        match self {
            Self::Up => 225,
            Self::ProbeRtt => 50,
            _ => 200,
        }
    }
}

impl Bbr {
    /// UpdateControlParameters().
    pub(super) fn update_control_parameters(&mut self, event: &Event) {
        if self.pacing_rate == 0 {
            self.init_pacing_rate(event);
        }
        self.set_pacing_rate_with_gain(self.state.pacing_gain());
        self.set_cwnd(event);
    }

    /// InitPacingRate() of section 5.6.2.
    fn init_pacing_rate(&mut self, event: &Event) {
        let initial = u64::from(initial_window(self.smss() as u16));
        let srtt = event.srtt.or(event.rtt).unwrap_or(Duration::from_millis(1));
        let nominal = initial.saturating_mul(1_000_000_000) / srtt.as_nanos().max(1);
        self.pacing_rate = percent(nominal, State::Startup.pacing_gain());
    }

    /// SetPacingRateWithGain().
    pub(super) fn set_pacing_rate_with_gain(&mut self, gain: u64) {
        let rate = percent(percent(self.bw, gain), 100 - PACING_MARGIN_PERCENT);
        if rate > 0 && (self.full_bw.reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// BDPMultiple() of section 5.6.4.2, of BBR.bw.
    pub(super) fn bdp(&self, gain: u64) -> u32 {
        self.bdp_multiple(self.bw, gain)
    }

    fn bdp_multiple(&self, bw: u64, gain: u64) -> u32 {
        if self.min_rtt == Duration::MAX {
            return initial_window(self.smss() as u16);
        }
        volume(percent(bw, gain), self.min_rtt)
    }

    /// Inflight().
    pub(super) fn inflight(&self, bw: u64, gain: u64) -> u32 {
        self.quantization_budget(self.bdp_multiple(bw, gain))
    }

    /// QuantizationBudget(), with UpdateOffloadBudget() of section 5.5.8.1 and SetSendQuantum() of
    /// section 5.6.3.
    fn quantization_budget(&self, inflight_cap: u32) -> u32 {
        let offload_budget = 3 * pacing::quantum(self.pacing_rate, self.smss());
        let cap = inflight_cap
            .max(offload_budget)
            .max(MIN_PIPE_CWND * self.smss());
        if self.state == State::Up {
            cap.saturating_add(2 * self.smss())
        } else {
            cap
        }
    }

    /// SetCwnd() of section 5.6.4.6.
    fn set_cwnd(&mut self, event: &Event) {
        // UpdateMaxInflight().
        let cap = self.bdp(self.state.cwnd_gain());
        let max_inflight = self.quantization_budget(cap.saturating_add(self.extra_acked.get()));
        let initial = u64::from(initial_window(self.smss() as u16));
        let cwnd = self.window.cwnd;
        let grown = cwnd.saturating_add(event.newly_acked);
        if self.full_bw.reached {
            self.window.cwnd = grown.min(max_inflight);
        } else if cwnd < max_inflight || self.delivered < initial {
            self.window.cwnd = grown;
        }
        self.window.cwnd = self.window.cwnd.max(MIN_PIPE_CWND * self.smss());
        if self.state == State::ProbeRtt {
            // BoundCwndForProbeRTT().
            self.window.cwnd = self.window.cwnd.min(self.probe_rtt_cwnd());
        }
        self.bound_cwnd_for_model();
    }

    /// BoundCwndForModel() of section 5.6.4.7.
    pub(super) fn bound_cwnd_for_model(&mut self) {
        let cap = match self.state {
            State::Down | State::Refill | State::Up => self.inflight_longterm,
            State::Cruise | State::ProbeRtt => self.inflight_with_headroom(),
            State::Startup | State::Drain => INFINITE_VOLUME,
        };
        let cap = cap
            .min(self.inflight_shortterm)
            .max(MIN_PIPE_CWND * self.smss());
        self.window.cwnd = self.window.cwnd.min(cap);
    }

    /// SaveCwnd() of section 5.6.4.4.
    pub(super) fn save_cwnd(&mut self) {
        let is_whole = !self.in_recovery && self.state != State::ProbeRtt;
        self.prior_cwnd = if is_whole {
            self.window.cwnd
        } else {
            self.prior_cwnd.max(self.window.cwnd)
        };
    }

    /// RestoreCwnd().
    pub(super) fn restore_cwnd(&mut self) {
        self.window.cwnd = self.window.cwnd.max(self.prior_cwnd);
    }
}

fn percent(value: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}
