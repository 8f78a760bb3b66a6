//! HTTP/1.1 (RFC 9110, RFC 9112) with two resources.
//!
//! - `/` is `hello, world\n`.
//! - `/bytes/N`, N decimal and at most 2^40, is N octets, octet i being 0x20 + (i mod 95). It is
//!   written straight into frames. A larger N names nothing: 404.
//!
//! Both know GET and HEAD; a query is ignored; the target may be in absolute form. Connections
//! persist and requests may be pipelined. Responses carry no `Date`: there is no wall clock on a
//! worker, and a server without one must not make it up (RFC 9110 section 6.6.1).
//!
//! What is refused closes the connection: 400 (malformed; no or two `Host`; two
//! `Content-Length`; `Content-Length` with `Transfer-Encoding`; the peer closed in the middle of a
//! request), 413 (content of more than 1 MiB or what [`Limits`] say), 414 and 431 (head of more than 8 KiB or 64 fields),
//! 501 (any transfer coding), 503 (no memory for the rest of a head), 505; and 408 where the rest of a request takes too long ([`Limits`]). 404 and 405 leave it open. Content of requests is skipped
//! before they are answered. After the last response our side is closed, and up to 1 MiB that
//! still arrives is thrown away.

mod connection;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod conversation;
mod limits;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use self::connection::Connection;
pub use self::limits::Limits;
use self::limits::Tally;
use self::response::Status;
use crate::stack::{Service, Socket};
use crate::tcp::CloseReason;
use crate::time::Instant;

/// The server. Keeps nothing between connections but what it has counted.
#[derive(Clone, Debug, Default)]
pub struct Http {
    limits: Limits,
    tally: Tally,
    /// Octets that incomplete heads take.
    head_memory: usize,
}

impl Http {
    /// A server with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tally: Tally::default(),
            head_memory: 0,
        }
    }

    /// Takes account of what the connection's head takes. Returns whether that is more than may be.
    fn lacks_memory(&mut self, connection: &mut Connection) -> bool {
        let (now, before) = connection.news_of_memory();
        self.head_memory = self.head_memory - before + now;
        now > before && self.head_memory as u64 > self.limits.head_memory
    }

    /// After each event of a connection.
    fn settle(&mut self, connection: &mut Connection, now: Instant) {
        connection.settle(&self.limits, now);
        match connection.take_refused() {
            Some(Status::ContentTooLarge) => self.tally.bodies_too_large += 1,
            Some(Status::ServiceUnavailable) => self.tally.heads_refused += 1,
            Some(_) => self.tally.heads_too_large += 1,
            None => {}
        }
    }
}

impl Service for Http {
    type Connection = Connection;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Connection {
        socket.set_nodelay(true);
        Connection::new(&self.limits, socket.now())
    }

    fn on_data(
        &mut self,
        connection: &mut Connection,
        socket: &mut Socket<'_>,
        data: &[u8],
    ) -> usize {
        let consumed = connection.handle_data(socket, data);
        if self.lacks_memory(connection) {
            connection.refuse_head(socket);
            self.lacks_memory(connection);
        }
        self.settle(connection, socket.now());
        consumed
    }

    fn on_writable(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        connection.handle_writable(socket);
        self.settle(connection, socket.now());
    }

    fn on_peer_close(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        connection.handle_peer_close(socket);
        self.settle(connection, socket.now());
    }

    fn on_close(&mut self, connection: Connection, _: CloseReason) {
        self.head_memory -= connection.reported_memory();
    }

    fn deadline(&self, connection: &Connection) -> Option<Instant> {
        connection.deadline()
    }

    fn on_timer(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        let waited = connection.handle_timeout(socket);
        self.tally.timed_out(waited);
        self.settle(connection, socket.now());
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.tally.named().to_vec()
    }
}
