//! What an application may do with a connection: the user calls of RFC 9293 section 3.9.1 (OPEN,
//! SEND, RECEIVE, CLOSE, ABORT), as sections 3.10.1 to 3.10.5 have them.

use super::buffers::{BufferId, Buffers};
use super::context::{Context, Core};
use super::options::{BufferLimit, Linger};
use super::receive_queue::Readable;
use super::state::{Event, State};
use super::tcb::{CloseReason, FinState, Tcb};
use super::timers::Timer;
use crate::time::{Duration, Instant};

/// Buffers that every connection may hold, however small its window.
const LEAST_SEND_BUFFERS: usize = 64;
/// The most, whatever the options: they are counted by 16 bits, and a limit of the send buffer in
/// octets is one of memory, not of tiny segments.
const MOST_SEND_BUFFERS: usize = 32_768;
/// How long a segment that is not full may be held back (TCP_CORK of Linux).
const CORK_TIMEOUT: Duration = Duration::from_millis(200);

impl Tcb {
    /// Queues as much of `data` as limits allow and returns that number. After less than all of
    /// it, [`Events::WRITABLE`](super::Events::WRITABLE) follows.
    pub fn send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> usize {
        let mut sent = 0;
        while sent < data.len() {
            let Some(room) = self.tail_room(cx) else {
                break;
            };
            let piece = &data[sent..data.len().min(sent + room.octets)];
            match room.append(self, cx, &mut |buffers, id| buffers.append(id, piece)) {
                None | Some(0) => break,
                Some(appended) => sent += appended,
            }
        }
        self.wants_send = sent < data.len() && self.may_send();
        sent
    }

