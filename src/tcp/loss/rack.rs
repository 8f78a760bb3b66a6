//! Recent acknowledgment (RFC 8985 section 6): a segment is lost when one that was sent long enough
//! after it has arrived. What is sent again is judged by the time of its last transmission, so that
//! its loss is found like any other.
//!
//! What is in flight is listed in the order of transmission, and detection looks at the beginning
//! of that list: each step but the last finds a loss, so that the work of an acknowledgment does not
//! grow with the flight.

use super::{Awaited, DUPLICATE_THRESHOLD, News, Phase};
use crate::tcp::context::Context;
use crate::tcp::rate::Newest;
use crate::tcp::send_queue::SendSegment;
use crate::tcp::seq::Seq;
use crate::tcp::steps::step;
use crate::tcp::tcb::Tcb;
use crate::tcp::timers::Timer;
use crate::time::{Duration, Instant};

/// Linux's tcp_max_reordering.
const MOST_REORDERING: u32 = 300;

/// RACK.xmit_ts, RACK.end_seq, RACK.rtt and RACK.fack (section 5.3). Kept while something is
/// doubtful: as long as segments are acknowledged in order and once, nothing was sent before the
/// latest of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rack {
    xmit_ts: Instant,
    end_seq: Seq,
    rtt: Duration,
    fack: Seq,
}

impl Rack {
    pub(super) fn new(una: Seq) -> Self {
        Self {
            xmit_ts: Instant::ZERO,
            end_seq: una,
            rtt: Duration::ZERO,
            fack: una,
        }
    }

    /// RACK_sent_after(): whether what was delivered last was sent after `segment`.
    fn is_after(&self, segment: &SendSegment) -> bool {
        is_after(
            (self.xmit_ts, self.end_seq),
            (segment.sent_at, segment.end()),
        )
    }
}

fn is_after(one: (Instant, Seq), other: (Instant, Seq)) -> bool {
    one.0 > other.0 || one.0 == other.0 && one.1.after(other.1)
}

/// What one acknowledgment has newly delivered, gathered segment by segment.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Delivered {
    now: Instant,
    /// The peer's TSecr, in milliseconds of our clock modulo 2^32.
    pub(super) echo_ms: Option<u32>,
    min_rtt: Duration,
    /// RACK.fack before and after. Blocks are not in the order of arrival.
    fack_before: Seq,
    fack: Seq,
    /// `recover`: what lies behind was sent after the episode had begun.
    recover: Seq,
    /// Time of transmission and end of what was sent last, of what says something (section 6.2
    /// step 2).
    latest: Option<(Instant, Seq)>,
    /// A segment has arrived after one behind it, without having been sent again (step 3): where the
    /// first of them starts.
    reordered: Option<Seq>,
    /// A segment is among it that was sent again.
    pub(super) retransmitted: bool,
    /// A segment is among it that was sent before the episode, and not again.
    pub(super) original: bool,
    /// When the last of what is acknowledged, and the last of what is SACKed, were sent, if they
    /// were sent once.
    acked_at: Option<Instant>,
    sacked_at: Option<Instant>,
    /// What was sent last, for the delivery rate.
    pub(super) newest: Newest,
    /// Octets of text in the largest.
    largest: u16,
}

impl Delivered {
    /// Octets of text in the largest segment.
    pub(in crate::tcp) fn largest(&self) -> u16 {
        self.largest
    }

    /// A segment is delivered: SACKed, or acknowledged without having been SACKed.
    pub(in crate::tcp) fn add(&mut self, segment: &SendSegment, is_sacked: bool) {
        let (sent_at, end) = (segment.sent_at, segment.end());
        self.newest.take(segment.departure, sent_at);
        self.largest = self.largest.max(segment.skip + segment.len);
        if segment.retransmitted {
            self.retransmitted = true;
        } else {
            self.original |= end.at_or_before(self.recover + 1);
            if end.before(self.fack_before) {
                let first = self.reordered.unwrap_or(segment.seq);
                self.reordered = Some(first.min(segment.seq));
            }
            let at = if is_sacked {
                &mut self.sacked_at
            } else {
                &mut self.acked_at
            };
            *at = Some(sent_at);
        }
        self.fack = self.fack.max(end);
        let is_newer = self
            .latest
            .is_none_or(|latest| is_after((sent_at, end), latest));
        if is_newer && !self.may_be_of_an_earlier_one(segment) {
            self.latest = Some((sent_at, end));
        }
    }

    /// Whether this may acknowledge an earlier transmission of the segment (step 2).
    fn may_be_of_an_earlier_one(&self, segment: &SendSegment) -> bool {
        if !segment.retransmitted {
            return false;
        }
        let sent_ms = segment.sent_at.as_millis() as u32;
        let echoes_older = self
            .echo_ms
            .is_some_and(|echo| (echo.wrapping_sub(sent_ms) as i32) < 0);
        echoes_older || self.now.saturating_since(segment.sent_at) < self.min_rtt
    }

    /// The round trip of what was sent once, unless it [is ambiguous](Self::is_ambiguous).
    pub(in crate::tcp) fn rtt(&self) -> Option<Duration> {
        let sent_at = self.acked_at.or(self.sacked_at)?;
        Some(self.now.saturating_since(sent_at))
    }

