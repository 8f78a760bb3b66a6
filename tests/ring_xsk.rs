//! `ring::xsk` on a real veth pair: two sockets, one in each of two network namespaces that the
//! test makes. Needs root; says so and does nothing without it.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::ptr;

use corelane::ring::xsk::{BindMode, OpenError, Xsk, XskConfig};
use corelane::ring::{Mode, PacketIo, RxBatch, TxFrame};
use corelane::time::{Clock, Duration};
use libbpf_rs::libbpf_sys as bpf;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType};

/// Local experimental EtherType (IEEE 802): nothing else on the wire has it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// How long the test waits for frames that must come.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn frames_cross_a_veth_pair() {
    let Some(net) = Net::new("cross") else { return };
    let (mut a, mut b) = (net.open_a().unwrap(), net.open_b().unwrap());
    let _redirect = net.redirect(&[&b]);

    assert_eq!(a.capabilities().mode, Mode::Copy, "veth has copy mode only");
    let line = a.description().to_string();
    assert!(
        line.starts_with("veth0 queue 0: copy, need_wakeup, 4096 RX and 8192 TX"),
        "{line}"
    );
    assert!(
        line.contains("(not zero-copy: the driver has none)"),
        "{line}"
    );
    println!("{line}");

    // Every length, and every start in the headroom: the descriptor's address moves.
    let total = 3000u32;
    let (mut sent, mut received) = (0, 0);
    let clock = Clock::start();
    let deadline = clock.now() + PATIENCE;
    while received < total {
        assert!(
            clock.now() < deadline,
            "{received} of {total}: {:?} {:?}",
            a.counters(),
            b.counters()
        );
        while sent < total && sent - received < 1000 {
            let Some(mut frame) = a.allocate() else { break };
            fill(&mut frame, sent);
            if let Err(frame) = a.transmit(frame) {
                a.release(frame);
                break;
            }
            sent += 1;
        }
        a.flush();
        while let Some(frame) = a.completed() {
            assert_eq!(
                &frame.data()[12..14],
                ETHERTYPE,
                "the range survives the kernel"
            );
            a.release(frame);
        }
        receive(&mut b, |bytes| {
            assert_eq!(bytes, expected(received), "frame {received}");
            received += 1;
        });
    }
    drain_completions(&mut a);
    assert_eq!(
        a.free_frames(),
        a.capabilities().tx_frames,
        "TX frames are conserved"
    );
    let (a, b) = (a.counters(), b.counters());
    assert_eq!((a.tx_frames, b.rx_frames), (total.into(), total.into()));
    assert_eq!(
        (a.bad_addresses, a.wakeup_errors, a.kernel_tx_invalid_descs),
        (0, 0, 0)
    );
    assert_eq!(
        (b.bad_addresses, b.kernel_rx_dropped, b.kernel_rx_ring_full),
        (0, 0, 0)
    );
}

/// More frames than there are RX frames, ten times over: none is lost to either ring.
#[test]
fn frames_are_conserved_in_both_directions() {
    let Some(net) = Net::new("both") else { return };
    let small = |interface| XskConfig {
        rx_frames: 128,
        tx_frames: 96,
        rx_ring: 64,
        fill_ring: 128,
        tx_ring: 64,
        completion_ring: 64,
        ..XskConfig::new(interface, 0, 1500)
    };
    net.enter_a();
    let mut a = Xsk::open(&small("veth0")).unwrap();
    net.enter_b();
    let mut b = Xsk::open(&small("veth0")).unwrap();
    let _redirect = net.redirect(&[&b]);
    net.enter_a();
    let _back = net.redirect(&[&a]);
    let (mut at_a, mut at_b) = (0, 0);
    let clock = Clock::start();
    let deadline = clock.now() + PATIENCE;
    while at_a < 1280 || at_b < 1280 {
        assert!(
            clock.now() < deadline,
            "{at_a} {at_b} {:?} {:?}",
            a.counters(),
            b.counters()
        );
        for xsk in [&mut a, &mut b] {
            // At most 40 at once: the other side takes them before its RX ring of 64 is full.
            for _ in 0..40 {
                let Some(mut frame) = xsk.allocate() else {
                    break;
                };
                fill(&mut frame, 1);
                if let Err(frame) = xsk.transmit(frame) {
                    xsk.release(frame);
                    break;
                }
            }
            xsk.flush();
            while let Some(frame) = xsk.completed() {
                xsk.release(frame);
            }
        }
        receive(&mut a, |_| at_a += 1);
        receive(&mut b, |_| at_b += 1);
    }
    for xsk in [&mut a, &mut b] {
        drain_completions(xsk);
        assert_eq!((xsk.free_frames(), xsk.counters().bad_addresses), (96, 0));
    }
}

