//! What the stack itself counts: every frame that does not reach a connection, by reason.

use crate::wire::Malformed;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Why a frame, or what it stood for, went no further.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The counter's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// A segment for no connection and no listener; answered with a reset.
    NoConnection => "no_connection",
    /// A SYN while draining; answered with a reset.
    Draining => "draining",
    /// A SYN, or the acknowledgment of a SYN cookie, while the flow table was full.
    FlowTableFull => "flow_table_full",
    /// A TIME-WAIT that ended early to make room in the flow table.
    TimeWaitEvicted => "time_wait_evicted",
    /// An ICMP error for no connection, or for one that is half open.
    IcmpIgnored => "icmp_ignored",
    /// A stateless answer for which there was no frame or no room in TX.
    ReplyNotSent => "reply_not_sent",
    /// A stray frame while too many others were on their way.
    StrayOverflow => "stray_overflow",
    /// A stray frame handed on to the next worker.
    StrayPassedOn => "stray_passed_on",
    /// A stray frame that found its connection here.
    StrayTaken => "stray_taken",
    /// Datagrams made whole of fragments.
    FragmentsReassembled => "fragments_reassembled",
    /// A fragment that was here already.
    FragmentDuplicate => "fragment_duplicate",
    /// A datagram given up because its fragments overlap or do not agree where it ends.
    FragmentOverlap => "fragment_overlap",
    /// A fragment of a datagram that was given up.
    FragmentOfGivenUp => "fragment_of_given_up",
    /// A datagram given up because it did not become whole in time.
    FragmentTimeout => "fragment_timeout",
    /// A datagram given up to make room for another's fragments.
    FragmentEvicted => "fragment_evicted",
    /// A datagram of which one fragment is marked and another is not ECN-capable.
    FragmentEcn => "fragment_ecn",
    /// An active open while every client port had a connection to that peer.
    ClientPortsExhausted => "client_ports_exhausted",
}

/// Counts of frames that went no further.
#[derive(Debug)]
pub(super) struct Drops {
    malformed: Box<[u64]>,
    reasons: [u64; DropReason::ALL.len()],
}

impl Drops {
    pub(super) fn new() -> Self {
        Self {
            malformed: vec![0; Malformed::ALL.len()].into(),
            reasons: [0; DropReason::ALL.len()],
        }
    }

    pub(super) fn count(&mut self, reason: DropReason) {
        self.reasons[reason as usize] += 1;
    }

    pub(super) fn count_malformed(&mut self, reason: Malformed) {
        if let Some(count) = self.malformed.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = DropReason::ALL.iter().map(|reason| reason.name());
        let malformed = Malformed::ALL.iter().map(|reason| reason.name());
        reasons
            .zip(self.reasons.iter().copied())
            .chain(malformed.zip(self.malformed.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own_name() {
        let mut drops = Drops::new();
        for &reason in Malformed::ALL {
            drops.count_malformed(reason);
        }
        for &reason in DropReason::ALL {
            drops.count(reason);
        }
        let mut names: Vec<_> = drops.named().collect();
        assert!(names.iter().all(|&(_, count)| count == 1));
        let len = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), len);
    }
}
