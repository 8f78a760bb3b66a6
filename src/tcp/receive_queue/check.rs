//! What must hold after every step.

use super::pages::{NO_PAGE, PAGE};
use super::{INDEX, MAX_RANGES, ReceiveMemory};

impl ReceiveMemory {
    /// Queues in use.
    pub(in crate::tcp) fn queues(&self) -> usize {
        self.queues.len()
    }

    /// That pages are either free or one queue's, and queues hold what their runs say.
    pub(in crate::tcp) fn check(&self) {
        let mut used = vec![false; self.pages.len()];
        let mut accounted = 0;
        for (_, queue) in &self.queues {
            assert!(queue.offset < PAGE, "{queue:?}");
            assert_eq!(queue.index_pages, queue.pages.len() / INDEX, "{queue:?}");
            accounted += queue.index_pages;
            assert!(queue.ranges.len() <= MAX_RANGES + 2, "{queue:?}");
            let mut before = None;
            for range in &queue.ranges {
                assert!(range.start.before(range.end), "{queue:?}");
                assert!(range.start.at_or_after(queue.start), "{queue:?}");
                assert!(before.is_none_or(|end| range.start.after(end)), "{queue:?}");
                before = Some(range.end);
                let first = queue.offset + range.start.since(queue.start) as usize;
                let last = queue.offset + range.end.since(queue.start) as usize - 1;
                for slot in first / PAGE..=last / PAGE {
                    assert_ne!(queue.pages[slot], NO_PAGE, "{queue:?}");
                }
            }
            for &page in queue.pages.iter().filter(|&&page| page != NO_PAGE) {
                let was = std::mem::replace(&mut used[page as usize], true);
                assert!(!was, "page {page} is used twice");
            }
        }
        for page in self.pages.free_list() {
            let was = std::mem::replace(&mut used[page as usize], true);
            assert!(!was, "page {page} is free and used");
        }
        assert!(used.into_iter().all(|known| known), "a page is lost");
        let in_use = self.pages.len() - self.pages.free_list().count() + accounted;
        assert_eq!(in_use, self.pages.in_use());
        assert!(in_use <= self.pages.limit());
    }
}
