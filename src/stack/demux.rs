//! Frames in: the whole batch is parsed, then looked up, then each segment goes to its connection,
//! its half-open connection, its TIME-WAIT, its listener, or to another worker.

use arrayvec::ArrayVec;

use super::counters::DropReason;
use super::{Stack, Stray};
use crate::flow_table::FlowId;
use crate::ring::{BATCH, PacketIo, RxBatch, RxFrame};
use crate::tcp::{Context, Events, Marking, SynEntry, TimeWait, TimeWaitVerdict, reset_for};
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

/// A TIME-WAIT and the way back to its peer. At most 64 bytes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) time_wait: TimeWait,
    pub(super) link: Link,
    pub(super) queue: u8,
}

/// A segment on its way to its connection.
pub(super) struct Inbound<'a> {
    frame: &'a [u8],
    pub(super) link: Link,
    pub(super) key: FlowKey,
    /// The ECN field of its IP header.
    pub(super) ecn: u8,
    pub(super) segment: Segment<'a>,
    /// Index of the queue that it came in by.
    pub(super) queue: u8,
    /// How many workers have not known it.
    pub(super) hops: u16,
}

impl<P: PacketIo> Stack<P> {
    /// Takes a batch from one queue and gives all of its frames back.
    ///
    /// The arrays of a batch are kilobytes: they stay where they are made.
    pub(super) fn receive(&mut self, now: Instant, queue: usize) {
        let mut batch = RxBatch::new();
        self.ports[queue].queue.io.rx_burst(&mut batch);
        if batch.is_empty() {
            return;
        }
        self.frames += batch.len();
        self.handle_batch(now, &batch, queue);
        for frame in batch.drain(..) {
            self.ports[queue].queue.io.recycle(frame);
        }
        for frame in std::mem::take(&mut self.reassembled) {
            // Whole datagrams have been through a host: their checksums are whole, too.
            self.handle_alone(now, &frame, ChecksumPolicy::Full, queue as u8, 0);
        }
    }

    fn handle_batch(&mut self, now: Instant, batch: &[RxFrame], queue: usize) {
        let mut segments: ArrayVec<Inbound<'_>, BATCH> = ArrayVec::new();
        let checksums = self.ports[queue].queue.checksums;
        for frame in batch {
            if let Some(inbound) = self.judge(now, frame, checksums, queue as u8, 0) {
                segments.push(inbound);
            }
        }
        // All hashes first: the look-ups that follow then miss the cache side by side.
        let mut hashes: ArrayVec<u64, BATCH> = ArrayVec::new();
        hashes.extend(segments.iter().map(|inbound| self.table.hash(&inbound.key)));
        let mut ids: ArrayVec<Option<FlowId>, BATCH> = ArrayVec::new();
        let looked_up = segments.iter().zip(&hashes);
        ids.extend(looked_up.map(|(it, &hash)| self.table.lookup_hashed(hash, &it.key)));
        for (inbound, &id) in segments.iter().zip(&ids) {
            // A segment before it in the batch may have changed what there is.
            let known = id.and_then(|id| self.handle_of(id));
            let known = known.or_else(|| self.find(&inbound.key));
            self.handle_inbound(now, inbound, known);
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
            let known = self.find(&inbound.key);
            if known.is_some() && hops > 0 {
                self.drops.count(DropReason::StrayTaken);
            }
            self.handle_inbound(now, &inbound, known);
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
                match self.find(&key) {
                    Some((id, handle)) => self.handle_icmp(now, &key, id, handle, seq, error),
                    None if self.pass_on(frame, queue, hops) => {}
                    None => self.drops.count(DropReason::IcmpIgnored),
                }
                None
            }
            Err(reason) => {
                self.drops.count_malformed(reason);
                None
            }
        }
    }

    /// What there is by that key.
    fn find(&self, key: &FlowKey) -> Option<(FlowId, Handle)> {
        self.handle_of(self.table.lookup(key)?)
    }

    fn handle_of(&self, id: FlowId) -> Option<(FlowId, Handle)> {
        Some((id, *self.table.get(id)?))
    }

    fn handle_inbound(
        &mut self,
        now: Instant,
        inbound: &Inbound<'_>,
        known: Option<(FlowId, Handle)>,
    ) {
        match known {
            Some((id, Handle::Flow(index))) => self.handle_for_flow(now, inbound, id, index),
            Some((id, handle)) if self.gives_way_to_cookie(now, inbound, id, handle) => {
                self.handle_cookie(now, inbound);
            }
            Some((id, Handle::HalfOpen(index))) => {
                self.handle_for_half_open(now, inbound, id, index);
            }
            Some((id, Handle::Waiting(index))) => self.handle_for_waiting(now, inbound, id, index),
            None if SynEntry::opens(&inbound.segment.header) => {
                self.handle_syn(now, inbound, None);
            }
            None if self.handle_cookie(now, inbound) => {}
            None => self.handle_unknown(now, inbound),
        }
    }

    /// An ICMP error about a segment of ours. A half-open connection's timer decides alone: RFC
    /// 5461 has no wish for it.
    fn handle_icmp(
        &mut self,
        now: Instant,
        key: &FlowKey,
        id: FlowId,
        handle: Handle,
        seq: u32,
        error: IcmpError,
    ) {
        let Handle::Flow(index) = handle else {
            return self.drops.count(DropReason::IcmpIgnored);
        };
        if let Some(mut conversation) = self.conversation(now, key, index) {
            conversation.handle_icmp(seq, error);
            self.mark_dirty(id);
        }
    }

    pub(super) fn handle_for_flow(
        &mut self,
        now: Instant,
        inbound: &Inbound<'_>,
        id: FlowId,
        index: u32,
    ) {
        let Some(mut conversation) = self.conversation(now, &inbound.key, index) else {
            return;
        };
        let events = conversation.handle_segment(&inbound.link, &inbound.segment, inbound.ecn);
        self.mark_dirty_at(id, index);
        if events.contains(Events::RESET_SENDER) {
            self.reset_sender(now, inbound);
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
            TimeWaitVerdict::Reopen { .. } if self.core.refuses_connection() => {}
            TimeWaitVerdict::Reopen { beyond } => {
                self.core.counters.time_wait_recycled += 1;
                self.forget_waiting(id, index);
                self.handle_syn(now, inbound, Some(beyond));
            }
        }
    }

    /// A segment that this worker knows nothing of: another may, and the last one resets it.
    pub(super) fn handle_unknown(&mut self, now: Instant, inbound: &Inbound<'_>) {
        if self.pass_on(inbound.frame, inbound.queue, inbound.hops) {
            return;
        }
        self.drops.count(DropReason::NoConnection);
        self.reset_sender(now, inbound);
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

    pub(super) fn reset_sender(&mut self, now: Instant, inbound: &Inbound<'_>) {
        if let Some(header) = reset_for(&inbound.segment)
            && self.core.may_reset(now)
        {
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
    fn what_is_no_more_a_connection_is_small() {
        let octets = Arena::<Waiting>::SLOT;
        assert!(octets <= 64, "{octets}");
    }
}
