//! The whole stack: segments, fragments, ICMP errors, application calls and time, with its books
//! checked after each step, to the end of all connections.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    corelane::stack::fuzz::play(data);
});
