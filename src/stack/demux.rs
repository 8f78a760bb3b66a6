//! Frames in: the whole batch is parsed, then looked up, then each segment goes to its connection,
//! its half-open connection, its TIME-WAIT, its listener, or to another worker.

use arrayvec::ArrayVec;

use super::conversation::Flow;
use super::counters::DropReason;
use super::{ClientPorts, Conversation, ServiceId, Stack, Stray};
use crate::flow_table::FlowId;
use crate::ring::{BATCH, PacketIo, RxBatch};
use crate::tcp::{
    Context, Events, Marking, Seq, State, SynEntry, SynVerdict, Tcb, TimeWait, TimeWaitVerdict,
    reset_for,
};
use crate::time::Instant;
use crate::wire::icmp::IcmpError;
use crate::wire::tcp::Segment;
use crate::wire::{self, ChecksumPolicy, FlowKey, Link, Packet};

/// Stray frames that wait to be passed on; more are dropped.
const MAX_STRAYS: usize = 256;

/// What a flow is to us, and where in which arena.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handle {
    /// A connection with a TCB.
    Flow(u32),
    /// A SYN that we have answered.
    HalfOpen(u32),
    /// A TIME-WAIT.
    Waiting(u32),
}

/// A half-open connection and the way back to it. At most 64 bytes.
#[derive(Debug)]
pub(super) struct HalfOpen {
    pub(super) entry: SynEntry,
    pub(super) link: Link,
    pub(super) queue: u8,
    service: ServiceId,
}

/// A TIME-WAIT and the way back to its peer. At most 64 bytes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) time_wait: TimeWait,
    pub(super) link: Link,
    pub(super) queue: u8,
}

/// A segment on its way to its connection.
struct Inbound<'a> {
    frame: &'a [u8],
    link: Link,
    key: FlowKey,
    /// The ECN field of its IP header.
    ecn: u8,
    segment: Segment<'a>,
    /// Index of the queue that it came in by.
    queue: u8,
    /// How many workers have not known it.
    hops: u16,
}

impl<P: PacketIo> Stack<P> {
    /// Takes a batch from one queue and gives all of its frames back.
    pub(super) fn receive(&mut self, now: Instant, queue: usize) {
        let mut batch = RxBatch::new();
        self.ports[queue].queue.io.rx_burst(&mut batch);
        self.frames += batch.len();

        let mut segments: ArrayVec<Inbound<'_>, BATCH> = ArrayVec::new();
        let checksums = self.ports[queue].queue.checksums;
        for frame in &batch {
            if let Some(inbound) = self.judge(now, frame, checksums, queue as u8, 0) {
                segments.push(inbound);
            }
        }
        // All hashes first: the look-ups that follow then miss the cache side by side.
        let hashes: ArrayVec<u64, BATCH> = segments
            .iter()
            .map(|inbound| self.table.hash(&inbound.key))
            .collect();
        let ids: ArrayVec<Option<FlowId>, BATCH> = segments
            .iter()
            .zip(hashes)
            .map(|(inbound, hash)| self.table.lookup_hashed(hash, &inbound.key))
            .collect();
        for (inbound, id) in segments.into_iter().zip(ids) {
            // A segment before it in the batch may have changed what there is.
            let id = id.filter(|&id| self.table.get(id).is_some());
            let id = id.or_else(|| self.table.lookup(&inbound.key));
            self.handle_inbound(now, &inbound, id);
        }
        for frame in batch {
            self.ports[queue].queue.io.recycle(frame);
        }
        for frame in std::mem::take(&mut self.reassembled) {
            // Whole datagrams have been through a host: their checksums are whole, too.
            self.handle_alone(now, &frame, ChecksumPolicy::Full, queue as u8, 0);
        }
    }

    /// A stray frame from another worker. Part of the next turn's work.
    pub fn handle_stray(&mut self, now: Instant, stray: Stray) {
        self.handle_alone(now, &stray.frame, stray.checksums, 0, stray.hops);
    }

    /// A frame outside of a batch.
    fn handle_alone(
        &mut self,
        now: Instant,
        frame: &[u8],
        checksums: ChecksumPolicy,
        queue: u8,
        hops: u16,
    ) {
        if let Some(inbound) = self.judge(now, frame, checksums, queue, hops) {
            let id = self.table.lookup(&inbound.key);
            if id.is_some() && hops > 0 {
                self.drops.count(DropReason::StrayTaken);
            }
            self.handle_inbound(now, &inbound, id);
        }
    }

