//! One connection and its application, joined for the time of one event.

use super::ConnectError;
use super::service::{AnyService, Panicked, Socket};
use crate::tcp::{Buffers, CloseReason, Context, Core, Events, State, Tcb};
use crate::time::Instant;
use crate::wire::icmp::IcmpError;
use crate::wire::tcp::Segment;
use crate::wire::{FlowKey, Link};

/// No application state yet.
const UNOPENED: u32 = u32::MAX;

/// A connection as the stack keeps it.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) tcb: Tcb,
    /// The way back: where the peer's last valid segment came from.
    pub(super) link: Link,
    /// Index of its queue in the stack.
    pub(super) queue: u8,
    /// Index of its service in the stack.
    pub(super) service: u16,
    /// What the wheel is set to, kept here because the wheel is another cache miss;
    /// [`Instant::FAR_FUTURE`] if it is not, as far as the connection knows.
    pub(super) wheel_deadline: Instant,
    /// The service's name for it.
    connection: u32,
    /// On the list of flows that may have something to send.
    pub(super) dirty: bool,
    /// On the list of flows that wait for frames.
    pub(super) starved: bool,
    peer_close_told: bool,
    /// An active open: what its service knows it by.
    token: Option<Box<u64>>,
    /// That service has yet to hear how it went.
    opening: bool,
    /// It counts as pending in its listener: a Fast Open that is not established.
    pub(super) fast_open: bool,
}

impl Flow {
    /// An active open.
    pub(super) fn opened_by(token: u64, tcb: Tcb, link: Link, queue: u8, service: u16) -> Self {
        Self {
            token: Some(Box::new(token)),
            opening: true,
            ..Self::new(tcb, link, queue, service)
        }
    }

    pub(super) fn new(tcb: Tcb, link: Link, queue: u8, service: u16) -> Self {
        Self {
            tcb,
            link,
            queue,
            service,
            wheel_deadline: Instant::FAR_FUTURE,
            connection: UNOPENED,
            dirty: false,
            starved: false,
            peer_close_told: false,
            token: None,
            opening: false,
            fast_open: false,
        }
    }

    /// When the application wants to hear of the connection.
    pub(super) fn application_deadline(
        &self,
        service: &mut dyn AnyService,
    ) -> Result<Option<Instant>, Panicked> {
        match self.connection == UNOPENED || self.tcb.state() == State::Closed {
            true => Ok(None),
            false => service.deadline(self.connection),
        }
    }

    /// The same, for those who only look.
    #[cfg(any(test, fuzzing))]
    pub(super) fn peek_application_deadline(&self, service: &dyn AnyService) -> Option<Instant> {
        let is_over = self.connection == UNOPENED || self.tcb.state() == State::Closed;
        service.peek_deadline(self.connection).filter(|_| !is_over)
    }
}

/// See the module.
pub(super) struct Conversation<'a> {
    pub(super) flow: &'a mut Flow,
    pub(super) key: &'a FlowKey,
    pub(super) service: &'a mut dyn AnyService,
    pub(super) buffers: &'a mut dyn Buffers,
    pub(super) core: &'a mut Core,
    pub(super) now: Instant,
}

