//! Linux's TCP in all its moods, as Corelane's client and as its server: each option off, windows
//! and segments of every size, good networks and bad ones.
//!
//! A mood is a line of [`MOODS`]; each is tried in every way below.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use corelane::time::{Clock, Duration};

use crate::active_open::{Web, assert_all_right, fetch};
use crate::require_root;
use crate::support::relay::Impairment;
use crate::support::{
    CLIENT_IF, CLIENT_V4, Lab, Link, SERVER_V4, SERVER_V6, Server, stream, succeed,
};

const MIB: u64 = 1 << 20;

/// How the kernel at the client's end is set.
struct Mood {
    name: &'static str,
    /// Of net.ipv4, which rules IPv6 too.
    sysctls: &'static [(&'static str, &'static str)],
    /// Of the kernel's interface. IPv6 wants 1280 (RFC 8200 section 5).
    mtu: u32,
    /// What the kernel announces as its MSS over IPv4, if not what the MTU gives.
    advmss: Option<u32>,
    /// What `ss` says of its connections.
    says: &'static [&'static str],
    /// What it does not.
    silent: &'static [&'static str],
}

const PLAIN: Mood = Mood {
    name: "plain",
    sysctls: &[],
    mtu: 1500,
    advmss: None,
    says: &[" ts ", " sack ", " wscale:", " mss:1448 "],
    silent: &[],
};

const MOODS: [Mood; 11] = [
    PLAIN,
    Mood {
        name: "no timestamps",
        sysctls: &[("tcp_timestamps", "0")],
        says: &[" sack ", " wscale:", " mss:1460 "],
        silent: &[" ts "],
        ..PLAIN
    },
    Mood {
        name: "no SACK",
        sysctls: &[("tcp_sack", "0")],
        says: &[" ts ", " wscale:"],
        silent: &[" sack "],
        ..PLAIN
    },
    Mood {
        name: "no window scale",
        sysctls: &[("tcp_window_scaling", "0")],
        says: &[" ts ", " sack "],
        silent: &[" wscale:"],
        ..PLAIN
    },
    Mood {
        name: "no options",
        sysctls: &[
            ("tcp_timestamps", "0"),
            ("tcp_sack", "0"),
            ("tcp_window_scaling", "0"),
        ],
        says: &[" mss:1460 "],
        silent: &[" ts ", " sack ", " wscale:"],
        ..PLAIN
    },
    Mood {
        name: "ECN",
        sysctls: &[("tcp_ecn", "1")],
        says: &[" ts ", " sack ", " ecn "],
        ..PLAIN
    },
    Mood {
        name: "Fast Open",
        sysctls: &[("tcp_fastopen", "3")],
        ..PLAIN
    },
    Mood {
        name: "tiny buffers",
        sysctls: &[
            ("tcp_rmem", "4096 8192 16384"),
            ("tcp_wmem", "4096 8192 16384"),
        ],
        ..PLAIN
    },
    Mood {
        name: "tiny buffers, no options",
        sysctls: &[
            ("tcp_rmem", "4096 8192 16384"),
            ("tcp_wmem", "4096 8192 16384"),
            ("tcp_timestamps", "0"),
            ("tcp_sack", "0"),
            ("tcp_window_scaling", "0"),
        ],
        says: &[],
        silent: &[" ts ", " sack ", " wscale:"],
        ..PLAIN
    },
    Mood {
        name: "small MSS announced",
        advmss: Some(536),
        says: &[" advmss:524 ", " mss:1448 "],
        ..PLAIN
    },
    Mood {
        name: "small MTU",
        mtu: 1280,
        says: &[" mss:1228 "],
        ..PLAIN
    },
];

impl Mood {
    /// Sets the kernel so; what was set before, for [`leave`](Self::leave).
    fn enter(&self, lab: &Lab) -> Vec<(&'static str, String)> {
        let before = self.sysctls.iter().map(|&(key, value)| {
            let old = lab.client.run(|| {
                let path = format!("/proc/sys/net/ipv4/{key}");
                let old = std::fs::read_to_string(&path).expect("the kernel knows it");
                std::fs::write(&path, value).expect("it can be set");
                old
            });
            (key, old)
        });
        let before = before.collect();
        self.set_route(lab, self.mtu, self.advmss);
        before
    }

