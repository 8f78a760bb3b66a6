//! The model of the path (draft-ietf-ccwg-bbr-06 section 5.5): rounds, bandwidth, aggregation, and
//! what the latest round has shown.

use super::{Bbr, Event};
use crate::time::{Duration, Instant};

/// BBR.ExtraAckedFilterLen: ten rounds, in two halves.
const EXTRA_ACKED_ROUNDS: u32 = 5;

/// Packet-timed round trips (section 5.5.1).
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    next_delivered: u64,
    pub(super) count: u32,
    /// BBR.round_start.
    pub(super) has_started: bool,
}

/// BBR.max_bw_filter: the greatest rates of this cycle of ProbeBW and of the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct MaxBw {
    current: u64,
    previous: u64,
}

impl MaxBw {
    pub(super) fn get(&self) -> u64 {
        self.current.max(self.previous)
    }

    /// AdvanceMaxBwFilter() of section 5.5.6. A cycle that has measured nothing does not count.
    pub(super) fn advance(&mut self) {
        if self.current > 0 {
            self.previous = std::mem::take(&mut self.current);
        }
    }
}

/// BBR.extra_acked and its filter (section 5.5.9).
#[derive(Clone, Debug, Default)]
pub(super) struct ExtraAcked {
    interval_start: Instant,
    delivered: u32,
    current: u32,
    previous: u32,
    since_round: u32,
}

impl ExtraAcked {
    pub(super) fn get(&self) -> u32 {
        self.current.max(self.previous)
    }

    pub(super) fn restart(&mut self, now: Instant) {
        self.interval_start = now;
    }
}

/// What flows at `rate` in `time`.
pub(super) fn volume(rate: u64, time: Duration) -> u32 {
    let octets = u128::from(rate) * u128::from(time.as_nanos()) / 1_000_000_000;
    u32::try_from(octets).unwrap_or(u32::MAX)
}

impl Bbr {
    /// UpdateRound() of section 5.5.1.
    fn update_round(&mut self, event: &Event) {
        self.round.has_started = event.rs.prior_delivered >= self.round.next_delivered;
        if self.round.has_started {
            self.start_round();
            self.round.count = self.round.count.wrapping_add(1);
            self.rounds_since_probe_up = self.rounds_since_probe_up.saturating_add(1);
        }
    }

    /// StartRound().
    pub(super) fn start_round(&mut self) {
        self.round.next_delivered = self.delivered;
    }

    /// UpdateMaxBw() of section 5.5.5.
    fn update_max_bw(&mut self, event: &Event) {
        self.update_round(event);
        let rate = event.delivery_rate;
        if rate > 0 && (rate >= self.max_bw.get() || !event.rs.is_app_limited) {
            self.max_bw.current = self.max_bw.current.max(rate);
        }
    }

    /// UpdateACKAggregation() of section 5.5.9.
    pub(super) fn update_ack_aggregation(&mut self, event: &Event) {
        let extra = &mut self.extra_acked;
        let interval = event.now.saturating_since(extra.interval_start);
        let mut expected = volume(self.bw, interval);
        if extra.delivered <= expected {
            extra.delivered = 0;
            extra.interval_start = event.now;
            expected = 0;
        }
        extra.delivered = extra.delivered.saturating_add(event.newly_acked);
        let sample = (extra.delivered - expected).min(self.window.cwnd);
        // In Startup, just remember one round.
        let rounds = if self.full_bw.reached {
            EXTRA_ACKED_ROUNDS
        } else {
            1
        };
        if self.round.count.wrapping_sub(extra.since_round) >= rounds {
            extra.since_round = self.round.count;
            extra.previous = if self.full_bw.reached {
                extra.current
            } else {
                0
            };
            extra.current = 0;
        }
        extra.current = extra.current.max(sample);
    }

    /// UpdateLatestDeliverySignals() of section 5.5.10.3.
    pub(super) fn update_latest_delivery_signals(&mut self, event: &Event) {
        self.bw_latest = self.bw_latest.max(event.delivery_rate);
        self.inflight_latest = self.inflight_latest.max(event.rs.delivered);
        self.loss_round_start = event.rs.prior_delivered >= self.loss_round_delivered;
        if self.loss_round_start {
            self.loss_round_delivered = self.delivered;
        }
    }

    /// AdvanceLatestDeliverySignals().
    pub(super) fn advance_latest_delivery_signals(&mut self, event: &Event) {
        if self.loss_round_start {
            self.bw_latest = event.delivery_rate;
            self.inflight_latest = event.rs.delivered;
        }
    }

    /// ResetCongestionSignals().
    pub(super) fn reset_congestion_signals(&mut self) {
        self.is_loss_in_round = false;
        self.loss_events_in_round = 0;
        self.bw_latest = 0;
        self.inflight_latest = 0;
    }

    /// UpdateCongestionSignals().
    pub(super) fn update_congestion_signals(&mut self, event: &Event) {
        self.update_max_bw(event);
        if self.loss_round_start {
            self.adapt_lower_bounds_from_congestion();
        }
    }

    /// BoundBWForModel().
    pub(super) fn bound_bw_for_model(&mut self) {
        self.bw = self.max_bw.get().min(self.bw_shortterm);
    }
}
