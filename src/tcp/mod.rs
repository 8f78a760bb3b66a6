//! TCP (RFC 9293), sans-IO: it depends on [`wire`](crate::wire) and [`time`](crate::time) only.
//!
//! `handle_*` takes input and records what must be sent; `poll_transmit` is the only place that
//! builds the segments of a connection; `now` is a parameter of everything, in [`Context`].
//! Nothing here sees a ring, a flow table, a timer wheel or the OS.
//!
//! | file | what |
//! |---|---|
//! | `seq`, `state` | sequence arithmetic; the state machine as data |
//! | `tcb`, `calls` | one connection: its variables; what an application may do with it |
//! | `input`, `ack`, `text` | RFC 9293 section 3.10.7: a segment arrives |
//! | `output`, `syn`, `retransmit`, `duplicate_acks`, `dsack` | everything that a connection sends; what each duplicate ACK says |
//! | `options` | what may differ from one connection to another |
//! | `receive_window`, `delayed_ack`, `liveness` | the window that we advertise; when we acknowledge; how long we wait |
//! | `listen`, `connect`, `isn`, `reply` | passive and active opens, initial sequence numbers, stateless answers |
//! | `fast_open` | RFC 7413: text on the SYN |
//! | `syn_cookie` | RFC 4987: half-open connections that nothing is kept of |
//! | `send_queue`, `segment_list`, `scoreboard` | what is not acknowledged, in which order, and what of it the peer has |
//! | `receive_queue`, `sack` | what is not consumed, and what we say that we have of it |
//! | `memory_pressure` | what is given up, in which order, when there is too much of that |
//! | `rtt`, `timers`, `loss`, `congestion` | RFC 6298, RFC 8985 and all around it, RFC 5681 |
//! | `path`, `path_cache`, `pmtud`, `ecn` | RFC 1191, 8201, 5927, 5461; RFC 4821; RFC 3168 |
//! | `rate`, `pacing` | delivery rate samples; what leaves is spread over the round trip |
//! | `time_wait` | 2MSL in 64 bytes |
//! | `info`, `statistics`, `chrono` | what `ss` shows: state, counts, and what a sender spends its time on |

mod ack;
mod arena_id;
mod buffers;
mod calls;
#[cfg(any(test, fuzzing))]
mod check;
mod chrono;
mod config;
pub mod congestion;
mod connect;
mod context;
mod delayed_ack;
mod dsack;
mod duplicate_acks;
mod ecn;
mod fast_open;
mod info;
mod input;
mod isn;
mod listen;
mod liveness;
mod loss;
mod memory_pressure;
mod options;
mod output;
mod pacing;
mod path;
mod path_cache;
mod pmtud;
mod rate;
mod receive_queue;
mod receive_window;
mod reply;
mod retransmit;
mod rtt;
mod sack;
mod scoreboard;
mod segment_list;
mod send_queue;
pub mod seq;
pub mod state;
mod statistics;
mod steps;
mod syn;
mod syn_cookie;
mod tcb;
mod text;
mod time_wait;
mod timers;

#[cfg(test)]
mod tests;

pub use self::buffers::{Buffer, BufferId, Buffers};
pub use self::config::Config;
pub use self::context::{Context, Core, Counters};
pub use self::ecn::EcnMode;
pub use self::info::Info;
pub use self::input::{Arrival, Events};
pub use self::isn::IsnGenerator;
pub use self::listen::{Listener, SynEntry, SynVerdict};
pub use self::memory_pressure::MemoryPressure;
pub use self::options::{
    BufferLimit, Keepalive, Linger, MAX_WINDOW, Marking, OptionsId, SocketOptions,
};
pub use self::output::{Payload, Transmit};
pub use self::rate::RateSample;
pub use self::receive_queue::Readable;
pub use self::reply::reset_for;
pub use self::seq::Seq;
pub use self::state::State;
pub use self::syn_cookie::SynCookies;
pub use self::tcb::{CloseReason, Tcb};
pub use self::time_wait::{TimeWait, TimeWaitVerdict};
