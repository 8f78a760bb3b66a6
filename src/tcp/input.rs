//! A segment arrives (RFC 9293 section 3.10.7): the checks before its acknowledgment and text.

use std::ops::{BitOr, BitOrAssign};

use super::context::Context;
use super::liveness::{elapsed, millis};
use super::seq::Seq;
use super::state::{Event, State};
use super::tcb::{AckDue, CloseReason, FinState, Tcb};
use super::timers::Timer;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, Header, Segment};

/// RFC 7323 section 5.5: TS.Recent is not trusted after 24 days of silence.
const TS_RECENT_LIFETIME_MS: u32 = 24 * 24 * 3_600 * 1_000;

/// Challenge ACKs of one connection are so far apart, as Linux's are
/// (`tcp_invalid_ratelimit`).
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// What a segment or a timer has done that the application may want to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The connection is established.
    pub const OPENED: Self = Self(1);
    /// There is room again after a `send` that was cut short.
    pub const WRITABLE: Self = Self(2);
    /// The connection is closed: [`Tcb::close_reason`].
    pub const CLOSED: Self = Self(4);
    /// The segment belongs to an earlier connection and is to be answered with
    /// [`reset_for`](super::reset_for); this connection goes on.
    pub const RESET_SENDER: Self = Self(8);
    /// The segment is the peer's beyond doubt: in the window and with a credible acknowledgment.
    pub const ACCEPTED: Self = Self(16);

    /// Whether `other` is among them.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Events {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, rhs: Self) {
        self.0 |= rhs.0;
    }
}

/// What a segment has brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arrival<'a> {
    /// What has happened.
    pub events: Events,
    /// Text in order that starts at RCV.NXT, a slice of the frame. It is not received until
    /// [`Tcb::handle_text`] says how much of it the application has consumed.
    pub text: &'a [u8],
}

impl Arrival<'_> {
    fn of(events: Events) -> Self {
        Self { events, text: &[] }
    }
}

