//! echo, discard and chargen against Linux's TCP and nc.

use std::io::Read as _;
use std::net::Shutdown;

use crate::require_root;
use crate::support::{Lab, Link, SERVER_V4, SERVER_V6, Server, stream};

const MIB: u64 = 1 << 20;

#[test]
fn echo_gives_back_what_it_got() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7"]);
    for (address, length) in [(SERVER_V4, 64 * MIB), (SERVER_V6, 16 * MIB), (SERVER_V4, 0)] {
        let client = stream::connect(&lab.client, address, 7).expect("a connection");
        stream::echo(&client, length).expect("the same octets");
    }
    server.stop();
    lab.assert_clean();
}

#[test]
fn echo_of_many_connections_at_once() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7"]);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let client = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
                stream::echo(&client, MIB).expect("the same octets");
            });
        }
    });
    server.stop();
}

#[test]
fn nc_and_sha256sum_agree() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7"]);
    let digests = lab.client.shell(
        60,
        &format!(
            "set -o pipefail; f=$(mktemp); head -c 8388608 /dev/urandom > $f; \
             sha256sum < $f; nc -N {SERVER_V4} 7 < $f | sha256sum; rm $f"
        ),
    );
    let lines: Vec<&str> = digests.lines().collect();
    assert_eq!(lines.len(), 2, "{digests}");
    assert_eq!(lines[0], lines[1]);
    server.stop();
}

#[test]
fn discard_takes_everything_and_says_nothing() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["discard:9"]);
    let client = stream::connect(&lab.client, SERVER_V4, 9).expect("a connection");
    stream::send(&client, 64 * MIB).expect("the server takes it");
    stream::receive(&client, 0).expect("nothing, then the end");
    server.stop();
}

#[test]
fn chargen_turns_its_lines() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["chargen:19"]);
    let mut client = stream::connect(&lab.client, SERVER_V6, 19).expect("a connection");
    // RFC 864's pattern: 72 of the 95 printable characters in a line, each line one further.
    let expected: Vec<u8> = (0..14_000)
        .flat_map(|line| {
            (0..72)
                .map(move |at| 0x20 + ((line + at) % 95) as u8)
                .chain(*b"\r\n")
        })
        .collect();
    let mut got = vec![0; expected.len()];
    client
        .read_exact(&mut got)
        .expect("a megabyte of characters");
    let differs = got
        .iter()
        .zip(&expected)
        .position(|(got, expected)| got != expected);
    assert_eq!(differs, None, "{:?}", String::from_utf8_lossy(&got[..160]));
    let _ = client.shutdown(Shutdown::Both);
    drop(client);
    server.stop();
}
