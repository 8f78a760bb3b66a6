//! Passive opens: a SYN becomes a half-open connection, and that a connection; or a SYN becomes a
//! cookie, and its acknowledgment a connection.

use super::conversation::{Conversation, Flow};
use super::counters::DropReason;
use super::demux::{Handle, Inbound};
use super::{ClientPorts, ServiceId, Stack};
use crate::flow_table::FlowId;
use crate::ring::PacketIo;
use crate::tcp::{Context, Events, Seq, State, SynEntry, SynVerdict, Tcb};
use crate::time::Instant;
use crate::wire::{Address, CookieTerms, FlowKey, Link};

/// A half-open connection and the way back to it. At most 64 bytes.
#[derive(Debug)]
pub(super) struct HalfOpen {
    pub(super) entry: SynEntry,
    pub(super) link: Link,
    pub(super) queue: u8,
    service: ServiceId,
}

/// A listener has begun or stopped to answer SYNs with cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynFlood {
    /// Its address.
    pub address: Address,
    /// Its port.
    pub port: u16,
    /// What its cookies say if it has begun.
    pub terms: Option<CookieTerms>,
}

impl<P: PacketIo> Stack<P> {
    pub(super) fn handle_for_half_open(
        &mut self,
        now: Instant,
        inbound: &Inbound<'_>,
        id: FlowId,
        index: u32,
    ) {
        let Some(half_open) = self.half_open.get_mut(index) else {
            return;
        };
        let mut cx = Context {
            now,
            buffers: &mut self.ports[usize::from(half_open.queue)],
            core: &mut self.core,
        };
        match half_open
            .entry
            .handle_segment(&mut cx, &inbound.key, &inbound.segment)
        {
            SynVerdict::Stays => {}
            SynVerdict::SynAckAgain => self.send_syn_ack(now, &inbound.key, index),
            SynVerdict::Gone => self.forget_half_open(id, &inbound.key, index),
            SynVerdict::Opens(tcb) => self.promote(now, inbound, id, index, tcb),
        }
    }

    /// Once more, by the way of the first one.
    pub(super) fn send_syn_ack(&mut self, now: Instant, key: &FlowKey, index: u32) {
        let Some(half_open) = self.half_open.get(index) else {
            return;
        };
        let (link, queue) = (half_open.link, half_open.queue);
        let mut cx = Context {
            now,
            buffers: &mut self.ports[usize::from(queue)],
            core: &mut self.core,
        };
        let header = half_open.entry.syn_ack(&mut cx, key);
        let marking = half_open.entry.marking(&self.core);
        self.reply(queue, &link, key, &header, marking);
    }

    /// Gives the segment to the connection that a half-open one has become; if that is still in
    /// SYN-RECEIVED afterwards, it folds back.
    fn promote(&mut self, now: Instant, inbound: &Inbound<'_>, id: FlowId, at: u32, tcb: Tcb) {
        let Some(half_open) = self.half_open.get(at) else {
            return;
        };
        let (link, queue, service) = (half_open.link, half_open.queue, half_open.service);
        let mut flow = Flow::new(tcb, link, queue, service.0);
        let mut conversation = Conversation {
            flow: &mut flow,
            key: &inbound.key,
            service: &mut *self.services[usize::from(service.0)],
            buffers: &mut self.ports[usize::from(queue)],
            core: &mut self.core,
            now,
        };
        let events = conversation.handle_segment(&inbound.link, &inbound.segment, inbound.ecn);
        if flow.tcb.state() != State::SynReceived {
            self.forget_listener_entry(&inbound.key, at);
            let index = self.flows.insert(flow);
            if let Some(handle) = self.table.get_mut(id) {
                *handle = Handle::Flow(index);
            }
            self.mark_dirty(id);
            return;
        }
        let port = &mut self.ports[usize::from(queue)];
        let mut cx = Context {
            now,
            buffers: port,
            core: &mut self.core,
        };
        let answer = flow.tcb.poll_transmit(&mut cx);
        let marking = flow.tcb.options(cx.core).marking();
        flow.tcb.release(&mut cx);
        if let Some(half_open) = self.half_open.get_mut(at) {
            half_open.entry.fold_back(&flow.tcb);
        }
        if let Some(answer) = answer {
            self.reply(queue, &link, &inbound.key, &answer.header, marking);
        }
        if events.contains(Events::RESET_SENDER) {
            self.reset_sender(now, inbound);
        }
    }