impl Tcb {
    /// A segment of this connection, whole and with a right checksum.
    pub fn handle_segment<'a>(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'a>,
    ) -> Arrival<'a> {
        self.statistics.segs_in = self.statistics.segs_in.wrapping_add(1);
        let has_text = u32::from(!segment.payload.is_empty());
        self.statistics.data_segs_in = self.statistics.data_segs_in.wrapping_add(has_text);
        match self.state {
            State::Closed | State::Listen | State::TimeWait => Arrival::default(),
            State::SynSent => self.handle_in_syn_sent(cx, segment),
            _ => self.handle_otherwise(cx, segment),
        }
    }

    /// RFC 9293 section 3.10.7.3.
    fn handle_in_syn_sent<'a>(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'a>,
    ) -> Arrival<'a> {
        let header = &segment.header;
        let has_ack = header.flags.contains(Flags::ACK);
        let ack = Seq(header.ack);
        if has_ack && (ack.at_or_before(self.snd.iss) || ack.after(self.snd.nxt)) {
            // First check: the half-open connection of section 3.5.1 is told that it is one.
            cx.core.counters.ack_rejected += 1;
            return Arrival::of(Events::RESET_SENDER);
        }
        if header.flags.contains(Flags::RST) {
            if !has_ack {
                return Arrival::default();
            }
            self.finish(cx, Event::Reset, CloseReason::Refused);
            return Arrival::of(Events::CLOSED);
        }
        if !header.flags.contains(Flags::SYN) {
            return Arrival::default();
        }
        self.synchronize(cx, header);
        if !has_ack {
            // A simultaneous open. Text on the SYN will come again.
            self.transition(Event::Syn);
            self.pending.syn = true;
            self.timers
                .set(Timer::Retransmission, cx.now + self.rtt.rto());
            return Arrival::default();
        }
        self.transition(Event::SynAck);
        self.pending.ack = AckDue::Now;
        self.establish(cx, header);
        let mut events = Events::OPENED;
        self.handle_ack_of_early_text(cx, header, &mut events);
        let after_syn = Seq(header.seq) + 1;
        let text = self.handle_text_part(cx, after_syn, segment.payload, header.flags, &mut events);
        Arrival { events, text }
    }

    /// RFC 9293 section 3.10.7.4, in its order, with RFC 7323's and RFC 5961's changes.
    fn handle_otherwise<'a>(&mut self, cx: &mut Context<'_>, segment: &Segment<'a>) -> Arrival<'a> {
        let header = &segment.header;
        let seq = Seq(header.seq);
        let len = segment_length(segment);
        if !self.passes_paws(cx, segment) {
            return Arrival::default();
        }
        if self.is_crossing_syn_ack(header) {
            return self.handle_crossing_syn_ack(cx, segment);
        }
        if !self.is_acceptable(cx, seq, len, header.flags) {
            return Arrival::default();
        }
        if header.flags.contains(Flags::RST) {
            return self.handle_reset(cx, seq);
        }
        if header.flags.contains(Flags::SYN) {
            // RFC 5961 section 4.2: whatever the sequence number.
            cx.core.counters.syn_challenged += 1;
            self.challenge(cx);
            return Arrival::default();
        }
        if !header.flags.contains(Flags::ACK) {
            return Arrival::default();
        }
        let mut events = Events::NONE;
        if self.state == State::SynReceived {
            if !self.acknowledges_our_syn(cx, header) {
                return Arrival::of(Events::RESET_SENDER);
            }
            events |= Events::OPENED;
        }
        if !self.handle_ack(cx, segment, &mut events) {
            return Arrival::of(events);
        }
        events |= Events::ACCEPTED;
        // Only now: one forged TSval would have PAWS drop all that the peer sends.
        self.remember_timestamp(cx, header, seq);
        self.heard_at = millis(cx.now);
        self.restart_keepalive(cx.core, cx.now);
        self.unanswered_probes = 0;
        self.measure_receive_rtt(cx.core, cx.now, header, segment.payload.len());
        let text = self.handle_text_part(cx, seq, segment.payload, header.flags, &mut events);
        Arrival { events, text }
    }

    /// The last segment of a simultaneous open (RFC 9293 section 3.5; RFC 1122 section
    /// 4.2.2.10): the peer's SYN again, now with an acknowledgment of ours. Its sequence number is
    /// old, so that the first check would drop it, and both sides would answer each other for ever.
    fn is_crossing_syn_ack(&self, header: &Header) -> bool {
        self.state == State::SynReceived
            && !self.passive
            && header.flags.contains(Flags::SYN | Flags::ACK)
            && !header.flags.contains(Flags::RST)
            && Seq(header.seq) == self.rcv.irs
    }

    fn handle_crossing_syn_ack<'a>(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'a>,
    ) -> Arrival<'a> {
        // The window of a SYN is never scaled.
        let shift = std::mem::take(&mut self.snd.shift);
        let is_ours = self.acknowledges_our_syn(cx, &segment.header);
        self.snd.shift = shift;
        if !is_ours {
            return Arrival::of(Events::RESET_SENDER);
        }
        self.pending.ack = AckDue::Now;
        let mut events = Events::OPENED | Events::ACCEPTED;
        let (text, flags) = (segment.payload, segment.header.flags);
        let text = self.handle_text_part(cx, self.rcv.irs + 1, text, flags, &mut events);
        Arrival { events, text }
    }

    /// The peer's SYN, on a connection that is in SYN-SENT.
    fn synchronize(&mut self, cx: &mut Context<'_>, header: &Header) {
        self.negotiate(&cx.core.config, &header.options, cx.now);
        self.negotiate_ecn(&cx.core.config, header);
        self.start_receiving(Seq(header.seq));
        // The window of a SYN is never scaled (RFC 7323 section 2.2).
        self.snd.wnd = u32::from(header.window);
        self.snd.max_wnd = self.snd.wnd;
        self.snd.wl1 = Seq(header.seq);
    }

    pub(super) fn start_receiving(&mut self, irs: Seq) {
        self.rcv.irs = irs;
        self.rcv.nxt = irs + 1;
        self.rcv.acked = self.rcv.nxt;
        self.rcv.edge = self.rcv.nxt + self.rcv_limit.min(0xffff);
    }

    /// Our SYN is acknowledged.
    fn establish(&mut self, cx: &mut Context<'_>, header: &Header) {
        let retransmitted = self.rtt.expirations() > 0;
        if self.rtt.expirations() > 1 {
            // RFC 6928 section 2: one SYN sent again says little of the path, more of them do.
            self.controller.on_timeout(cx.now, 0, false);
        }
        if retransmitted {
            self.rtt.on_handshake_retransmitted();
        }
        self.measure_handshake(cx, header, retransmitted);
        self.advance_una(cx.core, self.snd.iss + 1);
        self.waiting_since = millis(cx.now);
        self.heard_at = millis(cx.now);
        self.snd.wl1 = Seq(header.seq);
        self.snd.wl2 = Seq(header.ack);
        self.pending.syn = false;
        self.end_early(cx, header, retransmitted);
        // Text that went with the SYN, or behind the SYN-ACK, may be in flight.
        self.restart_retransmission_timer(cx);
        self.restart_keepalive(cx.core, cx.now);
        cx.core.counters.established += 1;
    }

    /// The handshake's round trip: by our timestamp's echo, or by the time of the only SYN.
    fn measure_handshake(&mut self, cx: &Context<'_>, header: &Header, retransmitted: bool) {
        let rtt = if retransmitted || self.sent_at == Instant::FAR_FUTURE {
            self.rtt_by_timestamp(cx, header)
        } else {
            (self.sent_at > Instant::ZERO).then(|| cx.now.saturating_since(self.sent_at))
        };
        if let Some(rtt) = rtt {
            self.measure(cx.now, rtt);
        }
    }

    /// Fifth check, SYN-RECEIVED.
    fn acknowledges_our_syn(&mut self, cx: &mut Context<'_>, header: &Header) -> bool {
        let ack = Seq(header.ack);
        if !(ack.after(self.snd.una) && ack.at_or_before(self.snd.nxt)) {
            cx.core.counters.ack_rejected += 1;
            return false;
        }
        self.snd.wnd = u32::from(header.window) << self.snd.shift;
        self.snd.max_wnd = self.snd.max_wnd.max(self.snd.wnd);
        self.transition(Event::AckOfSyn);
        self.establish(cx, header);
        if self.snd.fin == FinState::Due {
            self.transition(Event::Close);
        }
        true
    }

    /// RFC 7323 section 5.3, R1.
    fn passes_paws(&mut self, cx: &mut Context<'_>, segment: &Segment<'_>) -> bool {
        let header = &segment.header;
        let Some(state) = self.timestamps else {
            return true;
        };
        if header.flags.contains(Flags::RST) {
            return true;
        }
        let Some(timestamps) = header.options.timestamps else {
            cx.core.counters.timestamps_missing += 1;
            return false;
        };
        let is_old = (timestamps.tsval.wrapping_sub(state.recent) as i32) < 0;
        let age = (cx.now.as_millis() as u32).wrapping_sub(state.recent_at);
        if is_old && age < TS_RECENT_LIFETIME_MS {
            cx.core.counters.paws_rejected += 1;
            self.answer_stray(cx, segment.payload.len());
            return false;
        }
        true
    }

    /// RFC 7323 section 4.3, rule (2).
    fn remember_timestamp(&mut self, cx: &Context<'_>, header: &Header, seq: Seq) {
        let acked = self.rcv.acked;
        if let (Some(state), Some(timestamps)) = (&mut self.timestamps, header.options.timestamps)
            && seq.at_or_before(acked)
        {
            state.recent = timestamps.tsval;
            state.recent_at = cx.now.as_millis() as u32;
        }
    }

    /// First check: the segment acceptability test of RFC 9293 section 3.4.
    fn is_acceptable(&mut self, cx: &mut Context<'_>, seq: Seq, len: u32, flags: Flags) -> bool {
        let window = self.rcv.edge.since(self.rcv.nxt);
        let acceptable = match (len, window) {
            // One more than the table: a peer that has filled the window sends its
            // acknowledgments from right behind it, also while some of its text is missing.
            (0, _) => seq.since(self.rcv.nxt) <= window,
            // Section 3.10.7.4: with a window of zero, acknowledgments and resets still count; the
            // text is trimmed away later.
            (_, 0) => seq == self.rcv.nxt,
            (_, _) => {
                seq.in_window(self.rcv.nxt, window)
                    || (seq + (len - 1)).in_window(self.rcv.nxt, window)
                    // Starts before the window and ends behind it.
                    || (seq.before(self.rcv.nxt) && (seq + len).at_or_after(self.rcv.edge))
            }
        };
        if acceptable {
            return true;
        }
        if flags.contains(Flags::RST) {
            return false;
        }
        if len > 0 && (seq + len).at_or_before(self.rcv.nxt) {
            // Wholly old: our ACK was lost, or the network has doubled it. RFC 5681 section 4.2
            // asks for an ACK at once.
            cx.core.counters.duplicates += 1;
            if flags.contains(Flags::SYN) && self.state == State::SynReceived {
                self.pending.syn = true;
            } else {
                let text = len - u32::from(flags.contains(Flags::FIN));
                self.report_duplicate(cx, seq, seq + text);
            }
        } else {
            // A probe (keepalive or zero-window) or a stranger: both get an ACK.
            cx.core.counters.out_of_window += 1;
            let is_text = !flags.contains(Flags::SYN);
            self.answer_stray(cx, if is_text { len as usize } else { 0 });
        }
        false
    }

    /// Second check: RFC 5961 section 3.2.
    fn handle_reset<'a>(&mut self, cx: &mut Context<'_>, seq: Seq) -> Arrival<'a> {
        if seq != self.rcv.nxt {
            cx.core.counters.rst_challenged += 1;
            self.challenge(cx);
            return Arrival::default();
        }
        let reason = match self.state {
            State::SynReceived if !self.passive => CloseReason::Refused,
            State::Closing | State::LastAck => CloseReason::Finished,
            _ => CloseReason::Reset,
        };
        self.finish(cx, Event::Reset, reason);
        Arrival::of(Events::CLOSED)
    }

    /// The ACK for a segment that is not acceptable and has so much text. Text gets one each time,
    /// as every duplicate does.
    fn answer_stray(&mut self, cx: &mut Context<'_>, text: usize) {
        if text > 0 {
            self.owe_duplicate_ack();
        } else {
            self.challenge(cx);
        }
    }

    /// A challenge ACK, within two limits. That of the core is RFC 5961 section 7's. That of the
    /// connection keeps two confused peers from answering each other's acknowledgments for ever;
    /// and without it one peer could use up the core's limit and learn, by counting what it gets,
    /// what others were sent (CVE-2016-5696).
    pub(super) fn challenge(&mut self, cx: &mut Context<'_>) {
        if elapsed(cx.now, self.challenged_at) < CHALLENGE_INTERVAL {
            cx.core.counters.challenge_acks_suppressed += 1;
            return;
        }
        self.challenged_at = millis(cx.now);
        if cx.core.may_challenge(cx.now) {
            self.owe_duplicate_ack();
        }
    }
}

/// SEG.LEN: text and the sequence numbers of SYN and FIN.
pub(super) fn segment_length(segment: &Segment<'_>) -> u32 {
    let flags = segment.header.flags;
    // A frame is far shorter than 2^32.
    segment.payload.len() as u32
        + u32::from(flags.contains(Flags::SYN))
        + u32::from(flags.contains(Flags::FIN))
}
