//! What can happen to a running server from the side: its interface, its addresses, its program, its
//! log, its peers, its own services. It recovers, or ends soon with one sentence.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use corelane::config::Config;
use corelane::stack::{Service, Socket};
use rustix::process::Signal;

use super::path::far_behind;
use crate::require_root;
use crate::support::{
    CLIENT_IF, Lab, Link, SERVER_IF, SERVER_V4, SERVER_V6, Server, pause, stream, succeed,
    wait_until,
};

/// The exit status of a server whose interface has gone or changed.
const GONE: i32 = 3;
/// Generous: retransmission timers double while there is no way.
const PATIENCE: Duration = Duration::from_secs(40);

/// A connection to an echo on which known octets go there and back until it is told to stop.
struct Talk {
    client: TcpStream,
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Talk {
    fn start(lab: &Lab, address: &str) -> Self {
        let client = stream::connect(&lab.client, address, 7).expect("a connection");
        let (rounds, stop) = (Arc::default(), Arc::default());
        let (count, stopped) = (Arc::clone(&rounds), Arc::clone(&stop));
        let own = client.try_clone().expect("a descriptor");
        let thread = std::thread::spawn(move || talk(&own, &count, &stopped));
        let talk = Self {
            client,
            rounds,
            stop,
            thread: Some(thread),
        };
        talk.goes_on();
        talk
    }

    /// Waits until much more has come back.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.rounds.load(Ordering::Relaxed);
        let more = || self.rounds.load(Ordering::Relaxed) >= before + 20;
        assert!(wait_until(PATIENCE, more), "nothing comes back any more");
    }

    /// Fails if an octet was wrong or the connection is gone.
    #[track_caller]
    fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("stopped once");
        let outcome = thread.join().expect("no panic");
        outcome.expect("the connection is intact");
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // One that waits for a server that is no more need not wait on.
        let _ = self.client.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn talk(mut client: &TcpStream, rounds: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
    let mut echo = vec![0; 40_000];
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.load(Ordering::Relaxed);
        let octets: Vec<u8> = (0..40_000).map(|at| (at * 7 + round) as u8).collect();
        client.write_all(&octets)?;
        client.read_exact(&mut echo)?;
        if octets != echo {
            return Err(io::Error::other(format!("round {round} differs")));
        }
        rounds.store(round + 1, Ordering::Relaxed);
    }
    Ok(())
}

fn hello(lab: &Lab) -> String {
    let curl = format!("curl -sS --max-time 20 --retry 3 http://{SERVER_V4}/");
    lab.client.shell(60, &curl)
}

/// The server ends by itself, with the status for that and these words on one line.
#[track_caller]
fn ends_saying(server: &mut Server, words: &str) {
    let status = server.wait(Duration::from_secs(15));
    assert_eq!(status.code(), Some(GONE), "{}", server.output());
    // What is still in the pipe.
    wait_until(Duration::from_secs(5), || server.output().contains(words));
    let said: Vec<&str> = server
        .output()
        .lines()
        .filter(|line| line.contains(words))
        .collect();
    assert!(
        said.len() == 1 && said[0].starts_with("corelane: "),
        "{said:?}"
    );
    assert!(!server.output().contains("panicked"));
}

#[test]
fn a_transfer_goes_on_when_the_interface_is_down_and_up_again() {
    require_root!();
    let lab = Lab::new(Link::default());
    for idle in ["--idle=adaptive", "--idle=spin"] {
        let server = Server::start(&lab.server, &[idle, "echo:7", "http:80"]);
        let talks = [SERVER_V4, SERVER_V6].map(|address| Talk::start(&lab, address));
        for _ in 0..2 {
            lab.server.ip(&["link", "set", SERVER_IF, "down"]);
            pause(Duration::from_millis(700));
            lab.server.ip(&["link", "set", SERVER_IF, "up"]);
            // The kernel forgets IPv6 addresses of an interface that is down.
            let v6 = format!("{SERVER_V6}/64");
            lab.server
                .ip(&["addr", "replace", &v6, "dev", SERVER_IF, "nodad"]);
            talks.iter().for_each(Talk::goes_on);
        }
        talks.into_iter().for_each(Talk::stop);
        assert_eq!(hello(&lab), "hello, world\n");
        assert_eq!(server.count("bad_addresses"), 0);
        server.stop();
        lab.assert_clean();
    }
}

