//! Proportional rate reduction (RFC 9937, the successor of RFC 6937): during recovery what is sent
//! follows what is delivered, so that the flight shrinks to `ssthresh` over one round trip, with
//! neither a pause nor a burst.

use super::Ack;

/// One recovery. A controller that uses it calls [`begin`](Self::begin) in `on_congestion`,
/// [`on_sent`](Self::on_sent) always, and takes its window from [`on_ack`](Self::on_ack) for every
/// acknowledgment in recovery but the one that ends it. Octets throughout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prr {
    /// `prr_delivered`: delivered during recovery.
    delivered: u32,
    /// `prr_out`: sent during recovery.
    out: u32,
    /// `RecoverFS`: what recovery may see delivered, lost ones included, since they may have been
    /// taken for lost too early; not what was SACKed before. 0 until its first acknowledgment.
    recover_fs: u32,
}

impl Prr {
    /// Recovery begins (section 6.1).
    pub fn begin(&mut self) {
        *self = Self::default();
    }

    /// `octets` are sent, new or again.
    pub fn on_sent(&mut self, octets: u32) {
        self.out = self.out.saturating_add(octets);
    }

    /// An acknowledgment in recovery. Returns the congestion window; `None` if it stays as it is.
    pub fn on_ack(&mut self, ack: &Ack, ssthresh: u32, smss: u32) -> Option<u32> {
        if ack.delivered == 0 && self.out > 0 {
            return None;
        }
        if self.recover_fs == 0 {
            self.recover_fs = ack.outstanding.max(1);
        }
        self.delivered = self.delivered.saturating_add(ack.delivered);
        let mut sndcnt = if ack.pipe > ssthresh {
            let share = u64::from(self.delivered) * u64::from(ssthresh);
            let share = share.div_ceil(u64::from(self.recover_fs));
            // In whole segments, as its authors have it in Linux: half of one would wait for another
            // acknowledgment, and in a small window there may be none, but the timer.
            let share = share.next_multiple_of(u64::from(smss));
            // RecoverFS is not below the first `pipe`: the share does not exceed a window.
            u32::try_from(share)
                .unwrap_or(u32::MAX)
                .saturating_sub(self.out)
        } else {
            // The conservative reduction bound: no more than what is delivered.
            let mut limit = self.delivered.saturating_sub(self.out).max(ack.delivered);
            if ack.acked > 0 && ack.lost == 0 {
                // safeACK: recovery goes well, and slow start brings the flight up to ssthresh.
                limit = limit.saturating_add(smss);
            }
            limit.min(ssthresh - ack.pipe)
        };
        if self.out == 0 {
            // The fast retransmit itself, whole.
            sndcnt = sndcnt.max(smss);
        }
        Some(ack.pipe.saturating_add(sndcnt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An acknowledgment in recovery, in segments of a thousand octets.
    fn ack(delivered: u32, pipe: u32, outstanding: u32) -> Ack {
        Ack {
            delivered: 1_000 * delivered,
            pipe: 1_000 * pipe,
            outstanding: 1_000 * outstanding,
            in_recovery: true,
            ..Ack::default()
        }
    }

    /// RFC 9937 section 6.1: of 40 segments out, 20 were SACKed before: what arrives is replaced in the
    /// ratio of ssthresh, 10, to the 20 that may still arrive.
    #[test]
    fn what_was_sacked_before_recovery_is_not_part_of_recover_fs() {
        let mut prr = Prr::default();
        prr.begin();
        let (ssthresh, smss) = (10_000, 1_000);
        // The acknowledgment that begins it delivers one, and shows one to be lost.
        assert_eq!(prr.on_ack(&ack(1, 18, 20), ssthresh, smss), Some(19_000));
        prr.on_sent(1_000);
        let mut sent = 1;
        for delivered in 2..=8 {
            // What is outstanding later changes nothing.
            let pipe = 19 + sent - 1 - delivered;
            let cwnd = prr.on_ack(&ack(1, pipe, pipe + 1), ssthresh, smss);
            let room = cwnd.expect("a window") - 1_000 * pipe;
            assert_eq!(room, 1_000 * delivered.div_ceil(2).saturating_sub(sent));
            if room > 0 {
                prr.on_sent(1_000);
                sent += 1;
            }
        }
        assert_eq!(sent, 4, "for eight");
    }

    /// Of three segments out one is lost, and two are allowed: the second that arrives lets another
    /// one go, though the share is but a third of it. Nothing else could show that the retransmission
    /// is lost, before the timer does.
    #[test]
    fn a_part_of_a_segment_is_a_segment() {
        let mut prr = Prr::default();
        prr.begin();
        let (ssthresh, smss) = (2_000, 1_000);
        assert_eq!(prr.on_ack(&ack(1, 3, 3), ssthresh, smss), Some(4_000));
        prr.on_sent(1_000);
        assert_eq!(prr.on_ack(&ack(1, 3, 3), ssthresh, smss), Some(4_000));
        prr.on_sent(1_000);
        assert_eq!(prr.on_ack(&ack(1, 3, 3), ssthresh, smss), Some(3_000));
    }
}
