//! The XDP program and the interface that it sits on: load, configure, attach, detach.
//!
//! With `ring/umem.rs` and `ring/xsk.rs` the only place for `unsafe`, which is in `sys`, in `trap`
//! (a signal's handler, of no other place) and in the skeleton that `program` includes. libbpf-rs is used nowhere
//! else; since its 0.25 cannot force driver or generic mode, `sys` calls libbpf's `bpf_link_create`
//! itself.
//!
//! The order that keeps our segments from the kernel's TCP (its RST would kill the connection):
//!
//! 1. [`Device::open`], [`Program::load`], [`Program::attach`]: nothing is ours yet, all passes.
//! 2. Bind the sockets and fill their rings, then [`Program::set_socket`] for each queue.
//! 3. [`Program::add_address`], [`Program::add_service`]: from here on it is ours.
//! 4. At the end [`Program::clear_services`], [`Program::detach`], then close the sockets.
//!
//! Nothing is pinned: when the process dies, its link's last descriptor goes, and the program with
//! it.

mod deny;
mod device;
mod error;
mod prefix;
mod program;
mod settings;
mod syn_cookies;
mod syn_limit;
mod sys;
mod trap;

pub use device::{Device, DeviceError, GroOff, RssSettings};
pub use error::{NEEDED_CAPABILITIES, XdpError, has_perfmon, missing_capabilities};
pub use prefix::{BadPrefix, Prefix};
pub use program::{
    AttachMode, COUNTERS, LoadOptions, Program, Verdict, attached_program, check_unoccupied,
};
pub use syn_limit::{BadSynLimit, SynLimit, SynTerms};
pub use trap::report_forbidden_calls;
