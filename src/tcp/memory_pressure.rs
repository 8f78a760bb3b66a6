//! What a core gives up when its receive memory runs short, and in which order: what costs a peer
//! least goes first, and every level does what those below it do as well.

/// How much of a core's receive memory is used, by what that has it do without. See
/// [`Config::receive_memory`](super::Config::receive_memory).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryPressure {
    /// There is enough.
    #[default]
    None,
    /// From 3/8: new peers are answered with SYN cookies, so that only those get a connection that
    /// can be reached.
    Cookies,
    /// From 1/2: receive windows do not grow.
    Windows,
    /// From 3/4: nothing is taken for text out of order, and what is held of it makes room for text
    /// in order, which alone makes progress.
    OutOfOrder,
    /// From 7/8: there are no new connections; what is left is for those that there are.
    Connections,
}

impl MemoryPressure {
    /// With `used` of `limit`. Who uses nothing is not short of it, whatever the limit.
    pub(super) const fn of(used: usize, limit: usize) -> Self {
        let used = used.saturating_mul(8);
        if used == 0 || used < limit.saturating_mul(3) {
            Self::None
        } else if used < limit.saturating_mul(4) {
            Self::Cookies
        } else if used < limit.saturating_mul(6) {
            Self::Windows
        } else if used < limit.saturating_mul(7) {
            Self::OutOfOrder
        } else {
            Self::Connections
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_in_their_order() {
        let at = |used| MemoryPressure::of(used, 800);
        for (from, level) in [
            (300, MemoryPressure::Cookies),
            (400, MemoryPressure::Windows),
            (600, MemoryPressure::OutOfOrder),
            (700, MemoryPressure::Connections),
        ] {
            assert_eq!(at(from), level);
            assert!(at(from - 1) < level);
        }
        assert_eq!(at(0), MemoryPressure::None);
        assert_eq!(at(usize::MAX), MemoryPressure::Connections);
        assert_eq!(MemoryPressure::of(0, 0), MemoryPressure::None);
        assert_eq!(MemoryPressure::of(1, 0), MemoryPressure::Connections);
    }
}
