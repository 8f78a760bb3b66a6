//! A SYN flood, and Linux as the honest client in it.

use std::time::Duration;

use crate::hostile::{fold, mac, octets_v4, octets_v6, sum};
use crate::require_root;
use crate::support::packet::PacketSocket;
use crate::support::{
    CLIENT_IF, Lab, Link, SERVER_IF, SERVER_V4, SERVER_V6, Server, stream, wait_until,
};

const PORT: u16 = 80;
const LENGTH: u64 = 2_000_000;
/// The settings of the server: a queue that a handful of SYNs fills.
const SETTINGS: &str = "[tcp]\nsyn-backlog = 16\n";

/// Sends SYNs from addresses that nobody has.
struct Flood {
    socket: PacketSocket,
    ethernet: [u8; 12],
    sent: u32,
}

impl Flood {
    fn new(lab: &Lab) -> Self {
        let mut ethernet = [0; 12];
        ethernet[..6].copy_from_slice(&mac(&lab.server, SERVER_IF));
        ethernet[6..].copy_from_slice(&mac(&lab.client, CLIENT_IF));
        let open = || PacketSocket::open(CLIENT_IF).expect("a packet socket");
        Self {
            socket: lab.client.run(open),
            ethernet,
            sent: 0,
        }
    }

    /// So many more, over IPv4 and IPv6 in turn.
    fn send(&mut self, count: u32) {
        for _ in 0..count {
            let frame = self.syn();
            assert!(self.socket.send(&frame).expect("the interface takes it"));
            self.sent += 1;
        }
    }

    fn syn(&self) -> Vec<u8> {
        let (number, v6) = (self.sent / 2, self.sent % 2 == 1);
        let [_, _, high, low] = number.to_be_bytes();
        let addresses = if v6 {
            let mut source = octets_v6("fd00::f:0");
            (source[14], source[15]) = (high, low);
            [&source[..], &octets_v6(SERVER_V6)].concat()
        } else {
            // Beyond the client's own, in no one's range.
            [&[198, 19, high, low][..], &octets_v4(SERVER_V4)].concat()
        };
        let mut tcp = vec![0u8; 24];
        tcp[0..2].copy_from_slice(&(1_024 + (number % 60_000) as u16).to_be_bytes());
        tcp[2..4].copy_from_slice(&PORT.to_be_bytes());
        tcp[4..8].copy_from_slice(&number.to_be_bytes());
        (tcp[12], tcp[13]) = (6 << 4, 0x02);
        tcp[14..16].copy_from_slice(&1_000u16.to_be_bytes());
        tcp[20..24].copy_from_slice(&[2, 4, 5, 0xb4]);
        let total = sum(&addresses) + 6 + tcp.len() as u64 + sum(&tcp);
        tcp[16..18].copy_from_slice(&(!fold(total)).to_be_bytes());
        let (kind, header) = if v6 {
            let mut header = vec![0x60, 0, 0, 0, 0, tcp.len() as u8, 6, 64];
            header.extend(addresses);
            (0x86ddu16, header)
        } else {
            let mut header = vec![0x45, 0, 0, 20 + tcp.len() as u8, 0, 0, 0, 0, 64, 6, 0, 0];
            header.extend(addresses);
            let checksum = !fold(sum(&header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            (0x0800, header)
        };
        [&self.ethernet[..], &kind.to_be_bytes(), &header, &tcp].concat()
    }
}

fn serve(lab: &Lab, services: &[&str]) -> Server {
    let path = std::env::temp_dir().join(format!("corelane-{}-flood.toml", std::process::id()));
    std::fs::write(&path, SETTINGS).expect("a file of our own");
    let mut arguments = vec!["--config", path.to_str().expect("UTF-8")];
    arguments.extend(services);
    let server = Server::start(&lab.server, &arguments);
    let _ = std::fs::remove_file(&path);
    server
}

/// The queue stays full for a minute: all that is served meanwhile is served by cookies.
#[test]
fn curl_is_served_while_the_syn_queue_is_full() {
    require_root!();
    let lab = Lab::new(Link::default());
    let mut server = serve(&lab, &["http:80"]);
    let mut flood = Flood::new(&lab);
    flood.send(200);
    let is_on = || server.count("syn_cookies_sent") >= 200 - 2 * 16;
    assert!(wait_until(Duration::from_secs(10), is_on));
    for round in 0..10 {
        flood.send(50);
        for host in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
            let script = format!("curl -sS --max-time 8 http://{host}/");
            assert_eq!(
                lab.client.shell(10, &script),
                "hello, world\n",
                "{round}, {host}"
            );
        }
    }
    assert_eq!(server.count("syn_cookies_recv"), 20);
    assert_eq!(server.count("syn_cookies_failed"), 0);
    assert_eq!(server.count("listen_overflows"), 0);
    assert_eq!(server.count("established"), 20);
    let begun = "corelane: possible SYN flood on port 80: sending cookies";
    let told = |server: &mut Server| server.output().matches(begun).count();
    assert!(wait_until(Duration::from_secs(5), || told(&mut server) == 1));
    assert!(!server.output().contains("panicked"), "{}", server.output());
    server.stop();
    lab.assert_clean();
}

/// The program answers what the workers have said to be a flood, and the other end of the veth pair
/// takes it: with a NAPI of its own for native mode, without for generic mode.
#[test]
fn the_program_answers_a_flood_by_itself() {
    require_root!();
    for (mode, gro) in [("copy", "on"), ("generic", "off")] {
        let lab = Lab::new(Link::default());
        let script = format!("ethtool -K {CLIENT_IF} gro {gro}");
        lab.client.shell(5, &script);
        let mut server = serve(&lab, &["--mode", mode, "http:80"]);
        let mut flood = Flood::new(&lab);
        flood.send(200);
        // Both families, of which each has a listener.
        let answers = || {
            let before = server.count("answered_syn");
            flood.send(2);
            server.count("answered_syn") >= before + 2
        };
        assert!(wait_until(Duration::from_secs(20), answers), "{mode}");
        let sent_by_workers = server.count("syn_cookies_sent");
        flood.send(500);
        for host in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
            for _ in 0..10 {
                let script = format!("curl -sS --max-time 8 http://{host}/");
                assert_eq!(
                    lab.client.shell(10, &script),
                    "hello, world\n",
                    "{mode} {host}"
                );
            }
            let script = format!("curl -sS --max-time 8 http://{host}/bytes/1000000 | wc -c");
            assert_eq!(lab.client.shell(10, &script), "1000000\n", "{mode} {host}");
        }
        assert_eq!(server.count("syn_cookies_recv"), 22);
        // Some may have been on their way.
        assert!(server.count("syn_cookies_sent") < sent_by_workers + 100);
        assert!(server.count("answered_syn") >= 500 + 22);
        assert!(
            !server.output().contains("workers send"),
            "{}",
            server.output()
        );
        server.stop();
        lab.assert_clean();
    }
}

