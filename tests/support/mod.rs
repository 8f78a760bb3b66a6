//! What the tests against Linux's TCP need: network namespaces, veth pairs, the relay between two
//! pairs, the real binary, real clients.
//!
//! Everything is made by the test and gone with it. A test that is killed leaves namespaces
//! behind, named by its pid; the next one sweeps them away.

pub(crate) mod fragment;
pub(crate) mod packet;
pub(crate) mod relay;
mod server;
pub(crate) mod stream;
mod turn;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use corelane::time::Clock;

use packet::PacketSocket;
use relay::{Counts, Impairment};
pub(crate) use server::Server;
use turn::Turn;

/// The server's end of the veth pair.
pub(crate) const SERVER_IF: &str = "srv0";
/// The client's end of the veth pair.
pub(crate) const CLIENT_IF: &str = "cli0";
/// The server's addresses.
pub(crate) const SERVER_V4: &str = "198.18.0.1";
/// See [`SERVER_V4`].
pub(crate) const SERVER_V6: &str = "fd00::1";
/// The client's addresses.
pub(crate) const CLIENT_V4: &str = "198.18.0.2";
/// See [`CLIENT_V4`].
pub(crate) const CLIENT_V6: &str = "fd00::2";

/// Begins the name of every namespace made here.
const PREFIX: &str = "corelane-test";

/// Returns from the test, aloud, if it may not make namespaces. In CI that is a failure.
#[macro_export]
macro_rules! require_root {
    () => {
        if !$crate::support::is_root(module_path!()) {
            return;
        }
    };
}

/// See [`require_root!`].
pub(crate) fn is_root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{test}: CI must run as root, and skips nothing"
    );
    // Past libtest's capture, which would swallow what a passing test prints.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED {test}: needs root to make network namespaces"
    );
    false
}

/// A network namespace; gone when dropped.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with `lo` up. `role` is a word for people who list namespaces.
    pub(crate) fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{count}-{role}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        // Duplicate address detection would leave an address unusable for a second or two.
        namespace.run(|| {
            for which in ["all", "default"] {
                let path = format!("/proc/sys/net/ipv6/conf/{which}/accept_dad");
                std::fs::write(path, "0").expect("IPv6 is off in this kernel");
            }
        });
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// The name that `ip netns` knows.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `ip -n NAME ...`, which must succeed; its stdout.
    pub(crate) fn ip(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        ip(&all)
    }

    /// A command inside the namespace that is ended (status 124) after `seconds`.
    pub(crate) fn command(&self, seconds: u32, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "timeout", "--kill-after=5"]);
        command.arg(seconds.to_string()).arg(program);
        command
    }

    /// Runs a shell script inside the namespace; it must succeed. Its stdout.
    pub(crate) fn shell(&self, seconds: u32, script: &str) -> String {
        let output = self.command(seconds, "bash").args(["-c", script]).output();
        succeed(script, output.expect("ip is installed"))
    }

    /// Runs `inside` on a thread of its own inside the namespace. Sockets that it opens stay
    /// there, wherever they are used afterwards.
    pub(crate) fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter();
                inside()
            });
            match thread.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread into the namespace.
    fn enter(&self) {
        let handle =
            File::open(format!("/run/netns/{}", self.name)).expect("the namespace is there");
        rustix::thread::move_into_link_name_space(
            handle.as_fd(),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .expect("root may enter a namespace");
    }

    /// The id of the XDP program on `interface`, if there is one.
    pub(crate) fn xdp_program(&self, interface: &str) -> Option<u64> {
        let links: serde_json::Value =
            serde_json::from_str(&self.ip(&["-json", "-details", "link", "show", interface]))
                .expect("ip prints JSON");
        links[0]["xdp"]["prog"]["id"].as_u64()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// How the links of a [`Lab`] are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// RX and TX queues of both ends.
    pub(crate) queues: u32,
    /// Of both ends, in octets.
    pub(crate) mtu: u32,
    /// Whether the ends keep the kernel's checksum and segmentation offloads.
    pub(crate) offloads: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            queues: 1,
            mtu: 1500,
            offloads: true,
        }
    }
}

/// A server's namespace and a client's, joined by one veth pair, or by two with the relay between.
pub(crate) struct Lab {
    relay: Option<Relay>,
    /// Holds [`SERVER_IF`].
    pub(crate) server: Namespace,
    /// Holds [`CLIENT_IF`].
    pub(crate) client: Namespace,
    _turn: Turn,
}

impl Lab {
    /// Two namespaces and a veth pair. Only one lab exists at a time, in all processes that test
    /// this build: they measure time, and there are few cores.
    pub(crate) fn new(link: Link) -> Self {
        let turn = take_turn();
        let (server, client) = (Namespace::new("server"), Namespace::new("client"));
        join(link, (&server, SERVER_IF), (&client, CLIENT_IF));
        let lab = Self {
            relay: None,
            server,
            client,
            _turn: turn,
        };
        lab.assign_addresses();
        lab
    }

