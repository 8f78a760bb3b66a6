//! The memory that text is kept in.

use crate::tcp::memory_pressure::MemoryPressure;

/// Octets of a page. One octet can pin a page, so limits count pages.
pub(super) const PAGE: usize = 2048;
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
    free: Vec<u32>,
    /// Taken, those that numbers of pages are accounted for as included.
    in_use: usize,
    limit: usize,
}

impl Pages {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            pages: Vec::new(),
            free: Vec::new(),
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
        self.free.pop().unwrap_or_else(|| {
            self.pages.push(Some(Box::new([0; PAGE])));
            // The limit in octets is a usize over 2048; 2^32 pages are 8 TiB.
            (self.pages.len() - 1) as u32
        })
    }

    pub(super) fn free(&mut self, page: u32) {
        if page != NO_PAGE {
            self.in_use -= 1;
            self.free.push(page);
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
    pub(super) fn free_list(&self) -> &[u32] {
        &self.free
    }
}
