//! What the peer says it has got twice (RFC 2883).

use super::News;
use crate::tcp::context::Context;
use crate::tcp::seq::Seq;
use crate::tcp::tcb::Tcb;
use crate::wire::tcp::Header;

/// RFC 8985 section 6.2 step 4: recoveries without a D-SACK after which the window of reordering is
/// what it was.
const REO_WND_PERSIST: u8 = 16;

impl Tcb {
    /// The first block, if it reports a duplicate (section 4): below SEG.ACK, or inside the second
    /// block. It must lie where we have sent.
    pub(in crate::tcp) fn dsack(&self, header: &Header) -> Option<(Seq, Seq)> {
        let mut blocks = header
            .options
            .sack
            .iter()
            .map(|block| (Seq(block.left), Seq(block.right)));
        let (left, right) = blocks.next()?;
        let is_below = right.at_or_before(Seq(header.ack));
        let is_inside = blocks
            .next()
            .is_some_and(|outer| outer.0.at_or_before(left) && right.at_or_before(outer.1));
        // Not older than what may be underway, nor before our first octet.
        let reach = self
            .snd
            .max_wnd
            .min(self.snd.una.since(self.snd.iss + 1).min(1 << 30));
        let oldest = self.snd.una - reach;
        let (start, end) = (left.since(oldest), right.since(oldest));
        let is_ours = start < end && end <= self.snd.nxt.since(oldest);
        (is_ours && (is_below || is_inside)).then_some((left, right))
    }

    /// What follows from a report, but for undoing.
    pub(super) fn take_dsack(&mut self, cx: &mut Context<'_>, (left, right): (Seq, Seq)) {
        cx.core.counters.dsack_received += 1;
        let octets = right.since(left);
        let segments = octets.div_ceil(u32::from(self.smss.max(1)));
        let recovery = &mut self.recovery;
        recovery.dsack_dups = recovery
            .dsack_dups
            .saturating_add(u16::try_from(segments).unwrap_or(u16::MAX));
        if u32::from(recovery.dsack_dups) > self.retransmits {
            // We have not sent so much twice: the network has, or the peer lies.
            cx.core.counters.dsack_ignored += 1;
            return;
        }
        let counts = self.count_undone(left, right);
        cx.core.counters.dsack_ranges_refused += u64::from(!counts);
        self.widen_reo_wnd((left, right));
    }

    /// RFC 8985 section 6.2 step 4: once per round trip.
    fn widen_reo_wnd(&mut self, dsack: (Seq, Seq)) {
        let is_probe = self.is_dsack_of_probe(Some(dsack));
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let episode = self.recovery.episode(una);
        if episode
            .dsack_round
            .is_some_and(|round| una.at_or_after(round))
        {
            episode.dsack_round = None;
        }
        // A probe is sent for want of acknowledgments, not for reordering.
        if episode.dsack_round.is_some() || is_probe {
            return;
        }
        episode.dsack_round = Some(nxt);
        let recovery = &mut self.recovery;
        recovery.reo_wnd_mult = recovery.reo_wnd_mult.saturating_add(1);
        recovery.reo_wnd_persist = REO_WND_PERSIST;
    }

    /// A recovery is over.
    pub(in crate::tcp) fn on_recovery_over(&mut self) {
        let recovery = &mut self.recovery;
        recovery.reo_wnd_persist = recovery.reo_wnd_persist.saturating_sub(1);
        if recovery.reo_wnd_persist == 0 {
            recovery.reo_wnd_mult = 1;
        }
        let nxt = self.snd.nxt;
        self.keep_undo_until(nxt);
    }

    /// Whether `news` says anything at all.
    pub(in crate::tcp) fn is_news(&self, news: &News) -> bool {
        news.acked > 0 || news.sacked > 0 || news.dsack.is_some() || news.is_duplicate
    }
}
