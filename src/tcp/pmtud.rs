//! Packetization Layer Path MTU Discovery (RFC 4821): routers that drop large packets and do not say
//! so are found by their silence, and what the path does carry is found by trying.
//!
//! A probe is an ordinary segment of new text that is larger than SMSS. It is filled to that size
//! when the application writes, so that nothing is copied; nothing is lost with it but time.

use super::context::Context;
use super::path::{BELIEVED, LEAST_MTU_IPV4, LEAST_MTU_IPV6};
use super::seq::Seq;
use super::tcb::Tcb;
use crate::time::Instant;

/// Timeouts in a row, with nothing acknowledged, that make a black hole of a path on which no segment
/// as large has ever arrived (RFC 4821 section 7.7 leaves the number open).
const SILENT_TIMEOUTS: u8 = 2;
/// The same where some have: that is more likely an outage, or heavy loss.
const SILENT_TIMEOUTS_IF_PROVEN: u8 = 4;
/// RFC 4821 section 7.2: `search_low` of IPv4, what works nearly everywhere; an MSS of 1024 octets, as
/// Linux has it (`tcp_base_mss`).
const BASE_MTU_IPV4: u16 = 1064;
/// The search ends when it is known to so many octets (RFC 4821 section 7.3).
const GRAIN: u16 = 16;
/// Segments behind a probe, so that duplicate acknowledgments show its loss (RFC 4821 section 7.4).
const SEGMENTS_BEHIND: u32 = 4;

/// A search for what the path carries. Sizes are those of [`Path::mss`](super::path::Path::mss).
#[derive(Debug)]
pub(super) struct Search {
    /// The largest size that is known to arrive.
    low: u16,
    /// The largest that may.
    high: u16,
    /// Whether `high` was never tried: what looked like a black hole may have been an outage.
    is_fresh: bool,
    probe: Option<Probe>,
    /// When to look for a larger size again.
    again_at: Instant,
}

/// A segment that is larger than SMSS: not yet sent if SND.NXT is not behind it.
#[derive(Clone, Copy, Debug)]
struct Probe {
    seq: Seq,
    /// Octets of text: to begin with as many as it is to have.
    len: u16,
}

impl Search {
    /// No size above `mss` arrives.
    pub(super) fn narrow(&mut self, mss: u16) {
        self.low = self.low.min(mss);
        self.high = self.high.min(mss);
        self.is_fresh = false;
        self.probe = None;
    }

    /// What to try next.
    fn next_size(&self) -> Option<u16> {
        if self.high <= self.low {
            None
        } else if self.is_fresh {
            Some(self.high)
        } else {
            let size = self.low + (self.high - self.low).div_ceil(2);
            (self.high - self.low >= GRAIN).then_some(size)
        }
    }
}

impl Tcb {
    /// Nothing gets through: tries smaller segments, if ours are not small already.
    pub(super) fn detect_black_hole(&mut self, cx: &mut Context<'_>) {
        let current = self.smss + self.options_len();
        let limit = if self.largest_acked < current {
            SILENT_TIMEOUTS
        } else {
            SILENT_TIMEOUTS_IF_PROVEN
        };
        let silence = self.rtt.expirations();
        if !cx.core.config.mtu_probing || silence == 0 || !silence.is_multiple_of(limit) {
            return;
        }
        let [base, least] = if self.opening.is_ipv4 {
            [BASE_MTU_IPV4, LEAST_MTU_IPV4]
        } else {
            [LEAST_MTU_IPV6; 2]
        };
        // What is no larger than the base is not suspected, unless that has failed as well.
        let has_failed = self.path.as_ref().is_some_and(|path| path.search.is_some());
        let sizes = [Some(base), has_failed.then_some(least)];
        let mut sizes = sizes.into_iter().flatten().map(|mtu| self.mss_of(mtu));
        let lowered = sizes.find(|&mss| mss < current);
        // What would be sent again as it is, is not too large.
        let options_len = self.options_len();
        let first = self.send.first_lost(&cx.core.segments);
        let Some(mss) =
            lowered.filter(|mss| first.is_some_and(|first| first.len + options_len > *mss))
        else {
            return;
        };
        cx.core.counters.black_holes += 1;
        let path = self.path_mut();
        // The search goes up to what the interface and the peer allow.
        path.search = Some(Search {
            low: mss,
            high: path.peer_mss,
            is_fresh: true,
            probe: None,
            again_at: cx.now,
        });
        path.mss = mss;
        let peer_mss = path.peer_mss;
        self.largest_acked = self.largest_acked.min(mss);
        self.set_peer_mss(peer_mss);
    }

    /// Octets of text that the unsent segment at `seq` may have.
    pub(super) fn segment_limit(&self, seq: Seq) -> u16 {
        let probe = self.probe().filter(|probe| probe.seq == seq);
        probe.map_or(self.smss, |probe| probe.len)
    }

