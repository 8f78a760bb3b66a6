//! Huge pages for what is read at random: among a million connections the next one that speaks is in
//! other pages than the last, and a TLB has entries for some thousands. Only advice: a kernel that has
//! none to give, or may not, gives others.

#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator, Global};

/// No huge page is smaller: less memory than this is left alone.
const HUGE_PAGE: usize = 2 << 20;

/// Asks for huge pages in all of `len` octets from `start` on but the pages at its ends.
pub(crate) fn prefer_huge_pages<T>(start: *const T, len: usize) {
    if len < HUGE_PAGE {
        return;
    }
    let page = rustix::param::page_size();
    let begin = start.addr().next_multiple_of(page);
    let end = (start.addr() + len) / page * page;
    // SAFETY: how pages are made changes nothing in them, whosever they are. What the kernel does not
    // know or want it refuses.
    unsafe {
        libc::madvise(
            start.with_addr(begin).cast_mut().cast(),
            end - begin,
            libc::MADV_HUGEPAGE,
        )
    };
}

/// The global allocator, and huge pages for what is large.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HugePages;

// SAFETY: all is the global allocator's; advice leaves its memory as it is.
unsafe impl Allocator for HugePages {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let memory = Global.allocate(layout)?;
        prefer_huge_pages(memory.as_ptr().cast::<u8>(), memory.len());
        Ok(memory)
    }

    unsafe fn deallocate(&self, memory: NonNull<u8>, layout: Layout) {
        // SAFETY: it came from there, by `allocate`.
        unsafe { Global.deallocate(memory, layout) };
    }
}