#[test]
fn an_interface_that_goes_in_the_middle_of_a_transfer_ends_the_server() {
    require_root!();
    for mode in ["--mode=auto", "--mode=generic"] {
        let lab = Lab::new(Link {
            offloads: false,
            ..Link::default()
        });
        let mut server = Server::start(&lab.server, &[mode, "--idle=spin", "echo:7"]);
        let talk = Talk::start(&lab, SERVER_V4);
        lab.server.ip(&["link", "del", SERVER_IF]);
        ends_saying(&mut server, "has gone");
        let control = format!("/run/corelane/nobody/{}.sock", server.pid());
        assert!(!std::path::Path::new(&control).exists());
        drop(talk);
    }
}

/// The segment sizes of all connections, as `ss` says them.
fn sizes(server: &Server) -> Vec<u16> {
    let mut sizes: Vec<u16> = server
        .ss(&[])
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("mss:")?.parse().ok())
        .collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn a_change_of_the_mtu_keeps_connections_and_counts_for_new_ones() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut server = Server::start(&lab.server, &["echo:7", "http:80"]);
    let talks = [SERVER_V4, SERVER_V6].map(|address| Talk::start(&lab, address));
    assert_eq!(sizes(&server), [1_428, 1_448]);
    // The MTU, what a new connection uses of it, and what those of before use then.
    for (mtu, used, kept) in [
        (1_300, 1_300, [1_228, 1_248]),
        (1_700, 1_700, [1_228, 1_248]),
        (3_000, 1_774, [1_228, 1_248]),
        (1_500, 1_500, [1_228, 1_248]),
    ] {
        for (namespace, interface) in [(&lab.server, SERVER_IF), (&lab.client, CLIENT_IF)] {
            namespace.ip(&["link", "set", interface, "mtu", &mtu.to_string()]);
        }
        let said = format!("the MTU of {SERVER_IF} is {mtu} now");
        assert!(
            wait_until(Duration::from_secs(10), || server.output().contains(&said)),
            "{}",
            server.output()
        );
        talks.iter().for_each(Talk::goes_on);
        assert_eq!(sizes(&server), kept);
        let new = Talk::start(&lab, SERVER_V4);
        let largest = sizes(&server).into_iter().max();
        assert_eq!(largest, Some((used - 52).max(kept[1])), "{mtu}");
        new.stop();
        let ended = || sizes(&server).len() == 2;
        assert!(wait_until(PATIENCE, ended), "{}", server.ss(&[]));
    }
    assert!(server.output().contains("connections here use 1774"));
    talks.into_iter().for_each(Talk::stop);
    assert_eq!(server.count("black_holes"), 0);
    assert_eq!(hello(&lab), "hello, world\n");
    server.stop();
    lab.assert_clean();
}

#[test]
fn connections_survive_an_address_that_goes_and_comes_back() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7", "http:80"]);
    let talks = [SERVER_V4, SERVER_V6].map(|address| Talk::start(&lab, address));
    let addresses = [format!("{SERVER_V4}/24"), format!("{SERVER_V6}/64")];
    for address in &addresses {
        lab.server.ip(&["addr", "del", address, "dev", SERVER_IF]);
    }
    pause(Duration::from_millis(2_500));
    for address in &addresses {
        let arguments = ["addr", "add", address, "dev", SERVER_IF, "nodad"];
        let length = if address.contains(':') { 6 } else { 5 };
        lab.server.ip(&arguments[..length]);
    }
    talks.iter().for_each(Talk::goes_on);
    talks.into_iter().for_each(Talk::stop);
    assert_eq!(hello(&lab), "hello, world\n");
    server.stop();
    lab.assert_clean();
}