    /// Octets of text that a segment which is begun now may have: more than SMSS if it is to be a
    /// probe, because one is due and its loss would be seen.
    pub(super) fn begin_segment(&mut self, cx: &mut Context<'_>) -> u16 {
        if self.path.is_none() {
            return self.smss;
        }
        self.begin_probe(cx).unwrap_or(self.smss)
    }

    fn begin_probe(&mut self, cx: &mut Context<'_>) -> Option<u16> {
        if let Some(probe) = self.probe() {
            // Begun, but there was no buffer for it.
            return (probe.seq == self.snd.end).then_some(probe.len);
        }
        let options_len = self.options_len();
        let is_calm = self.send.lost() == 0 && self.rtt.expirations() == 0;
        let behind = SEGMENTS_BEHIND * u32::from(self.smss);
        let window = self.controller.cwnd().min(self.snd.wnd);
        let (end, peer_mss) = (self.snd.end, self.path.as_ref()?.peer_mss);
        let search = self.path.as_mut()?.search.as_mut()?;
        if !is_calm || search.again_at > cx.now {
            return None;
        }
        let Some(size) = search.next_size() else {
            // Found. The path may have become wider when it is time to look again.
            search.high = peer_mss;
            search.is_fresh = true;
            search.again_at = cx.now + BELIEVED;
            return None;
        };
        let len = size - options_len;
        if window < u32::from(len) + behind || usize::from(len) > cx.buffers.capacity() {
            return None;
        }
        search.probe = Some(Probe { seq: end, len });
        cx.core.counters.mtu_probes += 1;
        Some(len)
    }

    /// Whether the segment at `seq` with `len` octets is larger than SMSS on purpose.
    pub(super) fn is_probe(&mut self, seq: Seq, len: u16) -> bool {
        let Some(probe) = self.probe_mut().filter(|probe| probe.seq == seq) else {
            return false;
        };
        // It may have had to go before it was full.
        probe.len = len;
        true
    }

    /// Whether the segment at `seq` is a probe that has been sent.
    pub(super) fn has_probe_at(&self, seq: Seq) -> bool {
        self.probe().is_some_and(|probe| probe.seq == seq) && self.snd.nxt.after(seq)
    }

    /// Whether the probe is all that is lost: that says nothing of congestion (RFC 4821 section
    /// 7.5).
    pub(super) fn lost_only_probe(&mut self, cx: &Context<'_>) -> bool {
        let Some(probe) = self.probe() else {
            return false;
        };
        let lost = self.send.lost();
        lost == u32::from(probe.len)
            && self
                .send
                .first_lost(&cx.core.segments)
                .is_some_and(|segment| segment.seq == probe.seq)
    }

    /// If the first lost segment is the probe, its size does not arrive.
    pub(super) fn forget_lost_probe(&mut self, cx: &mut Context<'_>) {
        let options_len = self.options_len();
        let Some(lost) = self.send.first_lost(&cx.core.segments) else {
            return;
        };
        let seq = lost.seq;
        if let Some(probe) = self.probe().filter(|probe| probe.seq == seq)
            && let Some(search) = self.search_mut()
        {
            cx.core.counters.mtu_probes_lost += 1;
            search.probe = None;
            search.is_fresh = false;
            search.high = (probe.len + options_len - 1).max(search.low);
        }
    }

    /// A router has said what it carries, of a probe.
    pub(super) fn on_probe_too_big(&mut self, mss: u16) {
        if let Some(search) = self.search_mut() {
            search.high = search.high.min(mss);
            // It is worth the next try.
            search.is_fresh = search.high > search.low;
        }
    }

    /// Something was acknowledged: perhaps the probe. Then SMSS may be as large.
    pub(super) fn on_probe_progress(&mut self, cx: &mut Context<'_>) {
        let options_len = self.options_len();
        let Some(probe) = self.probe() else { return };
        if self.snd.una.before(probe.seq + u32::from(probe.len)) {
            return;
        }
        let size = probe.len + options_len;
        let Some(path) = self.path.as_mut() else {
            return;
        };
        let Some(search) = path.search.as_mut() else {
            return;
        };
        search.probe = None;
        if size <= search.low {
            // It went out before it was larger than the others.
            return;
        }
        cx.core.counters.mtu_probes_acked += 1;
        search.low = size;
        search.is_fresh = false;
        path.mss = size;
        let peer_mss = path.peer_mss;
        if size >= peer_mss {
            self.path = None;
        }
        self.set_peer_mss(peer_mss);
    }

    fn probe(&self) -> Option<Probe> {
        self.path.as_ref()?.search.as_ref()?.probe
    }

    fn probe_mut(&mut self) -> Option<&mut Probe> {
        self.search_mut()?.probe.as_mut()
    }

    fn search_mut(&mut self) -> Option<&mut Search> {
        self.path.as_mut()?.search.as_mut()
    }
}
