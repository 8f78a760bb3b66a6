//! Start, stop, drain, sudden death.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::require_root;
use crate::support::{
    CLIENT_IF, Lab, Link, SERVER_IF, SERVER_V4, Server, pause, stream, wait_until,
};

/// How a write ends on a connection that was reset: at once, and ever after.
const RESETS: [ErrorKind; 2] = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];

fn hello(lab: &Lab) -> String {
    lab.client
        .shell(10, &format!("curl -sS --max-time 8 http://{SERVER_V4}/"))
}

#[test]
fn death_leaves_closed_ports_and_the_next_start_works() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut server = Server::start(&lab.server, &["http:80", "chargen:19"]);
    assert!(lab.server.xdp_program(SERVER_IF).is_some());
    let mut client = stream::connect(&lab.client, SERVER_V4, 19).expect("a connection");
    client.read_exact(&mut [0; 1000]).expect("characters");

    server.signal(Signal::KILL);
    server.wait(Duration::from_secs(5));
    lab.assert_clean();
    assert!(lab.refuses(80), "the kernel answers the port as closed");
    // The kernel resets what it does not know: whatever the client says next is answered so.
    let reset = wait_until(Duration::from_secs(10), || {
        let spoken = client.write_all(b"x");
        matches!(spoken, Err(error) if RESETS.contains(&error.kind()))
    });
    assert!(reset, "the connection is not reset");

    let server = Server::start(&lab.server, &["http:80"]);
    assert_eq!(hello(&lab), "hello, world\n");
    server.stop();
    lab.assert_clean();
}

/// As systemd's `Type=notify` wants it, although the main thread has given up making sockets and users
/// by then.
#[test]
fn the_service_manager_is_told_when_it_is_ready() {
    require_root!();
    let lab = Lab::new(Link::default());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(lab.server.name());
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let limit = Duration::from_secs(5);
    manager.set_read_timeout(Some(limit)).expect("a time limit");
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    let server = Server::start_behind(&lab.server, &["env", &variable], &["http:80"]);
    let mut said = [0; 64];
    let count = manager.recv(&mut said).expect("it says so");
    assert_eq!(&said[..count], b"READY=1");
    assert_eq!(hello(&lab), "hello, world\n");
    server.stop();

    // A manager that has gone is no reason not to serve.
    drop(manager);
    std::fs::remove_file(&path).expect("it is ours");
    let mut server = Server::start_behind(&lab.server, &["env", &variable], &["http:80"]);
    assert_eq!(hello(&lab), "hello, world\n");
    let told = |server: &mut Server| server.output().contains("service manager");
    assert!(
        wait_until(limit, || told(&mut server)),
        "{}",
        server.output()
    );
    server.stop();
    lab.assert_clean();
}

/// Notices that nobody can read, here because the disk is full, are no reason to end.
#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    require_root!();
    let lab = Lab::new(Link::default());
    let deaf = ["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"];
    // Root is always told who it is now.
    let server = Server::start_behind(&lab.server, &deaf, &["http:80"]);
    assert_eq!(hello(&lab), "hello, world\n");
    server.stop();
    lab.assert_clean();
}

/// The kernel takes program, sockets and ports away a while after the process was killed.
#[test]
fn the_next_start_need_not_wait_for_the_dead() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut servers = Vec::new();
    for _ in 0..5 {
        let server = Server::start(&lab.server, &["http:80", "echo:7"]);
        assert_eq!(hello(&lab), "hello, world\n");
        server.signal(Signal::KILL);
        servers.push(server);
    }
    for mut server in servers {
        server.wait(Duration::from_secs(5));
    }
    lab.assert_clean();
}