    fn leave(&self, lab: &Lab, before: Vec<(&'static str, String)>) {
        lab.client.run(|| {
            for (key, value) in before {
                let path = format!("/proc/sys/net/ipv4/{key}");
                std::fs::write(path, value).expect("it can be set");
            }
        });
        self.set_route(lab, PLAIN.mtu, None);
    }

    #[expect(clippy::unused_self, reason = "it belongs to enter and leave")]
    fn set_route(&self, lab: &Lab, mtu: u32, advmss: Option<u32>) {
        let mtu = mtu.to_string();
        lab.client.ip(&["link", "set", CLIENT_IF, "mtu", &mtu]);
        let advmss = advmss.map_or_else(|| "0".to_owned(), |advmss| advmss.to_string());
        lab.client.ip(&[
            "route",
            "change",
            "198.18.0.0/24",
            "dev",
            CLIENT_IF,
            "src",
            CLIENT_V4,
            "advmss",
            &advmss,
        ]);
    }

    /// The mood shows in what the kernel says of a connection.
    fn assert_shows(&self, lab: &Lab) {
        let mut client = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
        client.write_all(b"x").expect("it is open");
        client.read_exact(&mut [0]).expect("an echo");
        let said = lab
            .client
            .shell(5, &format!("ss -Htino state established dst {SERVER_V4}"));
        let said = said.replace(char::is_whitespace, " ");
        for word in self.says {
            assert!(said.contains(word), "{}: no{word}in {said}", self.name);
        }
        for word in self.silent {
            assert!(!said.contains(word), "{}:{word}in {said}", self.name);
        }
    }
}

/// Tries each mood on one lab, and says how long each took.
fn each_mood(lab: &Lab, each: impl Fn(&Mood)) {
    for mood in &MOODS {
        let clock = Clock::start();
        let before = clock.now();
        let old = mood.enter(lab);
        each(mood);
        mood.leave(lab, old);
        println!(
            "{:>25}: {}",
            mood.name,
            clock.now().saturating_since(before)
        );
    }
}

/// GET `/bytes/length`, octet for octet.
fn download(mut stream: &TcpStream, length: u64) -> std::io::Result<()> {
    let request = format!("GET /bytes/{length} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = &answer[head.expect("a head") + 4..];
    assert_eq!(body.len() as u64, length);
    let wrong = body
        .iter()
        .zip(0_u64..)
        .find(|(octet, at)| **octet != 0x20 + (at % 95) as u8);
    assert_eq!(wrong, None);
    Ok(())
}

/// Down and up, over both families.
fn transfer(lab: &Lab, server: &Server, mood: &Mood, length: u64) {
    for (address, length) in [(SERVER_V4, length), (SERVER_V6, length / 4)] {
        let client = stream::connect(&lab.client, address, 80).expect("a connection");
        if let Err(error) = download(&client, length) {
            panic!(
                "{}, download, {address}: {error}\n{}",
                mood.name,
                server.ss(&[])
            );
        }
        let client = stream::connect(&lab.client, address, 7).expect("a connection");
        if let Err(error) = stream::echo(&client, length) {
            panic!(
                "{}, echo, {address}: {error}\n{}",
                mood.name,
                server.ss(&[])
            );
        }
    }
}

#[test]
fn linux_is_a_client_in_every_mood() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7", "http:80"]);
    each_mood(&lab, |mood| {
        mood.assert_shows(&lab);
        transfer(&lab, &server, mood, 16 * MIB);
    });
    server.stop();
    lab.assert_clean();
}

#[test]
fn linux_is_a_client_in_every_mood_behind_a_bad_network() {
    require_root!();
    let bad = Impairment {
        loss: 5_000,
        reorder: 5_000,
        delay: Duration::from_micros(500),
        ..Impairment::default()
    };
    let mut lab = Lab::with_relay(Link::default(), [bad; 2], 21);
    let server = Server::start(&lab.server, &["echo:7", "http:80"]);
    each_mood(&lab, |mood| transfer(&lab, &server, mood, 2 * MIB));
    server.stop();
    for counts in lab.stop_relay() {
        assert!(counts.lost > 20 && counts.reordered > 20, "{counts:?}");
        assert_eq!(counts.oversized, 0, "{counts:?}");
    }
}

#[test]
fn linux_is_a_server_in_every_mood() {
    require_root!();
    let lab = Lab::new(Link::default());
    each_mood(&lab, |_| {
        let _web = Web::start(&lab.client, CLIENT_V4);
        let address = format!("{CLIENT_V4}:8000");
        let output = fetch(&lab, &["-n", "20", &address, "/zeroes"]);
        assert_all_right(&output, 20);
    });
    lab.assert_clean();
}

/// The first connection of each family asks for a cookie, the others have it and send their request
/// with the SYN (RFC 7413 section 3).
#[test]
fn curl_opens_fast_and_gets_the_same() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.client
        .shell(5, "echo 1 > /proc/sys/net/ipv4/tcp_fastopen");
    let server = Server::start(&lab.server, &["--fast-open", "16", "http:80"]);
    let expected: Vec<u8> = (0..MIB).map(|at| 0x20 + (at % 95) as u8).collect();
    for host in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
        for _ in 0..3 {
            let url = format!("http://{host}/bytes/{MIB}");
            let got = lab
                .client
                .command(20, "curl")
                .args(["-sS", "--tcp-fastopen", "--max-time", "15", &url])
                .output()
                .expect("curl is installed");
            assert!(got.stdout == expected, "{} octets", got.stdout.len());
            succeed("curl", got);
        }
    }
    assert_eq!(server.count("fast_open_passive"), 4);
    server.stop();
    lab.assert_clean();
}
