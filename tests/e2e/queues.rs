//! Several queues: each serves, on cores of their own and on one.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use crate::require_root;
use crate::support::{CLIENT_IF, Lab, Link, SERVER_IF, SERVER_V4, Server, stream};

const MIB: u64 = 1 << 20;

/// Frames that the XDP program redirected, by queue of the server's interface.
fn redirected(lab: &Lab, queues: usize) -> Vec<u64> {
    let statistics = lab.server.shell(10, &format!("ethtool -S {SERVER_IF}"));
    (0..queues)
        .map(|queue| {
            let name = format!("rx_queue_{queue}_xdp_redirect:");
            statistics
                .lines()
                .find_map(|line| line.trim().strip_prefix(&name)?.trim().parse().ok())
                .unwrap_or_else(|| panic!("no {name} in\n{statistics}"))
        })
        .collect()
}

/// Enough connections at once that each of two queues gets some (the client's kernel picks by a
/// hash: all 32 on one happens once in 2^31 runs), each right.
fn echo_over_all_queues(lab: &Lab) {
    let before = redirected(lab, 2);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let client = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
                stream::echo(&client, MIB).expect("the same octets");
            });
        }
    });
    let after = redirected(lab, 2);
    for (queue, (before, after)) in before.iter().zip(&after).enumerate() {
        // Even one connection of 1 MiB is more than 700 segments.
        assert!(
            after - before > 700,
            "queue {queue} carried {} frames",
            after - before
        );
    }
}

#[test]
fn two_queues_serve_at_once() {
    require_root!();
    let lab = Lab::new(Link {
        queues: 2,
        ..Link::default()
    });
    let server = Server::start(&lab.server, &["echo:7", "http:80"]);
    echo_over_all_queues(&lab);
    let report = lab
        .client
        .shell(30, &format!("wrk -t 1 -c 32 -d 2s http://{SERVER_V4}/"));
    assert!(!report.contains("Socket errors"), "{report}");
    server.stop();
    lab.assert_clean();
}

#[test]
fn two_queues_on_one_core() {
    require_root!();
    let lab = Lab::new(Link {
        queues: 2,
        ..Link::default()
    });
    let server = Server::start(&lab.server, &["--cores", "0", "echo:7"]);
    echo_over_all_queues(&lab);
    server.stop();
}

/// The client's kernel is told to send by the other queue in the middle of a connection, so its
/// segments reach the worker that does not know them.
#[test]
fn a_connection_survives_a_change_of_queue() {
    require_root!();
    let lab = Lab::new(Link {
        queues: 2,
        ..Link::default()
    });
    let server = Server::start(&lab.server, &["--cores", "0,1", "echo:7"]);
    let client = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
    for queue in [0, 1, 0] {
        send_by(&lab, queue);
        for round in 0..100u8 {
            ping(&client, &[round; 1000]).unwrap_or_else(|error| panic!("by {queue}: {error}"));
        }
    }
    // On one of the two queues they all were strays: 100 pings at least.
    assert!(server.count("strays_sent") >= 100, "{}", server.ss(&[]));
    assert!(server.count("stray_taken") >= 100);
    server.stop();
    lab.assert_clean();
}

/// There and back.
fn ping(mut stream: &TcpStream, octets: &[u8]) -> io::Result<()> {
    stream.write_all(octets)?;
    let mut echo = vec![0; octets.len()];
    stream.read_exact(&mut echo)?;
    assert_eq!(echo, octets);
    Ok(())
}

/// XPS: all CPUs of the client send by this one of two queues.
fn send_by(lab: &Lab, queue: usize) {
    let directory = format!("/sys/class/net/{CLIENT_IF}/queues");
    let script = format!(
        "echo 0 > {directory}/tx-{}/xps_cpus && echo 3 > {directory}/tx-{queue}/xps_cpus",
        1 - queue
    );
    lab.client.shell(10, &script);
}

#[test]
fn every_idle_policy_serves() {
    require_root!();
    let lab = Lab::new(Link::default());
    for policy in [
        "--idle=spin",
        "--idle=adaptive",
        "--idle=interrupt",
        "--mode=copy",
    ] {
        echoes_with(&lab, policy);
    }
}

/// The kernel would give us super-frames in generic mode, and the server says how to mend that at
/// the peer: here it is done.
#[test]
fn generic_mode_serves() {
    require_root!();
    let lab = Lab::new(Link {
        offloads: false,
        ..Link::default()
    });
    echoes_with(&lab, "--mode=generic");
}

fn echoes_with(lab: &Lab, option: &str) {
    let server = Server::start(&lab.server, &[option, "echo:7"]);
    for _ in 0..3 {
        let client = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
        stream::echo(&client, MIB).unwrap_or_else(|error| panic!("{option}: {error}"));
        // Lets a worker that may sleep fall asleep.
        crate::support::pause(std::time::Duration::from_millis(50));
    }
    server.stop();
    lab.assert_clean();
}
