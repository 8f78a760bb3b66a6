//! The program on an interface: modes, who else is there, what is left behind, real traffic.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use corelane::wire::{Address, MacAddr};
use corelane::xdp::{
    AttachMode, Device, DeviceError, LoadOptions, NEEDED_CAPABILITIES, Program, SynLimit, SynTerms,
    XdpError, attached_program, has_perfmon, missing_capabilities,
};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::frames::{CLIENT, HTTP, Ipv4, MAC, SSH, TCP, V4, V6, ipv6_frame, tcp};
use crate::namespace::{Neighbour, in_namespace, ip};
use crate::{Judge, load, with_veth};

#[test]
fn attaches_in_the_mode_asked_for_and_leaves_nothing() {
    with_veth(|| {
        let device = Device::open("corelane0").unwrap();
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let mut program = load("corelane0");
            assert_eq!(program.attach(mode).unwrap(), mode);
            assert_eq!(attached_program(&device).unwrap().unwrap().1, mode);
            let error = program.attach(mode).unwrap_err();
            assert!(matches!(error, XdpError::AlreadyAttached { .. }), "{error}");
            program.detach().unwrap();
            program.detach().unwrap();
            assert_eq!(attached_program(&device).unwrap(), None);

            program.attach(mode).unwrap();
            drop(program);
            assert_eq!(attached_program(&device).unwrap(), None);
        }
    });
}

#[test]
fn a_killed_process_leaves_no_program() {
    with_veth(|| {
        let device = Device::open("corelane0").unwrap();
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "attach::victim", "--nocapture"])
            .env("CORELANE_VICTIM", "corelane0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        let attached = lines.any(|line| line.unwrap().contains("attached"));
        let found = attached_program(&device).unwrap();
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert!(attached && found.is_some(), "{found:?}");
        assert_eq!(attached_program(&device).unwrap(), None);
        load("corelane0").attach(AttachMode::Native).unwrap();
    });
}

/// Started and killed by the test above; by itself it does nothing.
#[test]
fn victim() {
    let Ok(interface) = std::env::var("CORELANE_VICTIM") else {
        return;
    };
    let mut program = load(&interface);
    program.attach(AttachMode::Native).unwrap();
    println!("attached");
    // Until killed, or until the test that started it has gone.
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn the_program_of_another_server_is_named_and_left_alone() {
    with_veth(|| {
        let device = Device::open("corelane0").unwrap();
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let mut other = load("corelane0");
            other.attach(mode).unwrap();
            let (id, _) = attached_program(&device).unwrap().unwrap();
            for asked in [AttachMode::Native, AttachMode::Generic] {
                let error = load("corelane0").attach(asked).unwrap_err();
                assert_eq!(
                    error.to_string(),
                    format!("another Corelane (program id {id}) serves corelane0: stop it first")
                );
                assert_eq!(attached_program(&device).unwrap(), Some((id, mode)));
            }
        }
    });
}

#[test]
fn refusals_say_what_to_do() {
    in_namespace(|| {
        ip("link add corelane0 numrxqueues 1 numtxqueues 1 type veth \
             peer name corelane1 numrxqueues 1 numtxqueues 2");
        let error = load("corelane0").attach(AttachMode::Native).unwrap_err();
        assert!(matches!(error, XdpError::TooFewRxQueues { .. }), "{error}");
        assert!(
            error.to_string().contains("ethtool -L corelane0 rx N"),
            "{error}"
        );
        load("corelane0").attach(AttachMode::Generic).unwrap();

        ip("link add corelane2 type bridge");
        let error = load("corelane2").attach(AttachMode::Native).unwrap_err();
        assert_eq!(
            error.to_string(),
            "driver bridge of corelane2 has no native XDP: use generic mode"
        );
        let program = load("corelane2");
        let error = program.clear_socket(64).unwrap_err().to_string();
        assert_eq!(
            error,
            "the program was loaded for 64 queues, so there is no queue 64"
        );
    });
}

