//! Tail loss probe (RFC 8985 section 7): when no acknowledgment comes for twice the round trip, one
//! segment is sent to bring one, so that the loss of a flight's end is found without the
//! retransmission timer.

use super::{Awaited, News, Phase};
use crate::tcp::congestion::Ack;
use crate::tcp::context::Context;
use crate::tcp::seq::Seq;
use crate::tcp::tcb::Tcb;
use crate::tcp::timers::Timer;
use crate::time::{Duration, Instant};

/// TLP.max_ack_delay (section 7.2): what the peer may wait before it acknowledges a single segment.
/// Linux and Windows delay at most 40 ms unless asked otherwise, and their timers are coarse.
const MAX_ACK_DELAY: Duration = Duration::from_millis(50);
/// The least that a PTO leaves beyond two round trips, as Linux's `TCP_TIMEOUT_MIN`: at the round
/// trips of a data center the rest is noise.
const PTO_MARGIN: Duration = Duration::from_millis(2);
/// Section 7.2: the PTO before any round trip has been measured.
const INITIAL_PTO: Duration = Duration::from_secs(1);

/// A probe whose outcome is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// TLP.end_seq.
    end_seq: Seq,
    /// TLP.is_retrans.
    is_retransmission: bool,
}

impl Tcb {
    /// Section 7.2: with SACK only, outside of recovery, with nothing SACKed, one at a time, and with a
    /// round trip measured in between, so that probes do not keep the RTO from following the path.
    pub(super) fn may_probe(&self) -> bool {
        self.sack
            && self.recovery.phase == Phase::Open
            && self.flight_size() > 0
            && self.send.sacked() == 0
            && self.send.lost() == 0
            && self.outstanding_probe().is_none()
            && !self.pending.rtt_after_probe
            && self.state.is_synchronized()
    }

    fn outstanding_probe(&self) -> Option<Probe> {
        self.recovery.episode.as_ref()?.probe
    }

    /// TLP_calc_PTO(), from now on.
    pub(super) fn schedule_probe(&mut self, now: Instant) {
        let pto = match self.rtt.srtt() {
            Some(srtt) if self.flight_size() <= u32::from(self.smss) => srtt * 2 + MAX_ACK_DELAY,
            Some(srtt) => srtt * 2 + PTO_MARGIN,
            None => INITIAL_PTO,
        };
        let deadline = (now + pto).min(self.timers.deadline(Timer::Retransmission));
        self.recovery.awaited = Awaited::Probe;
        self.timers.set(Timer::LossDetection, deadline);
    }

    /// Text has been sent (section 7.2: new text starts the PTO again).
    pub(in crate::tcp) fn schedule_probe_after_sending(&mut self, now: Instant) {
        if !self.waits_for_reordering() && self.may_probe() {
            self.schedule_probe(now);
        }
    }

    /// The reordering window has passed, or the PTO.
    pub(in crate::tcp) fn handle_loss_detection_timeout(&mut self, cx: &mut Context<'_>) {
        match self.recovery.awaited {
            Awaited::Reordering => self.handle_reordering_timeout(cx),
            Awaited::Probe if self.may_probe() => {
                self.pending.loss_probe = true;
                // Section 7.3: the retransmission timer, whatever becomes of the probe.
                self.timers
                    .set(Timer::Retransmission, cx.now + self.rtt.rto());
            }
            Awaited::Probe => {}
        }
    }

    /// Section 6.3.
    fn handle_reordering_timeout(&mut self, cx: &mut Context<'_>) {
        self.recovery.newly_lost = 0;
        let flight_size = self.flight_size();
        self.detect_lost_by_rack(cx);
        let lost = self.recovery.newly_lost;
        if lost == 0 || matches!(self.recovery.phase, Phase::Recovery | Phase::Loss) {
            return;
        }
        self.enter_recovery(cx, flight_size);
        let (pipe, in_recovery) = (self.pipe(), self.controller_recovers());
        self.controller.on_ack(&Ack {
            now: cx.now,
            lost,
            outstanding: flight_size.saturating_sub(self.send.sacked() + self.recovery.departed),
            pipe,
            in_recovery,
            min_rtt: self.rtt.min_rtt(),
            ..Ack::default()
        });
    }

    /// TLP_send_probe() has sent one (section 7.3).
    pub(in crate::tcp) fn on_probe_sent(&mut self, cx: &mut Context<'_>, is_retransmission: bool) {
        cx.core.counters.loss_probes += 1;
        self.pending.loss_probe = false;
        self.pending.rtt_after_probe = true;
        let end_seq = self.snd.nxt;
        self.recovery.episode(self.snd.una).probe = Some(Probe {
            end_seq,
            is_retransmission,
        });
        self.timers.stop(Timer::LossDetection);
        self.timers
            .set(Timer::Retransmission, cx.now + self.rtt.rto());
    }

    /// TLP_process_ack() (section 7.4.2). Returns whether the probe has repaired a loss of which
    /// congestion control does not know.
    pub(super) fn end_probe(&mut self, cx: &mut Context<'_>, news: &News) -> bool {
        let Some(probe) = self.outstanding_probe() else {
            return false;
        };
        let una = self.snd.una;
        if una.before(probe.end_seq) {
            return false;
        }
        let has_advanced = una.after(probe.end_seq);
        let is_new = !probe.is_retransmission;
        let is_duplicate = self.is_dsack_of_probe(news.dsack);
        let repeats = news.acked == 0 && news.sacked == 0;
        if is_new || is_duplicate || has_advanced || repeats {
            self.forget_probe();
        }
        let repaired = has_advanced && !is_new && !is_duplicate;
        cx.core.counters.loss_probe_recoveries += u64::from(repaired);
        repaired
    }

    /// Whether the peer reports the probe itself as a duplicate: nothing was lost.
    pub(super) fn is_dsack_of_probe(&self, dsack: Option<(Seq, Seq)>) -> bool {
        // Our FIN behind it takes a sequence number.
        self.outstanding_probe()
            .zip(dsack)
            .is_some_and(|(probe, (_, right))| right == probe.end_seq || right + 1 == probe.end_seq)
    }

    pub(super) fn forget_probe(&mut self) {
        if let Some(episode) = &mut self.recovery.episode {
            episode.probe = None;
        }
        self.pending.loss_probe = false;
    }
}
