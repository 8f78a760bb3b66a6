//! Loss recovery with the peer's SACK blocks (RFC 6675): what is missing is sent again, and nothing
//! else, as fast as `pipe` leaves room in the congestion window.
//!
//! The scoreboard is the send queue itself: each segment knows whether the peer has it.

use super::{DUPLICATE_THRESHOLD, News};
use crate::tcp::context::Context;
use crate::tcp::rate::Newest;
use crate::tcp::seq::Seq;
use crate::tcp::tcb::Tcb;
use crate::wire::tcp::Header;

impl Tcb {
    /// Update() of RFC 6675 section 4. Returns whether the blocks say anything new.
    pub(in crate::tcp) fn take_sack_blocks(
        &mut self,
        cx: &mut Context<'_>,
        header: &Header,
        newest: &mut Newest,
    ) -> bool {
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let is_credible = |left: Seq, right: Seq| {
            // Below SND.UNA it reports a duplicate (RFC 2883) or is old.
            left.at_or_after(una) && left.before(right) && right.at_or_before(nxt)
        };
        let blocks = header
            .options
            .sack
            .iter()
            .map(|block| (Seq(block.left), Seq(block.right)));
        let credible = blocks
            .filter(|&(left, right)| is_credible(left, right))
            .collect();
        self.send
            .mark_sacked(&mut cx.core.segments, &credible, newest)
            > 0
    }

    /// RFC 6675 section 5 steps 2 to 4, outside of recovery.
    pub(super) fn detect_loss_by_sack(&mut self, cx: &mut Context<'_>) -> bool {
        let duplicates = self.recovery.duplicates;
        if duplicates == 0 || !self.snd.una.after(self.recovery.recover) {
            return false;
        }
        let segments = &mut cx.core.segments;
        self.send.mark_lost_by_sack(segments, self.smss)
            || (duplicates >= DUPLICATE_THRESHOLD && self.send.mark_head_lost(segments))
    }

    pub(super) fn go_on_by_sack(&mut self, cx: &mut Context<'_>, news: &News) {
        let segments = &mut cx.core.segments;
        self.send.mark_lost_by_sack(segments, self.smss);
        if news.acked > 0 && !self.send.head_was_retransmitted(segments) {
            // A hole behind which too little was sent for blocks to tell.
            self.send.mark_head_lost(segments);
        }
    }
}
