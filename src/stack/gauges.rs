//! What a stack holds now, beside what it may hold, by names for `corelane stats`.

use super::Stack;
use crate::ring::PacketIo;

impl<P: PacketIo> Stack<P> {
    /// Names and values; octets where the name does not say what.
    pub(super) fn gauges(&self) -> Vec<(&'static str, u64)> {
        let sum = |of: fn(&super::Port<P>) -> usize| self.ports.iter().map(of).sum();
        let gauges: [(&'static str, usize); 11] = [
            ("connections_limit", self.table.capacity()),
            ("flows", self.flows.len()),
            ("half_open", self.half_open.len()),
            ("time_wait", self.waiting.len()),
            ("receive_memory", self.core.receive_bytes()),
            ("receive_memory_limit", self.core.receive_limit()),
            ("send_frames", sum(super::Port::frames_in_use)),
            ("send_frames_limit", sum(super::Port::frames)),
            ("compact_memory", sum(super::Port::compact_octets)),
            ("compact_memory_limit", sum(super::Port::compact_budget)),
            ("fragment_memory", self.reassembly.octets()),
        ];
        gauges.map(|(name, value)| (name, value as u64)).into()
    }
}
