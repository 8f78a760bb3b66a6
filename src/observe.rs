//! What a running server lets others see and change over its control socket: connections and counters,
//! the deny list and the limit on SYNs.
//!
//! The socket speaks lines of JSON: one [`Request`](protocol::Request), one
//! [`Reply`](protocol::Reply), then it is closed.

pub mod control;
mod defence;
mod options;
pub mod protocol;
mod snapshot;
mod table;

pub use self::defence::{Denied, SynLimitState, denied_table, syn_limit_line};
pub use self::options::{Keepalive, SocketOptions};
pub use self::snapshot::{Connection, Queue, Stats, Worker};
pub use self::table::{Detail, connections_table, stats_table};
