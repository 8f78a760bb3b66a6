//! Proportional rate reduction (RFC 6937, with the heuristics of its successor, RFC 9937): during recovery what is sent follows what is delivered, so that
//! the flight shrinks to `ssthresh` over one round trip, with neither a pause nor a burst.

use super::Ack;

/// One recovery. A controller that uses it calls [`begin`](Self::begin) in `on_congestion`,
/// [`on_sent`](Self::on_sent) always, and takes its window from [`on_ack`](Self::on_ack) for every
/// acknowledgment in recovery. Octets throughout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prr {
    /// `prr_delivered`: delivered during recovery.
    delivered: u32,
    /// `prr_out`: sent during recovery.
    out: u32,
    /// `RecoverFS`: in flight when recovery began.
    recover_fs: u32,
}

impl Prr {
    /// Recovery begins with `flight_size` octets in flight.
    pub fn begin(&mut self, flight_size: u32) {
        *self = Self {
            recover_fs: flight_size.max(1),
            ..Self::default()
        };
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
        self.delivered = self.delivered.saturating_add(ack.delivered);
        let mut sndcnt = if ack.pipe > ssthresh {
            let share = u64::from(self.delivered) * u64::from(ssthresh);
            let share = share.div_ceil(u64::from(self.recover_fs.max(1)));
            // `ssthresh` is below RecoverFS, or as good as: the share does not exceed a window.
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
