//! The acknowledgment of a segment (RFC 9293 section 3.10.7.4, fifth check; RFC 5681; RFC 6298).

use super::context::Context;
use super::input::{Events, segment_length};
use super::liveness::millis;
use super::loss::News;
use super::seq::Seq;
use super::state::{Event, State};
use super::tcb::{CloseReason, FinState, Tcb};
use super::timers::Timer;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Header, Segment};

impl Tcb {
    /// Takes SEG.ACK and SEG.WND. Returns whether the segment's text is to be looked at.
    pub(super) fn handle_ack(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
        events: &mut Events,
    ) -> bool {
        let header = &segment.header;
        let ack = Seq(header.ack);
        // RFC 5961 section 5.2.
        if ack.after(self.snd.nxt) || ack.before(self.snd.una - self.snd.max_wnd) {
            cx.core.counters.ack_rejected += 1;
            self.challenge(cx);
            return false;
        }
        let mut news = self.no_news(cx, header);
        news.is_duplicate = self.is_duplicate_ack(segment, ack);
        self.take_window(header, ack);
        if ack.after(self.snd.una) {
            self.handle_new_ack(cx, ack, &mut news, events);
        }
        if self.state == State::Closed {
            return false;
        }
        if self.sack && !header.options.sack.is_empty() {
            self.take_sack_blocks(cx, header, &mut news);
        }
        if self.is_news(&news) {
            self.measure_rtt(cx, header, &mut news);
            if news.acked > 0 {
                self.restart_retransmission_timer(cx);
            }
            self.recover(cx, &news);
        }
        true
    }

    fn no_news(&self, cx: &Context<'_>, header: &Header) -> News {
        let tsecr = header.options.timestamps.map(|option| option.tsecr);
        News {
            acked: 0,
            is_duplicate: false,
            flight_size: self.flight_size(),
            was_sacked: self.send.sacked(),
            sacked: 0,
            marked: self.is_echo(header),
            dsack: None,
            delivered: self.nothing_delivered(cx.now, tsecr.filter(|&tsecr| tsecr != 0)),
            rtt: None,
        }
    }

    /// What was sent once may have waited at the peer for what was sent twice.
    fn measure_rtt(&mut self, cx: &Context<'_>, header: &Header, news: &mut News) {
        news.rtt = if !news.delivered.is_ambiguous() {
            news.delivered.rtt()
        } else if news.acked > 0 {
            self.rtt_by_timestamp(cx, header)
        } else {
            None
        };
        if let Some(rtt) = news.rtt {
            self.measure(cx.now, rtt);
        }
    }

    /// A round trip is measured.
    pub(super) fn measure(&mut self, now: Instant, rtt: Duration) {
        self.rtt.on_measurement(now, rtt);
        self.pending.rtt_after_probe = false;
    }

    /// RFC 5681 section 2, DUPLICATE ACKNOWLEDGMENT.
    fn is_duplicate_ack(&self, segment: &Segment<'_>, ack: Seq) -> bool {
        ack == self.snd.una
            && self.flight_size() > 0
            && segment_length(segment) == 0
            && u32::from(segment.header.window) << self.snd.shift == self.snd.wnd
    }

    fn take_window(&mut self, header: &Header, ack: Seq) {
        let seq = Seq(header.seq);
        let is_newer =
            self.snd.wl1.before(seq) || (self.snd.wl1 == seq && self.snd.wl2.at_or_before(ack));
        if !is_newer || ack.before(self.snd.una) {
            return;
        }
        let was_closed = self.snd.wnd == 0;
        self.snd.wnd = u32::from(header.window) << self.snd.shift;
        self.snd.max_wnd = self.snd.max_wnd.max(self.snd.wnd);
        self.snd.wl1 = seq;
        self.snd.wl2 = ack;
        if self.snd.wnd == 0 || (ack + self.snd.wnd).before(self.snd.nxt) {
            // What is in flight may lie beyond a window that has shrunk: that the peer answers is
            // enough (RFC 9293 section 3.8.6, SHLD-17, and section 3.8.6.1, MUST-37).
            self.rtt.on_progress();
        }
        if was_closed && self.snd.wnd > 0 {
            // Not for each acknowledgment, or a peer that sends many of them could put off the
            // override of the sender's SWS avoidance for ever.
            self.timers.stop(Timer::Persist);
            self.window_probes = 0;
        }
    }

    /// The acknowledgment of our SYN covers text that went with it (RFC 7413).
    pub(super) fn handle_ack_of_early_text(
        &mut self,
        cx: &mut Context<'_>,
        header: &Header,
        events: &mut Events,
    ) {
        let ack = Seq(header.ack);
        if !ack.after(self.snd.una) {
            return;
        }
        let mut news = self.no_news(cx, header);
        self.handle_new_ack(cx, ack, &mut news, events);
        self.restart_retransmission_timer(cx);
        self.recover(cx, &news);
    }

    /// Something new is acknowledged.
    fn handle_new_ack(
        &mut self,
        cx: &mut Context<'_>,
        ack: Seq,
        news: &mut News,
        events: &mut Events,
    ) {
        news.acked = ack.since(self.snd.una);
        // The FIN has a sequence number, but no segment in the queue.
        let fin_acked = self.snd.fin != FinState::None && ack.after(self.snd.end);
        self.send
            .acknowledge(&mut cx.core.segments, cx.buffers, ack, &mut news.delivered);
        self.note_acknowledged(cx);
        self.advance_una(cx.core, ack);
        self.waiting_since = millis(cx.now);
        self.on_path_progress(cx, news.delivered.largest());
        self.rtt.on_progress();
        if self.wants_send {
            *events |= Events::WRITABLE;
        }
        if fin_acked {
            // It may have been due once more.
            self.snd.fin = FinState::Sent;
            self.handle_ack_of_fin(cx, events);
        }
    }

    /// RTTM (RFC 7323 section 4.1) for what Karn's algorithm excludes: the echo tells which
    /// transmission is acknowledged, if only to the millisecond. Rounded up: the least round trip must
    /// not be less than there has ever been, or none at all.
    pub(super) fn rtt_by_timestamp(&self, cx: &Context<'_>, header: &Header) -> Option<Duration> {
        let (state, timestamps) = (self.timestamps?, header.options.timestamps?);
        let elapsed = state.tsval(cx.now).wrapping_sub(timestamps.tsecr);
        // An echo from the future, or from before our last reboot, is a lie.
        let is_credible = timestamps.tsecr != 0 && elapsed < 1 << 24;
        is_credible.then(|| Duration::from_millis(u64::from(elapsed) + 1))
    }

    fn handle_ack_of_fin(&mut self, cx: &mut Context<'_>, events: &mut Events) {
        match self.state {
            State::FinWait1 => {
                self.transition(Event::AckOfFin);
                self.start_fin_wait_2(cx);
            }
            State::Closing => self.enter_time_wait(cx, Event::AckOfFin),
            State::LastAck => {
                self.finish(cx, Event::AckOfFin, CloseReason::Finished);
                *events |= Events::CLOSED;
            }
            _ => {}
        }
    }

    /// TIME-WAIT needs only what [`TimeWait`](super::TimeWait) keeps.
    pub(super) fn enter_time_wait(&mut self, cx: &mut Context<'_>, event: Event) {
        self.transition(event);
        self.stop_timers();
        cx.core.counters.time_wait += 1;
    }
}
