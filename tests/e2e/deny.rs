//! What the XDP program keeps out, changed while a server runs: `corelane deny`, `corelane syn-limit`.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use crate::hostile::{Forge, SYN, segment};
use crate::require_root;
use crate::support::packet::PacketSocket;
use crate::support::{
    CLIENT_IF, CLIENT_V4, CLIENT_V6, Lab, Link, SERVER_V4, SERVER_V6, Server, stream, succeed,
    wait_until,
};

/// A request from `source`: curl's status.
fn get(lab: &Lab, source: &str, host: &str) -> Option<i32> {
    let mut curl = lab.client.command(20, "curl");
    curl.args([
        "-sS",
        "-o",
        "/dev/null",
        "--max-time",
        "3",
        "--interface",
        source,
    ]);
    let output = curl.arg(format!("http://{host}/")).output();
    output.expect("curl is installed").status.code()
}

/// What curl says when nothing answers.
const TIMEOUT: Option<i32> = Some(28);

fn change(server: &Server, words: &[&str]) {
    let said = succeed("corelane", server.ask(words));
    assert!(said.is_empty(), "{said}");
}

/// What a refused change says.
fn refusal(server: &Server, words: &[&str]) -> String {
    let output = server.ask(words);
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn who_is_denied_is_not_served_until_allowed_again() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80", "echo:7"]);
    let v6 = format!("[{SERVER_V6}]");
    for (source, host) in [(CLIENT_V4, SERVER_V4), (CLIENT_V6, &v6)] {
        assert_eq!(get(&lab, source, host), Some(0));
        let address = host.trim_matches(['[', ']']);
        let mut open = stream::connect(&lab.client, address, 7).expect("a connection");
        open.write_all(b"before").expect("sent");
        let mut echo = [0; 6];
        open.read_exact(&mut echo).expect("served");

        change(&server, &["deny", "add", source]);
        assert_eq!(get(&lab, source, host), TIMEOUT);
        // What was open is reset at once; a quiet end would be as good.
        let limit = Some(Duration::from_secs(10));
        open.set_read_timeout(limit).expect("a time");
        let error = open.read(&mut echo).expect_err("nobody wrote");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        // The kernel's traffic is not touched: it answers for its ports.
        let error = stream::connect(&lab.client, address, 2222).expect_err("a closed port");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        let list = succeed("corelane", server.ask(&["deny", "list"]));
        let line = list.lines().find(|line| line.starts_with(source));
        let count = line.and_then(|line| line.split_whitespace().last());
        let count = count.and_then(|word| word.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count > 0), "{list}");

        change(&server, &["deny", "remove", source]);
        assert_eq!(get(&lab, source, host), Some(0));
    }
    assert!(server.count("dropped_denied") > 0);
    let json = succeed("corelane", server.ask(&["deny", "list", "--json"]));
    assert_eq!(json.trim(), "[]");

    change(&server, &["deny", "add", "198.18.64.0/18", "fd00:7::/32"]);
    let twice = refusal(&server, &["deny", "add", "fd00:8::/32", "fd00:7::/32"]);
    assert!(
        twice.contains("fd00:7::/32 is in the deny list already"),
        "{twice}"
    );
    let absent = refusal(&server, &["deny", "remove", "198.18.64.0/19"]);
    assert!(
        absent.contains("198.18.64.0/19 is not in the deny list"),
        "{absent}"
    );
    let list = succeed("corelane", server.ask(&["deny", "list"]));
    let shown: Vec<_> = list
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(shown, ["Prefix", "198.18.64.0/18", "fd00:7::/32"]);
    server.stop();
    lab.assert_clean();
}

#[test]
fn the_configuration_says_what_is_kept_out_from_the_start() {
    require_root!();
    let lab = Lab::new(Link::default());
    let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("defence.toml");
    let text = format!(
        "[deny]\nprefixes = [\"{CLIENT_V4}/32\"]\nmax-prefixes = 1\n\
         [syn-limit]\nrate = 1000\nipv6-prefix = 56\n"
    );
    std::fs::write(&path, text).expect("cargo made its tmp directory");
    let path = path.to_str().expect("UTF-8");
    let server = Server::start(&lab.server, &["--config", path, "http:80"]);
    assert_eq!(get(&lab, CLIENT_V4, SERVER_V4), TIMEOUT);
    assert_eq!(get(&lab, CLIENT_V6, &format!("[{SERVER_V6}]")), Some(0));
    let full = refusal(&server, &["deny", "add", "198.18.64.0/18"]);
    assert!(
        full.contains("no room for 198.18.64.0/18: 1 prefixes"),
        "{full}"
    );
    let limit = succeed("corelane", server.ask(&["syn-limit", "show"]));
    let said = "1000 SYNs per second and 1000 at once from each IPv4 /32 and IPv6 /56";
    assert!(limit.starts_with(said), "{limit}");
    server.stop();
}

#[test]
fn a_flood_of_syns_from_one_source_is_cut() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.client
        .ip(&["addr", "add", "198.18.0.3/24", "dev", CLIENT_IF]);
    let server = Server::start(&lab.server, &["http:80"]);
    let socket = lab
        .client
        .run(|| PacketSocket::open(CLIENT_IF))
        .expect("a packet socket");
    let forge = Forge::new(&lab);
    let flood = || {
        for port in 1..=1_000 {
            let frame = forge.ipv4(6, &segment(false, port, SYN, 5, &[]));
            while !socket.send(&frame).expect("the link is up") {}
        }
    };
    flood();
    assert_eq!(server.count("dropped_syn_limit"), 0);

    change(
        &server,
        &["syn-limit", "set", "--rate", "1", "--burst", "10"],
    );
    flood();
    // But for ten, and one for each second that this takes.
    let cut = wait_until(Duration::from_secs(10), || {
        server.count("dropped_syn_limit") > 900
    });
    assert!(cut, "{}", server.count("dropped_syn_limit"));
    // Others are served meanwhile, and so is this one when it is patient.
    assert_eq!(get(&lab, "198.18.0.3", SERVER_V4), Some(0));
    let patient = wait_until(Duration::from_secs(20), || {
        get(&lab, CLIENT_V4, SERVER_V4) == Some(0)
    });
    assert!(patient);
    let shown = succeed("corelane", server.ask(&["syn-limit", "show", "--json"]));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["limit"]["rate"], 1);
    assert!(shown["dropped"].as_u64() > Some(900), "{shown}");

    change(&server, &["syn-limit", "off"]);
    let before = server.count("dropped_syn_limit");
    flood();
    assert_eq!(get(&lab, CLIENT_V4, SERVER_V4), Some(0));
    assert_eq!(server.count("dropped_syn_limit"), before);
    server.stop();
    lab.assert_clean();
}