impl Conversation<'_> {
    /// An ICMP error about a segment of this connection has arrived.
    pub(super) fn handle_icmp(&mut self, seq: u32, error: IcmpError) {
        let mut cx = Context {
            now: self.now,
            buffers: self.buffers,
            core: self.core,
        };
        self.flow.tcb.handle_icmp(&mut cx, self.key, seq, error);
    }

    /// A segment of this connection has arrived; `ecn` is what its IP header says.
    pub(super) fn handle_segment(&mut self, link: &Link, segment: &Segment<'_>, ecn: u8) -> Events {
        let mut cx = Context {
            now: self.now,
            buffers: self.buffers,
            core: self.core,
        };
        let arrival = self.flow.tcb.handle_marked_segment(&mut cx, segment, ecn);
        if arrival.events.contains(Events::ACCEPTED) && self.flow.link != *link {
            self.flow.link = *link;
        }
        // A Fast Open is open since its SYN.
        if arrival.events.contains(Events::OPENED) && self.flow.connection == UNOPENED {
            self.open();
        }
        if arrival.text.is_empty() {
            self.offer_unread();
        } else {
            self.deliver(arrival.text);
        }
        if arrival.events.contains(Events::WRITABLE) {
            self.tell_writable();
        }
        self.tell_peer_close();
        arrival.events
    }

    /// The connection exists since a SYN that has brought this text (RFC 7413).
    pub(super) fn handle_text_on_syn(&mut self, text: &[u8]) {
        let arrival = self.flow.tcb.handle_text_on_syn(text);
        self.open();
        self.deliver(arrival.text);
    }

    pub(super) fn handle_timeout(&mut self) {
        let mut cx = Context {
            now: self.now,
            buffers: self.buffers,
            core: self.core,
        };
        self.flow.tcb.handle_timeout(&mut cx);
    }

    /// Tells the application that its own deadline has come, if it has.
    pub(super) fn handle_application_timeout(&mut self) {
        let Ok(due) = self.flow.application_deadline(self.service) else {
            return self.give_up();
        };
        if due.is_some_and(|due| due <= self.now) {
            let connection = self.flow.connection;
            self.with_service(|service, socket| service.on_timer(connection, socket));
            self.offer_unread();
            self.tell_peer_close();
        }
    }

    /// There is room to send again.
    pub(super) fn tell_writable(&mut self) {
        if self.is_open() {
            let connection = self.flow.connection;
            self.with_service(|service, socket| service.on_writable(connection, socket));
            self.offer_unread();
            self.tell_peer_close();
        }
    }

    /// The connection is gone for its application, which has a last chance to read what is left.
    pub(super) fn tell_close(&mut self) {
        self.offer_unread();
        self.tell_peer_close();
        let connection = std::mem::replace(&mut self.flow.connection, UNOPENED);
        if connection != UNOPENED {
            self.service
                .on_close(connection, self.flow.tcb.close_reason());
        } else if let Some(token) = self.flow.token.as_deref().copied()
            && std::mem::take(&mut self.flow.opening)
        {
            let error = ConnectError::Failed(self.flow.tcb.close_reason());
            self.service
                .on_connect_failed(self.key.remote_addr(), token, error);
        }
    }

    /// Gives back all that the connection holds.
    pub(super) fn release(&mut self) {
        let mut cx = Context {
            now: self.now,
            buffers: self.buffers,
            core: self.core,
        };
        self.flow.tcb.release(&mut cx);
    }

    /// Closes the connection if nothing is on its way in either direction, and forgets it if only
    /// the peer is left to close, or to answer our SYN.
    pub(super) fn wind_down(&mut self) {
        if self.flow.tcb.state() == State::SynSent {
            return self.abort();
        }
        let tcb = &self.flow.tcb;
        let is_open = matches!(tcb.state(), State::Established | State::CloseWait);
        // With nothing queued, it may still have more to send than there are frames for.
        let is_idle = tcb.unread(self.core) == 0 && !tcb.has_unacknowledged() && !tcb.is_starved();
        let mut cx = Context {
            now: self.now,
            buffers: self.buffers,
            core: self.core,
        };
        if is_open && is_idle {
            self.flow.tcb.close(&mut cx);
        } else {
            self.flow.tcb.forget_orphan(&mut cx);
        }
    }

    pub(super) fn abort(&mut self) {
        let mut cx = Context {
            now: self.now,
            buffers: self.buffers,
            core: self.core,
        };
        self.flow.tcb.abort(&mut cx);
    }

    /// A callback has panicked: resets the connection, of which its application hears no more.
    pub(super) fn give_up(&mut self) {
        let connection = std::mem::replace(&mut self.flow.connection, UNOPENED);
        if connection != UNOPENED {
            self.service.forget(connection);
        }
        // A TIME-WAIT is nobody's but ours.
        if self.flow.tcb.state() != State::TimeWait {
            self.abort();
        }
    }

    fn open(&mut self) {
        self.flow.opening = false;
        if let Some(connection) = self.with_service(|service, socket| service.on_open(socket)) {
            self.flow.connection = connection;
        }
    }

    /// In-order text goes to the application as a slice of the frame, unless older text waits.
    fn deliver(&mut self, text: &[u8]) {
        let waits = self.flow.tcb.unread(self.core) > 0;
        let consumed = if waits || !self.is_open() {
            0
        } else {
            self.offer(text)
        };
        let mut cx = Context {
            now: self.now,
            buffers: self.buffers,
            core: self.core,
        };
        self.flow.tcb.handle_text(&mut cx, text, consumed);
        self.offer_unread();
    }

    fn offer(&mut self, text: &[u8]) -> usize {
        let connection = self.flow.connection;
        self.with_service(|service, socket| service.on_data(connection, socket, text))
            .map_or(0, |consumed| consumed.min(text.len()))
    }

    fn offer_unread(&mut self) {
        while self.is_open()
            && let Some(readable) = self.flow.tcb.readable(self.core)
        {
            let offered = readable.len();
            let consumed = self.offer(&readable);
            let mut cx = Context {
                now: self.now,
                buffers: self.buffers,
                core: self.core,
            };
            self.flow.tcb.consume(&mut cx, readable, consumed);
            if consumed < offered {
                break;
            }
        }
    }

    fn tell_peer_close(&mut self) {
        let told = self.flow.peer_close_told || !self.is_open();
        if told || !self.flow.tcb.is_peer_closed() || self.flow.tcb.unread(self.core) > 0 {
            return;
        }
        self.flow.peer_close_told = true;
        let connection = self.flow.connection;
        self.with_service(|service, socket| service.on_peer_close(connection, socket));
    }

    /// Whether the application may be called: it knows of the connection, and nobody has cut that
    /// short. One that has closed in good order may still hold text.
    fn is_open(&self) -> bool {
        let tcb = &self.flow.tcb;
        let cut_short = tcb.state() == State::Closed && tcb.close_reason() != CloseReason::Finished;
        self.flow.connection != UNOPENED && !cut_short
    }

    /// `None` if the callback has panicked.
    fn with_service<R>(
        &mut self,
        call: impl FnOnce(&mut dyn AnyService, &mut Socket<'_>) -> Result<R, Panicked>,
    ) -> Option<R> {
        let mut socket = Socket {
            tcb: &mut self.flow.tcb,
            cx: Context {
                now: self.now,
                buffers: self.buffers,
                core: self.core,
            },
            key: self.key,
            token: self.flow.token.as_deref().copied(),
        };
        let outcome = call(self.service, &mut socket);
        if outcome.is_err() {
            self.give_up();
        }
        outcome.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_table::FlowTable;
    use crate::stack::arena::Arena;
    use crate::stack::demux::Handle;
    use crate::timer_wheel::TimerWheel;

    /// Contract 8 of the design.
    #[test]
    fn an_idle_connection_takes_no_more_than_512_octets() {
        let flow = Arena::<Flow>::SLOT;
        // In the table, and its index and control octet in the hash table.
        let slot = FlowTable::<Handle>::SLOT + size_of::<u32>() + 1;
        let sum = flow + slot + TimerWheel::NODE;
        assert!(sum <= 512, "{flow} + {slot} + {}", TimerWheel::NODE);
    }
}
