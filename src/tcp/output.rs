//! Everything that a connection sends is built here, and only here.

use super::buffers::BufferId;
use super::chrono::Sender;
use super::context::Context;
use super::duplicate_acks::Cause;
use super::input::Events;
use super::sack;
use super::seq::Seq;
use super::state::State;
use super::tcb::{AckDue, FinState, Tcb};
use super::timers::Timer;
use crate::wire::ecn::NOT_ECT;
use crate::wire::tcp::{Flags, Header, Options, Timestamps};

/// Two NOPs and the option's kind and length, then eight octets per block (RFC 2018 section 3).
const SACK_LEN: usize = 4;
const SACK_BLOCK_LEN: usize = 8;

/// One segment to send.
#[derive(Debug)]
pub struct Transmit {
    /// Its header.
    pub header: Header,
    /// Its text, if it has any.
    pub payload: Option<Payload>,
    /// The ECN field of its IP header.
    pub ecn: u8,
}

/// The text of an outgoing segment: what a buffer holds from `skip` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The buffer.
    pub buffer: BufferId,
    /// Octets at its beginning that are acknowledged already.
    pub skip: u16,
    /// Octets to send.
    pub len: u16,
}

impl Tcb {
    /// Whatever timer is due.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) -> Events {
        self.release_paced(cx.now);
        if self.timers.expired(Timer::DelayedAck, cx.now) {
            self.handle_delayed_ack_timeout();
        }
        if self.timers.expired(Timer::GiveUp, cx.now)
            && let Some(events) = self.handle_give_up_timeout(cx)
        {
            return events;
        }
        if self.timers.expired(Timer::Persist, cx.now) {
            if self.unanswered_probes >= cx.core.config.retransmissions {
                return self.time_out(cx);
            }
            self.handle_persist_timeout(cx);
        }
        if self.timers.expired(Timer::Keepalive, cx.now)
            && let Some(events) = self.handle_keepalive_timeout(cx)
        {
            return events;
        }
        if self.timers.expired(Timer::LossDetection, cx.now) {
            self.handle_loss_detection_timeout(cx);
        }
        if self.timers.expired(Timer::Retransmission, cx.now) {
            return self.handle_retransmission_timeout(cx);
        }
        Events::NONE
    }

    /// RFC 9293 section 3.8.6.1: probes go on for as long as they are answered (MUST-37), with a
    /// back-off that ends where that of the RTO does.
    fn handle_persist_timeout(&mut self, cx: &mut Context<'_>) {
        if self.snd.wnd > 0 {
            // RFC 1122 section 4.2.3.4 (4): the override timeout.
            self.pending.sws_override = true;
            return;
        }
        self.pending.probe = true;
        cx.core.counters.window_probes += 1;
        self.window_probes = self.window_probes.saturating_add(1);
        self.unanswered_probes = self.unanswered_probes.saturating_add(1);
        let timeout = self.rtt.persist_timeout(self.window_probes);
        self.timers.set(Timer::Persist, cx.now + timeout);
    }

    /// The next segment that is due, if there is one. Call again until there is none.
    pub fn poll_transmit(&mut self, cx: &mut Context<'_>) -> Option<Transmit> {
        let builder = SegmentBuilder {
            tcb: self,
            cx,
            cause: None,
        };
        builder.next()
    }
}

/// Builds one segment.
pub(super) struct SegmentBuilder<'a, 'b> {
    pub(super) tcb: &'a mut Tcb,
    pub(super) cx: &'a mut Context<'b>,
    /// What its SACK blocks speak of first.
    cause: Option<Cause>,
}

impl SegmentBuilder<'_, '_> {
    fn next(mut self) -> Option<Transmit> {
        if self.tcb.pending.reset {
            return Some(self.reset());
        }
        match self.tcb.state {
            State::Closed | State::Listen => return None,
            State::SynSent | State::SynReceived => {
                let syn = self.syn();
                if syn.is_some() || !self.tcb.sends_behind_syn_ack() {
                    return syn;
                }
            }
            _ => {}
        }
        if let Some(cause) = self.tcb.next_duplicate_ack(self.cx.core) {
            self.cause = cause;
            return Some(self.acknowledgment());
        }
        if self.tcb.pending.loss_probe
            && let Some(transmit) = self.loss_probe()
        {
            return Some(transmit);
        }
        if let Some(transmit) = self.retransmission() {
            return Some(transmit);
        }
        // New text must not take the congestion window from a retransmission that waits.
        if !self.tcb.pending.deferred
            && let Some(transmit) = self.new_text()
        {
            return Some(transmit);
        }
        if self.tcb.pending.probe {
            self.tcb.pending.probe = false;
            return Some(self.probe());
        }
        (self.tcb.pending.ack == AckDue::Now).then(|| self.acknowledgment())
    }

    /// RFC 9293 section 3.10.5: `<SEQ=SND.NXT><CTL=RST>`. The ACK bit costs nothing and satisfies
    /// middleboxes.
    fn reset(&mut self) -> Transmit {
        self.tcb.pending.reset = false;
        self.cx.core.counters.out_rsts += 1;
        self.transmit(self.tcb.snd.nxt, Flags::RST | Flags::ACK, None)
    }

