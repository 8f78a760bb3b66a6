//! What must hold between turns, whatever has arrived: for tests and the fuzz target.

use std::collections::HashMap;

use super::Stack;
use super::demux::Handle;
use crate::flow_table::FlowId;
use crate::ring::PacketIo;
use crate::tcp::Seq;
use crate::time::Instant;
use crate::wire::{Address, FlowKey};

/// Where each connection's window ended when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Edges(HashMap<FlowId, Seq>);

impl<P: PacketIo> Stack<P> {
    /// That table, arenas, wheel, lists and memory agree, that each connection's books are right,
    /// and that no window has shrunk since the last time.
    pub(super) fn check(&self, edges: &mut Edges) {
        let (mut flows, mut half_opens, mut waitings, mut timers) = (0, 0, 0, 0);
        let mut queued: HashMap<(Address, u16), usize> = HashMap::new();
        let before = std::mem::take(&mut edges.0);
        for (id, key, &handle) in self.table.iter() {
            assert_eq!(self.table.lookup(key), Some(id), "{key}");
            timers += usize::from(self.wheel.deadline(id.index).is_some());
            match handle {
                Handle::Flow(index) => {
                    flows += 1;
                    let edge = self.check_flow(id, key, index);
                    if let Some(edge) = edge {
                        let moved = before.get(&id).is_none_or(|old| edge.at_or_after(*old));
                        assert!(moved, "{key}: the window has shrunk");
                        edges.0.insert(id, edge);
                    }
                }
                Handle::HalfOpen(index) => {
                    half_opens += 1;
                    *queued.entry((key.local, key.local_port)).or_default() += 1;
                    let entry = &self.half_open.get(index).expect("half open").entry;
                    let set = self.wheel.deadline(id.index).expect("a SYN-ACK is due");
                    assert!(set <= entry.deadline, "{key}");
                }
                Handle::Waiting(index) => {
                    waitings += 1;
                    let deadline = self.waiting.get(index).expect("waits").time_wait.deadline;
                    let ends = |&(due, of): &(_, FlowId)| of == id && due <= deadline;
                    assert!(self.expiring.iter().any(ends), "{key} waits for ever");
                }
            }
        }
        assert_eq!(
            (flows, half_opens, waitings, timers),
            (
                self.flows.len(),
                self.half_open.len(),
                self.waiting.len(),
                self.wheel.len()
            ),
            "table, arenas and wheel agree"
        );
        assert_eq!(flows + half_opens + waitings, self.table.len());
        for (end, (_, listener)) in &self.listeners {
            let queued = queued.remove(end).unwrap_or(0);
            assert_eq!(listener.half_open(), queued, "{end:?}");
        }
        self.check_lists();
        self.reassembly.check();
        let tcbs = self
            .flow_indices()
            .filter_map(|(_, index)| self.flows.get(index));
        let buffers = self.core.check(tcbs.map(|flow| &flow.tcb));
        let live: usize = self.ports.iter().map(|port| port.check()).sum();
        assert_eq!(live, buffers, "buffers are those of segments");
    }

    /// A connection, and where its window ends.
    fn check_flow(&self, id: FlowId, key: &FlowKey, index: u32) -> Option<Seq> {
        let flow = self.flows.get(index).expect("the flow is there");
        let tcb = &flow.tcb;
        let port = &self.ports[usize::from(flow.queue)];
        for payload in tcb.payloads(&self.core) {
            port.check_buffer(payload);
        }
        if flow.wheel_deadline != Instant::FAR_FUTURE {
            assert_eq!(self.wheel.deadline(id.index), Some(flow.wheel_deadline));
        }
        // Else the next turn looks after it.
        if !flow.dirty {
            tcb.check_progress(&self.core);
            let service = &*self.services[usize::from(flow.service)];
            let due = [tcb.next_deadline(), flow.peek_application_deadline(service)];
            if let Some(due) = due.into_iter().flatten().min() {
                let set = self.wheel.deadline(id.index);
                assert!(set.is_some_and(|set| set <= due), "{key}: {set:?}, {due:?}");
            }
            assert!(!tcb.is_done(), "{key}: done, and still there");
        }
        tcb.state().is_synchronized().then(|| tcb.edge())
    }

    /// That those flows are on the lists that say so.
    fn check_lists(&self) {
        for (id, index) in self.flow_indices() {
            let flow = self.flows.get(index).expect("the flow is there");
            let times = |list: &[FlowId]| list.iter().filter(|&&of| of == id).count();
            assert_eq!(times(&self.dirty), usize::from(flow.dirty));
            let starved: Vec<FlowId> = self.starved.iter().copied().collect();
            assert_eq!(times(&starved), usize::from(flow.starved));
        }
    }

    fn flow_indices(&self) -> impl Iterator<Item = (FlowId, u32)> {
        self.table
            .iter()
            .filter_map(|(id, _, &handle)| match handle {
                Handle::Flow(index) => Some((id, index)),
                _ => None,
            })
    }

    /// After the end of all connections: nothing is left of them.
    pub(super) fn check_empty(&self) {
        self.check(&mut Edges::default());
        assert!(self.table.is_empty(), "{} flows", self.table.len());
        assert!(self.core.is_empty(), "{:?}", self.core);
        assert!(self.wheel.is_empty());
        assert!(self.ports.iter().all(|port| !port.awaits_completion()));
        assert_eq!(self.reassembly.next_deadline(), None);
        assert!(self.reassembled.is_empty());
    }
}
