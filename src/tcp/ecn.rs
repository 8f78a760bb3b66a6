//! Explicit congestion notification (RFC 3168): routers mark packets instead of dropping them.
//!
//! New text is marked as ECN-capable once both SYNs have agreed; SYNs, retransmissions, probes and
//! segments without text never are (RFC 3168 sections 6.1.1, 6.1.4 to 6.1.6).

use super::config::Config;
use super::congestion::Congestion;
use super::context::Context;
use super::input::{Arrival, Events};
use super::seq::Seq;
use super::state::State;
use super::tcb::Tcb;
use crate::wire::ecn::{CE, ECT_0, NOT_ECT};
use crate::wire::tcp::{Flags, Header, Segment};

/// When ECN is used; as Linux's `tcp_ecn` of 0, 2 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnMode {
    /// Never.
    Off,
    /// When the peer asks for it.
    #[default]
    Passive,
    /// Active opens ask for it, too.
    On,
}

/// A connection's part in ECN.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ecn {
    /// Up to here the window has been reduced for: once per window of data is enough.
    reduced: Seq,
    flags: u8,
    /// Marked packets received, as AccECN's r.cep counts them.
    ce_packets: u8,
}

/// Both SYNs have agreed.
const CAPABLE: u8 = 1;
/// Acknowledgments carry ECE until the peer's CWR.
const ECHO: u8 = 2;
/// The next new text carries CWR.
const CWR_DUE: u8 = 4;
/// See [`Ecn::has_reduced_for_recovery`].
const REDUCED_FOR_RECOVERY: u8 = 8;

impl Ecn {
    /// Both SYNs have agreed on it.
    pub(super) fn capable(iss: Seq) -> Self {
        Self {
            reduced: iss,
            flags: CAPABLE,
            ce_packets: 0,
        }
    }

    pub(super) fn is_capable(&self) -> bool {
        self.has(CAPABLE)
    }

    /// Whether the recovery under way had its window reduced before it began, for a mark. To the
    /// controller it is none.
    pub(super) fn has_reduced_for_recovery(&self) -> bool {
        self.has(REDUCED_FOR_RECOVERY)
    }

    /// A recovery begins, whose window was reduced before for a mark, or not.
    pub(super) fn begin_recovery(&mut self, is_reduced: bool) {
        self.set(REDUCED_FOR_RECOVERY, is_reduced);
    }

    /// What was reduced for before `oldest` is too long ago to matter.
    pub(super) fn forget_before(&mut self, oldest: Seq) {
        self.reduced = self.reduced.max(oldest);
    }

    #[cfg(test)]
    pub(super) fn set_reduced(&mut self, reduced: Seq) {
        self.reduced = reduced;
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.flags = if on {
            self.flags | flag
        } else {
            self.flags & !flag
        };
    }
}

/// Whether a SYN is an ECN-setup SYN that we go along with (RFC 3168 section 6.1.1).
pub(super) fn accepts(config: &Config, syn: &Header) -> bool {
    config.ecn != EcnMode::Off && syn.flags.contains(Flags::ECE | Flags::CWR)
}