    /// Parses one frame; counts what is no segment. Fragments are put together and ICMP errors
    /// given to their connections on the way.
    fn judge<'a>(
        &mut self,
        now: Instant,
        frame: &'a [u8],
        checksums: ChecksumPolicy,
        queue: u8,
        hops: u16,
    ) -> Option<Inbound<'a>> {
        match wire::parse(frame, checksums) {
            Ok(Packet::Tcp {
                link,
                key,
                ecn,
                segment,
            }) => {
                // A stray is counted where it came in.
                self.core.counters.in_segs += u64::from(hops == 0);
                Some(Inbound {
                    frame,
                    link,
                    key,
                    ecn,
                    segment,
                    queue,
                    hops,
                })
            }
            Ok(Packet::Fragment { link, fragment }) => {
                let drops = &mut self.drops;
                let whole = self.reassembly.insert(now, &link, &fragment, drops);
                self.reassembled.extend(whole);
                None
            }
            Ok(Packet::IcmpError { key, seq, error }) => {
                let (id, handle) = match self.table.lookup(&key) {
                    Some(id) => (id, self.table.get(id).copied()),
                    None => {
                        if !self.pass_on(frame, queue, hops) {
                            self.drops.count(DropReason::IcmpIgnored);
                        }
                        return None;
                    }
                };
                self.handle_icmp(now, &key, id, handle, seq, error);
                None
            }
            Err(reason) => {
                self.drops.count_malformed(reason);
                None
            }
        }
    }

    fn handle_inbound(&mut self, now: Instant, inbound: &Inbound<'_>, id: Option<FlowId>) {
        let handle = id.and_then(|id| Some((id, *self.table.get(id)?)));
        match handle {
            Some((id, Handle::Flow(index))) => self.handle_for_flow(now, inbound, id, index),
            Some((id, Handle::HalfOpen(index))) => {
                self.handle_for_half_open(now, inbound, id, index);
            }
            Some((id, Handle::Waiting(index))) => self.handle_for_waiting(now, inbound, id, index),
            None if SynEntry::opens(&inbound.segment.header) => {
                self.handle_syn(now, inbound, None);
            }
            None => self.handle_unknown(inbound),
        }
    }

    /// An ICMP error about a segment of ours. A half-open connection's timer decides alone: RFC
    /// 5461 has no wish for it.
    fn handle_icmp(
        &mut self,
        now: Instant,
        key: &FlowKey,
        id: FlowId,
        handle: Option<Handle>,
        seq: u32,
        error: IcmpError,
    ) {
        let Some(Handle::Flow(index)) = handle else {
            return self.drops.count(DropReason::IcmpIgnored);
        };
        if let Some(mut conversation) = self.conversation(now, key, index) {
            conversation.handle_icmp(seq, error);
            self.mark_dirty(id);
        }
    }

    fn handle_for_flow(&mut self, now: Instant, inbound: &Inbound<'_>, id: FlowId, index: u32) {
        let Some(mut conversation) = self.conversation(now, &inbound.key, index) else {
            return;
        };
        let events = conversation.handle_segment(&inbound.link, &inbound.segment, inbound.ecn);
        self.mark_dirty(id);
        if events.contains(Events::RESET_SENDER) {
            self.reset_sender(inbound);
        }
    }

    fn handle_for_half_open(
        &mut self,
        now: Instant,
        inbound: &Inbound<'_>,
        id: FlowId,
        index: u32,
    ) {
        let Some(half_open) = self.half_open.get_mut(index) else {
            return;
        };
        let (link, queue) = (half_open.link, half_open.queue);
        let port = &mut self.ports[usize::from(queue)];
        let mut cx = Context {
            now,
            buffers: port,
            core: &mut self.core,
        };
        match half_open
            .entry
            .handle_segment(&mut cx, &inbound.key, &inbound.segment)
        {
            SynVerdict::Stays => {}
            SynVerdict::SynAckAgain => {
                let header = half_open.entry.syn_ack(&mut cx, &inbound.key);
                let marking = half_open.entry.marking(&self.core);
                self.reply(queue, &link, &inbound.key, &header, marking);
            }
            SynVerdict::Gone => self.forget_half_open(id, &inbound.key, index),
            SynVerdict::Opens(tcb) => self.promote(now, inbound, id, index, tcb),
        }
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
            self.reset_sender(inbound);
        }
    }

    fn handle_for_waiting(&mut self, now: Instant, inbound: &Inbound<'_>, id: FlowId, index: u32) {
        let Some(waiting) = self.waiting.get_mut(index) else {
            return;
        };
        let (link, queue) = (waiting.link, waiting.queue);
        let end = (inbound.key.local, inbound.key.local_port);
        let listener = self.listeners.get(&end).filter(|_| !self.draining);
        let is_served = listener.is_some();
        let is_full = listener.is_some_and(|(_, listener)| listener.is_full(&self.core));
        let port = &mut self.ports[usize::from(queue)];
        let mut cx = Context {
            now,
            buffers: port,
            core: &mut self.core,
        };
        let mut verdict = waiting.time_wait.handle_segment(&mut cx, &inbound.segment);
        if matches!(verdict, TimeWaitVerdict::Reopen { .. }) && !is_served {
            verdict = waiting.time_wait.decline(&mut cx);
        }
        match verdict {
            TimeWaitVerdict::Drop => {}
            TimeWaitVerdict::Acknowledge(header) => {
                let marking = self.core.marking();
                self.reply(queue, &link, &inbound.key, &header, marking);
            }
            // It goes on, as if the SYN had been lost: that comes again.
            TimeWaitVerdict::Reopen { .. } if is_full => {
                self.core.counters.listen_overflows += 1;
            }
            TimeWaitVerdict::Reopen { beyond } => {
                self.core.counters.time_wait_recycled += 1;
                self.forget_waiting(id, index);
                self.handle_syn(now, inbound, Some(beyond));
            }
        }
    }

    /// A SYN for no connection of this worker's. To a listener, it is never a stray: where a SYN
    /// arrives, its connection lives.
    fn handle_syn(&mut self, now: Instant, inbound: &Inbound<'_>, beyond: Option<Seq>) {
        let key = &inbound.key;
        if self.draining {
            self.drops.count(DropReason::Draining);
            return self.reset_sender(inbound);
        }
        if self.answers_elsewhere(key) {
            return self.handle_unknown(inbound);
        }
        let path_mss = self.path_mss(usize::from(inbound.queue), key);
        let Some((service, listener)) = self.listeners.get_mut(&(key.local, key.local_port)) else {
            self.drops.count(DropReason::NoConnection);
            return self.reset_sender(inbound);
        };
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
        let has_room = self.table.len() < self.table.capacity() || self.evict_waiting();
        let index = self.flows.insert(flow);
        let id = has_room
            .then(|| self.table.insert(*key, Handle::Flow(index)).ok())
            .flatten();
        let Some(id) = id else {
            if let Some(mut conversation) = self.conversation(now, key, index) {
                conversation.release();
            }
            self.flows.remove(index);
            self.fast_open_ended(now, key, false);
            return self.drops.count(DropReason::FlowTableFull);
        };
        if let Some(mut conversation) = self.conversation(now, key, index) {
            conversation.handle_text_on_syn(inbound.segment.payload);
        }
        self.mark_dirty(id);
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

    /// A segment that this worker knows nothing of: another may, and the last one resets it.
    fn handle_unknown(&mut self, inbound: &Inbound<'_>) {
        if self.pass_on(inbound.frame, inbound.queue, inbound.hops) {
            return;
        }
        self.drops.count(DropReason::NoConnection);
        self.reset_sender(inbound);
    }

    /// Sends a frame on to the next worker. Returns whether there is one that has not seen it.
    fn pass_on(&mut self, frame: &[u8], queue: u8, hops: u16) -> bool {
        if usize::from(hops) >= self.other_workers {
            return false;
        }
        if self.strays.len() == MAX_STRAYS {
            self.drops.count(DropReason::StrayOverflow);
            return true;
        }
        self.drops.count(DropReason::StrayPassedOn);
        self.strays.push_back(Stray {
            frame: frame.into(),
            checksums: self.ports[usize::from(queue)].queue.checksums,
            hops: hops + 1,
        });
        true
    }

    fn reset_sender(&mut self, inbound: &Inbound<'_>) {
        if let Some(header) = reset_for(&inbound.segment) {
            self.core.counters.out_rsts += 1;
            self.core.counters.out_segs += 1;
            let marking = self.core.marking();
            self.reply(inbound.queue, &inbound.link, &inbound.key, &header, marking);
        }
    }

    /// Sends a segment that belongs to no TCB.
    pub(super) fn reply(
        &mut self,
        queue: u8,
        link: &Link,
        key: &FlowKey,
        header: &wire::tcp::Header,
        marking: Marking,
    ) {
        self.frames += 1;
        if !self.ports[usize::from(queue)].send_bare(link, key, header, marking) {
            self.drops.count(DropReason::ReplyNotSent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::arena::Arena;

    /// Contract 8 of the design.
    #[test]
    fn what_is_not_yet_or_no_more_a_connection_is_small() {
        for octets in [Arena::<HalfOpen>::SLOT, Arena::<Waiting>::SLOT] {
            assert!(octets <= 64, "{octets}");
        }
    }
}
