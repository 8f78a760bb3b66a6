//! What bad input gets: one sentence that names the cause, a status that is not 0, nothing left.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::require_root;
use crate::support::{CLIENT_IF, Lab, Link, Namespace, SERVER_IF, SERVER_V4, Server, succeed};

/// The error must be short and name all of `words`.
fn assert_names(output: &Output, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lower = stderr.to_lowercase();
    for word in words {
        assert!(
            lower.contains(&word.to_lowercase()),
            "no {word:?} in {stderr:?}"
        );
    }
    // One sentence, perhaps behind a start line or two; never a dump.
    assert!((1..=3).contains(&stderr.lines().count()), "{stderr}");
}

/// A file in the test's directory, named after its test.
fn write_file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("cargo made its tmp directory");
    path
}

/// Puts a foreign XDP program on the server's interface; its id.
fn attach_foreign(lab: &Lab, mode: &str) -> u64 {
    let source = write_file(
        "foreign.bpf.c",
        "__attribute__((section(\"xdp\"), used)) int pass(void *context) { return 2; }\n",
    );
    let object = source.with_extension("o");
    let compiled = std::process::Command::new("clang")
        .args(["--target=bpf", "-O2", "-g", "-c", "-o"])
        .args([&object, &source])
        .output()
        .expect("clang is installed");
    succeed("clang", compiled);
    let object = object.to_str().expect("UTF-8");
    lab.server.ip(&[
        "link", "set", "dev", SERVER_IF, mode, "obj", object, "sec", "xdp",
    ]);
    lab.server.xdp_program(SERVER_IF).expect("ip attached it")
}

#[test]
fn no_such_interface() {
    require_root!();
    let namespace = Namespace::new("alone");
    let output = Server::fail(&namespace, &["--interface", "nosuch0", "http:80"]);
    assert_names(&output, &["nosuch0"]);
}

#[test]
fn a_port_given_twice() {
    require_root!();
    let lab = Lab::new(Link::default());
    let output = Server::fail(
        &lab.server,
        &["--interface", SERVER_IF, "http:8080", "echo:8080"],
    );
    assert_names(&output, &["8080"]);
    lab.assert_clean();
}

#[test]
fn words_that_are_no_service() {
    require_root!();
    let lab = Lab::new(Link::default());
    for service in ["gopher:70", "http:0", "http:65536", "http:", "http"] {
        let output = Server::fail(&lab.server, &["--interface", SERVER_IF, service]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(service), "{service}: {stderr}");
    }
    lab.assert_clean();
}

#[test]
fn a_foreign_address() {
    require_root!();
    let lab = Lab::new(Link::default());
    let output = Server::fail(
        &lab.server,
        &[
            "--interface",
            SERVER_IF,
            "--address",
            "198.18.99.99",
            "http:80",
        ],
    );
    assert_names(&output, &["198.18.99.99"]);
    lab.assert_clean();
}

#[test]
fn a_port_that_the_kernel_listens_on() {
    require_root!();
    let lab = Lab::new(Link::default());
    for address in ["0.0.0.0", SERVER_V4, "::"] {
        let listener = lab
            .server
            .run(|| std::net::TcpListener::bind((address, 8080)))
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let output = Server::fail(&lab.server, &["--interface", SERVER_IF, "http:8080"]);
        assert_names(&output, &["8080"]);
        lab.assert_clean();
        drop(listener);
    }
    Server::start(&lab.server, &["http:8080"]).stop();
}

#[test]
fn a_foreign_xdp_program_is_left_alone() {
    require_root!();
    let lab = Lab::new(Link::default());
    for mode in ["xdpdrv", "xdpgeneric"] {
        let id = attach_foreign(&lab, mode);
        let output = Server::fail(&lab.server, &["--interface", SERVER_IF, "http:80"]);
        assert_names(
            &output,
            &[SERVER_IF, &id.to_string(), &format!("{mode} off")],
        );
        assert_eq!(lab.server.xdp_program(SERVER_IF), Some(id), "{mode}");
        lab.server
            .ip(&["link", "set", "dev", SERVER_IF, mode, "off"]);
    }
    Server::start(&lab.server, &["http:80"]).stop();
}

#[test]
fn a_second_server_on_the_interface() {
    require_root!();
    let lab = Lab::new(Link::default());
    let first = Server::start(&lab.server, &["http:80"]);
    let output = Server::fail(&lab.server, &["--interface", SERVER_IF, "http:81"]);
    assert_names(&output, &["another Corelane", SERVER_IF]);
    let url = format!("curl -sS --max-time 8 http://{SERVER_V4}/");
    assert_eq!(lab.client.shell(10, &url), "hello, world\n");
    first.stop();
    lab.assert_clean();
}

