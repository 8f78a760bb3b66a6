//! One lab at a time: in all processes that test this build, by a locked file; among the tests of
//! one process in the order in which they ask, since a file's lock goes to whoever is quickest, and
//! one test could wait for all others.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The number of the next test that asks.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// The number of the test whose turn it is.
static CALLED: AtomicU64 = AtomicU64::new(0);

/// The turn to have a lab. Ends when it is dropped.
pub(crate) struct Turn {
    /// Unlocked before the next test is called.
    file: Option<File>,
}

/// Waits for the turn.
pub(super) fn take() -> Turn {
    let number = NEXT.fetch_add(1, Ordering::SeqCst);
    while CALLED.load(Ordering::SeqCst) != number {
        super::pause(Duration::from_millis(5));
    }
    // From here on the turn ends also where something fails.
    let mut turn = Turn { file: None };
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/lab.lock");
    let file = File::create(path).expect("cargo made its tmp directory");
    file.lock().expect("locks work in the target directory");
    turn.file = Some(file);
    turn
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.file = None;
        CALLED.fetch_add(1, Ordering::SeqCst);
    }
}