    /// Whether Karn's algorithm forbids to measure by the time of transmission: an acknowledgment
    /// that a retransmission has set free covers what waited for it at the peer.
    pub(in crate::tcp) fn is_ambiguous(&self) -> bool {
        self.retransmitted
    }
}

impl Tcb {
    /// Nothing delivered yet by the acknowledgment that arrives now.
    pub(in crate::tcp) fn nothing_delivered(&self, now: Instant, tsecr: Option<u32>) -> Delivered {
        let echo_ms = self
            .timestamps
            .zip(tsecr)
            .map(|(state, tsecr)| tsecr.wrapping_sub(state.offset.get()));
        let fack = self
            .recovery
            .episode
            .as_ref()
            .map_or(self.snd.una, |episode| episode.rack.fack);
        Delivered {
            now,
            echo_ms,
            min_rtt: self.rtt.min_rtt().unwrap_or(Duration::ZERO),
            fack_before: fack,
            fack,
            recover: self.recovery.recover,
            latest: None,
            reordered: None,
            retransmitted: false,
            original: false,
            acked_at: None,
            sacked_at: None,
            newest: Newest::default(),
            largest: 0,
        }
    }

    /// Section 6.2 steps 2 and 3.
    pub(super) fn update_rack(&mut self, cx: &mut Context<'_>, news: &News) {
        if news.sacked > 0 {
            self.recovery.episode(self.snd.una);
        }
        let Some(episode) = &mut self.recovery.episode else {
            return;
        };
        let delivered = &news.delivered;
        let rack = &mut episode.rack;
        rack.fack = delivered.fack.max(self.snd.una);
        if let Some((sent_at, end)) = delivered.latest {
            rack.rtt = cx.now.saturating_since(sent_at);
            if is_after((sent_at, end), (rack.xmit_ts, rack.end_seq)) {
                (rack.xmit_ts, rack.end_seq) = (sent_at, end);
            }
        }
        if let Some(first) = delivered.reordered
            && self.sack
        {
            let octets = delivered.fack_before.since(first);
            let degree = octets.div_ceil(u32::from(self.smss.max(1)));
            self.recovery.reord_seen = self.recovery.reord_seen.saturating_add(1);
            let most = &mut self.open_ledger(cx.core).reordering;
            // At most 300, a u16.
            *most = (*most).max(degree.min(MOST_REORDERING) as u16);
            cx.core.counters.sack_reordering += 1;
        }
    }

    /// RACK.reo_wnd (section 6.2 step 4).
    pub(in crate::tcp) fn reo_wnd(&self) -> Duration {
        let recovery = &self.recovery;
        if recovery.reord_seen == 0 {
            let recovers = matches!(recovery.phase, Phase::Recovery | Phase::Loss);
            if recovers || self.send.sacked_segments() >= u16::from(DUPLICATE_THRESHOLD) {
                return Duration::ZERO;
            }
        }
        let min_rtt = self.rtt.min_rtt().unwrap_or(Duration::ZERO);
        let srtt = self.rtt.srtt().unwrap_or(Duration::ZERO);
        (min_rtt / 4 * u64::from(recovery.reo_wnd_mult)).min(srtt)
    }

    /// RACK_detect_loss() (section 6.2 step 5).
    pub(super) fn detect_lost_by_rack(&mut self, cx: &mut Context<'_>) {
        let Some(episode) = self.recovery.episode.as_ref().filter(|_| self.sack) else {
            return;
        };
        let rack = episode.rack;
        let mut lost_end = episode.lost_end;
        let patience = rack.rtt + self.reo_wnd();
        let segments = &mut cx.core.segments;
        let mut waits = false;
        while let Some(segment) = self.send.oldest_in_flight(segments) {
            step();
            if !rack.is_after(segment) {
                break;
            }
            if segment.sent_at + patience > cx.now {
                waits = true;
                break;
            }
            lost_end = lost_end.max(segment.end());
            cx.core.counters.lost_retransmits += u64::from(segment.retransmitted);
            self.recovery.newly_lost += self.send.mark_oldest_lost(segments);
        }
        if let Some(episode) = &mut self.recovery.episode {
            // After an undo, or after 2^31 octets, it must not lie ahead.
            episode.lost_end = lost_end.max(self.snd.una);
        }
        if waits {
            // When all that was sent before the latest is overdue.
            self.recovery.awaited = Awaited::Reordering;
            self.timers
                .set(Timer::LossDetection, rack.xmit_ts + patience);
        } else if self.waits_for_reordering() {
            self.timers.stop(Timer::LossDetection);
        }
    }

    /// RACK_mark_losses_on_RTO() (section 6.3): what was sent at or before this is overdue.
    pub(super) fn overdue_before(&self, now: Instant) -> Instant {
        let rtt = match &self.recovery.episode {
            Some(episode) if episode.rack.xmit_ts > Instant::ZERO => episode.rack.rtt,
            _ => self.rtt.srtt().unwrap_or(Duration::ZERO),
        };
        let patience = rtt + self.reo_wnd();
        Instant::ZERO + now.saturating_since(Instant::ZERO).saturating_sub(patience)
    }
}
