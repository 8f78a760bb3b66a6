//! Connections that Corelane opens to Linux: `examples/fetch.rs` against kernel servers.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::require_root;
use crate::support::{
    CLIENT_V4, CLIENT_V6, Lab, Link, Namespace, SERVER_IF, SERVER_V4, succeed, wait_until,
};

/// `examples/fetch`, built if need be.
fn fetch_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build_fetch)
}

fn build_fetch() -> PathBuf {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "fetch"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    succeed("cargo build --example fetch", built.expect("cargo runs"));
    let binary = Path::new(env!("CARGO_BIN_EXE_corelane"));
    binary.with_file_name("examples").join("fetch")
}

/// Runs `fetch` at the server's end of the lab, so that the client's end is Linux.
pub(crate) fn fetch(lab: &Lab, arguments: &[&str]) -> Output {
    let binary = fetch_binary();
    lab.server
        .command(60, binary.to_str().expect("a path of ASCII"))
        .args(["--interface", SERVER_IF])
        .args(arguments)
        .output()
        .expect("ip is installed")
}

fn text(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout);
    format!("{stdout}{}", String::from_utf8_lossy(&output.stderr))
}

/// Python's web server in the kernel's namespace, with one file of `OCTETS` zeroes.
pub(crate) struct Web {
    child: Child,
    directory: PathBuf,
}

const WEB: &str = "
import sys, socket
from http.server import ThreadingHTTPServer, SimpleHTTPRequestHandler
class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    def server_activate(self):
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 64)
        super().server_activate()
    address_family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
Server((sys.argv[1], 8000), SimpleHTTPRequestHandler).serve_forever()
";
const OCTETS: usize = 300_000;
/// `head -c 300000 /dev/zero | sha256sum`
const DIGEST: &str = "886715e4051e827f4fe215df3053af3f85ad0d352db2c829c7487af6d78efe30";

