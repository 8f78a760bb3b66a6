//! CUBIC (RFC 9438): after a reduction the window grows along a cubic curve whose plateau is where
//! the last loss was, and never more slowly than Reno's would.
//!
//! The curve is computed in floating point, by multiplication and addition alone, which are the
//! same on every machine; its root, which is not, in integers.

use super::window::{SlowStart, Window};
use super::{Ack, Congestion, Controller, Prr};
use crate::time::{Duration, Instant};

/// RFC 9438 section 5, C: in segments per second cubed.
const C: f64 = 0.4;
/// Section 4.6, beta_cubic, as a fraction.
const BETA: (u64, u64) = (7, 10);
/// Section 4.7, (1 + beta_cubic) / 2: what fast convergence leaves of W_max.
const FAST_CONVERGENCE: (u64, u64) = (17, 20);
/// Section 4.3: alpha_cubic = 3 * (1 - beta_cubic) / (1 + beta_cubic), with which additive increase
/// is as fast on average as Reno's, which halves.
const ALPHA: f64 = 9.0 / 17.0;

/// RFC 9438's congestion control.
#[derive(Clone, Debug)]
pub struct Cubic {
    window: Window,
    /// Made when the window is first in full use.
    model: Option<Box<Model>>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    slow_start: SlowStart,
    prr: Prr,
    curve: Curve,
    /// The stage of congestion avoidance under way.
    stage: Option<Stage>,
    /// When it last heard of an acknowledgment.
    heard_at: Instant,
    undo: Option<Undo>,
}

/// What the last congestion event has left. In octets.
#[derive(Clone, Copy, Debug, Default)]
struct Curve {
    /// W_max: the plateau. 0 after a timeout or without any loss: it is then where congestion
    /// avoidance begins (section 4.8 and 4.10).
    w_max: u32,
    /// cwnd_prior.
    cwnd_prior: u32,
}

/// A stage of congestion avoidance.
#[derive(Clone, Copy, Debug)]
struct Stage {
    /// t_epoch, moved on by the time in which the application set the pace.
    epoch: Instant,
    /// K, in seconds.
    k: f64,
    /// W_est, in octets.
    w_est: f64,
    /// The part of an octet that the window is owed.
    owed: f64,
}

/// What section 4.9 restores.
#[derive(Clone, Copy, Debug)]
struct Undo {
    cwnd: u32,
    ssthresh: u32,
    curve: Curve,
    stage: Option<Stage>,
}

impl Cubic {
    /// A controller at its initial window.
    pub fn new(smss: u16) -> Self {
        Self::with(Window::new(smss))
    }

    pub(super) fn with(window: Window) -> Self {
        Self {
            window,
            model: None,
        }
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    fn model(&mut self) -> &mut Model {
        self.model.get_or_insert_default()
    }

    /// Section 4.9: what to restore if the event turns out to be spurious.
    fn save(&mut self) {
        let (cwnd, ssthresh) = (self.window.cwnd, self.window.ssthresh);
        let model = self.model();
        model.undo = Some(Undo {
            cwnd,
            ssthresh,
            curve: model.curve,
            stage: model.stage,
        });
    }

    /// Section 4.6. Returns ssthresh before its least value is applied.
    fn reduce(&mut self, flight_size: u32) -> u32 {
        let ssthresh = scaled(flight_size, BETA);
        self.window.ssthresh = ssthresh.max(2 * self.window.smss());
        let cwnd_prior = self.window.cwnd;
        let model = self.model();
        model.curve.cwnd_prior = cwnd_prior;
        model.stage = None;
        ssthresh
    }

    /// Sections 4.2 to 4.5, for `acked` octets.
    fn avoid_congestion(&mut self, ack: &Ack, acked: u32) {
        let (cwnd, smss) = (f64::from(self.window.cwnd), f64::from(self.window.smss()));
        let model = self.model.get_or_insert_default();
        model.slow_start.after_timeout = false;
        let curve = &mut model.curve;
        let stage = model
            .stage
            .get_or_insert_with(|| Stage::new(ack.now, self.window.cwnd, smss, curve));
        let t = seconds(ack.now.saturating_since(stage.epoch));
        let acked = f64::from(acked);
        let w_max = f64::from(curve.w_max);
        let w_cubic = |t: f64| {
            let beyond = t - stage.k;
            w_max + C * smss * beyond * beyond * beyond
        };

        // Section 4.3. Once it has regained what the last event took, it grows as Reno does.
        let alpha = if stage.w_est < f64::from(curve.cwnd_prior) {
            ALPHA
        } else {
            1.0
        };
        let w_est = stage.w_est + alpha * smss * acked / cwnd;
        let grown = if w_cubic(t) < w_est {
            cwnd.max(w_est)
        } else {
            // Section 4.2: where it should be in a round trip, but not more than half again.
            let rtt = ack.srtt.or(ack.rtt).map_or(0.0, seconds);
            let target = w_cubic(t + rtt).clamp(cwnd, 1.5 * cwnd);
            cwnd + stage.owed + (target - cwnd) * acked / cwnd
        };
        stage.w_est = w_est;
        if ack.ends_recovery {
            // It grows by the next one: this one only deflates it (RFC 5681 section 3.2 step 6).
            return;
        }
        stage.owed = grown.fract();
        // Saturates.
        self.window.cwnd = grown as u32;
    }
}

impl Stage {
    /// A stage that begins with a window of `cwnd`.
    fn new(now: Instant, cwnd: u32, smss: f64, curve: &mut Curve) -> Self {
        if curve.w_max <= cwnd {
            curve.w_max = cwnd;
        }
        Self {
            epoch: now,
            k: k(curve.w_max - cwnd, smss as u32),
            w_est: f64::from(cwnd),
            owed: 0.0,
        }
    }
}

impl Controller for Cubic {
    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    fn on_sent(&mut self, now: Instant, octets: u32, pipe: u32) {
        if pipe == 0
            && let Some(model) = &mut self.model
        {
            model.skip_to(now);
        }
        self.window.on_sent(pipe.saturating_add(octets));
        if let Some(model) = &mut self.model {
            model.prr.on_sent(octets);
        }
    }

