//! End to end: network namespaces, veth pairs, the real binary, Linux's TCP, real clients.
//!
//! One binary, since each links the whole support. All tests here need root; without it they are
//! skipped aloud.

#[path = "../support/mod.rs"]
mod support;

mod active_open;
mod bad_input;
mod chaos;
mod deny;
mod fast_open;
mod hostile;
mod http;
mod interop;
mod lifecycle;
mod load;
mod path;
mod privileges;
mod queues;
mod relay;
mod relayed;
mod ss;
mod streams;
mod syn_flood;