impl Web {
    pub(crate) fn start(namespace: &Namespace, address: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(namespace.name());
        std::fs::create_dir_all(&directory).expect("cargo made its tmp directory");
        std::fs::write(directory.join("zeroes"), vec![0; OCTETS]).expect("it can be written");
        let child = namespace
            .command(120, "python3")
            // The module's own main listens with a backlog of five, and overflows it.
            .args(["-c", WEB, address])
            .current_dir(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 is installed");
        let listens = || namespace.shell(5, "ss -Hltn").contains(":8000");
        assert!(wait_until(Duration::from_secs(20), listens), "no server");
        Self { child, directory }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        // `timeout` passes it on to what it runs.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The kernels of both ends forget each other's Ethernet addresses.
fn flush_neighbours(lab: &Lab) {
    for namespace in [&lab.server, &lab.client] {
        namespace.ip(&["neigh", "flush", "all"]);
    }
}

pub(crate) fn assert_all_right(output: &Output, count: u32) {
    let text = text(output);
    assert!(output.status.success(), "{text}");
    let line = format!("{count} x HTTP/1.0 200 OK: {OCTETS} octets, sha256 {DIGEST}");
    assert!(text.contains(&line), "{text}");
}

#[test]
fn files_come_over_ipv4_and_ipv6_whether_the_neighbour_is_known_or_not() {
    require_root!();
    let lab = Lab::new(Link::default());
    for (address, bound) in [
        (format!("{CLIENT_V4}:8000"), CLIENT_V4),
        (format!("[{CLIENT_V6}]:8000"), CLIENT_V6),
    ] {
        let _web = Web::start(&lab.client, bound);
        flush_neighbours(&lab);
        for count in [1, 50] {
            let output = fetch(&lab, &["-n", &count.to_string(), &address, "/zeroes"]);
            assert_all_right(&output, count);
        }
    }
    lab.assert_clean();
}

/// The answers arrive where the client's kernel sends them, which is no choice of ours on a veth:
/// some must be handed over, and all must be right.
#[test]
fn two_queues_hand_over_what_arrives_at_the_wrong_one() {
    require_root!();
    let lab = Lab::new(Link {
        queues: 2,
        ..Link::default()
    });
    let _web = Web::start(&lab.client, CLIENT_V4);
    for cores in ["0,1", "0"] {
        let address = format!("{CLIENT_V4}:8000");
        let output = fetch(&lab, &["--cores", cores, "-n", "40", &address, "/zeroes"]);
        assert_all_right(&output, 40);
    }
    lab.assert_clean();
}

#[test]
fn failures_say_why() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.server
        .ip(&["route", "add", "blackhole", "198.18.200.0/24"]);
    for (address, why) in [
        // Nobody listens there.
        (format!("{CLIENT_V4}:9"), "Refused"),
        (format!("[{CLIENT_V6}]:9"), "Refused"),
        // Nobody is there.
        ("198.18.0.77:80".to_owned(), "the neighbour does not answer"),
        ("[fd00::77]:80".to_owned(), "the neighbour does not answer"),
        ("198.19.0.1:80".to_owned(), "no route"),
        ("198.18.200.1:80".to_owned(), "no route"),
        // Our own.
        (
            format!("{SERVER_V4}:80"),
            "does not lead through this interface",
        ),
        ("224.0.0.1:80".to_owned(), "no"),
    ] {
        let output = fetch(&lab, &["-n", "3", &address]);
        let text = text(&output);
        assert!(!output.status.success(), "{address}: {text}");
        let line = text.lines().find(|line| line.starts_with("3 x failed: "));
        assert!(
            line.is_some_and(|line| line.contains(why)),
            "{address}: {text}"
        );
    }
    lab.assert_clean();
}

#[test]
fn client_ports_that_the_kernel_gives_out_are_refused_by_name() {
    require_root!();
    let lab = Lab::new(Link::default());
    let output = fetch(&lab, &["--client-ports", "40000-40010", "198.18.0.2:80"]);
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("net.ipv4.ip_local_port_range"), "{said}");
    // The mend that the message names.
    lab.server.shell(
        5,
        "echo 40000-40010 > /proc/sys/net/ipv4/ip_local_reserved_ports",
    );
    let _web = Web::start(&lab.client, CLIENT_V4);
    let address = format!("{CLIENT_V4}:8000");
    let output = fetch(
        &lab,
        &["--client-ports", "40000-40010", &address, "/zeroes"],
    );
    assert_all_right(&output, 1);
}

/// Eleven ports and forty connections, one at a time: TIME-WAIT is at the server, which closes
/// first, so that every port is free again; and Linux takes the new SYN for its TIME-WAIT.
#[test]
fn ports_come_round_again() {
    require_root!();
    let lab = Lab::new(Link::default());
    let _web = Web::start(&lab.client, CLIENT_V4);
    let address = format!("{CLIENT_V4}:8000");
    let ports = ["--client-ports", "61000-61010", "-p", "1", "-n", "40"];
    let output = fetch(&lab, &[&ports[..], &[&address, "/zeroes"]].concat());
    assert_all_right(&output, 40);
}

/// Linux as a Fast Open server (RFC 7413): the second connection's request is on its SYN.
#[test]
fn requests_go_with_the_syn_to_linux() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.client
        .shell(5, "echo 3 > /proc/sys/net/ipv4/tcp_fastopen");
    let _web = Web::start(&lab.client, CLIENT_V4);
    let address = format!("{CLIENT_V4}:8000");
    let output = fetch(
        &lab,
        &["--fast-open", "-p", "1", "-n", "20", &address, "/zeroes"],
    );
    assert_all_right(&output, 20);
    let passive = lab
        .client
        .shell(5, "nstat -asz TcpExtTCPFastOpenPassive | tail -1");
    let count = passive.split_whitespace().nth(1);
    assert_eq!(count, Some("19"), "{passive}");
}