#[test]
fn a_missing_capability_is_named() {
    with_veth(|| {
        let device = Device::open("corelane0").unwrap();
        let all = capabilities(None).unwrap();
        let without = |dropped: CapabilitySet| {
            let mut sets = all;
            sets.effective.remove(dropped);
            // Of this thread only.
            set_capabilities(None, sets).unwrap();
        };
        let failure = || {
            Program::load(&device, LoadOptions::default())
                .unwrap_err()
                .to_string()
        };
        let mend = format!(
            "run as root, give the binary what it needs (`setcap {NEEDED_CAPABILITIES}=ep BINARY`), or \
             name it in AmbientCapabilities= of the systemd unit"
        );
        without(CapabilitySet::NET_RAW);
        assert_eq!(failure(), format!("missing capability CAP_NET_RAW: {mend}"));
        without(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
        assert_eq!(failure(), format!("missing capability CAP_BPF: {mend}"));
        without(CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN);
        assert_eq!(
            failure(),
            format!("missing capability CAP_NET_ADMIN: {mend}")
        );
        without(CapabilitySet::all());
        let error = failure();
        assert!(
            error.contains("CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF"),
            "{error}"
        );
    });
}

/// CAP_PERFMON and root are not needed.
#[test]
fn few_capabilities_are_enough() {
    with_veth(|| {
        let mut sets = capabilities(None).unwrap();
        let few = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
        sets.effective = few;
        sets.permitted = few;
        sets.inheritable = CapabilitySet::empty();
        // Of this thread only, and for good.
        set_capabilities(None, sets).unwrap();
        assert!(!has_perfmon() && missing_capabilities().is_empty());
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let mut judge = Judge::new();
            assert_eq!(judge.program.attach(mode).unwrap(), mode);
            let peers = ["198.18.0.0/24", "fd00::/64"].map(|text| text.parse().unwrap());
            let v4 = Ipv4::default();
            let http = tcp(40_000, HTTP);
            judge.expect("redirected_tcp", "IPv4", &v4.frame(&http));
            judge.expect("redirected_tcp", "IPv6", &ipv6_frame(TCP, &http));
            judge.expect("passed_other_port", "ssh", &v4.frame(&tcp(40_000, SSH)));
            judge.program.deny(&peers.into()).unwrap();
            judge.expect("dropped_denied", "IPv4", &v4.frame(&http));
            judge.expect("dropped_denied", "IPv6", &ipv6_frame(TCP, &http));
            judge.program.undeny(&peers.into()).unwrap();
            let terms = SynTerms {
                rate: 1,
                burst: 1,
                ipv4_prefix: 32,
                ipv6_prefix: 64,
            };
            let limit = SynLimit::try_from(terms).unwrap();
            judge.program.set_syn_limit(Some(limit)).unwrap();
            while judge.judge(&v4.frame(&http)).1 != "dropped_syn_limit" {}
        }
    });
}

#[test]
fn a_device_tells_its_facts() {
    in_namespace(|| {
        ip("link add corelane0 numrxqueues 4 numtxqueues 3 type veth \
             peer name corelane1 numrxqueues 3 numtxqueues 4");
        ip(&format!(
            "link set corelane0 mtu 1400 address {}",
            MacAddr(MAC)
        ));
        ip("addr add 198.18.0.1/24 dev corelane0");
        ip("addr add 198.18.0.9/24 dev corelane0 label corelane0:two");
        ip("addr add fd00::1/64 dev corelane0 nodad");
        ip("addr add 198.18.0.2/24 dev corelane1");
        let device = Device::open("corelane0").unwrap();
        assert_eq!(device.name(), "corelane0");
        assert_eq!(device.mac(), MacAddr(MAC));
        assert_eq!(device.mtu(), 1400);
        assert_eq!(device.driver(), "veth");
        assert_eq!((device.rx_queues(), device.tx_queues()), (4, 3));
        let addresses: Vec<IpAddr> = ["198.18.0.1", "198.18.0.9", "fd00::1"]
            .map(|text| text.parse().unwrap())
            .into();
        assert_eq!(device.addresses(), addresses);
        for (state, strips) in [("off", false), ("on", true)] {
            ethtool(&format!("-K corelane0 rxvlan {state}"));
            assert_eq!(device.strips_vlan().unwrap(), strips);
        }

        assert!(!device.is_running().unwrap());
        ip("link set corelane0 up");
        ip("link set corelane1 up");
        wait_for_carrier(&device);
        ip("link set corelane0 address 02:00:00:00:00:09");
        assert_eq!(device.mac_now().unwrap(), MacAddr([2, 0, 0, 0, 0, 9]));

        ethtool("-K corelane0 gro on");
        let off = device.without_gro().unwrap();
        assert!(off.is_some());
        assert!(!device.gro().unwrap());
        assert!(device.without_gro().unwrap().is_none());
        drop(off);
        assert!(device.gro().unwrap());
    });
}