#[test]
fn a_full_queue_gives_frames_back() {
    let Some(net) = Net::new("full") else { return };
    let mut a = net.open_a().unwrap();
    let room = a.tx_room();
    for number in 0..room {
        let mut frame = a.allocate().unwrap();
        fill(&mut frame, number as u32);
        a.transmit(frame).unwrap();
    }
    let mut frame = a.allocate().unwrap();
    fill(&mut frame, 7);
    let frame = a.transmit(frame).unwrap_err();
    assert_eq!((frame.data(), a.tx_room()), (&expected(7)[..], 0));
    a.release(frame);
    assert_eq!(a.counters().tx_ring_full, 1);
    drain_completions(&mut a);
    // 2048 frames: 8 calls of 256 where the kernel takes the budget (6.17), 64 of 32 before.
    let wakeups = a.counters().tx_wakeups;
    println!("{room} frames took {wakeups} wakeups");
    let budget = a.description().to_string().contains("TX budget 256");
    assert!(wakeups <= if budget { 16 } else { 80 }, "{wakeups}");
}

#[test]
fn a_bound_queue_is_named_and_is_free_after_the_drop() {
    let Some(net) = Net::new("busy") else { return };
    let first = net.open_a().unwrap();
    let config = XskConfig {
        bind_timeout: Duration::ZERO,
        ..XskConfig::new("veth0", 0, 1500)
    };
    let error = Xsk::open(&config).unwrap_err();
    assert!(matches!(error, OpenError::QueueBusy { .. }), "{error}");
    let sentence = error.to_string();
    assert!(
        sentence.starts_with("queue 0 of veth0 is already bound by another AF_XDP socket"),
        "{sentence}"
    );
    drop(first);
    for _ in 0..5 {
        drop(net.open_a().expect("again, right after the drop"));
    }
}

#[test]
fn what_can_not_be_opened_says_why() {
    let Some(net) = Net::new("why") else { return };
    net.enter_a();
    let say = |config: &XskConfig| Xsk::open(config).unwrap_err().to_string();
    let good = XskConfig {
        bind: BindMode::Copy,
        ..XskConfig::new("veth0", 0, 1500)
    };
    let missing = say(&XskConfig {
        interface: "nope0".into(),
        ..good.clone()
    });
    assert!(
        missing.starts_with("there is no interface nope0"),
        "{missing}"
    );
    let queue = say(&XskConfig {
        queue_id: 5,
        ..good.clone()
    });
    assert!(
        queue.starts_with("interface veth0 has no queue 5"),
        "{queue}"
    );
    let zero_copy = say(&XskConfig {
        bind: BindMode::ZeroCopy,
        ..good.clone()
    });
    assert!(
        zero_copy.starts_with("the driver of veth0 has no zero-copy"),
        "{zero_copy}"
    );
    let generic = Xsk::open(&XskConfig {
        generic: true,
        ..good.clone()
    })
    .unwrap();
    assert_eq!(generic.capabilities().mode, Mode::Generic);
    drop(generic);
}

#[test]
fn an_interface_that_is_down_holds_the_frames() {
    let Some(net) = Net::new("down") else { return };
    let mut a = net.open_a().unwrap();
    let set = |state| run("ip", &["-n", &net.a, "link", "set", "veth0", state]);
    set("down");
    let mut frame = a.allocate().unwrap();
    fill(&mut frame, 1);
    a.transmit(frame).unwrap();
    a.flush();
    assert!(a.completed().is_none());
    let counters = a.counters();
    assert_eq!(
        (counters.wakeup_errors, counters.tx_wakeups),
        (1, 1),
        "one try, then it gives up"
    );
    set("up");
    drain_completions(&mut a);
}

