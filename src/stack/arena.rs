//! Values named by index, in chunks that never move: growing costs no copy, and a chunk's memory is
//! touched only as it is used.

const CHUNK: usize = 4096;
/// The end of the list of free slots.
const NIL: u32 = u32::MAX;

/// An arena. Indices are reused; whoever keeps one knows that its value is there.
#[derive(Debug)]
pub(super) struct Arena<T> {
    /// All but the last are full of slots.
    chunks: Vec<Vec<Slot<T>>>,
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
            chunks: Vec::new(),
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
            return self.push(value);
        }
        let index = self.free;
        let (chunk, slot) = place(index);
        let slot = &mut self.chunks[chunk][slot];
        if let Slot::Free { next } = std::mem::replace(slot, Slot::Full(value)) {
            self.free = next;
        }
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, slot) = place(index);
        match self.chunks.get(chunk)?.get(slot)? {
            Slot::Full(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (chunk, slot) = place(index);
        match self.chunks.get_mut(chunk)?.get_mut(slot)? {
            Slot::Full(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let (chunk, slot) = place(index);
        let slot = self.chunks.get_mut(chunk)?.get_mut(slot)?;
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

    /// Takes a slot that was never used.
    fn push(&mut self, value: T) -> u32 {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.len() - 1;
        let slots = &mut self.chunks[chunk];
        slots.push(Slot::Full(value));
        // No more values than the flow table has slots, which are numbered by u32.
        (chunk * CHUNK + slots.len() - 1) as u32
    }
}

fn place(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
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
