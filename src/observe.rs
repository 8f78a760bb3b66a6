//! What a running server lets others see: connections and counters, over its control socket.
//!
//! The socket speaks lines of JSON: one [`Request`](protocol::Request), one
//! [`Reply`](protocol::Reply), then it is closed.

pub mod control;
mod options;
pub mod protocol;
mod snapshot;
mod table;

pub use self::options::{Keepalive, SocketOptions};
pub use self::snapshot::{Connection, Queue, Stats, Worker};
pub use self::table::{Detail, connections_table, stats_table};