#[test]
fn each_queue_has_its_socket() {
    let Some(net) = Net::new("queues") else {
        return;
    };
    let config = |queue_id| XskConfig::new("veth0", queue_id, 1500);
    net.enter_a();
    let mut a = [0, 1].map(|queue| Xsk::open(&config(queue)).unwrap());
    net.enter_b();
    let [mut b0, mut b1] = [0, 1].map(|queue| Xsk::open(&config(queue)).unwrap());
    let _redirect = net.redirect(&[&b0, &b1]);
    // veth puts what is sent on queue N into the peer's queue N.
    for (queue, xsk) in (0..).zip(&mut a) {
        for number in 0..40 {
            send(xsk, number * 2 + queue);
        }
        drain_completions(xsk);
    }
    let mut received = [Vec::new(), Vec::new()];
    let clock = Clock::start();
    let deadline = clock.now() + PATIENCE;
    while received.iter().map(Vec::len).sum::<usize>() < 80 {
        assert!(clock.now() < deadline, "{received:?}");
        receive(&mut b0, |bytes| received[0].push(number(bytes)));
        receive(&mut b1, |bytes| received[1].push(number(bytes)));
    }
    assert_eq!(received[0], (0..80).step_by(2).collect::<Vec<_>>());
    assert_eq!(received[1], (1..80).step_by(2).collect::<Vec<_>>());
}

#[test]
fn an_overrun_is_counted_and_loses_no_frame_of_ours() {
    let Some(net) = Net::new("overrun") else {
        return;
    };
    let (mut a, mut b) = (net.open_a().unwrap(), net.open_b().unwrap());
    let _redirect = net.redirect(&[&b]);
    for round in 1..=3 {
        // RX has 2048 slots, and nobody takes anything.
        for number in 0..3000 {
            send(&mut a, number);
        }
        drain_completions(&mut a);
        let mut received = 0;
        let clock = Clock::start();
        let deadline = clock.now() + PATIENCE;
        // Later rounds get as much as the first only if each RX frame came back to FILL.
        while received < 2048 {
            assert!(
                clock.now() < deadline,
                "round {round}: {received}, {:?}",
                b.counters()
            );
            receive(&mut b, |_| received += 1);
        }
        let counters = b.counters();
        assert_eq!(counters.kernel_rx_fill_ring_empty, 0, "{counters:?}");
        assert_eq!(
            counters.rx_frames + counters.kernel_rx_ring_full,
            3000 * round,
            "all are accounted for: {counters:?}"
        );
    }
}

/// Fewer RX frames than come while nobody looks.
#[test]
fn a_starved_fill_is_counted_and_recovers() {
    let Some(net) = Net::new("starved") else {
        return;
    };
    let mut a = net.open_a().unwrap();
    net.enter_b();
    let mut b = Xsk::open(&XskConfig {
        rx_frames: 64,
        ..XskConfig::new("veth0", 0, 1500)
    })
    .unwrap();
    let _redirect = net.redirect(&[&b]);
    for round in 1..=3 {
        for number in 0..300 {
            send(&mut a, number);
        }
        drain_completions(&mut a);
        let (mut received, clock) = (0, Clock::start());
        let deadline = clock.now() + PATIENCE;
        // Later rounds get as many only if each frame came back to FILL.
        while received < 64 {
            assert!(clock.now() < deadline, "{round}: {:?}", b.counters());
            receive(&mut b, |_| received += 1);
        }
        let counters = b.counters();
        assert!(counters.kernel_rx_fill_ring_empty > 0, "{counters:?}");
        assert_eq!(
            counters.rx_frames + counters.kernel_rx_dropped,
            300 * round,
            "all are accounted for: {counters:?}"
        );
        assert_eq!(counters.bad_addresses, 0);
    }
}

#[test]
fn large_frames_fit() {
    let Some(net) = Net::new("large") else { return };
    for namespace in [&net.a, &net.b] {
        run(
            "ip",
            &["-n", namespace, "link", "set", "veth0", "mtu", "3498"],
        );
    }
    let config = XskConfig::new("veth0", 0, 3498);
    assert_eq!(config.frame_size, 4096);
    net.enter_a();
    let mut a = Xsk::open(&config).unwrap();
    net.enter_b();
    let mut b = Xsk::open(&config).unwrap();
    let _redirect = net.redirect(&[&b]);
    let mut frame = a.allocate().unwrap();
    assert_eq!(a.capabilities().max_frame, 3512);
    for (at, byte) in frame.spare_mut()[..3512].iter_mut().enumerate() {
        *byte = at as u8;
    }
    frame.spare_mut()[12..14].copy_from_slice(&ETHERTYPE);
    frame.extend(3512);
    let sent = frame.data().to_vec();
    a.transmit(frame).unwrap();
    drain_completions(&mut a);
    let mut received = Vec::new();
    receive(&mut b, |bytes| received.push(bytes.to_vec()));
    assert_eq!(received, [sent]);
}