#[test]
fn termination_drains_a_download() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut server = Server::start(&lab.server, &["--drain-timeout", "30s", "http:80"]);
    let download = lab
        .client
        .command(60, "curl")
        .args([
            "-sS",
            "--limit-rate",
            "8M",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
        ])
        .arg(format!("http://{SERVER_V4}/bytes/20000000"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    pause(Duration::from_millis(700));

    server.signal(Signal::TERM);
    assert!(
        wait_until(Duration::from_secs(2), || lab.refuses(80)),
        "no new connections"
    );
    let download = download.wait_with_output().expect("our child");
    let stderr = String::from_utf8_lossy(&download.stderr);
    assert!(
        download.status.success(),
        "{} {stderr}\n{}",
        download.status,
        server.output()
    );
    assert_eq!(String::from_utf8_lossy(&download.stdout), "20000000");
    let status = server.wait(Duration::from_secs(10));
    assert!(status.success(), "{status}\n{}", server.output());
    lab.assert_clean();
}

#[test]
fn the_drain_has_an_end() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut server = Server::start(&lab.server, &["--drain-timeout", "1s", "chargen:19"]);
    let mut client = stream::connect(&lab.client, SERVER_V4, 19).expect("a connection");
    let reader = std::thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
    pause(Duration::from_millis(200));
    server.signal(Signal::TERM);
    pause(Duration::from_millis(500));
    assert!(server.is_running(), "it drains for a second");
    let status = server.wait(Duration::from_secs(5));
    assert!(status.success(), "{status}\n{}", server.output());
    let end = reader.join().expect("no panic");
    assert!(
        end.is_err(),
        "chargen never ends, so the connection was reset: {end:?}"
    );
    lab.assert_clean();
}

#[test]
fn the_second_signal_ends_at_once() {
    require_root!();
    let lab = Lab::new(Link::default());
    for second in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&lab.server, &["--drain-timeout", "60s", "chargen:19"]);
        let mut client = stream::connect(&lab.client, SERVER_V4, 19).expect("a connection");
        let reader = std::thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
        pause(Duration::from_millis(200));
        server.signal(Signal::TERM);
        pause(Duration::from_millis(500));
        assert!(server.is_running(), "it drains");
        server.signal(second);
        server.wait(Duration::from_secs(2));
        drop(reader.join().expect("no panic"));
        lab.assert_clean();
    }
}

#[test]
fn an_idle_server_stops_soon_and_leaves_nothing() {
    require_root!();
    let lab = Lab::new(Link::default());
    for signal in [Signal::INT, Signal::TERM] {
        let mut server = Server::start(&lab.server, &["http:80", "echo:7", "discard:9"]);
        let control = format!("/run/corelane/nobody/{}.sock", server.pid());
        assert!(std::path::Path::new(&control).exists(), "{control}");
        server.signal(signal);
        let status = server.wait(Duration::from_secs(3));
        assert!(status.success(), "{status}\n{}", server.output());
        assert!(
            !std::path::Path::new(&control).exists(),
            "{control} is left behind"
        );
        lab.assert_clean();
        assert!(lab.refuses(80));
    }
}

#[test]
fn a_device_with_jumbo_frames_is_served_with_smaller_ones() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.server.ip(&["link", "set", SERVER_IF, "mtu", "9000"]);
    lab.client.ip(&["link", "set", CLIENT_IF, "mtu", "9000"]);
    let mut server = Server::start(&lab.server, &["http:80", "echo:7"]);
    assert!(server.output().contains("9000"), "{}", server.output());
    let url = format!("curl -sS --max-time 8 http://{SERVER_V4}/bytes/5000000 | wc -c");
    assert_eq!(lab.client.shell(10, &url).trim(), "5000000");
    let client = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| stream::send(&client, 4 << 20));
        stream::receive(&client, 4 << 20).expect("the same octets");
        sent.join().expect("no panic").expect("sent");
    });
    let idle = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
    // 3822 less the headers and the timestamps.
    let listed = server.ss(&[]);
    assert!(listed.contains("mss:3770"), "{listed}");
    drop(idle);
    server.stop();
    lab.assert_clean();
}

#[test]
fn a_changed_mac_address_ends_the_server_aloud() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut server = Server::start(&lab.server, &["http:80"]);
    lab.server
        .ip(&["link", "set", SERVER_IF, "address", "02:00:00:00:00:99"]);
    let status = server.wait(Duration::from_secs(5));
    assert!(!status.success(), "{status}");
    let said = server.output();
    assert!(said.contains("Ethernet address"), "{said}");
    lab.assert_clean();
}

#[test]
fn other_ports_stay_with_the_kernel() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7"]);
    let listener = lab
        .server
        .run(|| std::net::TcpListener::bind((SERVER_V4, 2_222)).expect("a free port"));
    let client = stream::connect(&lab.client, SERVER_V4, 2_222).expect("the kernel accepts");
    let (kernel, _) = listener.accept().expect("the connection is there");
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| stream::send(&client, 4 << 20));
        stream::receive(&kernel, 4 << 20).expect("the same octets");
        sent.join().expect("no panic").expect("sent");
    });
    assert!(
        lab.refuses(2_223),
        "a closed port is the kernel's to refuse"
    );
    server.stop();
}
