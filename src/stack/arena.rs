//! Values named by index, in chunks that never move: growing costs one chunk, not a copy.

const CHUNK: usize = 512;

/// An arena. Indices are reused; whoever keeps one knows that its value is there.
#[derive(Debug)]
pub(super) struct Arena<T> {
    chunks: Vec<Box<[Option<T>]>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Arena<T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let (chunk, slot) = place(index);
        self.chunks[chunk][slot] = Some(value);
        self.len += 1;
        index
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, slot) = place(index);
        self.chunks.get(chunk)?[slot].as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (chunk, slot) = place(index);
        self.chunks.get_mut(chunk)?[slot].as_mut()
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<T> {
        let (chunk, slot) = place(index);
        let value = self.chunks.get_mut(chunk)?[slot].take()?;
        self.free.push(index);
        self.len -= 1;
        Some(value)
    }

    /// Adds a chunk; returns its first index and frees the others.
    fn grow(&mut self) -> u32 {
        // As many values as the flow table has slots, which are numbered by u32.
        let first = (self.chunks.len() * CHUNK) as u32;
        self.chunks.push((0..CHUNK).map(|_| None).collect());
        self.free.extend((first + 1..first + CHUNK as u32).rev());
        first
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
