//! An eventfd: how one thread wakes another up that polls.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::timespec;
use crate::time::Duration;

/// Rings in one thread, wakes another.
#[derive(Debug)]
pub struct Wake(OwnedFd);

impl Wake {
    /// A new one, silent.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    /// Wakes who polls it, now or when it does.
    pub fn ring(&self) {
        // Fails only when it has been rung 2^64 - 2 times and not been heard.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it silent again.
    pub fn clear(&self) {
        // Fails when it is silent.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    /// Waits until it rings, at most so long, and makes it silent.
    pub fn wait(&self, longest: Duration) {
        let mut files = [PollFd::new(&self.0, PollFlags::IN)];
        let _ = poll(&mut files, Some(&timespec(longest)));
        self.clear();
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