    /// The first segment that was never sent, if both windows, Nagle and SWS avoidance let it.
    pub(super) fn new_text(&mut self) -> Option<Transmit> {
        let Some((seq, len)) = self
            .tcb
            .send
            .first_unsent(&self.cx.core.segments)
            .map(|s| (s.seq, s.len))
        else {
            self.tcb.note_app_limited();
            self.tcb.note_all_sent(self.cx);
            return self.fin_alone();
        };
        self.restart_after_idle();
        self.tcb.tend_path(self.cx.now);
        let len = self.tcb.cut_unsent(self.cx, seq, len)?;
        let len = self.sendable(seq, len)?;
        if !self.tcb.pacing_allows(self.cx.now) {
            return None;
        }
        let tcb = &mut *self.tcb;
        let buffer = tcb.send.first_unsent(&self.cx.core.segments)?.buffer.id();
        let is_last = tcb.send.is_last_unsent();
        let departure = tcb.on_departure(self.cx.now, u32::from(len));
        tcb.send
            .mark_sent(&mut self.cx.core.segments, self.cx.now, departure);
        tcb.snd.nxt = tcb.snd.nxt.max(seq + u32::from(len));
        tcb.sent_at = self.cx.now;
        tcb.note_answer(self.cx);
        tcb.pending.sws_override = false;
        // In SYN-RECEIVED the FIN waits for the handshake (RFC 9293 section 3.10.4).
        let fin = is_last && tcb.snd.fin == FinState::Due && tcb.state != State::SynReceived;
        if fin {
            tcb.snd.fin = FinState::Sent;
            tcb.snd.nxt += 1;
        }
        tcb.timers.stop(Timer::Persist);
        self.arm_retransmission();
        let payload = Payload {
            buffer,
            skip: 0,
            len,
        };
        let (flags, ecn) = self.tcb.mark_new_text();
        let flags = flags | self.text_flags(seq, len, fin);
        Some(self.transmit_marked(seq, flags, Some(payload), ecn))
    }

    /// How many octets of the next segment may go now.
    fn sendable(&mut self, seq: Seq, len: u16) -> Option<u16> {
        let tcb = &mut *self.tcb;
        let pipe = tcb.pipe();
        // What has left the network lets new text go before it is said to be lost: that is limited
        // transmit (RFC 3042).
        let is_probe = tcb.pending.loss_probe;
        tcb.spends_time(self.cx, Sender::Busy);
        if pipe > 0 && pipe + u32::from(len) > tcb.controller.cwnd() && !is_probe {
            return None;
        }
        let edge = tcb.snd.una + tcb.snd.wnd;
        let usable = if seq.before(edge) { edge.since(seq) } else { 0 };
        if usable >= u32::from(len) {
            // RFC 9293 section 3.7.4: a small segment waits while others are in flight.
            let is_small = len < tcb.smss && tcb.send.is_last_unsent();
            // The SYN is in flight, but no segment that text could wait for.
            let syn = u32::from(tcb.state == State::SynReceived);
            let waits = !tcb.nodelay && tcb.snd.fin == FinState::None && tcb.flight_size() > syn;
            if is_small && tcb.is_corked() {
                tcb.arm_uncork(self.cx.now);
                return None;
            }
            let nagle = is_small && waits;
            return (!nagle || is_probe).then_some(len);
        }
        // RFC 9293 section 3.8.6.2.1: a part of a segment is worth sending if it is half of the
        // largest window ever offered, or when the persist timer says so.
        let worthwhile = usable > 0 && (usable >= tcb.snd.max_wnd / 2 || tcb.pending.sws_override);
        if worthwhile {
            // Less than `len`, which is a u16.
            let at = usable as u16;
            if tcb
                .send
                .split_unsent(&mut self.cx.core.segments, self.cx.buffers, at)
            {
                return Some(at);
            }
        }
        tcb.spends_time(self.cx, Sender::RwndLimited);
        if tcb.flight_size() == 0 && !tcb.timers.is_set(Timer::Persist) {
            let timeout = tcb.rtt.persist_timeout(tcb.window_probes);
            tcb.timers.set(Timer::Persist, self.cx.now + timeout);
        }
        None
    }

    /// A FIN that no text can carry.
    fn fin_alone(&mut self) -> Option<Transmit> {
        let tcb = &mut *self.tcb;
        if tcb.snd.fin != FinState::Due || tcb.state == State::SynReceived {
            return None;
        }
        let text_is_out =
            tcb.send.lost() == 0 && tcb.send.first_unsent(&self.cx.core.segments).is_none();
        if !text_is_out {
            return None;
        }
        if self.fin_was_sent() {
            self.count_retransmission(0);
        }
        self.tcb.snd.fin = FinState::Sent;
        self.tcb.snd.nxt = self.tcb.snd.end + 1;
        self.arm_retransmission();
        Some(self.transmit(self.tcb.snd.end, Flags::FIN | Flags::ACK, None))
    }

