//! BBR version 3 (draft-ietf-ccwg-bbr-06): a model of the path, its bandwidth and its round-trip
//! time, in place of a window that grows until something is lost. Names are the draft's.
//!
//! | file | sections of the draft |
//! |---|---|
//! | `mod` | 5.2: the order of events |
//! | `model` | 5.5: rounds, max_bw, extra_acked, latest signals |
//! | `loss` | 5.5.10 and 5.5.11: what a loss does to the model, and how that is undone |
//! | `startup` | 5.3.1 and 5.3.2: Startup and Drain |
//! | `probe_bw` | 5.3.3: the cycle of DOWN, CRUISE, REFILL, UP |
//! | `probe_rtt` | 5.3.4, 5.4: min_rtt, ProbeRTT, restarts from idle |
//! | `control` | 5.6: pacing rate, send quantum, window |
//!
//! Rates are octets per second, volumes octets; `u64::MAX` and `u32::MAX` are infinity.

mod control;
mod loss;
mod model;
mod probe_bw;
mod probe_rtt;
mod startup;

use self::loss::Undo;
use self::model::{ExtraAcked, MaxBw, Round};
use self::probe_bw::AckPhase;
use self::startup::FullBw;
use super::window::Window;
use super::{Ack, Congestion, Controller};
use crate::tcp::rate::RateSample;
use crate::time::{Duration, Instant};

const INFINITE_RATE: u64 = u64::MAX;
const INFINITE_VOLUME: u32 = u32::MAX;

/// BBR.state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
}

impl State {
    /// IsInAProbeBWState().
    fn is_probe_bw(self) -> bool {
        matches!(self, Self::Down | Self::Cruise | Self::Refill | Self::Up)
    }

    /// IsProbingBW().
    fn is_probing(self) -> bool {
        matches!(self, Self::Startup | Self::Refill | Self::Up)
    }
}

/// BBR's congestion control.
#[derive(Clone, Debug)]
pub struct Bbr {
    window: Window,
    /// C.pacing_rate; 0 before there is one.
    pacing_rate: u64,
    state: State,
    chance: Chance,

    // What the path delivers (sections 2.9 to 2.11).
    max_bw: MaxBw,
    bw_shortterm: u64,
    /// BBR.bw.
    bw: u64,
    min_rtt: Duration,
    min_rtt_stamp: Instant,
    inflight_longterm: u32,
    inflight_shortterm: u32,
    extra_acked: ExtraAcked,

    // Signals of the latest round (section 2.12).
    round: Round,
    /// C.delivered.
    delivered: u64,
    bw_latest: u64,
    inflight_latest: u32,
    loss_round_delivered: u64,
    loss_round_start: bool,
    is_loss_in_round: bool,
    loss_events_in_round: u8,
    recovery_round: Option<u32>,
    in_recovery: bool,
    /// The path delivered less than it could before this much was delivered.
    app_limited_until: u64,

    full_bw: FullBw,
    drain_start_round: u32,

    // ProbeBW (sections 2.13 and 2.14).
    ack_phase: AckPhase,
    cycle_stamp: Instant,
    bw_probe_wait: Duration,
    rounds_since_probe_up: u32,
    bw_probe_up_rounds: u8,
    bw_probe_up_acked: u32,
    probe_up_acked_per_inc: u32,
    is_bw_probe_sample: bool,
    prev_probe_too_high: bool,
    prev_probe_precautionary: bool,
    is_cwnd_limited: bool,

    // ProbeRTT (section 2.16).
    probe_rtt_min_delay: Duration,
    probe_rtt_min_stamp: Instant,
    probe_rtt_done_stamp: Option<Instant>,
    probe_rtt_round_done: bool,
    probe_rtt_expired: bool,
    idle_restart: bool,

    prior_cwnd: u32,
    undo: Undo,
}

/// One acknowledgment that has delivered something.
#[derive(Clone, Copy, Debug)]
struct Event {
    now: Instant,
    newly_acked: u32,
    /// C.inflight.
    inflight: u32,
    rtt: Option<Duration>,
    srtt: Option<Duration>,
    rs: RateSample,
    /// RS.delivery_rate.
    delivery_rate: u64,
}

impl Bbr {
    /// A controller at its initial window; `seed` is for what must differ between flows.
    pub fn new(smss: u16, seed: u32) -> Self {
        Self::with(Window::new(smss), seed)
    }

