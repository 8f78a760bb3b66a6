//! Values by index, which never move: growing costs no copy, and memory is touched only as it is used.
//!
//! Each chunk is twice as large as the one before it, so that a few hold millions and are large enough
//! for huge pages, and those of a small server take little.

use super::prefer_huge_pages;

/// Values of the first chunk, as a power of two.
const FIRST_BITS: u32 = 12;

/// See the module.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    /// All but the last are full.
    chunks: Vec<Vec<T>>,
    len: u32,
}

impl<T> Chunks<T> {
    pub(crate) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }

    /// How many there are; indices are below.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, place) = find(index);
        self.chunks.get(chunk)?.get(place)
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (chunk, place) = find(index);
        self.chunks.get_mut(chunk)?.get_mut(place)
    }

    /// Adds a value behind the others. Returns its index.
    pub(crate) fn push(&mut self, value: T) -> u32 {
        let index = self.len;
        let (chunk, place) = find(index);
        if place == 0 {
            let new = Vec::with_capacity(1 << (FIRST_BITS as usize + chunk));
            prefer_huge_pages(new.as_ptr(), new.capacity() * size_of::<T>());
            self.chunks.push(new);
        }
        self.chunks[chunk].push(value);
        self.len += 1;
        index
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> std::ops::Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        let (chunk, place) = find(index);
        &self.chunks[chunk][place]
    }
}

impl<T> std::ops::IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        let (chunk, place) = find(index);
        &mut self.chunks[chunk][place]
    }
}

/// The chunk that holds an index, and its place there. As many values as the first chunk holds are
/// thought before all, so that the highest bit of an index tells.
const fn find(index: u32) -> (usize, usize) {
    let at = index as u64 + (1 << FIRST_BITS);
    let highest = u64::BITS - 1 - at.leading_zeros();
    let place = at ^ 1 << highest;
    ((highest - FIRST_BITS) as usize, place as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_dense_and_values_stay_where_they_are() {
        const MANY: u32 = 100_000;
        let mut chunks = Chunks::new();
        assert_eq!(chunks.get(0), None);
        chunks.push(0);
        let first: *const u32 = &raw const chunks[0];
        for value in 1..MANY {
            assert_eq!(chunks.push(value), value);
        }
        assert!(std::ptr::eq(first, &raw const chunks[0]));
        assert!((0..MANY).all(|index| chunks.get(index) == Some(&index)));
        assert_eq!(chunks.get(MANY), None);
        assert_eq!(chunks.get(u32::MAX), None);
        assert!(chunks.iter().copied().eq(0..MANY));
        *chunks.get_mut(5_000).unwrap() = 1;
        assert_eq!(chunks[5_000], 1);
    }

    #[test]
    fn chunks_double() {
        assert_eq!(find(0), (0, 0));
        assert_eq!(find((1 << FIRST_BITS) - 1), (0, (1 << FIRST_BITS) - 1));
        assert_eq!(find(1 << FIRST_BITS), (1, 0));
        assert_eq!(find(3 << FIRST_BITS), (2, 0));
        assert_eq!(find(u32::MAX), (20, (1 << FIRST_BITS) - 1));
    }
}
