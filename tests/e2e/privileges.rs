//! What a running server may still do: nothing that it need not.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::require_root;
use crate::support::{Lab, Link, SERVER_IF, SERVER_V4, Server, succeed, wait_until};

/// What a server without root is given.
const CAPABILITIES: &str = "-all,+bpf,+net_admin,+net_raw,+ipc_lock,+net_bind_service";

/// The value behind `name:` in a thread's status.
fn status(task: &Path, name: &str) -> String {
    let status = fs::read_to_string(task.join("status")).expect("the thread lives");
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.expect("the kernel says so").trim().to_owned()
}

/// Fails unless every thread is `uid` and nothing else.
fn assert_confined(server: &Server, uid: u32, gid: u32) {
    let tasks: Vec<PathBuf> = fs::read_dir(format!("/proc/{}/task", server.pid()))
        .expect("it runs")
        .map(|task| task.expect("it runs").path())
        .collect();
    // Main, a worker, the control thread.
    assert!(tasks.len() >= 3, "{tasks:?}");
    for task in tasks {
        for (name, id) in [("Uid", uid), ("Gid", gid)] {
            assert_eq!(status(&task, name), vec![id.to_string(); 4].join("\t"));
        }
        assert_eq!(status(&task, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(&task, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(&task, "NoNewPrivs"), "1");
        assert_eq!(status(&task, "Seccomp"), "2");
    }
}

fn control_socket(server: &Server, user: &str) -> PathBuf {
    format!("/run/corelane/{user}/{}.sock", server.pid()).into()
}

fn hello(lab: &Lab) -> String {
    let url = format!("curl -sS --max-time 8 http://{SERVER_V4}/");
    lab.client.shell(10, &url)
}

/// `corelane ss` by an ordinary user.
fn ss_as(uid: u32, server: &Server) -> Output {
    let id = uid.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    command.args([env!("CARGO_BIN_EXE_corelane"), "ss", "--pid"]);
    command.arg(server.pid().to_string());
    command.output().expect("setpriv is installed")
}

#[test]
fn root_is_given_up() {
    require_root!();
    let lab = Lab::new(Link::default());
    for (arguments, uid, directory) in [
        (&["http:80", "echo:7"][..], 65_534, "nobody"),
        (&["--user", "nobody", "http:80"], 65_534, "nobody"),
        (&["--user", "12345:12345", "http:80"], 12_345, "12345"),
        (&["--user", "root", "http:80"], 0, "."),
    ] {
        // With backtraces, threads may read files.
        let quiet = ["env", "-u", "RUST_BACKTRACE", "-u", "RUST_LIB_BACKTRACE"];
        let mut server = Server::start_behind(&lab.server, &quiet, arguments);
        assert_confined(&server, uid, uid);
        let main = PathBuf::from(format!("/proc/{}", server.pid()));
        assert_eq!(status(&main, "CapBnd"), "0000000000000000");
        assert_eq!(hello(&lab), "hello, world\n");
        // Reads counters from maps.
        assert!(server.count("redirected_tcp") > 0);
        if arguments[0] != "--user" {
            assert!(
                server.output().contains("user nobody"),
                "{}",
                server.output()
            );
        }
        let socket = control_socket(&server, directory);
        assert!(socket.exists(), "{}", socket.display());
        server.stop();
        assert!(!socket.exists(), "{} is left", socket.display());
        lab.assert_clean();
        assert!(lab.refuses(80));
    }
}

#[test]
fn only_root_and_the_user_may_ask() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["--user", "12345:12345", "http:80"]);
    let socket = control_socket(&server, "12345");
    let about = fs::symlink_metadata(&socket).expect("the socket is there");
    assert_eq!(
        (about.uid(), about.permissions().mode() & 0o777),
        (12_345, 0o600)
    );
    assert!(server.ss(&[]).contains("State"));
    let own = succeed("ss", ss_as(12_345, &server));
    assert!(own.contains("State"), "{own}");
    let foreign = ss_as(12_346, &server);
    let said = String::from_utf8_lossy(&foreign.stderr).into_owned();
    assert!(
        !foreign.status.success() && said.contains("not allowed"),
        "{said}"
    );
    server.stop();
}

#[test]
fn receive_offload_comes_back_however_the_server_ends() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.server
        .shell(10, &format!("ethtool -K {SERVER_IF} gro on >&2"));
    let gro = || {
        let shown = lab.server.shell(10, &format!("ethtool -k {SERVER_IF}"));
        shown.contains("generic-receive-offload: on")
    };
    for signal in [Signal::TERM, Signal::KILL] {
        let mut server = Server::start(&lab.server, &["--mode", "generic", "http:80"]);
        assert!(!gro(), "on while the server runs");
        assert_confined(&server, 65_534, 65_534);
        assert_eq!(hello(&lab), "hello, world\n");
        server.signal(signal);
        server.wait(Duration::from_secs(5));
        if signal == Signal::TERM {
            assert!(gro(), "off after the server's end");
        }
        assert!(
            wait_until(Duration::from_secs(5), gro),
            "off after {signal:?}"
        );
        lab.assert_clean();
    }
}

