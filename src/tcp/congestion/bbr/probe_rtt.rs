//! ProbeRTT and the least round trip (draft-ietf-ccwg-bbr-06 section 5.3.4), and restarts from idle
//! (section 5.4).

use super::control::MIN_PIPE_CWND;
use super::{Bbr, Event, State};
use crate::time::{Duration, Instant};

/// BBR.MinRTTFilterLen.
const MIN_RTT_FILTER_LEN: Duration = Duration::from_secs(10);
/// BBR.ProbeRTTInterval.
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
/// BBR.ProbeRTTDuration.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);

impl Bbr {
    /// UpdateMinRTT().
    pub(super) fn update_min_rtt(&mut self, event: &Event) {
        let now = event.now;
        // Nothing has been measured yet: the clocks start now, not when time did.
        let is_first = self.probe_rtt_min_delay == Duration::MAX;
        self.probe_rtt_expired = !is_first && now > self.probe_rtt_min_stamp + PROBE_RTT_INTERVAL;
        if let Some(rtt) = event.rtt
            && (rtt < self.probe_rtt_min_delay || self.probe_rtt_expired)
        {
            self.probe_rtt_min_delay = rtt;
            self.probe_rtt_min_stamp = now;
        }
        let min_rtt_expired = now > self.min_rtt_stamp + MIN_RTT_FILTER_LEN;
        if self.probe_rtt_min_delay < self.min_rtt || min_rtt_expired {
            self.min_rtt = self.probe_rtt_min_delay;
            self.min_rtt_stamp = self.probe_rtt_min_stamp;
        }
    }

    /// CheckProbeRTT().
    pub(super) fn check_probe_rtt(&mut self, event: &Event) {
        if self.state != State::ProbeRtt && self.probe_rtt_expired && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.probe_rtt_done_stamp = None;
            self.ack_phase = super::AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(event);
        }
        if event.rs.delivered > 0 {
            self.idle_restart = false;
        }
    }

    /// HandleProbeRTT().
    fn handle_probe_rtt(&mut self, event: &Event) {
        // MarkConnectionAppLimited(): low rates tell nothing about the path now.
        self.app_limited_until = (self.delivered + u64::from(event.inflight)).max(1);
        if self.probe_rtt_done_stamp.is_some() {
            self.probe_rtt_round_done |= self.round.has_started;
            if self.probe_rtt_round_done {
                self.check_probe_rtt_done(event.now);
            }
        } else if event.inflight <= self.probe_rtt_cwnd() {
            self.probe_rtt_done_stamp = Some(event.now + PROBE_RTT_DURATION);
            self.probe_rtt_round_done = false;
            self.start_round();
        }
    }

    /// CheckProbeRTTDone() and ExitProbeRTT().
    fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.probe_rtt_done_stamp.is_none_or(|done| now <= done) {
            return;
        }
        // Schedules the next one.
        self.probe_rtt_min_stamp = now;
        self.restore_cwnd();
        self.reset_short_term_model();
        if self.full_bw.reached {
            self.start_probe_bw_down(now);
            // There is no queue to drain.
            self.state = State::Cruise;
        } else {
            self.state = State::Startup;
        }
    }

    /// ProbeRTTCwnd() of section 5.6.4.5.
    pub(super) fn probe_rtt_cwnd(&self) -> u32 {
        self.bdp(50).max(MIN_PIPE_CWND * self.smss())
    }

    /// HandleRestartFromIdle() of section 5.4.1.
    pub(super) fn handle_restart_from_idle(&mut self, now: Instant) {
        self.idle_restart = true;
        self.extra_acked.restart(now);
        if self.state.is_probe_bw() {
            self.set_pacing_rate_with_gain(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }
}
