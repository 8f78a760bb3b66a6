//! What the paths to other hosts are known to carry, for connections to come (RFC 1191 section 6.2,
//! RFC 8201 section 5.2: a path is told by its destination).

use std::collections::BTreeMap;

use crate::time::Instant;
use crate::wire::Address;

/// Destinations that are remembered. Only a narrower path than the interface's is worth a place.
const CAPACITY: usize = 1024;

/// Path MTUs less fixed headers, by destination.
#[derive(Debug, Default)]
pub(super) struct PathCache {
    limits: BTreeMap<Address, PathLimit>,
}

/// What a path carries, and until when that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathLimit {
    /// The MTU less fixed IP and TCP headers.
    pub(super) mss: u16,
    pub(super) until: Instant,
}

impl PathCache {
    pub(super) fn lookup(&self, destination: &Address, now: Instant) -> Option<PathLimit> {
        let limit = self.limits.get(destination).copied();
        limit.filter(|limit| limit.until > now)
    }

    /// Remembers a path; in place of what is forgotten first, if there is no room. Returns whether
    /// another was forgotten.
    pub(super) fn insert(&mut self, destination: Address, limit: PathLimit) -> bool {
        let mut forgets = false;
        if self.limits.len() >= CAPACITY && !self.limits.contains_key(&destination) {
            let oldest = self.limits.iter().min_by_key(|(_, limit)| limit.until);
            if let Some((&oldest, _)) = oldest {
                forgets = self.limits.remove(&oldest).is_some();
            }
        }
        self.limits.insert(destination, limit);
        forgets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Address {
        Address::from_ipv4((0xc612_0000 + number).to_be_bytes())
    }

    fn limit(mss: u16, until: u64) -> PathLimit {
        PathLimit {
            mss,
            until: Instant::from_millis(until),
        }
    }

    #[test]
    fn a_path_is_remembered_for_a_while() {
        let mut cache = PathCache::default();
        cache.insert(address(1), limit(1_260, 100));
        let lookup = |at| cache.lookup(&address(1), Instant::from_millis(at));
        assert_eq!(lookup(99), Some(limit(1_260, 100)));
        assert_eq!(lookup(100), None);
        assert_eq!(cache.lookup(&address(2), Instant::ZERO), None);
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_the_oldest() {
        let mut cache = PathCache::default();
        for number in 0..2 * CAPACITY as u32 {
            let forgets = cache.insert(address(number), limit(1_260, 100 + u64::from(number)));
            assert_eq!(forgets, number >= CAPACITY as u32);
        }
        assert_eq!(cache.limits.len(), CAPACITY);
        let known = |number| cache.lookup(&address(number), Instant::ZERO).is_some();
        assert!(!known(CAPACITY as u32 - 1));
        assert!(known(CAPACITY as u32));
    }
}