    /// A SYN for no connection of this worker's. To a listener, it is never a stray: where a SYN
    /// arrives, its connection lives.
    pub(super) fn handle_syn(&mut self, now: Instant, inbound: &Inbound<'_>, beyond: Option<Seq>) {
        let key = &inbound.key;
        if self.draining {
            self.drops.count(DropReason::Draining);
            return self.reset_sender(now, inbound);
        }
        if self.answers_elsewhere(key) {
            return self.handle_unknown(now, inbound);
        }
        let path_mss = self.path_mss(usize::from(inbound.queue), key);
        let Some((service, listener)) = self.listeners.get_mut(&(key.local, key.local_port)) else {
            self.drops.count(DropReason::NoConnection);
            return self.reset_sender(now, inbound);
        };
        // No reset: it comes again, when there may be more.
        if self.core.refuses_connection() {
            return;
        }
        let port = &mut self.ports[usize::from(inbound.queue)];
        let mut cx = Context {
            now,
            buffers: port,
            core: &mut self.core,
        };
        let Some(entry) = listener.handle_syn(&mut cx, key, &inbound.segment, path_mss, beyond)
        else {
            return;
        };
        if entry.takes_text() {
            let tcb = entry.fast_open(&mut cx, key);
            let service = *service;
            return self.fast_open(now, inbound, tcb, service);
        }
        let header = entry.syn_ack(&mut cx, key);
        let (deadline, marking) = (entry.deadline, entry.marking(&self.core));
        if entry.is_cookie() {
            self.flooded = true;
            return self.reply(inbound.queue, &inbound.link, key, &header, marking);
        }
        let half_open = HalfOpen {
            entry,
            link: inbound.link,
            queue: inbound.queue,
            service: *service,
        };
        // Only now: a SYN that the listener refuses must not cost a TIME-WAIT.
        if self.table.len() == self.table.capacity() && !self.evict_waiting() {
            self.forget_by_listener(key);
            return self.drops.count(DropReason::FlowTableFull);
        }
        let index = self.half_open.insert(half_open);
        if let Ok(id) = self.table.insert(*key, Handle::HalfOpen(index)) {
            self.wheel.schedule(id.index, deadline);
        }
        self.reply(inbound.queue, &inbound.link, key, &header, marking);
    }

    /// The SYN has text and a right cookie: its connection exists at once.
    fn fast_open(&mut self, now: Instant, inbound: &Inbound<'_>, tcb: Tcb, service: ServiceId) {
        let key = &inbound.key;
        let mut flow = Flow::new(tcb, inbound.link, inbound.queue, service.0);
        flow.fast_open = true;
        let Some((id, index)) = self.admit(now, key, flow) else {
            return self.fast_open_ended(now, key, false);
        };
        if let Some(mut conversation) = self.conversation(now, key, index) {
            conversation.handle_text_on_syn(inbound.segment.payload);
        }
        self.mark_dirty(id);
    }

    /// A segment that no connection knows may acknowledge a SYN cookie. Returns whether it did.
    ///
    /// Only where it has come in: of a stray's connection another worker may know.
    pub(super) fn handle_cookie(&mut self, now: Instant, inbound: &Inbound<'_>) -> bool {
        let key = &inbound.key;
        if inbound.hops > 0 || self.draining {
            return false;
        }
        let path_mss = self.path_mss(usize::from(inbound.queue), key);
        let Some((service, listener)) = self.listeners.get_mut(&(key.local, key.local_port)) else {
            return false;
        };
        let mut cx = Context {
            now,
            buffers: &mut self.ports[usize::from(inbound.queue)],
            core: &mut self.core,
        };
        let Some(entry) = listener.handle_cookie(&mut cx, key, &inbound.segment.header, path_mss)
        else {
            return false;
        };
        // No answer, as where the table is full.
        if cx.core.refuses_connection() {
            return true;
        }
        let tcb = entry.open(&mut cx, key);
        let flow = Flow::new(tcb, inbound.link, inbound.queue, service.0);
        // Where there is no room, there is no answer: the peer sends again what it sends next.
        if let Some((id, index)) = self.admit(now, key, flow) {
            self.handle_for_flow(now, inbound, id, index);
        }
        true
    }