impl Tcb {
    /// [`handle_segment`](Self::handle_segment) for a segment whose IP header has `ecn` in its ECN
    /// field.
    pub fn handle_marked_segment<'a>(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'a>,
        ecn: u8,
    ) -> Arrival<'a> {
        let flight_size = self.flight_size();
        let arrival = self.handle_segment(cx, segment);
        // RFC 3168 section 6.1.5: what is not acceptable says nothing.
        if self.ecn.is_capable() && arrival.events.contains(Events::ACCEPTED) {
            self.take_echo(cx, &segment.header, flight_size);
            if !segment.payload.is_empty() {
                self.take_mark(cx, segment, ecn);
            }
        }
        arrival
    }

    /// Section 6.1.3: an echo until the peer says that it has heard it. CWR and CE in one segment are
    /// another congestion.
    fn take_mark(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>, ecn: u8) {
        if segment.header.flags.contains(Flags::CWR) {
            self.ecn.set(ECHO, false);
        }
        if ecn == CE {
            self.ecn.set(ECHO, true);
            self.ecn.ce_packets = self.ecn.ce_packets.wrapping_add(1);
            cx.core.counters.ecn_ce_packets += 1;
            cx.core.counters.ecn_ce_octets += segment.payload.len() as u64;
        }
    }

    /// Section 6.1.2: the peer has seen a mark, which is answered as a loss is, but once per window
    /// of data.
    fn take_echo(&mut self, cx: &mut Context<'_>, header: &Header, flight_size: u32) {
        let is_new = self.snd.una.after(self.ecn.reduced);
        if !self.is_echo(header) || !is_new {
            return;
        }
        cx.core.counters.ecn_reductions += 1;
        self.forget_undo();
        let flight_size = flight_size.min(self.controller.cwnd());
        self.controller
            .on_congestion(cx.now, Congestion::Ecn, flight_size);
        self.on_window_reduced();
    }

    /// Whether a segment says that the peer has seen a mark. On a SYN the flag means something else
    /// (section 6.1.1).
    pub(super) fn is_echo(&self, header: &Header) -> bool {
        let flags = header.flags;
        self.ecn.is_capable() && flags.contains(Flags::ECE) && !flags.contains(Flags::SYN)
    }

    /// The window was reduced, for whatever reason: the peer is told with the next new text.
    pub(super) fn on_window_reduced(&mut self) {
        self.ecn.reduced = self.snd.nxt;
        let is_capable = self.ecn.is_capable();
        self.ecn.set(CWR_DUE, is_capable);
    }

    /// A recovery begins. Returns whether the window is to be reduced for it: a mark in the same
    /// window of data may have done so already (section 6.1.2).
    pub(super) fn begins_reduction(&mut self) -> bool {
        // What is not acknowledged at `reduced` was sent after the reduction.
        let is_reduced = self.ecn.is_capable() && self.snd.una.before(self.ecn.reduced);
        self.ecn.begin_recovery(is_reduced);
        !is_reduced
    }

    /// The flags of a SYN or SYN-ACK. A SYN that is sent again does without: there are routers that
    /// drop the other kind (section 6.1.1.1).
    pub(super) fn ecn_setup(&self, config: &Config) -> Flags {
        match self.state {
            State::SynSent if self.asks_for_ecn(config) => Flags::ECE | Flags::CWR,
            State::SynReceived if self.ecn.is_capable() => Flags::ECE,
            _ => Flags::default(),
        }
    }

    /// The peer's answer to our SYN: a SYN-ACK with ECE alone (with both, something has sent back
    /// what it got), or a SYN of its own that asks as ours does.
    pub(super) fn negotiate_ecn(&mut self, config: &Config, header: &Header) {
        let is_answer = header.flags.contains(Flags::ACK);
        let agrees = if is_answer {
            header.flags.contains(Flags::ECE) && !header.flags.contains(Flags::CWR)
        } else {
            accepts(config, header)
        };
        if agrees && self.asks_for_ecn(config) {
            self.ecn = Ecn::capable(self.snd.iss);
        }
    }

    /// Whether every SYN so far has asked for ECN.
    fn asks_for_ecn(&self, config: &Config) -> bool {
        config.ecn == EcnMode::On && self.rtt.expirations() == 0
    }

    /// Every acknowledgment echoes a mark; a reset of `flags` acknowledges nothing.
    pub(super) fn echo(&self, flags: Flags) -> Flags {
        if self.ecn.has(ECHO) && !flags.contains(Flags::RST) {
            Flags::ECE
        } else {
            Flags::default()
        }
    }

    /// What the next segment with new text says: its flags and its codepoint.
    pub(super) fn mark_new_text(&mut self) -> (Flags, u8) {
        if !self.ecn.is_capable() {
            return (Flags::default(), NOT_ECT);
        }
        let flags = if self.ecn.has(CWR_DUE) {
            Flags::CWR
        } else {
            Flags::default()
        };
        self.ecn.set(CWR_DUE, false);
        (flags, ECT_0)
    }

    /// Marked packets received, modulo 256.
    #[cfg(test)]
    pub(super) fn ce_packets(&self) -> u8 {
        self.ecn.ce_packets
    }
}