    pub(super) fn fin_was_sent(&self) -> bool {
        self.tcb.snd.nxt.after(self.tcb.snd.end)
    }

    pub(super) fn acknowledgment(&mut self) -> Transmit {
        self.transmit(self.tcb.snd.nxt, Flags::ACK, None)
    }

    /// A segment that is not acceptable to the peer, so that it must answer with its state
    /// (RFC 9293 sections 3.8.4 and 3.10.7.4). Without an octet of text, as Linux does it: text
    /// beyond a closed window would only be thrown away and sent again.
    fn probe(&mut self) -> Transmit {
        self.transmit(self.tcb.snd.una - 1, Flags::ACK, None)
    }

    /// RFC 5681 section 4.1: after an RTO of silence the window is not proven any more.
    fn restart_after_idle(&mut self) {
        let tcb = &mut *self.tcb;
        if tcb.flight_size() > 0 {
            return;
        }
        let idle = self.cx.now.saturating_since(tcb.sent_at);
        let rto = tcb.rtt.rto();
        if idle > rto {
            tcb.controller.on_idle(self.cx.now, idle, rto);
        }
    }

    /// RFC 6298 rule 5.1.
    pub(super) fn arm_retransmission(&mut self) {
        if !self.tcb.timers.is_set(Timer::Retransmission) {
            self.tcb
                .timers
                .set(Timer::Retransmission, self.cx.now + self.tcb.rtt.rto());
        }
        self.tcb.schedule_probe_after_sending(self.cx.now);
    }

    pub(super) fn text_segment(&mut self, seq: Seq, payload: Payload, fin: bool) -> Transmit {
        let flags = self.text_flags(seq, payload.len, fin);
        self.transmit(seq, flags, Some(payload))
    }

    fn text_flags(&self, seq: Seq, len: u16, fin: bool) -> Flags {
        let is_last = seq + u32::from(len) == self.tcb.snd.end;
        let mut flags = Flags::ACK;
        if is_last {
            flags = flags | Flags::PSH;
        }
        if fin {
            flags = flags | Flags::FIN;
        }
        flags
    }

    pub(super) fn transmit(
        &mut self,
        seq: Seq,
        flags: Flags,
        payload: Option<Payload>,
    ) -> Transmit {
        self.transmit_marked(seq, flags, payload, NOT_ECT)
    }

    /// Every segment but SYN and SYN-ACK goes through here: it acknowledges and advertises.
    fn transmit_marked(
        &mut self,
        seq: Seq,
        flags: Flags,
        payload: Option<Payload>,
        ecn: u8,
    ) -> Transmit {
        let options = self.options(payload.map_or(0, |payload| usize::from(payload.len)));
        let window = self.window();
        let tcb = &mut *self.tcb;
        tcb.note_acknowledgment();
        tcb.statistics.segs_out = tcb.statistics.segs_out.wrapping_add(1);
        let has_text = u32::from(payload.is_some());
        tcb.statistics.data_segs_out = tcb.statistics.data_segs_out.wrapping_add(has_text);
        self.cx.core.counters.out_segs += 1;
        Transmit {
            header: Header {
                seq: seq.0,
                ack: tcb.rcv.nxt.0,
                flags: flags | tcb.echo(flags),
                window: window as u16,
                urgent: 0,
                options,
            },
            payload,
            ecn,
        }
    }

    /// The window field, and with it the right edge that we are held to.
    fn window(&mut self) -> u32 {
        let free = self.tcb.free_window(self.cx);
        let edge = self.tcb.window_edge(self.cx, free);
        let rcv = &mut self.tcb.rcv;
        let unit = 1 << rcv.shift;
        let window = edge.since(rcv.nxt);
        // Rounded up, so that the right edge does not move left by a fraction of the unit; but
        // not again and again, or small segments would lift it beyond all memory.
        let rounded = window.next_multiple_of(unit);
        let window = if rounded <= free.next_multiple_of(unit) {
            rounded
        } else {
            window
        };
        let field = (window >> rcv.shift).min(0xffff);
        rcv.edge = rcv.edge.max(rcv.nxt + (field << rcv.shift));
        field
    }

    fn options(&self, text_len: usize) -> Options {
        let tcb = &*self.tcb;
        let timestamps = tcb.timestamps.map(|state| Timestamps {
            tsval: state.tsval(self.cx.now),
            tsecr: state.recent,
        });
        let mut options = Options {
            timestamps,
            ..Options::default()
        };
        if tcb.sack && (tcb.receive.is_some() || self.cause.is_some()) {
            // Blocks never push a segment over the path's MTU.
            let left = usize::from(tcb.smss).saturating_sub(text_len + SACK_LEN);
            let room = options.sack_room().min(left / SACK_BLOCK_LEN);
            let ranges = match tcb.receive {
                Some(id) => self.cx.core.receive.ranges(id),
                None => &[],
            };
            options.sack = sack::blocks(ranges, tcb.rcv.nxt, room, self.cause);
        }
        options
    }
}
