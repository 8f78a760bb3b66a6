//! From a [`FlowKey`] to a [`FlowId`] to a value of any type.
//!
//! The hash table holds only slot indices and is reserved for the most flows there may be when the
//! table is made; it never grows. Keys and values live in chunks that are allocated as they are
//! needed and never move. An insert therefore never stalls on a copy of the whole table.
//!
//! The hash is SipHash-1-3 under a secret key: a peer that chooses its addresses and ports cannot
//! make the keys collide, so a lookup stays constant-time under attack.

use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use crate::memory::{Chunks, HugePages};
use crate::wire::FlowKey;

/// End of the list of free slots.
const NIL: u32 = u32::MAX;

/// A flow of one table. An id outlives its flow harmlessly: the slot's generation changes when the
/// flow is removed, and an id of an older generation finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// The slot; dense from 0, reused after a removal.
    pub index: u32,
    /// Which of the slot's flows, in turn.
    pub generation: u32,
}

/// The table holds as many flows as it may; here is the value back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// Flows by key and by id.
#[derive(Debug)]
pub struct FlowTable<T> {
    /// Slot indices by the hash of the slot's key.
    by_key: HashTable<u32, HugePages>,
    /// All that were ever used.
    slots: Chunks<Slot<T>>,
    /// First of the list of free slots.
    free: u32,
    max: usize,
    hasher: SipHasher13,
}

#[derive(Debug)]
struct Slot<T> {
    key: FlowKey,
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    Flow(T),
    Free { next: u32 },
}

impl<T> FlowTable<T> {
    /// Octets that a flow takes besides its entry of the hash table.
    #[cfg(test)]
    pub(crate) const SLOT: usize = size_of::<Slot<T>>();

    /// A table for at most `max` flows. `hash_key` is random and secret.
    ///
    /// # Panics
    ///
    /// If `max` is 2^31 or more.
    pub fn with_capacity(max: usize, hash_key: [u64; 2]) -> Self {
        assert!(max < 1 << 31, "flows are numbered in 31 bits");
        Self {
            // Twice: hashbrown cleans its tombstones in place only while at most half of the
            // table is full, and grows otherwise. At half load it also leaves nearly none.
            by_key: HashTable::with_capacity_in(2 * max, HugePages),
            slots: Chunks::new(),
            free: NIL,
            max,
            hasher: SipHasher13::new_with_keys(hash_key[0], hash_key[1]),
        }
    }

    /// The hash of `key`, for [`lookup_hashed`](Self::lookup_hashed).
    pub fn hash(&self, key: &FlowKey) -> u64 {
        hash(&self.hasher, key)
    }

    /// The flow that `key` names.
    pub fn lookup(&self, key: &FlowKey) -> Option<FlowId> {
        self.lookup_hashed(self.hash(key), key)
    }

    /// The flow that `key` names, `hash` being its [`hash`](Self::hash): a batch is hashed first
    /// and looked up then.
    pub fn lookup_hashed(&self, hash: u64, key: &FlowKey) -> Option<FlowId> {
        let slots = &self.slots;
        let &index = self.by_key.find(hash, |&index| slots[index].key == *key)?;
        Some(FlowId {
            index,
            generation: slots[index].generation,
        })
    }

    /// Adds a flow. Its key is not in the table yet.
    pub fn insert(&mut self, key: FlowKey, value: T) -> Result<FlowId, Full<T>> {
        debug_assert!(self.lookup(&key).is_none(), "{key} is in the table already");
        if self.by_key.len() == self.max {
            return Err(Full(value));
        }
        let id = self.fill_slot(key, value);
        let (hasher, slots) = (&self.hasher, &self.slots);
        self.by_key
            .insert_unique(hash(hasher, &key), id.index, |&index| {
                hash(hasher, &slots[index].key)
            });
        Ok(id)
    }

    /// The value of a flow; `None` if it has been removed.
    pub fn get(&self, id: FlowId) -> Option<&T> {
        self.entry(id).map(|(_, value)| value)
    }