/// Linux finds all of its options again on the other side of a cookie, and its stream whole.
#[test]
fn a_connection_by_cookie_has_the_options_of_any_other() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.client.shell(5, "echo 1 > /proc/sys/net/ipv4/tcp_ecn");
    let server = serve(&lab, &["echo:80"]);
    Flood::new(&lab).send(200);
    let is_on = || server.count("syn_cookies_sent") > 100;
    assert!(wait_until(Duration::from_secs(10), is_on));
    for host in [SERVER_V4, SERVER_V6] {
        let connection = stream::connect(&lab.client, host, PORT).expect("the server takes it");
        let is_open = || server.ss(&[]).contains("ESTABLISHED");
        assert!(wait_until(Duration::from_secs(5), is_open));
        let table = server.ss(&["--info"]);
        let lines = table.lines();
        let entry = lines.skip_while(|line| !line.starts_with("ESTABLISHED"));
        let info = format!("{} ", entry.take(3).collect::<Vec<_>>().join(" "));
        let mss = if host == SERVER_V4 { "1448" } else { "1428" };
        for word in [
            " ts ",
            " sack ",
            " wscale:",
            " ecn ",
            &format!(" mss:{mss} "),
        ] {
            assert!(info.contains(word), "no {word} in {table}");
        }
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| stream::send(&connection, LENGTH));
            stream::receive(&connection, LENGTH).expect("the echo is whole");
            sending.join().expect("no panic").expect("all is taken");
        });
    }
    assert_eq!(server.count("syn_cookies_recv"), 2);
    server.stop();
    lab.assert_clean();
}