#[test]
fn capabilities_do_instead_of_root() {
    require_root!();
    let lab = Lab::new(Link::default());
    let wrapper = [
        "setpriv",
        "--reuid",
        "12345",
        "--regid",
        "12345",
        "--clear-groups",
        "--bounding-set",
        CAPABILITIES,
        "--inh-caps",
        CAPABILITIES,
        "--ambient-caps",
        CAPABILITIES,
    ];
    // As root would prepare it.
    let directory = Path::new("/run/corelane/12345");
    fs::create_dir_all(directory).expect("root may");
    chown(directory, Some(12_345), Some(12_345)).expect("root may");
    for mode in ["auto", "generic"] {
        let server = Server::start_behind(&lab.server, &wrapper, &["--mode", mode, "http:80"]);
        assert_confined(&server, 12_345, 12_345);
        assert_eq!(hello(&lab), "hello, world\n");
        assert!(succeed("ss", ss_as(12_345, &server)).contains("State"));
        server.stop();
        lab.assert_clean();
    }
    let arguments = ["--interface", SERVER_IF, "--user", "nobody", "http:80"];
    let output = Server::fail_behind(&lab.server, &wrapper, &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("only root can become user nobody"), "{said}");
}

/// As in a container that drops all capabilities but those that a server names.
#[test]
fn root_that_can_be_nobody_else_gives_up_what_it_has() {
    require_root!();
    let lab = Lab::new(Link::default());
    let bound = "-setuid,-setgid";
    let wrapper = ["setpriv", "--bounding-set", bound, "--inh-caps", bound];
    for mode in ["auto", "generic"] {
        let mut server = Server::start_behind(&lab.server, &wrapper, &["--mode", mode, "http:80"]);
        let said = server.output();
        assert!(said.contains("without CAP_SETUID and CAP_SETGID"), "{said}");
        let main = PathBuf::from(format!("/proc/{}", server.pid()));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(&main, set), "0000000000000000", "{set}");
        }
        assert_eq!(hello(&lab), "hello, world\n");
        assert!(server.ss(&[]).contains("State"));
        server.stop();
        lab.assert_clean();
    }
    let arguments = ["--interface", SERVER_IF, "--user", "nobody", "http:80"];
    let output = Server::fail_behind(&lab.server, &wrapper, &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("only root can become user nobody"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
}

#[test]
fn what_an_unprivileged_start_lacks_is_named() {
    require_root!();
    let lab = Lab::new(Link::default());
    let arguments = ["--interface", SERVER_IF, "http:80"];
    for (capability, name) in [
        ("-net_bind_service", "CAP_NET_BIND_SERVICE"),
        ("-ipc_lock", "CAP_IPC_LOCK"),
    ] {
        let wrapper = [
            "prlimit",
            "--memlock=65536",
            "setpriv",
            "--bounding-set",
            capability,
            "--inh-caps",
            capability,
        ];
        let output = Server::fail_behind(&lab.server, &wrapper, &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(name), "{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
        lab.assert_clean();
    }
    let wrapper = [
        "setpriv",
        "--bounding-set",
        "-net_raw",
        "--inh-caps",
        "-net_raw",
    ];
    let output = Server::fail_behind(&lab.server, &wrapper, &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("setcap cap_bpf,") && said.contains("AmbientCapabilities="),
        "{said}"
    );
    let arguments = [
        "--interface",
        SERVER_IF,
        "--user",
        "no-such-user",
        "http:80",
    ];
    let output = Server::fail(&lab.server, &arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no-such-user"), "{said}");
}

/// A device that comes back needs what the server has given up.
#[test]
fn a_device_that_goes_ends_the_server_with_a_status_of_its_own() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut server = Server::start(&lab.server, &["http:80"]);
    let socket = control_socket(&server, "nobody");
    lab.server.ip(&["link", "del", SERVER_IF]);
    let status = server.wait(Duration::from_secs(5));
    assert_eq!(status.code(), Some(3), "{}", server.output());
    assert!(server.output().contains("has gone"), "{}", server.output());
    assert!(!socket.exists(), "{} is left", socket.display());
}

#[test]
fn the_sandbox_can_be_left_out() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["--no-sandbox", "http:80"]);
    let main = PathBuf::from(format!("/proc/{}", server.pid()));
    assert_eq!(status(&main, "Seccomp"), "0");
    assert_eq!(status(&main, "CapEff"), "0000000000000000");
    assert_eq!(hello(&lab), "hello, world\n");
    server.stop();
    lab.assert_clean();
}
