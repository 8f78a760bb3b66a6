//! What the peer's SACK blocks say it has (RFC 2018, RFC 6675 section 4); [`rack`](super::rack)
//! concludes from it what is lost.

use super::News;
use crate::tcp::context::Context;
use crate::tcp::seq::Seq;
use crate::tcp::tcb::Tcb;
use crate::wire::tcp::Header;

impl Tcb {
    /// Update() of RFC 6675 section 4.
    pub(in crate::tcp) fn take_sack_blocks(
        &mut self,
        cx: &mut Context<'_>,
        header: &Header,
        news: &mut News,
    ) {
        news.dsack = self.dsack(header);
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        // By distances: of numbers further apart than 2^31, neither is the later one.
        let is_credible = |left: Seq, right: Seq| {
            // Below SND.UNA it reports a duplicate (RFC 2883) or is old.
            let (left, right) = (left.since(una), right.since(una));
            left < right && right <= nxt.since(una)
        };
        let blocks = header
            .options
            .sack
            .iter()
            .map(|block| (Seq(block.left), Seq(block.right)));
        let credible = blocks
            .filter(|&(left, right)| is_credible(left, right))
            .collect();
        let before = self.send.sacked();
        let segments = &mut cx.core.segments;
        if !self
            .send
            .mark_sacked(segments, &credible, &mut news.delivered)
        {
            cx.core.counters.sack_ranges_refused += 1;
        }
        news.sacked = self.send.sacked() - before;
    }
}