    /// Lets `fill` write at most `limit` octets straight into segments, in pieces. It returns how
    /// many octets it wrote; less than it was offered ends the call. Returns the total. After less
    /// than `limit` because of a limit of ours, `Events::WRITABLE` follows.
    pub fn send_with(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> usize {
        let mut sent = 0;
        self.wants_send = false;
        while sent < limit {
            let written = self.tail_room(cx).and_then(|room| {
                let offered = room.octets.min(limit - sent);
                let mut write =
                    |buffers: &mut dyn Buffers, id| buffers.append_with(id, offered, fill);
                Some((offered, room.append(self, cx, &mut write)?))
            });
            let Some((offered, written)) = written else {
                self.wants_send = self.may_send();
                break;
            };
            sent += written;
            if written < offered {
                break;
            }
        }
        sent
    }

    /// The application has no more to send: a FIN follows what is queued (half-close).
    pub fn shutdown(&mut self, cx: &mut Context<'_>) {
        match self.state {
            State::SynSent => self.finish(cx, Event::Close, CloseReason::Aborted),
            // RFC 9293 section 3.10.4: queued until the connection is established.
            State::SynReceived => self.snd.fin = FinState::Due,
            State::Established | State::CloseWait => {
                let waits_already = self.is_waiting();
                self.snd.fin = FinState::Due;
                if !waits_already {
                    self.start_waiting(cx);
                }
                self.transition(Event::Close);
            }
            _ => {}
        }
    }

    /// The application is done in both directions. Text that it has not read, or that arrives
    /// later, resets the connection, so that the peer learns of the loss (RFC 9293 section 3.6.1,
    /// RFC 2525 section 2.17).
    pub fn close(&mut self, cx: &mut Context<'_>) {
        self.closed = true;
        if self.unread(cx.core) > 0 || self.options(cx.core).linger == Linger::Reset {
            return self.abort(cx);
        }
        self.shutdown(cx);
        self.start_orphan(cx);
    }

    /// Resets the connection (ABORT of RFC 9293 section 3.9.1).
    pub fn abort(&mut self, cx: &mut Context<'_>) {
        let reset = match self.state {
            State::Closed | State::Listen | State::SynSent | State::TimeWait => false,
            // The RFC would fall silent in CLOSING and LAST-ACK, too; the peer would go on alone.
            _ => true,
        };
        if self.state != State::Closed {
            self.finish(cx, Event::Reset, CloseReason::Aborted);
            self.pending.reset = reset;
        }
        self.release(cx);
    }

    /// Ends a connection that waits only for the peer's FIN, of which the application wants to hear
    /// nothing: all that it sent is acknowledged. Says nothing to the peer. Returns whether it was
    /// one.
    pub fn forget_orphan(&mut self, cx: &mut Context<'_>) -> bool {
        let is_orphan = self.closed && self.state == State::FinWait2;
        if is_orphan {
            self.finish(cx, Event::Reset, CloseReason::Finished);
        }
        is_orphan
    }

    /// The next piece of text that waits for the application; [`consume`](Self::consume) gives it
    /// back.
    pub fn readable(&self, core: &mut Core) -> Option<Readable> {
        self.receive.and_then(|id| core.receive.take(id))
    }

    /// Gives `readable` back, of which `consumed` octets are not needed any more.
    pub fn consume(&mut self, cx: &mut Context<'_>, readable: Readable, consumed: usize) {
        let Some(id) = self.receive else { return };
        cx.core.receive.put_back(id, readable, consumed);
        let is_unread = cx.core.receive.contiguous(id) > 0;
        if self.closed && is_unread {
            return self.abort(cx);
        }
        if self.state == State::Closed && !is_unread {
            return self.release(cx);
        }
        self.drop_empty_receive_queue(cx.core);
        self.tune_window(cx.core, cx.now);
        self.update_window(cx);
    }

    /// Where the next octets go: the last unsent segment, or a new one.
    fn tail_room(&mut self, cx: &mut Context<'_>) -> Option<TailRoom> {
        if !self.may_send() || self.has_enough_unsent(cx) {
            return None;
        }
        let capacity = u16::try_from(cx.buffers.capacity()).unwrap_or(u16::MAX);
        if let Some(tail) = self.send.unsent_tail(&mut cx.core.segments) {
            let full = self.segment_limit(tail.seq).min(capacity);
            let left = usize::from(full.saturating_sub(tail.len));
            let octets = left.min(cx.buffers.room(tail.buffer.id()));
            if octets > 0 {
                return Some(TailRoom {
                    octets,
                    joins_tail: true,
                });
            }
        }
        let full = self.smss.min(capacity);
        self.may_hold_another(cx, full).then(|| TailRoom {
            octets: usize::from(self.begin_segment(cx).min(capacity)),
            joins_tail: false,
        })
    }

    /// Whether the connection may hold one more buffer, of which a full one has `full` octets. What
    /// counts is buffers and not octets: one octet can pin a frame.
    fn may_hold_another(&self, cx: &Context<'_>, full: u16) -> bool {
        let (octets, least) = match self.options(cx.core).send_buffer {
            // What is in flight, and as much to follow it, as Linux has it. Small text must not wait
            // for acknowledgments of what fits into one segment.
            BufferLimit::Auto(most) => (
                most.min(self.controller.cwnd().saturating_mul(2)),
                LEAST_SEND_BUFFERS,
            ),
            BufferLimit::Fixed(octets) => (octets, 1),
        };
        let held = usize::from(self.send.segments());
        let fits = (held as u64 + 1) * u64::from(full.max(1)) <= u64::from(octets);
        // No connection may hold more than a quarter of what is left, so that the last frames are
        // shared by all.
        let share = 2 + cx.buffers.available() / 4;
        (fits || held < least) && held < share.min(MOST_SEND_BUFFERS)
    }

    /// Whether a limit on what it may hold keeps the application from writing more.
    pub(super) fn has_full_buffer(&self, cx: &Context<'_>) -> bool {
        let capacity = u16::try_from(cx.buffers.capacity()).unwrap_or(u16::MAX);
        !self.may_hold_another(cx, self.smss.min(capacity))
    }

    /// Whether as much as the application wants is written and not sent.
    fn has_enough_unsent(&self, cx: &Context<'_>) -> bool {
        let unsent = self.unsent();
        let lowat = self.options(cx.core).notsent_lowat;
        lowat.is_some_and(|lowat| unsent >= lowat.max(1))
    }

    /// Octets written and not sent.
    pub(super) fn unsent(&self) -> u32 {
        let sent = self.snd.nxt.max(self.snd.iss + 1).min(self.snd.end);
        self.snd.end.since(sent)
    }

    /// Whether a segment that is not full waits for more (TCP_CORK). A FIN sends it.
    pub(super) fn is_corked(&self) -> bool {
        self.cork && self.snd.fin == FinState::None && !self.pending.sws_override
    }

    /// What is corked does not wait for ever. While something is in flight its acknowledgment comes
    /// first.
    pub(super) fn arm_uncork(&mut self, now: Instant) {
        if self.flight_size() == 0 && !self.timers.is_set(Timer::Persist) {
            self.timers.set(Timer::Persist, now + CORK_TIMEOUT);
        }
    }
}

/// Room behind what is queued.
struct TailRoom {
    octets: usize,
    joins_tail: bool,
}

impl TailRoom {
    /// Has `write` put octets there and returns their number; `None` if no buffer is free.
    fn append(
        &self,
        tcb: &mut Tcb,
        cx: &mut Context<'_>,
        write: &mut dyn FnMut(&mut dyn Buffers, BufferId) -> usize,
    ) -> Option<usize> {
        let segments = &mut cx.core.segments;
        let written = match tcb.send.unsent_tail(segments) {
            Some(tail) if self.joins_tail => {
                let written = write(cx.buffers, tail.buffer.id());
                tail.len += written as u16;
                written
            }
            _ => {
                let buffer = cx.buffers.allocate()?;
                let written = write(cx.buffers, buffer.id());
                if written == 0 {
                    cx.buffers.release(buffer);
                } else {
                    let (end, len) = (tcb.snd.end, written as u16);
                    tcb.send.push(segments, cx.now, buffer, end, len);
                }
                written
            }
        };
        tcb.note_written(cx);
        let waits_already = tcb.is_waiting();
        tcb.snd.end += written as u32;
        if !waits_already {
            tcb.start_waiting(cx);
        }
        Some(written)
    }
}