    /// As [`Lab::new`], with the relay in the middle. `impairments` are those of client -> server
    /// and server -> client.
    pub(crate) fn with_relay(link: Link, impairments: [Impairment; 2], seed: u64) -> Self {
        let turn = take_turn();
        let link = Link {
            offloads: false,
            ..link
        };
        let (server, client) = (Namespace::new("server"), Namespace::new("client"));
        let middle = Namespace::new("relay");
        join(link, (&server, SERVER_IF), (&middle, "to-server"));
        join(link, (&client, CLIENT_IF), (&middle, "to-client"));
        let relay = Relay::start(middle, impairments, seed);
        let lab = Self {
            relay: Some(relay),
            server,
            client,
            _turn: turn,
        };
        lab.assign_addresses();
        lab
    }

    /// Ends the relay; what it did to client -> server and server -> client.
    pub(crate) fn stop_relay(&mut self) -> [Counts; 2] {
        self.relay.as_mut().expect("a lab with a relay").stop()
    }

    /// Whether the kernel answers `port` of the server as closed, as seen by curl.
    pub(crate) fn refuses(&self, port: u16) -> bool {
        let url = format!("http://{SERVER_V4}:{port}/");
        let output = self
            .client
            .command(5, "curl")
            .args(["-sS", "-m", "3", &url])
            .output();
        output.expect("curl is installed").status.code() == Some(7)
    }

    /// Fails if a server left something on its interface.
    pub(crate) fn assert_clean(&self) {
        let gone = wait_until(Duration::from_secs(5), || {
            self.server.xdp_program(SERVER_IF).is_none()
        });
        assert!(gone, "an XDP program is still on {SERVER_IF}");
    }

    fn assign_addresses(&self) {
        let ends = [
            (&self.server, SERVER_IF, SERVER_V4, SERVER_V6),
            (&self.client, CLIENT_IF, CLIENT_V4, CLIENT_V6),
        ];
        for (namespace, interface, v4, v6) in ends {
            namespace.ip(&["addr", "add", &format!("{v4}/24"), "dev", interface]);
            namespace.ip(&[
                "addr",
                "add",
                &format!("{v6}/64"),
                "dev",
                interface,
                "nodad",
            ]);
        }
    }
}

/// The relay's thread, in a namespace of its own.
struct Relay {
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<std::io::Result<[Counts; 2]>>>,
    _namespace: Namespace,
}

impl Relay {
    fn start(namespace: Namespace, impairments: [Impairment; 2], seed: u64) -> Self {
        // Not inherited by the server, which would keep the relay from seeing the end.
        let (ended, stop) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let [client, server] = namespace.run(|| {
            ["to-client", "to-server"].map(|end| PacketSocket::open(end).expect("a packet socket"))
        });
        let thread =
            std::thread::spawn(move || relay::run(&client, &server, impairments, seed, &ended));
        Self {
            stop: Some(stop),
            thread: Some(thread),
            _namespace: namespace,
        }
    }

    /// The namespace stays: it holds one end of each of the other two's interfaces.
    fn stop(&mut self) -> [Counts; 2] {
        self.stop = None;
        let thread = self.thread.take().expect("stopped once");
        thread
            .join()
            .expect("the relay did not panic")
            .expect("the relay did not fail")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Joins two namespaces by a veth pair, both ends up.
fn join(link: Link, a: (&Namespace, &str), b: (&Namespace, &str)) {
    let queues = link.queues.to_string();
    let mtu = link.mtu.to_string();
    let size = ["mtu", &mtu, "numrxqueues", &queues, "numtxqueues", &queues];
    let mut arguments = vec!["link", "add", a.1];
    arguments.extend(size);
    arguments.extend(["type", "veth", "peer", "name", b.1]);
    arguments.extend(size);
    arguments.extend(["netns", b.0.name()]);
    a.0.ip(&arguments);
    for (namespace, interface) in [a, b] {
        if !link.offloads {
            namespace.shell(
                10,
                &format!("ethtool -K {interface} tx off tso off gso off gro off sg off >&2"),
            );
        }
        namespace.ip(&["link", "set", interface, "up"]);
    }
}

/// Runs `ip`, which must succeed; its stdout.
fn ip(arguments: &[&str]) -> String {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("iproute2 is installed");
    succeed(&format!("ip {}", arguments.join(" ")), output)
}

/// The stdout of a command that must have succeeded.
pub(crate) fn succeed(what: &str, output: Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{what}\n{}\n{stdout}{stderr}",
        output.status
    );
    stdout
}

/// Waits until `condition` holds, looking every 20 ms; false if it did not within `limit`.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let clock = Clock::start();
    let deadline = clock.now() + limit.into();
    loop {
        if condition() {
            return true;
        }
        if clock.now() >= deadline {
            return false;
        }
        pause(Duration::from_millis(20));
    }
}

/// Lets time pass for the kernel and for other processes.
#[allow(
    clippy::disallowed_methods,
    reason = "other processes do not live in virtual time"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Waits for the turn to have a lab, and sweeps away what killed tests left.
fn take_turn() -> Turn {
    let turn = turn::take();
    for line in ip(&["netns", "list"]).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').nth(1));
        if owner.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
            ip(&["netns", "del", name]);
        }
    }
    turn
}