#[test]
fn a_missing_capability_is_named() {
    let Some(net) = Net::new("caps") else { return };
    net.enter_a();
    let limit = Rlimit {
        current: Some(8 << 20),
        maximum: getrlimit(Resource::Memlock).maximum,
    };
    setrlimit(Resource::Memlock, limit).unwrap();
    let all = rustix::thread::capabilities(None).unwrap();
    // Capabilities belong to the thread: the other tests keep theirs.
    let without = |capability| {
        let sets = CapabilitySets {
            effective: all.effective - capability,
            ..all
        };
        rustix::thread::set_capabilities(None, sets).unwrap();
        let error = Xsk::open(&XskConfig::new("veth0", 0, 1500)).unwrap_err();
        rustix::thread::set_capabilities(None, all).unwrap();
        error.to_string()
    };
    let raw = without(CapabilitySet::NET_RAW);
    assert!(
        raw.contains("the capability CAP_NET_RAW is missing"),
        "{raw}"
    );
    let memory = without(CapabilitySet::IPC_LOCK);
    assert!(
        memory.contains("grant CAP_IPC_LOCK or raise `ulimit -l`"),
        "{memory}"
    );
}

/// Sends one test frame, flushing when TX is full.
fn send(xsk: &mut Xsk, number: u32) {
    if xsk.tx_room() == 0 || xsk.free_frames() == 0 {
        drain_completions(xsk);
    }
    let mut frame = xsk.allocate().unwrap();
    fill(&mut frame, number);
    xsk.transmit(frame).unwrap();
}

/// The number of a test frame.
fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[14..18].try_into().unwrap())
}

/// Makes `frame` the test frame of this number. Headers of varying length go before the payload.
fn fill(frame: &mut TxFrame, number: u32) {
    let expected = expected(number);
    let before = (number % 100) as usize + 14;
    let before = before.min(expected.len());
    let (head, tail) = expected.split_at(before);
    frame.spare_mut()[..tail.len()].copy_from_slice(tail);
    frame.extend(tail.len());
    frame.prepend(before).copy_from_slice(head);
}

fn expected(number: u32) -> Vec<u8> {
    let len = 60 + (number as usize * 7) % 1455;
    let mut bytes = vec![0xff; 12];
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes.extend(ETHERTYPE);
    bytes.extend(number.to_be_bytes());
    bytes.extend((bytes.len()..len).map(|at| (at as u32 ^ number) as u8));
    bytes
}

/// Takes what has arrived, of ours, and gives the frames back.
fn receive(xsk: &mut Xsk, mut each: impl FnMut(&[u8])) {
    let mut batch = RxBatch::new();
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    let fd = xsk.as_fd();
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&timeout)).unwrap();
    loop {
        xsk.rx_burst(&mut batch);
        if batch.is_empty() {
            break;
        }
        for frame in batch.drain(..) {
            if frame.get(12..14) == Some(&ETHERTYPE) {
                each(&frame);
            }
            xsk.recycle(frame);
        }
        xsk.flush();
    }
}

/// Flushes until the kernel has completed all.
fn drain_completions(xsk: &mut Xsk) {
    let clock = Clock::start();
    let deadline = clock.now() + PATIENCE;
    while xsk.free_frames() < xsk.capabilities().tx_frames {
        assert!(
            clock.now() < deadline,
            "{} free, {:?}",
            xsk.free_frames(),
            xsk.counters()
        );
        xsk.flush();
        while let Some(frame) = xsk.completed() {
            xsk.release(frame);
        }
    }
}

/// Two namespaces with a veth pair between them, both ends called veth0. Gone when dropped.
struct Net {
    a: String,
    b: String,
    home: File,
}