    /// The XDP program answers SYNs without knowing what there is: where a half-open connection or a
    /// TIME-WAIT stands in the way of a right cookie, it goes. Returns whether it has.
    pub(super) fn gives_way_to_cookie(
        &mut self,
        now: Instant,
        inbound: &Inbound<'_>,
        id: FlowId,
        handle: Handle,
    ) -> bool {
        let (key, header) = (&inbound.key, &inbound.segment.header);
        let gives_way = match handle {
            Handle::Flow(_) => return false,
            Handle::HalfOpen(index) => {
                let half_open = self.half_open.get(index);
                half_open.is_some_and(|it| it.entry.gives_way_to_cookie(header))
            }
            Handle::Waiting(index) => {
                let waiting = self.waiting.get(index);
                waiting.is_some_and(|it| it.time_wait.gives_way_to_cookie(header))
            }
        };
        if !gives_way || self.draining || inbound.hops > 0 {
            return false;
        }
        let Some((_, listener)) = self.listeners.get(&(key.local, key.local_port)) else {
            return false;
        };
        let mut cx = Context {
            now,
            buffers: &mut self.ports[usize::from(inbound.queue)],
            core: &mut self.core,
        };
        if !listener.is_cookie(&mut cx, key, header) {
            return false;
        }
        match handle {
            Handle::Flow(_) => {}
            Handle::HalfOpen(index) => self.forget_half_open(id, key, index),
            Handle::Waiting(index) => {
                self.core.counters.time_wait_recycled += 1;
                self.forget_waiting(id, index);
            }
        }
        true
    }

    /// A connection that exists at once, if there is room for it.
    fn admit(&mut self, now: Instant, key: &FlowKey, flow: Flow) -> Option<(FlowId, u32)> {
        let has_room = self.table.len() < self.table.capacity() || self.evict_waiting();
        let index = self.flows.insert(flow);
        let id = has_room
            .then(|| self.table.insert(*key, Handle::Flow(index)).ok())
            .flatten();
        if id.is_none() {
            if let Some(mut conversation) = self.conversation(now, key, index) {
                conversation.release();
            }
            self.flows.remove(index);
            self.drops.count(DropReason::FlowTableFull);
        }
        Some((id?, index))
    }

    /// Listeners that have begun or stopped to send SYN cookies since the last call.
    pub fn take_floods(&mut self, now: Instant) -> Vec<SynFlood> {
        if !std::mem::take(&mut self.flooded) {
            return Vec::new();
        }
        let mut floods = Vec::new();
        let path_mss = [true, false].map(|is_ipv4| self.least_path_mss(is_ipv4));
        for (&(address, port), (_, listener)) in &mut self.listeners {
            if let Some(is_on) = listener.take_flood(now, &self.core) {
                let path_mss = path_mss[usize::from(!address.is_ipv4())];
                let terms = is_on.then(|| listener.cookie_terms(&self.core, path_mss));
                floods.push(SynFlood {
                    address,
                    port,
                    terms,
                });
            }
            self.flooded |= listener.is_flooded();
        }
        floods
    }

    /// The XDP program has sent so many SYN cookies of this listener's since the last call, or will
    /// send some soon: their acknowledgments are right here.
    pub fn note_cookies(&mut self, now: Instant, address: Address, port: u16, sent: usize) {
        if let Some((_, listener)) = self.listeners.get_mut(&(address, port)) {
            listener.note_cookies(now, sent);
            self.flooded |= listener.is_flooded();
        }
    }

    /// A connection of [`fast_open`](Self::fast_open) is established or gone.
    pub(super) fn fast_open_ended(&mut self, now: Instant, key: &FlowKey, was_reset: bool) {
        if let Some((_, listener)) = self.listeners.get_mut(&(key.local, key.local_port)) {
            listener.fast_open_ended(now, was_reset);
        }
    }

    /// A SYN to a client port: the other half of a simultaneous open, perhaps of another worker's.
    fn answers_elsewhere(&self, key: &FlowKey) -> bool {
        let is_client_port = |ports: &ClientPorts| ports.contain(key.local_port);
        self.client_ports.as_ref().is_some_and(is_client_port)
            && !self.listeners.contains_key(&(key.local, key.local_port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::arena::Arena;

    /// Contract 8 of the design.
    #[test]
    fn what_is_not_yet_a_connection_is_small() {
        let octets = Arena::<HalfOpen>::SLOT;
        assert!(octets <= 64, "{octets}");
    }
}