#[test]
fn more_queues_end_the_server_and_fewer_are_refused_by_the_kernel() {
    require_root!();
    let lab = Lab::new(Link {
        queues: 2,
        ..Link::default()
    });
    let set = |lab: &Lab, what: &str| -> bool {
        let mut command = lab.server.command(10, "ethtool");
        command.args(["-L", SERVER_IF]).args(what.split(' '));
        command.output().expect("ethtool runs").status.success()
    };
    lab.client
        .shell(10, &format!("ethtool -L {CLIENT_IF} tx 1 >&2"));

    let mut server = Server::start(&lab.server, &["echo:7"]);
    let talk = Talk::start(&lab, SERVER_V4);
    assert!(!set(&lab, "rx 1"), "both queues have sockets");
    talk.goes_on();
    pause(Duration::from_millis(1_500));
    assert!(server.is_running());
    talk.stop();
    server.stop();

    // The kernel lets go of a socket's queue a while after it was closed.
    let fewer = || set(&lab, "rx 1");
    assert!(wait_until(PATIENCE, fewer), "nobody has sockets");
    let mut server = Server::start(&lab.server, &["echo:7"]);
    let talk = Talk::start(&lab, SERVER_V4);
    assert!(set(&lab, "rx 2"));
    ends_saying(
        &mut server,
        "2 receive queue(s) in use now instead of 1: start again",
    );
    drop(talk);
    lab.assert_clean();
}

fn bpftool(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = lab.server.command(10, "bpftool");
    command.args(arguments).output().expect("bpftool runs")
}

#[test]
fn nobody_replaces_the_program_and_who_detaches_it_ends_the_server() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut server = Server::start(&lab.server, &["echo:7", "http:80"]);
    let program = lab.server.xdp_program(SERVER_IF).expect("it is attached");
    for mode in ["xdp", "xdpdrv"] {
        let off = lab
            .server
            .command(10, "ip")
            .args(["link", "set", SERVER_IF, mode, "off"])
            .output()
            .expect("ip runs");
        let said = String::from_utf8_lossy(&off.stderr).into_owned();
        assert!(
            !off.status.success() && said.contains("replace active BPF XDP link"),
            "{said}"
        );
    }
    assert_eq!(lab.server.xdp_program(SERVER_IF), Some(program));
    let talk = Talk::start(&lab, SERVER_V4);
    pause(Duration::from_millis(1_500));
    assert!(server.is_running());

    let links = succeed("bpftool", bpftool(&lab, &["-j", "link", "show"]));
    let links: serde_json::Value = serde_json::from_str(&links).expect("bpftool prints JSON");
    let link = links
        .as_array()
        .into_iter()
        .flatten()
        .find(|link| link["type"] == "xdp" && link["prog_id"] == program)
        .unwrap_or_else(|| panic!("no link of program {program} in {links}"));
    let id = link["id"].to_string();
    succeed("bpftool", bpftool(&lab, &["link", "detach", "id", &id]));
    ends_saying(&mut server, "was detached or replaced");
    drop(talk);
    lab.assert_clean();
    assert!(lab.refuses(80));
}

/// What its service cannot bear.
const UNBEARABLE: &[u8] = b"!panic!";

/// Echoes; panics at [`UNBEARABLE`].
struct Touchy;

impl Service for Touchy {
    type Connection = ();

