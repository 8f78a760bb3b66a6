//! What the protocols here need of a [`Socket`], so that tests can stand in for one.

use crate::stack::Socket;

/// Where a server writes to. The methods are those of [`Socket`].
pub(super) trait Output {
    fn send(&mut self, data: &[u8]) -> usize;
    fn send_with(&mut self, limit: usize, fill: impl FnMut(&mut [u8]) -> usize) -> usize;
    fn shutdown(&mut self);
    fn close(&mut self);
    fn abort(&mut self);
}

impl Output for Socket<'_> {
    fn send(&mut self, data: &[u8]) -> usize {
        Socket::send(self, data)
    }

    fn send_with(&mut self, limit: usize, fill: impl FnMut(&mut [u8]) -> usize) -> usize {
        Socket::send_with(self, limit, fill)
    }

    fn shutdown(&mut self) {
        Socket::shutdown(self);
    }

    fn close(&mut self) {
        Socket::close(self);
    }

    fn abort(&mut self) {
        Socket::abort(self);
    }
}

/// A peer with limited room, for tests and fuzz targets.
#[cfg(any(test, fuzzing))]
#[derive(Debug)]
pub(super) struct Pipe {
    /// What was sent.
    pub(super) sent: Vec<u8>,
    /// Octets that may still be sent.
    pub(super) room: usize,
    /// The largest piece that `send_with` offers.
    pub(super) piece: usize,
    /// A send was cut short since this was last cleared: `on_writable` is due.
    pub(super) short: bool,
    /// `shutdown` or `close` was called.
    pub(super) shut: bool,
    pub(super) closed: bool,
    pub(super) aborted: bool,
}

#[cfg(any(test, fuzzing))]
impl Pipe {
    pub(super) fn new(room: usize, piece: usize) -> Self {
        Self {
            sent: Vec::new(),
            room,
            piece,
            short: false,
            shut: false,
            closed: false,
            aborted: false,
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Output for Pipe {
    fn send(&mut self, data: &[u8]) -> usize {
        let mut rest = data;
        self.send_with(data.len(), |room| {
            let (now, later) = rest.split_at(room.len());
            room.copy_from_slice(now);
            rest = later;
            now.len()
        })
    }

    fn send_with(&mut self, limit: usize, mut fill: impl FnMut(&mut [u8]) -> usize) -> usize {
        assert!(!self.shut && !self.aborted, "sent after the end");
        let mut total = 0;
        while total < limit {
            let offered = self.piece.min(limit - total).min(self.room);
            if offered == 0 {
                self.short = true;
                break;
            }
            let mut piece = vec![0; offered];
            let written = fill(&mut piece);
            self.sent.extend_from_slice(&piece[..written]);
            self.room -= written;
            total += written;
            if written < offered {
                break;
            }
        }
        total
    }

    fn shutdown(&mut self) {
        self.shut = true;
    }

    fn close(&mut self) {
        self.shut = true;
        self.closed = true;
    }

    fn abort(&mut self) {
        self.aborted = true;
    }
}