    /// OnInit() of section 5.2.1.
    pub(super) fn with(window: Window, seed: u32) -> Self {
        Self {
            window,
            pacing_rate: 0,
            state: State::Startup,
            chance: Chance(u64::from(seed) << 1 | 1),
            max_bw: MaxBw::default(),
            bw_shortterm: INFINITE_RATE,
            bw: 0,
            min_rtt: Duration::MAX,
            min_rtt_stamp: Instant::ZERO,
            inflight_longterm: INFINITE_VOLUME,
            inflight_shortterm: INFINITE_VOLUME,
            extra_acked: ExtraAcked::default(),
            round: Round::default(),
            delivered: 0,
            bw_latest: 0,
            inflight_latest: 0,
            loss_round_delivered: 0,
            loss_round_start: false,
            is_loss_in_round: false,
            loss_events_in_round: 0,
            recovery_round: None,
            in_recovery: false,
            app_limited_until: 0,
            full_bw: FullBw::default(),
            drain_start_round: 0,
            ack_phase: AckPhase::Init,
            cycle_stamp: Instant::ZERO,
            bw_probe_wait: Duration::ZERO,
            rounds_since_probe_up: 0,
            bw_probe_up_rounds: 0,
            bw_probe_up_acked: 0,
            probe_up_acked_per_inc: INFINITE_VOLUME,
            is_bw_probe_sample: false,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            is_cwnd_limited: false,
            probe_rtt_min_delay: Duration::MAX,
            probe_rtt_min_stamp: Instant::ZERO,
            probe_rtt_done_stamp: None,
            probe_rtt_round_done: false,
            probe_rtt_expired: false,
            idle_restart: false,
            prior_cwnd: 0,
            undo: Undo::default(),
        }
    }

    /// The window for another algorithm, which need not look for it in slow start if the pipe has
    /// been full.
    pub(super) fn window(&self) -> Window {
        let mut window = self.window.clone();
        window.ssthresh = self.ssthresh();
        window
    }

    fn smss(&self) -> u32 {
        self.window.smss()
    }

    /// UpdateModelAndState() of section 5.2.3.
    fn update_model_and_state(&mut self, event: &Event) {
        self.update_latest_delivery_signals(event);
        self.update_congestion_signals(event);
        self.update_ack_aggregation(event);
        self.check_full_bw_reached(event);
        self.check_startup_done(event);
        self.check_drain_done(event);
        self.update_probe_bw_cycle_phase(event);
        self.update_min_rtt(event);
        self.check_probe_rtt(event);
        self.advance_latest_delivery_signals(event);
        self.bound_bw_for_model();
    }

    fn take_sample(&mut self, ack: &Ack, mut rs: RateSample) {
        self.delivered = rs.total_delivered;
        rs.is_app_limited |= rs.prior_delivered < self.app_limited_until;
        self.is_cwnd_limited = self.window.is_full(ack);
        let event = Event {
            now: ack.now,
            newly_acked: ack.delivered,
            inflight: ack.pipe,
            rtt: ack.rtt,
            srtt: ack.srtt,
            delivery_rate: rs.octets_per_second(),
            rs,
        };
        self.update_model_and_state(&event);
        self.update_control_parameters(&event);
    }
}

impl Controller for Bbr {
    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    /// There is none; what a window-based controller would call so is where the pipe is full.
    fn ssthresh(&self) -> u32 {
        if self.full_bw.reached {
            self.prior_cwnd.max(self.window.cwnd)
        } else {
            u32::MAX
        }
    }

    fn pacing_rate(&self) -> Option<u64> {
        (self.pacing_rate > 0).then_some(self.pacing_rate)
    }

    fn needs_rate(&self) -> bool {
        true
    }

    fn on_sent(&mut self, now: Instant, octets: u32, pipe: u32) {
        // After a timeout the network is empty too, but nothing was idle.
        if pipe == 0 && !self.in_recovery {
            self.handle_restart_from_idle(now);
        }
        self.window.on_sent(pipe.saturating_add(octets));
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.note_recovery(ack);
        if ack.lost > 0 {
            self.handle_loss(ack);
        }
        if let Some(rs) = ack.rate {
            self.take_sample(ack, rs);
        }
        if ack.ends_recovery {
            self.on_recovered(ack.now, ack.pipe);
        }
    }

    fn on_congestion(&mut self, now: Instant, congestion: Congestion, _flight_size: u32) {
        match congestion {
            // OnEnterFastRecovery() of section 5.6.4.4.
            Congestion::Loss => {
                self.save_cwnd();
                self.save_state_upon_loss();
                self.in_recovery = true;
            }
            Congestion::Ecn => self.handle_mark(now),
        }
    }

    fn on_recovered(&mut self, _now: Instant, _pipe: u32) {
        self.in_recovery = false;
        self.restore_cwnd();
        self.bound_cwnd_for_model();
    }

    /// OnEnterRTO() of section 5.6.4.4.
    fn on_timeout(&mut self, _now: Instant, _flight_size: u32, first: bool) {
        if first {
            self.save_cwnd();
            self.save_state_upon_loss();
        }
        self.in_recovery = true;
        self.window.cwnd = self.smss();
    }

    fn on_spurious(&mut self, now: Instant) {
        self.handle_spurious_loss_detection(now);
    }

    /// Section 5.4: the window stays, since what leaves is paced.
    fn on_idle(&mut self, _now: Instant, _idle: Duration, _rto: Duration) {}

    fn on_smss(&mut self, smss: u16) {
        self.window.set_smss(smss);
    }
}

/// A source of what must differ between flows (xorshift64*); the same for the same seed.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }
}

#[cfg(test)]
mod tests;
