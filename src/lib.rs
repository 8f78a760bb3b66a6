//! Corelane: a TCP server stack that runs beside the Linux kernel.

#![deny(unsafe_code)]

pub mod config;
pub mod flow_table;
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
