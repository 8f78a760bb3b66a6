//! What `ss` shows of recovery.

use crate::tcp::tcb::Tcb;
use crate::time::Duration;

/// Where a connection is in recovering from loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossInfo {
    /// Linux's name: open, disorder, cwr, recovery, loss.
    pub ca_state: &'static str,
    /// The least round trip of the last ten seconds.
    pub min_rtt: Option<Duration>,
    /// Octets lost and not yet sent again.
    pub lost: u32,
    /// Octets that the peer says it has beyond SND.UNA.
    pub sacked: u32,
    /// How long a segment may be late before it is lost (RFC 8985 section 6.2 step 4).
    pub reo_wnd: Duration,
    /// Acknowledgments that have shown segments to arrive out of order.
    pub reord_seen: u16,
    /// Segments that the peer says it has got twice (RFC 2883).
    pub dsack_dups: u16,
}

impl Tcb {
    pub(in crate::tcp) fn loss_info(&self) -> LossInfo {
        LossInfo {
            ca_state: self.recovery.phase.name(),
            min_rtt: self.rtt.min_rtt(),
            lost: self.send.lost(),
            sacked: self.send.sacked(),
            reo_wnd: self.reo_wnd(),
            reord_seen: self.recovery.reord_seen,
            dsack_dups: self.recovery.dsack_dups,
        }
    }
}