    /// The value of a flow; `None` if it has been removed.
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut T> {
        match self.slot_of_mut(id)?.content {
            Content::Flow(ref mut value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    /// The key and the value of a flow; `None` if it has been removed.
    pub fn entry(&self, id: FlowId) -> Option<(&FlowKey, &T)> {
        let slot = self.slot_of(id)?;
        match slot.content {
            Content::Flow(ref value) => Some((&slot.key, value)),
            Content::Free { .. } => None,
        }
    }

    /// The key of a flow; `None` if it has been removed.
    pub fn key(&self, id: FlowId) -> Option<&FlowKey> {
        self.entry(id).map(|(key, _)| key)
    }

    /// The flow that is in a slot now.
    pub fn id_at(&self, index: u32) -> Option<FlowId> {
        let slot = self.slots.get(index)?;
        matches!(slot.content, Content::Flow(_)).then_some(FlowId {
            index,
            generation: slot.generation,
        })
    }

    /// Removes a flow; `None` if it has been removed before.
    pub fn remove(&mut self, id: FlowId) -> Option<T> {
        let key = *self.key(id)?;
        let hash = self.hash(&key);
        if let Ok(entry) = self.by_key.find_entry(hash, |&index| index == id.index) {
            entry.remove();
        }
        let next = self.free;
        let slot = self.slot_of_mut(id)?;
        slot.generation = slot.generation.wrapping_add(1);
        let content = std::mem::replace(&mut slot.content, Content::Free { next });
        self.free = id.index;
        match content {
            Content::Flow(value) => Some(value),
            Content::Free { .. } => None,
        }
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Slots that were ever used; [`FlowId::index`] is below.
    pub fn slots(&self) -> u32 {
        self.slots.len()
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The most flows that there may be.
    pub fn capacity(&self) -> usize {
        self.max
    }

    /// All flows, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (FlowId, &FlowKey, &T)> {
        self.slots
            .iter()
            .zip(0..)
            .filter_map(|(slot, index)| match slot.content {
                Content::Flow(ref value) => Some((
                    FlowId {
                        index,
                        generation: slot.generation,
                    },
                    &slot.key,
                    value,
                )),
                Content::Free { .. } => None,
            })
    }

    /// Puts a flow in the slot that was freed last, since that is the warmest, or in a fresh one.
    fn fill_slot(&mut self, key: FlowKey, value: T) -> FlowId {
        if self.free == NIL {
            return self.fresh_slot(key, value);
        }
        let index = self.free;
        let slot = &mut self.slots[index];
        if let Content::Free { next } = slot.content {
            self.free = next;
        }
        slot.key = key;
        slot.content = Content::Flow(value);
        FlowId {
            index,
            generation: slot.generation,
        }
    }

    fn fresh_slot(&mut self, key: FlowKey, value: T) -> FlowId {
        let index = self.slots.push(Slot {
            key,
            generation: 0,
            content: Content::Flow(value),
        });
        FlowId {
            index,
            generation: 0,
        }
    }

    fn slot_of(&self, id: FlowId) -> Option<&Slot<T>> {
        let slot = self.slots.get(id.index)?;
        (slot.generation == id.generation).then_some(slot)
    }

    fn slot_of_mut(&mut self, id: FlowId) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(id.index)?;
        (slot.generation == id.generation).then_some(slot)
    }
}

/// IPv4 keys are hashed as 12 octets: a lookup then costs a quarter less. SipHash mixes in the
/// length, so that the two families do not meet.
fn hash(hasher: &SipHasher13, key: &FlowKey) -> u64 {
    let ports = u32::from(key.remote_port) << 16 | u32::from(key.local_port);
    if key.remote.is_ipv4() && key.local.is_ipv4() {
        let remote = u32::from_be_bytes(key.remote.ipv4_octets());
        let local = u32::from_be_bytes(key.local.ipv4_octets());
        let mut hasher = *hasher;
        hasher.write_u64(u64::from(remote) << 32 | u64::from(ports));
        hasher.write_u32(local);
        return hasher.finish();
    }
    let mut bytes = [0; 36];
    bytes[..16].copy_from_slice(key.remote.octets());
    bytes[16..32].copy_from_slice(key.local.octets());
    bytes[32..].copy_from_slice(&ports.to_be_bytes());
    hasher.hash(&bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::Address;

    fn key(n: u32) -> FlowKey {
        let remote = if n.is_multiple_of(2) {
            Address::from_ipv4(n.to_be_bytes())
        } else {
            let mut octets = [0xfd; 16];
            octets[12..].copy_from_slice(&n.to_be_bytes());
            Address::from_ipv6(octets)
        };
        let local = if n.is_multiple_of(2) {
            Address::from_ipv4([198, 18, 0, 1])
        } else {
            Address::from_ipv6([0xfd; 16])
        };
        FlowKey {
            local,
            remote,
            local_port: 80,
            remote_port: n as u16,
        }
    }

    #[test]
    fn a_removed_flow_is_gone_by_key_by_id_and_by_slot() {
        let mut table = FlowTable::with_capacity(4, [1, 2]);
        let id = table.insert(key(1), "one").unwrap();
        assert_eq!(table.lookup(&key(1)), Some(id));
        assert_eq!(table.id_at(id.index), Some(id));
        assert_eq!(table.key(id), Some(&key(1)));
        assert_eq!(table.remove(id), Some("one"));
        assert_eq!(table.lookup(&key(1)), None);
        assert_eq!(table.get(id), None);
        assert_eq!(table.key(id), None);
        assert_eq!(table.id_at(id.index), None);
        assert_eq!(table.remove(id), None);
        assert!(table.is_empty());
    }

    #[test]
    fn a_stale_id_does_not_find_the_next_flow_of_its_slot() {
        let mut table = FlowTable::with_capacity(4, [1, 2]);
        let old = table.insert(key(1), 1).unwrap();
        table.remove(old);
        let new = table.insert(key(2), 2).unwrap();
        assert_eq!(new.index, old.index);
        assert_ne!(new.generation, old.generation);
        assert_eq!(table.get(old), None);
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get(new), Some(&2));
    }

    #[test]
    fn a_full_table_gives_the_value_back() {
        let mut table = FlowTable::with_capacity(2, [1, 2]);
        table.insert(key(1), 1).unwrap();
        let second = table.insert(key(2), 2).unwrap();
        assert_eq!(table.insert(key(3), 3), Err(Full(3)));
        table.remove(second);
        assert!(table.insert(key(3), 3).is_ok());
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn ids_out_of_range_find_nothing() {
        let mut table = FlowTable::with_capacity(2, [1, 2]);
        table.insert(key(1), 1).unwrap();
        for index in [1, 1 << 12, u32::MAX] {
            assert_eq!(table.id_at(index), None);
            assert_eq!(
                table.get(FlowId {
                    index,
                    generation: 0
                }),
                None
            );
        }
    }

    #[test]
    fn churn_at_capacity_neither_grows_nor_moves() {
        const MAX: u32 = 5_000;
        let mut table = FlowTable::with_capacity(MAX as usize, [3, 4]);
        let mut ids: Vec<_> = (0..MAX).map(|n| table.insert(key(n), n).unwrap()).collect();
        let buckets = table.by_key.num_buckets();
        let first: *const u32 = table.get(ids[0]).unwrap();
        for n in MAX..60 * MAX {
            let place = 1 + (n as usize * 7919) % (MAX as usize - 1);
            table.remove(ids[place]).unwrap();
            ids[place] = table.insert(key(n), n).unwrap();
        }
        assert_eq!(table.by_key.num_buckets(), buckets);
        assert!(std::ptr::eq(first, table.get(ids[0]).unwrap()));
        assert_eq!(table.len(), MAX as usize);
        assert_eq!(table.slots(), MAX);
    }

    /// Who knows which flows collide under some key has no more than luck under another: a lookup looks
    /// at a key or two, in a table that is full of such flows.
    #[test]
    fn flows_that_collide_elsewhere_do_not_here() {
        const MAX: usize = 1024;
        let guessed = FlowTable::<()>::with_capacity(MAX, [7, 7]);
        let buckets = guessed.by_key.num_buckets() as u64;
        let colliding = (0..).map(key).filter(|key| guessed.hash(key) % buckets < 8);
        let colliding: Vec<FlowKey> = colliding.take(MAX).collect();
        // What a lookup of each has to look at, at the most.
        let longest = |secret| {
            let mut table = FlowTable::with_capacity(MAX, secret);
            for key in &colliding {
                table.insert(*key, ()).unwrap();
            }
            let lookups = colliding.iter().map(|key| {
                let candidates = table.by_key.iter_hash(table.hash(key));
                candidates.count()
            });
            lookups.max().unwrap()
        };
        assert!(
            longest([7, 7]) >= 10,
            "they do collide: {}",
            longest([7, 7])
        );
        for secret in [[1, 2], [3, 4], [5, 6]] {
            assert!(longest(secret) <= 4, "{}", longest(secret));
        }
    }

    #[test]
    fn the_hash_depends_on_its_key_and_on_every_field() {
        let table = FlowTable::<()>::with_capacity(1, [1, 2]);
        let other = FlowTable::<()>::with_capacity(1, [1, 3]);
        for base in [key(2), key(3)] {
            assert_ne!(table.hash(&base), other.hash(&base));
            for changed in [
                FlowKey {
                    local_port: 81,
                    ..base
                },
                FlowKey {
                    remote_port: 9,
                    ..base
                },
                FlowKey {
                    local: key(4).remote,
                    ..base
                },
                FlowKey {
                    remote: key(5).remote,
                    ..base
                },
                base.reversed(),
            ] {
                assert_ne!(table.hash(&base), table.hash(&changed));
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0u32..40, any::<bool>()), 0..400)) {
            const MAX: usize = 24;
            let mut table = FlowTable::with_capacity(MAX, [5, 6]);
            let mut model = BTreeMap::new();
            for (n, add) in steps {
                let found = table.lookup(&key(n));
                prop_assert_eq!(found.is_some(), model.contains_key(&n));
                match (add, found) {
                    (true, None) if model.len() == MAX => {
                        prop_assert_eq!(table.insert(key(n), n), Err(Full(n)));
                    }
                    (true, None) => {
                        let id = table.insert(key(n), n);
                        prop_assert!(id.is_ok());
                        model.insert(n, id.unwrap());
                    }
                    (true, Some(id)) => prop_assert_eq!(table.get(id), Some(&n)),
                    (false, Some(id)) => {
                        prop_assert_eq!(table.remove(id), Some(n));
                        model.remove(&n);
                    }
                    (false, None) => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let mut listed: Vec<_> = table.iter().map(|(id, &k, &n)| (n, id, k)).collect();
            listed.sort_by_key(|&(n, ..)| n);
            let expected: Vec<_> = model.iter().map(|(&n, &id)| (n, id, key(n))).collect();
            prop_assert_eq!(listed, expected);
        }
    }
}
