//! The XDP program as the kernel runs it: frames judged by BPF_PROG_TEST_RUN, and the program on
//! veth pairs in network namespaces of the test's own. Needs root.

mod attach;
mod deny;
mod frames;
mod hostile;
mod namespace;
mod syn_cookies;
mod syn_limit;
mod verdicts;

use std::os::fd::{AsFd, OwnedFd};

use corelane::wire::{Address, MacAddr};
use corelane::xdp::{Device, LoadOptions, Program, Verdict};
use rustix::net::{AddressFamily, SocketType, socket};

use frames::{CLIENT, HTTP, MAC, V4, V6};
use namespace::{in_namespace, ip};

/// The program with a socket on queue 0 and port 80 served on both addresses.
struct Judge {
    program: Program,
    _socket: OwnedFd,
}

impl Judge {
    fn new() -> Self {
        Self::with(LoadOptions::default())
    }

    fn with(options: LoadOptions) -> Self {
        let device = Device::open("corelane0").unwrap();
        let program = Program::load(&device, options).unwrap();
        for address in [
            Address::from_ipv4(V4.octets()),
            Address::from_ipv6(V6.octets()),
        ] {
            program.add_address(address, CLIENT..=u16::MAX).unwrap();
            program.add_service(address, HTTP).unwrap();
        }
        // A test run never reaches the socket, so it need not be bound.
        let socket = socket(AddressFamily::XDP, SocketType::RAW, None).unwrap();
        program.set_socket(0, socket.as_fd()).unwrap();
        Self {
            program,
            _socket: socket,
        }
    }

    /// What the program does with a frame, and the one counter that it raises.
    fn judge(&self, frame: &[u8]) -> (Verdict, &'static str) {
        let before = self.program.counters().unwrap();
        let verdict = self.program.judge(frame).unwrap();
        let after = self.program.counters().unwrap();
        let raised: Vec<_> = before
            .iter()
            .zip(&after)
            .filter(|(old, new)| old.1 != new.1)
            .collect();
        let [(old, new)] = raised[..] else {
            panic!("not one counter was raised: {raised:?}");
        };
        assert_eq!(new.1, old.1 + 1, "{}", new.0);
        assert_eq!(verdict, expected_verdict(new.0), "{}", new.0);
        (verdict, new.0)
    }

    #[track_caller]
    fn expect(&self, counter: &str, what: &str, frame: &[u8]) {
        assert_eq!(self.judge(frame).1, counter, "{what}");
    }
}

/// A counter's name says the verdict that it counts.
fn expected_verdict(counter: &str) -> Verdict {
    match counter.split('_').next() {
        Some("passed") => Verdict::Pass,
        Some("redirected") => Verdict::Redirect,
        Some("dropped") => Verdict::Drop,
        Some("answered") => Verdict::Answer,
        _ => panic!("{counter} names no verdict"),
    }
}

fn load(interface: &str) -> Program {
    let device = Device::open(interface).unwrap();
    Program::load(&device, LoadOptions::default()).unwrap()
}

/// Runs a test in a network namespace that has the pair corelane0 and corelane1.
fn with_veth(test: impl FnOnce() + Send + 'static) {
    in_namespace(|| {
        ip("link add corelane0 type veth peer name corelane1");
        ip(&format!("link set corelane0 address {}", MacAddr(MAC)));
        test();
    });
}
