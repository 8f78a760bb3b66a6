//! The memory that text is kept in.

use crate::tcp::memory_pressure::MemoryPressure;

/// Octets of a page. One octet can pin a page, so limits count pages.
pub(super) const PAGE: usize = 2048;
/// Free pages that keep their memory, so that those who come and go need no allocator. What a burst took
/// beyond them goes back to it: one bad minute must not be paid for as long as the process lives.
const SPARE: usize = 512;
/// No page's number.
pub(super) const NO_PAGE: u32 = u32::MAX;

pub(super) type Page = Box<[u8; PAGE]>;

/// What text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Next in order: nothing is kept from it.
    InOrder,
    /// Beyond a gap: leaves a quarter of the memory to text in order, which alone makes progress.
    BeyondGap,
}

/// The pages of one core, named by index.
#[derive(Debug)]
pub(super) struct Pages {
    pages: Vec<Option<Page>>,
    /// Free ones that keep their memory.
    free: Vec<u32>,
    /// Free ones without memory.
    empty: Vec<u32>,
    /// Taken, those that numbers of pages are accounted for as included.
    in_use: usize,
    limit: usize,
}

impl Pages {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
            empty: Vec::new(),
            in_use: 0,
            limit,
        }
    }

    pub(super) fn pressure(&self) -> MemoryPressure {
        MemoryPressure::of(self.in_use, self.limit)
    }

    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether there is one more page for such text.
    pub(super) fn has_room(&self, place: Place) -> bool {
        let is_kept_back =
            place == Place::BeyondGap && self.pressure() >= MemoryPressure::OutOfOrder;
        self.in_use < self.limit && !is_kept_back
    }

    /// A page for such text, if there is one more.
    pub(super) fn allocate(&mut self, place: Place) -> Option<u32> {
        self.account(place).then(|| self.take_free())
    }

    /// Accounts for as many octets as a page has. Returns whether that is within the limit.
    pub(super) fn account(&mut self, place: Place) -> bool {
        let has_room = self.has_room(place);
        self.in_use += usize::from(has_room);
        has_room
    }

    /// Takes back what was accounted for.
    pub(super) fn discount(&mut self, pages: usize) {
        self.in_use -= pages;
    }

    fn take_free(&mut self) -> u32 {
        // `bytes_mut` gives memory to those that have none.
        self.free
            .pop()
            .or_else(|| self.empty.pop())
            .unwrap_or_else(|| {
                self.pages.push(None);
                // The limit in octets is a usize over 2048; 2^32 pages are 8 TiB.
                (self.pages.len() - 1) as u32
            })
    }

    pub(super) fn free(&mut self, page: u32) {
        if page == NO_PAGE {
            return;
        }
        self.in_use -= 1;
        if self.free.len() < SPARE {
            self.free.push(page);
        } else {
            self.pages[page as usize] = None;
            self.empty.push(page);
        }
    }

    pub(super) fn bytes_mut(&mut self, page: u32) -> &mut [u8; PAGE] {
        self.pages[page as usize].get_or_insert_with(|| Box::new([0; PAGE]))
    }

    pub(super) fn take(&mut self, page: u32) -> Option<Page> {
        self.pages.get_mut(page as usize)?.take()
    }

    pub(super) fn restore(&mut self, page: u32, bytes: Page) {
        self.pages[page as usize] = Some(bytes);
    }
}

#[cfg(any(test, fuzzing))]
impl Pages {
    /// Pages that there are, in use or free.
    pub(super) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Those that are free.
    pub(super) fn free_list(&self) -> impl Iterator<Item = u32> {
        self.free.iter().chain(&self.empty).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_memory(pages: &Pages) -> usize {
        pages.pages.iter().flatten().count()
    }

    #[test]
    fn what_a_burst_took_goes_back_to_the_allocator() {
        let mut pages = Pages::new(20_000);
        for _ in 0..3 {
            let burst: Vec<u32> = (0..10_000)
                .map(|_| pages.allocate(Place::InOrder).expect("room"))
                .collect();
            for &page in &burst {
                pages.bytes_mut(page)[0] = 1;
            }
            assert_eq!(with_memory(&pages), burst.len());
            burst.into_iter().for_each(|page| pages.free(page));
            assert_eq!((pages.in_use(), with_memory(&pages)), (0, SPARE));
            // Numbers are used again all the same.
            assert_eq!((pages.len(), pages.free_list().count()), (10_000, 10_000));
        }
        // Who comes and goes after that has a page that kept its memory.
        let page = pages.allocate(Place::InOrder).expect("room");
        assert_eq!(pages.bytes_mut(page)[0], 1);
        pages.free(page);
        assert_eq!(with_memory(&pages), SPARE);
    }
}
