//! The signals that end a server.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGTERM};

use super::ServeError;

/// Takes SIGINT, SIGTERM and SIGHUP (the terminal is gone) over: they are counted here from now on,
/// and end nothing by themselves.
#[derive(Debug)]
pub struct Signals {
    pipe: UnixStream,
    waiting: usize,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn install() -> Result<Self, ServeError> {
        Self::of(&[SIGINT, SIGTERM, SIGHUP])
            .map_err(ServeError::exhausted("descriptor for signals"))
    }

    fn of(signals: &[i32]) -> io::Result<Self> {
        let (pipe, handler) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        for &signal in signals {
            signal_hook::low_level::pipe::register(signal, handler.try_clone()?)?;
        }
        Ok(Self { pipe, waiting: 0 })
    }

    /// Whether a signal has come; each is told once.
    pub(super) fn take(&mut self) -> bool {
        let mut octets = [0; 16];
        // One octet a signal; nothing to read is an error.
        if let Ok(count) = self.pipe.read(&mut octets) {
            self.waiting += count;
        }
        let some = self.waiting > 0;
        self.waiting -= usize::from(some);
        some
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::signal::SIGUSR2;

    use super::*;

    #[test]
    fn each_signal_is_told_once() {
        let mut signals = Signals::of(&[SIGUSR2]).unwrap();
        assert!(!signals.take());
        for _ in 0..2 {
            signal_hook::low_level::raise(SIGUSR2).unwrap();
        }
        assert!(signals.take());
        assert!(signals.take());
        assert!(!signals.take());
    }
}