#[test]
fn interfaces_that_cannot_be_used() {
    in_namespace(|| {
        for name in ["corelane9", "", "a-name-of-16-char", "a\0b"] {
            let error = Device::open(name).unwrap_err();
            assert!(matches!(error, DeviceError::NoSuchInterface(_)), "{error}");
        }
        let error = Device::open("corelane9").unwrap_err().to_string();
        assert!(
            error.starts_with("no such interface \"corelane9\""),
            "{error}"
        );
        let error = Device::open("lo").unwrap_err();
        assert!(matches!(error, DeviceError::NotEthernet(_)), "{error}");
    });
}

/// The kernel's services stay reachable beside ours; ours without a socket answer nothing, not
/// even a reset, until the program has gone.
#[test]
fn real_traffic_is_split() {
    in_namespace(|| {
        let neighbour = Neighbour::new();
        ip("link add corelane0 type veth peer name corelane1");
        ip(&format!("link set corelane1 netns {}", neighbour.path));
        ip("addr add 198.18.0.1/24 dev corelane0");
        ip("addr add fd00::1/64 dev corelane0 nodad");
        ip("link set corelane0 up");
        neighbour.run(|| {
            ip("addr add 198.18.0.2/24 dev corelane1");
            ip("addr add fd00::2/64 dev corelane1 nodad");
            ip("link set corelane1 up");
        });
        let connect = |address: IpAddr, port: u16| {
            neighbour.run(move || {
                let to = SocketAddr::new(address, port);
                TcpStream::connect_timeout(&to, Duration::from_millis(300)).map_err(|e| e.kind())
            })
        };
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let mut program = load("corelane0");
            program.attach(mode).unwrap();
            for address in [IpAddr::from(V4), IpAddr::from(V6)] {
                // The kernel's own listener is made inside our namespace.
                let listener = std::net::TcpListener::bind((address, 0)).unwrap();
                let kernel_port = listener.local_addr().unwrap().port();
                assert_eq!(
                    connect(address, HTTP).unwrap_err(),
                    ErrorKind::ConnectionRefused
                );
                program
                    .add_address(Address::from(address), CLIENT..=u16::MAX)
                    .unwrap();
                program.add_service(Address::from(address), HTTP).unwrap();
                for ours in [HTTP, CLIENT] {
                    let error = connect(address, ours).unwrap_err();
                    assert_eq!(error, ErrorKind::TimedOut, "{mode} {address} {ours}");
                }
                connect(address, kernel_port).unwrap();
            }
            let counters = program.counters().unwrap();
            let counter = |wanted| counters.iter().find(|(name, _)| *name == wanted).unwrap().1;
            assert!(counter("dropped_no_socket") >= 4, "{counters:?}");
            assert!(counter("passed_other_port") > 0, "{counters:?}");
            program.clear_services().unwrap();
            assert_eq!(
                connect(V4.into(), HTTP).unwrap_err(),
                ErrorKind::ConnectionRefused
            );
            program.detach().unwrap();
            assert_eq!(
                connect(V6.into(), HTTP).unwrap_err(),
                ErrorKind::ConnectionRefused
            );
        }
    });
}

/// The kernel sets the flag a little later than the link.
#[expect(
    clippy::disallowed_methods,
    reason = "there is nothing else to wait on"
)]
fn wait_for_carrier(device: &Device) {
    for _ in 0..100 {
        if device.is_running().unwrap() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no carrier after a second");
}

fn ethtool(arguments: &str) {
    let status = Command::new("ethtool")
        .args(arguments.split_whitespace())
        .status()
        .unwrap();
    assert!(status.success(), "ethtool {arguments}");
}
