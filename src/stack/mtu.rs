//! What the interface carries, also when that changes while it is served.

use super::Stack;
use super::demux::Handle;
use crate::flow_table::FlowId;
use crate::ring::PacketIo;
use crate::tcp::Context;
use crate::time::Instant;
use crate::wire::{FlowKey, fixed_headers};

/// Ethernet without a tag, as in `Capabilities::max_frame`.
const LINK_HEADER: usize = 14;
/// RFC 791: every link carries so much; Linux makes no Ethernet interface smaller.
const LEAST_MTU_IPV4: usize = 68;
/// RFC 8200 section 5. Where the interface carries less, Linux switches its IPv6 off.
const LEAST_MTU_IPV6: usize = 1280;

impl<P: PacketIo> Stack<P> {
    /// The device carries packets of at most `mtu` octets from now on. Connections whose segments are
    /// larger make them smaller, and send again what is on its way; those that were made with a smaller
    /// MTU stay as they are: their peers were told an MSS that fits it. What is more than our frames
    /// hold is not used.
    pub fn set_mtu(&mut self, now: Instant, mtu: u16) {
        for port in &mut self.ports {
            port.queue.mtu = mtu;
        }
        let entries: Vec<(FlowId, FlowKey, Handle)> = self
            .table
            .iter()
            .map(|(id, &key, &handle)| (id, key, handle))
            .collect();
        for (_, listener) in self.listeners.values_mut() {
            // What its cookies say.
            listener.tell_flood_again();
            self.flooded |= listener.is_flooded();
        }
        for (id, key, handle) in entries {
            match handle {
                Handle::Flow(index) => self.limit_mss(now, id, &key, index),
                Handle::HalfOpen(index) => self.limit_half_open(&key, index),
                Handle::Waiting(_) => {}
            }
        }
    }

    fn limit_mss(&mut self, now: Instant, id: FlowId, key: &FlowKey, index: u32) {
        let Some(queue) = self.flows.get(index).map(|flow| usize::from(flow.queue)) else {
            return;
        };
        let path_mss = self.path_mss(queue, key);
        let mut cx = Context {
            now,
            buffers: &mut self.ports[queue],
            core: &mut self.core,
        };
        if let Some(flow) = self.flows.get_mut(index) {
            flow.tcb.limit_mss(&mut cx, path_mss);
            self.mark_dirty(id);
        }
    }

    fn limit_half_open(&mut self, key: &FlowKey, index: u32) {
        let Some(queue) = self.half_open.get(index).map(|it| it.queue) else {
            return;
        };
        let path_mss = self.path_mss(usize::from(queue), key);
        if let Some(half_open) = self.half_open.get_mut(index) {
            half_open.entry.limit_mss(path_mss);
        }
    }

    /// What one segment may carry on any queue.
    pub(super) fn least_path_mss(&self, is_ipv4: bool) -> u16 {
        let all = (0..self.ports.len()).map(|queue| self.mss_of(queue, is_ipv4));
        all.min().unwrap_or(u16::MAX)
    }

    /// What one segment may carry on this queue, options included.
    pub(super) fn path_mss(&self, queue: usize, key: &FlowKey) -> u16 {
        self.mss_of(queue, key.local.is_ipv4())
    }

    fn mss_of(&self, queue: usize, is_ipv4: bool) -> u16 {
        let port = &self.ports[queue].queue;
        let max_frame = port.io.capabilities().max_frame.saturating_sub(LINK_HEADER);
        let least = if is_ipv4 {
            LEAST_MTU_IPV4
        } else {
            LEAST_MTU_IPV6
        };
        let mtu = usize::from(port.mtu).max(least).min(max_frame);
        let mss = mtu.saturating_sub(usize::from(fixed_headers(is_ipv4)));
        u16::try_from(mss).unwrap_or(u16::MAX)
    }
}