impl Net {
    /// `None`, aloud, when not root.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root to make network namespaces");
            return None;
        }
        let pid = std::process::id();
        let net = Self {
            a: format!("ring-{pid}-{name}-a"),
            b: format!("ring-{pid}-{name}-b"),
            home: File::open("/proc/thread-self/ns/net").unwrap(),
        };
        for namespace in [&net.a, &net.b] {
            run("ip", &["netns", "add", namespace]);
            // The kernel's own chatter would mix with our frames.
            for which in ["all", "default"] {
                let set = format!("echo 1 > /proc/sys/net/ipv6/conf/{which}/disable_ipv6");
                run("ip", &["netns", "exec", namespace, "sh", "-c", &set]);
            }
        }
        let queues = ["numrxqueues", "2", "numtxqueues", "2"];
        let end_a = ["-n", &net.a, "link", "add", "veth0"];
        let end_b = ["type", "veth", "peer", "name", "veth0", "netns", &net.b];
        run("ip", &[&end_a[..], &queues, &end_b, &queues].concat());
        for namespace in [&net.a, &net.b] {
            run("ip", &["-n", namespace, "link", "set", "veth0", "up"]);
        }
        Some(net)
    }

    fn enter_a(&self) {
        enter(&File::open(format!("/run/netns/{}", self.a)).unwrap());
    }

    fn enter_b(&self) {
        enter(&File::open(format!("/run/netns/{}", self.b)).unwrap());
    }

    fn open_a(&self) -> Result<Xsk, OpenError> {
        self.enter_a();
        Xsk::open(&XskConfig::new("veth0", 0, 1500))
    }

    fn open_b(&self) -> Result<Xsk, OpenError> {
        self.enter_b();
        Xsk::open(&XskConfig::new("veth0", 0, 1500))
    }

    /// Attaches a program to veth0 of the current namespace that redirects queue N to the Nth
    /// socket.
    fn redirect(&self, sockets: &[&Xsk]) -> [OwnedFd; 3] {
        redirect("veth0", sockets).unwrap()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        enter(&self.home);
        for namespace in [&self.a, &self.b] {
            // Also after a test that failed half-way: no panic in a panic.
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .output();
        }
    }
}

fn enter(namespace: &File) {
    let kind = Some(LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
}

/// `return bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS)`, attached by a link. The program
/// goes with the descriptors (map, program, link).
fn redirect(interface: &str, sockets: &[&Xsk]) -> io::Result<[OwnedFd; 3]> {
    let name = CString::new(interface)?;
    // SAFETY: plain calls with live pointers; each descriptor that is returned is new and ours.
    unsafe {
        let kind = bpf::BPF_MAP_TYPE_XSKMAP;
        let slots = sockets.len() as u32;
        let map = owned(bpf::bpf_map_create(
            kind,
            c"xsks".as_ptr(),
            4,
            4,
            slots,
            ptr::null(),
        ))?;
        let instructions = [
            // r2 = ctx->rx_queue_index
            instruction(0x61, 2, 1, 16, 0),
            // r1 = map (two slots)
            instruction(0x18, 1, bpf::BPF_PSEUDO_MAP_FD as u8, 0, map.as_raw_fd()),
            instruction(0, 0, 0, 0, 0),
            // r3 = XDP_PASS; call bpf_redirect_map; exit
            instruction(0xb7, 3, 0, 0, bpf::XDP_PASS as i32),
            instruction(0x85, 0, 0, 0, bpf::BPF_FUNC_redirect_map as i32),
            instruction(0x95, 0, 0, 0, 0),
        ];
        let program = owned(bpf::bpf_prog_load(
            bpf::BPF_PROG_TYPE_XDP,
            c"ring_xsk".as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr(),
            instructions.len() as u64,
            ptr::null_mut(),
        ))?;
        for (key, socket) in (0u32..).zip(sockets) {
            let value = socket.as_fd().as_raw_fd();
            let (key, value) = ((&raw const key).cast(), (&raw const value).cast());
            let updated = bpf::bpf_map_update_elem(map.as_raw_fd(), key, value, 0);
            assert_eq!(updated, 0, "{}", io::Error::last_os_error());
        }
        let index = libc::if_nametoindex(name.as_ptr());
        let link = owned(bpf::bpf_link_create(
            program.as_raw_fd(),
            index as i32,
            bpf::BPF_XDP,
            ptr::null(),
        ))?;
        Ok([map, program, link])
    }
}

fn instruction(code: u8, to: u8, from: u8, off: i16, imm: i32) -> bpf::bpf_insn {
    // SAFETY: integers only.
    let mut instruction: bpf::bpf_insn = unsafe { std::mem::zeroed() };
    instruction.code = code;
    instruction.set_dst_reg(to);
    instruction.set_src_reg(from);
    instruction.off = off;
    instruction.imm = imm;
    instruction
}

/// # Safety
///
/// A descriptor that is not negative must be new.
unsafe fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as the caller says.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
