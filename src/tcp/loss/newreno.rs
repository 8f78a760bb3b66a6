//! Fast retransmit and fast recovery without SACK (RFC 5681 section 3.2, RFC 6582).
//!
//! A duplicate acknowledgment says that some segment has arrived, not which. Each counts as one
//! SMSS that has left the network (RFC 6937 section 3), so that `pipe` means what it does with SACK:
//! limited transmit (RFC 3042) and recovery's inflation of the window are nothing but room in it.

use super::{DUPLICATE_THRESHOLD, News, Phase};
use crate::tcp::context::Context;
use crate::tcp::tcb::Tcb;

impl Tcb {
    /// What duplicate acknowledgments say has left the network.
    pub(super) fn count_duplicate(&mut self, news: &News) {
        let smss = u32::from(self.smss);
        let recovery = &mut self.recovery;
        if news.acked > 0 {
            recovery.duplicates = 0;
            // One segment has filled the hole; the others had been counted.
            let counted = news.acked - news.acked.min(smss);
            recovery.departed = match recovery.phase {
                Phase::Recovery => recovery.departed.saturating_sub(counted),
                _ => 0,
            };
        } else {
            recovery.duplicates = recovery.duplicates.saturating_add(1);
            let most = match recovery.phase {
                Phase::Recovery => u32::MAX,
                // RFC 3042: two segments beyond the congestion window, and no more; the third
                // duplicate begins recovery, or is an echo of the last one's retransmissions.
                Phase::Open | Phase::Disorder => u32::from(DUPLICATE_THRESHOLD) * smss,
                // Echoes of what slow start has sent again.
                Phase::Loss => 0,
            };
            recovery.departed = (recovery.departed + smss).min(most);
        }
        // However many duplicates a peer makes up, one segment is missing.
        let missing = self.send.lost().max(smss);
        let flight_size = self.flight_size();
        let recovery = &mut self.recovery;
        recovery.departed = recovery.departed.min(flight_size.saturating_sub(missing));
    }

    /// The third duplicate makes the first segment lost.
    pub(super) fn detect_lost_by_duplicates(&mut self, cx: &mut Context<'_>) {
        // RFC 6582 section 3.2 step 2: at or below `recover`, these are echoes of the last
        // recovery's own retransmissions.
        if self.recovery.duplicates == DUPLICATE_THRESHOLD
            && self.snd.una.after(self.recovery.recover + 1)
        {
            self.recovery.newly_lost += self.send.mark_head_lost(&mut cx.core.segments);
        }
    }
}
