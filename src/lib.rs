//! Corelane: a TCP server stack that runs beside the Linux kernel.
//!
//! An XDP program gives the flows of chosen ports to one AF_XDP socket per device queue. On each
//! core one worker owns everything that those flows need (frames, flow table, TCP state, timers,
//! the application's own state) and shares nothing. All other traffic stays with the kernel.
//!
//! # The layers
//!
//! Each uses only what stands below it.
//!
//! | module | what it is |
//! |---|---|
//! | [`load`] | a load generator on all of this |
//! | [`server`], [`config`], [`observe`] | start, stop, settings, what a running server shows |
//! | [`worker`], [`xdp`] | a pinned thread that turns a stack; the XDP program and the device |
//! | [`services`] | the built-in servers: echo, discard, chargen, http |
//! | [`stack`] | one core's engine over any [`ring::PacketIo`]: no threads, no OS |
//! | [`tcp`] | the protocol, sans-IO: `handle_*` in, `poll_transmit` out, time a parameter |
//! | [`flow_table`], [`timer_wheel`] | from a key to an id to a value; deadlines by index |
//! | [`ring`] | frames with one owner, over AF_XDP or in memory |
//! | [`wire`], [`time`] | bytes and values; instants |
//!
//! # A packet's journey
//!
//! `rx_burst` takes a batch of frames; all are parsed, then all looked up, then each segment goes to
//! its connection, which records what must be sent. In-order text is handed to the application as a
//! slice of the received frame. When the batch is done and the timers are served, every connection
//! that has something to say sends it, from the frames that its application wrote into, and one
//! system call wakes the kernel up for all of them.
//!
//! # A server
//!
//! ```no_run
//! use corelane::config::Config;
//! use corelane::server::{Server, ServeError, Signals};
//! use corelane::stack::{Service, Socket};
//!
//! struct Shout;
//!
//! impl Service for Shout {
//!     type Connection = ();
//!
//!     fn on_open(&mut self, socket: &mut Socket<'_>) {
//!         socket.send(b"hello\n");
//!     }
//!
//!     fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
//!         // What could not be sent is not consumed, and will be offered again.
//!         socket.send(&data.to_ascii_uppercase())
//!     }
//! }
//!
//! fn main() -> Result<(), ServeError> {
//!     let mut signals = Signals::install()?;
//!     let running = Server::new(Config::new("eth0")).listen(7, || Shout).start()?;
//!     running.serve(&mut signals)?;
//!     Ok(())
//! }
//! ```
//!
//! The whole stack also runs in memory, on virtual time, over a network as bad as one likes:
//! `tests/stack.rs` shows how.

#![deny(unsafe_code)]

pub mod config;
pub mod flow_table;
pub mod load;
mod memory;
pub mod observe;
pub mod ring;
pub mod server;
pub mod services;
pub mod stack;
pub mod tcp;
pub mod time;
pub mod timer_wheel;
pub mod wire;
pub mod worker;
pub mod xdp;
