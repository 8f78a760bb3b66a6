//! Values named by index, which is reused, and which never move.

use crate::memory::Chunks;

/// The end of the list of free slots.
const NIL: u32 = u32::MAX;

/// An arena. Indices are reused; whoever keeps one knows that its value is there.
#[derive(Debug)]
pub(super) struct Arena<T> {
    slots: Chunks<Slot<T>>,
    /// The first of the list of free slots.
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Slot<T> {
    Full(T),
    Free { next: u32 },
}

impl<T> Arena<T> {
    /// Octets that a value takes.
    #[cfg(test)]
    pub(super) const SLOT: usize = size_of::<Slot<T>>();

    pub(super) fn new() -> Self {
        Self {
            slots: Chunks::new(),
            free: NIL,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if self.free == NIL {
            // No more values than the flow table has slots, which are numbered by u32.
            return self.slots.push(Slot::Full(value));
        }
        let index = self.free;
        let slot = &mut self.slots[index];
        if let Slot::Free { next } = std::mem::replace(slot, Slot::Full(value)) {
            self.free = next;
        }
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        match self.slots.get(index)? {
            Slot::Full(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.slots.get_mut(index)? {
            Slot::Full(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index)?;
        if matches!(slot, Slot::Free { .. }) {
            return None;
        }
        let emptied = std::mem::replace(slot, Slot::Free { next: self.free });
        self.free = index;
        self.len -= 1;
        match emptied {
            Slot::Full(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_stable_and_reused() {
        let mut arena = Arena::new();
        let indices: Vec<u32> = (0..2_000).map(|i| arena.insert(i)).collect();
        assert_eq!(arena.len(), 2_000);
        assert_eq!(arena.get(indices[1_500]), Some(&1_500));
        assert_eq!(arena.remove(indices[7]), Some(7));
        assert_eq!(arena.get(indices[7]), None);
        assert_eq!(arena.remove(indices[7]), None);
        assert_eq!(arena.insert(9), indices[7]);
        assert_eq!(arena.get(1_000_000), None);
    }
}