    fn on_open(&mut self, _: &mut Socket<'_>) {}

    fn on_data(&mut self, (): &mut (), socket: &mut Socket<'_>, data: &[u8]) -> usize {
        assert_ne!(data, UNBEARABLE, "on purpose");
        socket.send(data)
    }
}

#[test]
fn a_service_that_panics_loses_one_connection() {
    require_root!();
    let lab = Lab::new(Link::default());
    let running = lab.server.run(|| {
        let server = corelane::server::Server::new(Config::new(SERVER_IF));
        server.listen(7, || Touchy).start().expect("it starts")
    });
    let talk = Talk::start(&lab, SERVER_V4);
    for _ in 0..10 {
        let mut client = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
        client.write_all(UNBEARABLE).expect("sent");
        let end = client.read(&mut [0; 1]).expect_err("it was reset");
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
        talk.goes_on();
    }
    let stats = Command::new(env!("CARGO_BIN_EXE_corelane"))
        .args(["stats", "--pid", &std::process::id().to_string()])
        .output()
        .expect("the binary is built");
    let stats = succeed("stats", stats);
    let counted = stats
        .lines()
        .find(|line| line.contains("application_panics"));
    assert_eq!(
        counted.and_then(|line| line.split_whitespace().last()),
        Some("10"),
        "{stats}"
    );
    talk.stop();
    drop(running);
    lab.assert_clean();
}

/// A change of the MTU has the server write a line.
fn have_it_write(lab: &Lab, mtu: &str) {
    lab.server.ip(&["link", "set", SERVER_IF, "mtu", mtu]);
    pause(Duration::from_millis(1_500));
}

#[test]
fn a_log_that_is_full_closed_or_not_read_does_not_stop_the_server() {
    require_root!();
    let lab = Lab::new(Link::default());
    // Something else says `ready` for it: it cannot.
    let ready = "(sleep 1; echo ready) &";
    for streams in [
        ">/dev/full 2>/dev/full",
        ">&- 2>&-",
        // A pipe that is full.
        "2> >(exec sleep 15); head -c 65536 /dev/zero >&2; exec \"$@\"",
        // One whose reader has gone.
        "> >(exec true) 2>&1; sleep 0.2; exec \"$@\"",
    ] {
        let script = match streams.contains("exec \"$@\"") {
            true => format!("{ready} exec {streams}"),
            false => format!("{ready} exec \"$@\" {streams}"),
        };
        let wrapper = ["bash", "-c", &script, "bash"];
        let mut server = Server::start_behind(&lab.server, &wrapper, &["echo:7", "http:80"]);
        let serves = || {
            let curl = format!("curl -sS --max-time 2 http://{SERVER_V4}/");
            let output = lab.client.command(5, "bash").args(["-c", &curl]).output();
            output.expect("curl runs").stdout == b"hello, world\n"
        };
        assert!(wait_until(PATIENCE, serves), "{streams}");
        have_it_write(&lab, "1400");
        have_it_write(&lab, "1500");
        assert!(server.is_running(), "{streams}");
        assert_eq!(hello(&lab), "hello, world\n", "{streams}");
        server.stop();
        lab.assert_clean();
    }
}

#[test]
fn a_peer_that_vanishes_in_the_middle_of_a_transfer_hurts_nobody() {
    require_root!();
    let lab = Lab::new(Link::default());
    let far = far_behind(&lab);
    let arguments = ["--drain-timeout", "2s", "chargen:19", "http:80"];
    let mut server = Server::start(&lab.server, &arguments);
    let clients = [SERVER_V4, SERVER_V6].map(|address| {
        let mut client = stream::connect(&far, address, 19).expect("a connection");
        client.read_exact(&mut [0; 100_000]).expect("characters");
        let mut own = client.try_clone().expect("a descriptor");
        let reader = std::thread::spawn(move || io::copy(&mut own, &mut io::sink()));
        (client, reader)
    });
    pause(Duration::from_millis(300));
    lab.client.ip(&["link", "del", "rtr0"]);
    for (client, reader) in clients {
        client.shutdown(Shutdown::Both).expect("it is connected");
        let read = reader.join().expect("no panic");
        assert!(read.is_ok_and(|octets| octets > 100_000));
    }
    drop(far);
    for _ in 0..3 {
        assert_eq!(hello(&lab), "hello, world\n");
        pause(Duration::from_millis(500));
    }
    // What they were sent is sent again by timers alone.
    assert!(server.count("retrans_segs") < 100);
    server.signal(Signal::TERM);
    let status = server.wait(Duration::from_secs(10));
    assert!(status.success(), "{status}\n{}", server.output());
    let reset = "connections that did not end in time and were reset: 2";
    let said = wait_until(Duration::from_secs(5), || server.output().contains(reset));
    assert!(said, "{}", server.output());
    lab.assert_clean();
}

/// As `timeout` sends them: to the process, and to its group.
#[test]
fn signals_that_come_together_are_one_wish() {
    require_root!();
    let lab = Lab::new(Link::default());
    let arguments = ["--drain-timeout", "60s", "chargen:19"];
    let mut server = Server::start(&lab.server, &arguments);
    let mut client = stream::connect(&lab.client, SERVER_V4, 19).expect("a connection");
    let reader = std::thread::spawn(move || io::copy(&mut client, &mut io::sink()));
    // Both are there when it goes on.
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        server.signal(signal);
    }
    pause(Duration::from_millis(700));
    assert!(server.is_running(), "it drains");
    server.signal(Signal::INT);
    server.wait(Duration::from_secs(5));
    drop(reader.join().expect("no panic"));
    lab.assert_clean();
}
