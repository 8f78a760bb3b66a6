//! Corelane: a TCP server stack that runs beside the Linux kernel.

#![deny(unsafe_code)]

pub mod ring;
pub mod time;
pub mod wire;
pub mod xdp;