    fn on_ack(&mut self, ack: &Ack) {
        let is_limited = self.window.is_limited(ack);
        if ack.in_recovery && !ack.ends_recovery {
            let (ssthresh, smss) = (self.window.ssthresh, self.window.smss());
            if let Some(cwnd) = self.model().prr.on_ack(ack, ssthresh, smss) {
                self.window.cwnd = cwnd;
            }
            return;
        }
        if ack.ends_recovery {
            self.on_recovered(ack.now, ack.pipe);
        }
        let mut acked = ack.proves();
        if acked == 0 {
            return;
        }
        if !is_limited {
            if let Some(model) = &mut self.model {
                model.skip_to(ack.now);
            }
            return;
        }
        self.model().heard_at = ack.now;
        if self.window.in_slow_start() {
            let model = self.model.get_or_insert_default();
            acked = model.slow_start.on_ack(&mut self.window, ack);
        }
        if acked > 0 && !self.window.in_slow_start() {
            self.avoid_congestion(ack, acked);
        }
    }

    fn on_congestion(&mut self, _now: Instant, congestion: Congestion, flight_size: u32) {
        self.save();
        let cwnd = self.window.cwnd;
        let curve = &mut self.model().curve;
        // Section 4.7, fast convergence: a plateau below the last one means that others want more.
        curve.w_max = if cwnd < curve.w_max {
            scaled(cwnd, FAST_CONVERGENCE)
        } else {
            cwnd
        };
        let ssthresh = self.reduce(flight_size);
        let model = self.model();
        model.slow_start.after_timeout = false;
        match congestion {
            Congestion::Loss => model.prr.begin(),
            // No recovery follows.
            Congestion::Ecn => self.window.cwnd = ssthresh.max(self.window.smss()),
        }
    }

    fn on_recovered(&mut self, _now: Instant, _pipe: u32) {
        self.window.cwnd = self.window.ssthresh;
    }

    /// Section 4.8.
    fn on_timeout(&mut self, _now: Instant, flight_size: u32, first: bool) {
        if first {
            self.save();
            self.reduce(flight_size);
        }
        self.window.cwnd = self.window.smss();
        let model = self.model();
        model.curve.w_max = 0;
        model.stage = None;
        model.slow_start.after_timeout = true;
    }

    /// Section 4.9. A window that has outgrown the old one stays.
    fn on_spurious(&mut self, _now: Instant) {
        let Some(model) = &mut self.model else {
            return;
        };
        let Some(undo) = model.undo.take() else {
            return;
        };
        if self.window.cwnd >= undo.cwnd {
            return;
        }
        self.window.cwnd = undo.cwnd;
        self.window.ssthresh = undo.ssthresh;
        model.curve = undo.curve;
        model.stage = undo.stage;
        model.slow_start.after_timeout = false;
    }

    fn on_idle(&mut self, _now: Instant, idle: Duration, rto: Duration) {
        self.window.restart(idle, rto);
    }

    fn on_smss(&mut self, smss: u16) {
        self.window.set_smss(smss);
    }
}

impl Model {
    /// Section 5.8: what passes while the application sets the pace is not part of t, or the window
    /// would leap afterwards.
    fn skip_to(&mut self, now: Instant) {
        if let Some(stage) = &mut self.stage {
            stage.epoch += now.saturating_since(self.heard_at);
        }
        self.heard_at = now;
    }
}

/// Section 4.2: K, the seconds that the curve takes to rise by `missing` octets to its plateau.
fn k(missing: u32, smss: u32) -> f64 {
    // In units of 2^-20 s: the cube of K in seconds is missing / (C * smss).
    let cube = (u128::from(missing) << 60) * 5 / (2 * u128::from(smss.max(1)));
    cube_root(cube) as f64 / f64::from(1 << 20)
}

/// The greatest integer whose cube is at most `x`, bit by bit.
fn cube_root(x: u128) -> u64 {
    let mut root = 0u128;
    for bit in (0..32).rev() {
        let candidate = root | 1 << bit;
        if candidate * candidate * candidate <= x {
            root = candidate;
        }
    }
    root as u64
}

fn scaled(octets: u32, (numerator, denominator): (u64, u64)) -> u32 {
    // Not more than `octets`.
    (u64::from(octets) * numerator / denominator) as u32
}

fn seconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests;
