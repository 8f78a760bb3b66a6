//! The XDP program and the parser of user space on the same frame: what is redirected is ours or
//! refused with a reason, what passes is no segment of ours, and no good segment of ours is dropped.
//!
//! Needs root, for BPF_PROG_TEST_RUN and a network namespace of its own, and says so without.
#![no_main]

#[allow(dead_code, unreachable_pub)]
#[path = "../../tests/xdp_program/frames.rs"]
mod frames;

use std::cell::OnceCell;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, exit};

use corelane::wire::{Address, ChecksumPolicy, FlowKey, MacAddr, Packet, parse};
use corelane::xdp::{Device, LoadOptions, Program, Verdict};
use corelane_fuzz::mend_checksums;
use frames::{CLIENT, HTTP, Ipv4, MAC, SSH, V4, V6, is_ours_to_the_kernel, tcp};
use libfuzzer_sys::fuzz_target;
use rustix::net::{AddressFamily, SocketType, socket};

/// The program with a socket on queue 0 and port 80 served on both addresses.
struct Judge {
    program: Program,
    _socket: OwnedFd,
}

thread_local! {
    static JUDGE: OnceCell<Judge> = const { OnceCell::new() };
}

fuzz_target!(
    init: {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: the XDP program can be run by root only");
            exit(0);
        }
    },
    |data: &[u8]| {
        // The least that BPF_PROG_TEST_RUN takes.
        if data.len() < 14 {
            return;
        }
        JUDGE.with(|judge| {
            let judge = judge.get_or_init(Judge::new);
            judge.check(data);
            let mut ours = data.to_vec();
            ours[..6].copy_from_slice(&MAC);
            mend_checksums(&mut ours);
            judge.check(&ours);
        });
    }
);

impl Judge {
    fn new() -> Self {
        // SAFETY: NEWNET alone does not unshare the file descriptor table.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
            .expect("a network namespace");
        ip("link add corelane0 type veth peer name corelane1");
        ip(&format!("link set corelane0 address {}", MacAddr(MAC)));
        let device = Device::open("corelane0").expect("the device that was just made");
        let program = Program::load(&device, LoadOptions::default()).expect("it loads");
        for address in [
            Address::from_ipv4(V4.octets()),
            Address::from_ipv6(V6.octets()),
        ] {
            program
                .add_address(address, CLIENT..=u16::MAX)
                .expect("room");
            program.add_service(address, HTTP).expect("room");
        }
        // A test run never reaches the socket, so it need not be bound.
        let socket = socket(AddressFamily::XDP, SocketType::RAW, None).expect("AF_XDP");
        program.set_socket(0, socket.as_fd()).expect("queue 0");
        // The judge is awake: it can tell ours from the kernel's.
        for (port, expected) in [(HTTP, Verdict::Redirect), (SSH, Verdict::Pass)] {
            let frame = Ipv4::default().frame(&tcp(40_000, port));
            assert_eq!(program.judge(&frame).expect("a test run"), expected);
        }
        Self {
            program,
            _socket: socket,
        }
    }

    fn check(&self, frame: &[u8]) {
        let verdict = self.program.judge(frame).expect("a test run");
        let parsed = parse(frame, ChecksumPolicy::FullOrPartial);
        let is_to_us = frame[..6] == MAC;
        match (verdict, &parsed) {
            (Verdict::Redirect, Ok(Packet::Tcp { key, .. } | Packet::IcmpError { key, .. })) => {
                assert!(is_ours(key), "not ours: {key} {frame:02x?}");
            }
            (Verdict::Redirect, Ok(Packet::Fragment { fragment, .. })) => {
                let destination = fragment.datagram.destination;
                assert!(is_served(&destination), "not ours: {frame:02x?}");
            }
            // User space drops it and counts why.
            (Verdict::Redirect, Err(_)) => {}
            (Verdict::Pass, parsed) => {
                assert!(!is_ours_to_the_kernel(frame), "passed: {frame:02x?}");
                if let Ok(Packet::Tcp { key, .. } | Packet::IcmpError { key, .. }) = parsed {
                    assert!(!(is_to_us && is_ours(key)), "passed: {key} {frame:02x?}");
                }
            }
            (Verdict::Drop, Ok(Packet::Tcp { key, .. })) => {
                assert!(!is_ours(key), "a good segment is dropped: {frame:02x?}");
            }
            (Verdict::Drop, _) => {}
            (other, _) => panic!("{other:?}: {frame:02x?}"),
        }
    }
}

fn is_served(address: &Address) -> bool {
    *address == Address::from_ipv4(V4.octets()) || *address == Address::from_ipv6(V6.octets())
}

fn is_ours(key: &FlowKey) -> bool {
    is_served(&key.local) && (key.local_port == HTTP || key.local_port >= CLIENT)
}

fn ip(arguments: &str) {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}
