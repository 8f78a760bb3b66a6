//! Segments out, timers, and the end of connections.

use super::Stack;
use super::counters::DropReason;
use super::demux::{Handle, Waiting};
use crate::flow_table::FlowId;
use crate::ring::PacketIo;
use crate::tcp::{CloseReason, Context, Marking, State};
use crate::time::Instant;
use crate::wire::FlowKey;

/// Segments that one connection may send per turn, so that none keeps the others waiting.
const SEGMENTS_PER_TURN: usize = 64;
/// Applications told per turn that frames are free again.
const STARVED_PER_TURN: usize = 64;
/// TIME-WAITs that have ended early and are not yet worth a search.
const ENDED_WAITING: usize = 1024;

/// Whether a connection has sent all that it may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Complete,
    /// Its budget is used up: it goes on next turn, after those that were blocked.
    Spent,
    /// No frame, no room in TX, or the frame is with the kernel: it goes on when that has changed.
    Blocked,
}

impl<P: PacketIo> Stack<P> {
    /// The flow may have something to send or a timer to set.
    pub(super) fn mark_dirty(&mut self, id: FlowId) {
        if let Some(&Handle::Flow(index)) = self.table.get(id) {
            self.mark_dirty_at(id, index);
        }
    }

    /// The same for who knows where the flow is.
    pub(super) fn mark_dirty_at(&mut self, id: FlowId, index: u32) {
        if let Some(flow) = self.flows.get_mut(index)
            && !std::mem::replace(&mut flow.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// Everything that is due.
    pub(super) fn handle_timers(&mut self, now: Instant) {
        self.expire_waiting(now);
        self.reassembly.expire(now, &mut self.drops);
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.advance(now, &mut expired);
        for index in expired.drain(..) {
            let Some(id) = self.table.id_at(index) else {
                continue;
            };
            match self.table.get(id) {
                Some(&Handle::Flow(index)) => self.handle_flow_timer(now, id, index),
                Some(&Handle::HalfOpen(index)) => self.handle_half_open_timer(now, id, index),
                Some(Handle::Waiting(_)) | None => {}
            }
        }
        self.expired = expired;
    }

    /// Applications that wait for frames get some, in turn.
    pub(super) fn feed_starved(&mut self, now: Instant) {
        for _ in 0..self.starved.len().min(STARVED_PER_TURN) {
            let Some(id) = self.starved.pop_front() else {
                break;
            };
            let Some((key, index)) = self.flow_at(id) else {
                continue;
            };
            if let Some(flow) = self.flows.get_mut(index) {
                flow.starved = false;
            }
            if let Some(mut conversation) = self.conversation(now, &key, index) {
                if conversation.flow.tcb.is_starved() && conversation.buffers.available() > 0 {
                    conversation.tell_writable();
                }
                self.mark_dirty(id);
            }
        }
    }

    /// Has every flow that may have something to send do so, and sees to its timer and its end.
    /// Returns whether one of them could go on at once.
    pub(super) fn send(&mut self, now: Instant) -> bool {
        let mut sending = std::mem::take(&mut self.sending);
        std::mem::swap(&mut sending, &mut self.dirty);
        let mut spent = 0;
        for next in 0..sending.len() {
            let id = sending[next];
            let Some((key, index)) = self.flow_at(id) else {
                continue;
            };
            if let Some(flow) = self.flows.get_mut(index) {
                flow.dirty = false;
            }
            let progress = self.send_flow(now, &key, index);
            self.settle(now, id, &key, index, progress);
            if progress == Progress::Spent {
                sending[spent] = id;
                spent += 1;
            }
        }
        // Last, so that those for which they left no room come first next time.
        for &id in &sending[..spent] {
            self.mark_dirty(id);
        }
        sending.clear();
        self.sending = sending;
        spent > 0
    }

    fn send_flow(&mut self, now: Instant, key: &FlowKey, index: u32) -> Progress {
        let Some(flow) = self.flows.get_mut(index) else {
            return Progress::Complete;
        };
        let port = &mut self.ports[usize::from(flow.queue)];
        let marking = flow.tcb.options(&self.core).marking();
        for _ in 0..SEGMENTS_PER_TURN {
            if !port.has_room() {
                return Progress::Blocked;
            }
            let mut cx = Context {
                now,
                buffers: port,
                core: &mut self.core,
            };
            let Some(transmit) = &flow.tcb.poll_transmit(&mut cx) else {
                let waits = flow.tcb.waits_for_buffer();
                return if waits {
                    Progress::Blocked
                } else {
                    Progress::Complete
                };
            };
            self.frames += 1;
            let sent = match transmit.payload {
                Some(payload) => {
                    let traffic_class = marking.traffic_class | transmit.ecn;
                    let marking = Marking {
                        traffic_class,
                        ..marking
                    };
                    port.send_text(&flow.link, key, &transmit.header, payload, marking)
                }
                None => port.send_bare(&flow.link, key, &transmit.header, marking),
            };
            debug_assert!(sent, "there was room, and the buffer was idle");
        }
        Progress::Spent
    }

    /// After output: the connection goes on with its next timer, waits for frames, enters
    /// TIME-WAIT, or is gone.
    fn settle(&mut self, now: Instant, id: FlowId, key: &FlowKey, index: u32, progress: Progress) {
        let Some(flow) = self.flows.get_mut(index) else {
            return;
        };
        if flow.fast_open && flow.tcb.state() != State::SynReceived {
            flow.fast_open = false;
            let was_reset =
                flow.tcb.state() == State::Closed && flow.tcb.close_reason() == CloseReason::Reset;
            self.fast_open_ended(now, key, was_reset);
            return self.settle(now, id, key, index, progress);
        }
        if flow.tcb.is_done() {
            return self.remove_flow(now, id, key, index);
        }
        if progress == Progress::Complete && flow.tcb.state() == State::TimeWait {
            return self.wait(now, id, key, index);
        }
        if flow.tcb.is_starved() && !std::mem::replace(&mut flow.starved, true) {
            self.starved.push_back(id);
        }
        let service = self.services.get_mut(usize::from(flow.service));
        let application = service.map_or(Ok(None), |it| flow.application_deadline(&mut **it));
        let Ok(application) = application else {
            if let Some(mut conversation) = self.conversation(now, key, index) {
                conversation.give_up();
            }
            return self.mark_dirty(id);
        };
        let due = flow
            .tcb
            .next_deadline()
            .into_iter()
            .chain(application)
            .min();
        if let Some(due) = due
            && due < flow.wheel_deadline
        {
            // A deadline that moves later costs nothing: the old entry fires and is set again.
            flow.wheel_deadline = due;
            self.wheel.schedule(id.index, due);
        }
        // Its timers go on: what blocks it may never end.
        if progress == Progress::Blocked {
            self.mark_dirty(id);
        }
    }

    fn handle_flow_timer(&mut self, now: Instant, id: FlowId, index: u32) {
        let Some(&key) = self.table.key(id) else {
            return;
        };
        if let Some(mut conversation) = self.conversation(now, &key, index) {
            conversation.flow.wheel_deadline = Instant::FAR_FUTURE;
            if conversation
                .flow
                .tcb
                .next_deadline()
                .is_some_and(|due| due <= now)
            {
                conversation.handle_timeout();
            }
            conversation.handle_application_timeout();
            self.mark_dirty(id);
        }
    }

    fn handle_half_open_timer(&mut self, now: Instant, id: FlowId, index: u32) {
        let Some(&key) = self.table.key(id) else {
            return;
        };
        let Some(half_open) = self.half_open.get_mut(index) else {
            return;
        };
        let mut cx = Context {
            now,
            buffers: &mut self.ports[usize::from(half_open.queue)],
            core: &mut self.core,
        };
        if self.draining || !half_open.entry.handle_timeout(&mut cx) {
            return self.forget_half_open(id, &key, index);
        }
        self.wheel.schedule(id.index, half_open.entry.deadline);
        self.send_syn_ack(now, &key, index);
    }

    fn remove_flow(&mut self, now: Instant, id: FlowId, key: &FlowKey, index: u32) {
        if let Some(mut conversation) = self.conversation(now, key, index) {
            conversation.tell_close();
            conversation.release();
        }
        self.flows.remove(index);
        self.wheel.cancel(id.index);
        self.table.remove(id);
    }

    /// The connection shrinks to a TIME-WAIT.
    fn wait(&mut self, now: Instant, id: FlowId, key: &FlowKey, index: u32) {
        if let Some(mut conversation) = self.conversation(now, key, index) {
            conversation.tell_close();
            conversation.release();
        }
        self.wheel.cancel(id.index);
        let Some(flow) = self.flows.remove(index) else {
            return;
        };
        let time_wait = flow.tcb.time_wait(&self.core, now);
        let waiting = Waiting {
            time_wait,
            link: flow.link,
            queue: flow.queue,
        };
        let due = waiting.time_wait.deadline;
        let index = self.waiting.insert(waiting);
        if let Some(handle) = self.table.get_mut(id) {
            *handle = Handle::Waiting(index);
        }
        // Those that ended early, by a new SYN, are still there.
        if self.expiring.len() >= 2 * self.waiting.len() + ENDED_WAITING {
            let table = &self.table;
            self.expiring.retain(|&(_, id)| table.get(id).is_some());
        }
        self.expiring.push_back((due, id));
    }

    fn expire_waiting(&mut self, now: Instant) {
        while let Some((_, id)) = self.expiring.pop_front_if(|&mut (due, _)| due <= now) {
            let Some(&Handle::Waiting(index)) = self.table.get(id) else {
                continue;
            };
            match self.waiting.get(index).map(|it| it.time_wait.deadline) {
                // A FIN that came again has given it more. It waits behind the others, not they
                // behind it: no peer can keep those of others from ending.
                Some(deadline) if deadline > now => self.expiring.push_back((deadline, id)),
                _ => self.forget_waiting(id, index),
            }
        }
    }

    /// Ends the oldest TIME-WAIT to make room for a connection. Returns whether there was one.
    pub(super) fn evict_waiting(&mut self) -> bool {
        while let Some((_, id)) = self.expiring.pop_front() {
            if let Some(&Handle::Waiting(index)) = self.table.get(id) {
                self.drops.count(DropReason::TimeWaitEvicted);
                self.forget_waiting(id, index);
                return true;
            }
        }
        false
    }

    pub(super) fn forget_waiting(&mut self, id: FlowId, index: u32) {
        self.waiting.remove(index);
        self.table.remove(id);
    }

    pub(super) fn forget_half_open(&mut self, id: FlowId, key: &FlowKey, index: u32) {
        self.forget_listener_entry(key, index);
        self.wheel.cancel(id.index);
        self.table.remove(id);
    }

    /// The half-open connection at `index` is over, well or badly.
    pub(super) fn forget_listener_entry(&mut self, key: &FlowKey, index: u32) {
        self.half_open.remove(index);
        self.forget_by_listener(key);
    }

    pub(super) fn forget_by_listener(&mut self, key: &FlowKey) {
        if let Some((_, listener)) = self.listeners.get_mut(&(key.local, key.local_port)) {
            listener.forget();
        }
    }

    fn flow_at(&self, id: FlowId) -> Option<(FlowKey, u32)> {
        match self.table.entry(id)? {
            (&key, &Handle::Flow(index)) => Some((key, index)),
            _ => None,
        }
    }
}