#[test]
fn a_queue_already_bound() {
    require_root!();
    let lab = Lab::new(Link::default());
    let holder = lab.server.run(hold_queue);
    let output = Server::fail(&lab.server, &["--interface", SERVER_IF, "http:80"]);
    assert_names(&output, &[SERVER_IF, "queue"]);
    lab.assert_clean();
    drop(holder);
    Server::start(&lab.server, &["http:80"]).stop();
}

/// Binds an AF_XDP socket to queue 0 of the server's interface, without a program.
fn hold_queue() -> impl Send {
    use xsk_rs::config::{LibxdpFlags, SocketConfig, UmemConfig};
    let frames = 64.try_into().expect("not zero");
    let (umem, _) = xsk_rs::Umem::new(UmemConfig::default(), frames, false).expect("a UMEM");
    let config = SocketConfig::builder()
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .build();
    let interface = SERVER_IF.parse().expect("a name");
    // SAFETY: nothing is produced on or consumed from the rings, so no frame is ever aliased.
    let rings = unsafe { xsk_rs::Socket::new(config, &umem, &interface, 0) }.expect("a free queue");
    (umem, rings)
}

#[test]
fn modes_that_the_driver_lacks() {
    require_root!();
    let lab = Lab::new(Link::default());
    // veth has no zero-copy mode.
    let output = Server::fail(
        &lab.server,
        &["--interface", SERVER_IF, "--mode", "zero-copy", "http:80"],
    );
    assert_names(&output, &[SERVER_IF, "zero-copy"]);
    lab.assert_clean();

    // A bridge has no native XDP at all.
    lab.server.ip(&["link", "add", "bridge0", "type", "bridge"]);
    lab.server
        .ip(&["addr", "add", "198.18.7.1/24", "dev", "bridge0"]);
    lab.server.ip(&["link", "set", "bridge0", "up"]);
    let output = Server::fail(
        &lab.server,
        &["--interface", "bridge0", "--mode", "copy", "http:80"],
    );
    assert_names(&output, &["bridge0", "native XDP", "generic"]);
    assert_eq!(lab.server.xdp_program("bridge0"), None);
}

#[test]
fn nonsense_in_the_configuration() {
    require_root!();
    let lab = Lab::new(Link::default());
    let cases = [
        (
            "unknown.toml",
            "# a comment\n\nnonsense = 1\n",
            vec!["unknown.toml", "3", "nonsense"],
        ),
        (
            "syntax.toml",
            "# a comment\ninterface = = 1\n",
            vec!["syntax.toml", "2"],
        ),
        (
            "type.toml",
            "interface = 5\n",
            vec!["type.toml", "1", "interface"],
        ),
    ];
    for (name, text, words) in cases {
        let path = write_file(name, text);
        let path = path.to_str().expect("UTF-8");
        let output = Server::fail(
            &lab.server,
            &["--interface", SERVER_IF, "--config", path, "http:80"],
        );
        assert_names(&output, &words);
    }
    let output = Server::fail(
        &lab.server,
        &[
            "--interface",
            SERVER_IF,
            "--config",
            "/nonexistent/corelane.toml",
            "http:80",
        ],
    );
    assert_names(&output, &["/nonexistent/corelane.toml"]);
    lab.assert_clean();
}

#[test]
fn a_missing_capability_is_named() {
    require_root!();
    let lab = Lab::new(Link::default());
    for (drop, name) in [("-net_admin", "CAP_NET_ADMIN"), ("-net_raw", "CAP_NET_RAW")] {
        let wrapper = ["setpriv", "--bounding-set", drop, "--inh-caps", drop];
        let output = Server::fail_behind(
            &lab.server,
            &wrapper,
            &["--interface", SERVER_IF, "http:80"],
        );
        assert_names(&output, &[name]);
        lab.assert_clean();
    }
    // Neither of the two that loads programs.
    let wrapper = [
        "setpriv",
        "--bounding-set",
        "-bpf,-sys_admin",
        "--inh-caps",
        "-bpf,-sys_admin",
    ];
    let output = Server::fail_behind(
        &lab.server,
        &wrapper,
        &["--interface", SERVER_IF, "http:80"],
    );
    assert_names(&output, &["CAP_BPF"]);
    // An ordinary user: whatever is named first, it is a capability.
    let wrapper = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ];
    let output = Server::fail_behind(
        &lab.server,
        &wrapper,
        &["--interface", SERVER_IF, "http:80"],
    );
    assert_names(&output, &["CAP_"]);
    lab.assert_clean();
}

#[test]
fn an_interface_without_an_address() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.server.ip(&["addr", "flush", "dev", SERVER_IF]);
    let output = Server::fail(&lab.server, &["--interface", SERVER_IF, "http:80"]);
    assert_names(&output, &[SERVER_IF, "address"]);
    // The client's end is not in this namespace.
    let output = Server::fail(&lab.server, &["--interface", CLIENT_IF, "http:80"]);
    assert_names(&output, &[CLIENT_IF]);
    lab.assert_clean();
}
