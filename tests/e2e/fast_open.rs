//! Fast Open (RFC 7413) with Linux as the client; as the server it is in `active_open`.

use crate::require_root;
use crate::support::{Lab, Link, SERVER_V4, SERVER_V6, Server};

/// Sends a greeting with MSG_FASTOPEN, and prints what comes back.
const CLIENT: &str = "
import socket, sys
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
for _ in range(int(sys.argv[2])):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.sendto(b'hello', socket.MSG_FASTOPEN, (sys.argv[1], 7))
    got = b''
    while len(got) < 5:
        got += s.recv(100)
    s.shutdown(socket.SHUT_WR)
    assert s.recv(100) == b'', 'more than was sent'
    s.close()
    print(got.decode())
";

fn greet(lab: &Lab, address: &str, times: u32) {
    let script = format!("python3 -c \"$CLIENT\" {address} {times}");
    let output = lab
        .client
        .command(60, "bash")
        .args(["-c", &script])
        .env("CLIENT", CLIENT)
        .output()
        .expect("python3 is installed");
    let stdout = crate::support::succeed("python3", output);
    assert_eq!(stdout, "hello\n".repeat(times as usize));
}

fn linux_count(lab: &Lab, name: &str) -> u64 {
    let line = lab.client.shell(5, &format!("nstat -asz {name} | tail -1"));
    let count = line.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    count.unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn linux_sends_text_on_its_syn_and_gets_the_answer() {
    require_root!();
    let lab = Lab::new(Link::default());
    lab.client
        .shell(5, "echo 3 > /proc/sys/net/ipv4/tcp_fastopen");
    let server = Server::start(&lab.server, &["--fast-open", "16", "echo:7", "http:80"]);
    for address in [SERVER_V4, SERVER_V6] {
        greet(&lab, address, 10);
    }
    // The first of each family asked for a cookie.
    assert_eq!(server.count("fast_open_cookies"), 2);
    assert_eq!(server.count("fast_open_passive"), 18);
    assert_eq!(linux_count(&lab, "TcpExtTCPFastOpenActive"), 18);
    assert_eq!(linux_count(&lab, "TcpExtTCPFastOpenActiveFail"), 0);
    for _ in 0..3 {
        lab.client.shell(
            10,
            &format!("curl -sSf --tcp-fastopen -m 5 http://{SERVER_V4}/ | grep -q hello"),
        );
    }
    assert_eq!(server.count("fast_open_passive"), 21);
    server.stop();
    // Off, its cookies are worth nothing, and everything else goes on.
    let server = Server::start(&lab.server, &["echo:7"]);
    greet(&lab, SERVER_V4, 3);
    assert_eq!(server.count("fast_open_passive"), 0);
    server.stop();
    lab.assert_clean();
}
