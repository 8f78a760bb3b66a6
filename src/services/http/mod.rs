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
//! request), 413 (content of more than 1 MiB), 414 and 431 (head of more than 8 KiB or 64 fields),
//! 501 (any transfer coding), 505. 404 and 405 leave it open. Content of requests is skipped
//! before they are answered. After the last response our side is closed, and up to 1 MiB that
//! still arrives is thrown away.

mod connection;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod conversation;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use self::connection::Connection;
use crate::stack::{Service, Socket};

/// The server. Keeps nothing between connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http;

impl Service for Http {
    type Connection = Connection;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Connection {
        socket.set_nodelay(true);
        Connection::default()
    }

    fn on_data(
        &mut self,
        connection: &mut Connection,
        socket: &mut Socket<'_>,
        data: &[u8],
    ) -> usize {
        connection.handle_data(socket, data)
    }

    fn on_writable(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        connection.handle_writable(socket);
    }

    fn on_peer_close(&mut self, connection: &mut Connection, socket: &mut Socket<'_>) {
        connection.handle_peer_close(socket);
    }
}
