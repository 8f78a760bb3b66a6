//! The http service against curl and wrk.

use crate::require_root;
use crate::support::{Lab, Link, SERVER_V4, SERVER_V6, Server, succeed};

/// curl from the client, which must succeed; its stdout.
fn curl(lab: &Lab, arguments: &[&str]) -> Vec<u8> {
    let output = lab
        .client
        .command(60, "curl")
        .args(["-sS", "--max-time", "50"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    let stdout = output.stdout.clone();
    succeed(&format!("curl {}", arguments.join(" ")), output);
    stdout
}

/// As [`curl`], as text.
fn curl_text(lab: &Lab, arguments: &[&str]) -> String {
    String::from_utf8(curl(lab, arguments)).expect("text")
}

/// The body of `/bytes/length`.
fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| 0x20 + (at % 95) as u8).collect()
}

#[test]
fn root_over_both_families() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    for host in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
        let text = curl_text(&lab, &["-i", &format!("http://{host}/")]);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        assert!(
            head.to_ascii_lowercase().contains("content-length: 13"),
            "{text}"
        );
        assert_eq!(body, "hello, world\n");
    }
    server.stop();
    lab.assert_clean();
}

#[test]
fn bytes_have_the_right_length_and_content() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    for length in [0, 1, 94, 95, 1_459, 1_460, 1_461, 1 << 20] {
        for host in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
            let got = curl(&lab, &[&format!("http://{host}/bytes/{length}")]);
            assert!(
                got == body(length),
                "{length} octets over {host}: {} arrived",
                got.len()
            );
        }
    }
    server.stop();
}

#[test]
fn head_and_errors() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    let base = format!("http://{SERVER_V4}");
    let status = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
    let ask = |more: &[&str]| curl_text(&lab, &[&status, more].concat());

    let head = curl_text(&lab, &["--head", &format!("{base}/bytes/1000000")]);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.to_ascii_lowercase()
            .contains("content-length: 1000000"),
        "{head}"
    );
    assert!(ask(&[&format!("{base}/nothing")]).starts_with("404 "));
    // One more than the largest body, 2^40.
    assert!(!ask(&["--head", &format!("{base}/bytes/1099511627777")]).starts_with("200 "));
    assert!(ask(&["-X", "DELETE", &format!("{base}/")]).starts_with("405 "));
    let huge = format!("X-Huge: {}", "x".repeat(40_000));
    assert!(ask(&["-H", &huge, &format!("{base}/")]).starts_with("431 "));
    assert_eq!(ask(&["--http1.0", &format!("{base}/")]), "200 13");
    let nonsense = lab.client.shell(
        10,
        &format!("printf 'nonsense\\r\\n\\r\\n' | nc {SERVER_V4} 80"),
    );
    assert!(nonsense.starts_with("HTTP/1.1 400"), "{nonsense}");
    // None of that has hurt it.
    assert_eq!(ask(&[&format!("{base}/")]), "200 13");
    server.stop();
}

#[test]
fn keep_alive_and_pipelining() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    let url = format!("http://{SERVER_V4}/");
    let connects = curl_text(&lab, &["-w", "%{num_connects}\n", &url, &url]);
    assert_eq!(connects, "hello, world\n1\nhello, world\n0\n");

    let requests = "GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n".repeat(20)
        + "GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n";
    let answers = lab
        .client
        .shell(10, &format!("printf '{requests}' | nc {SERVER_V4} 80"));
    assert_eq!(answers.matches("hello, world\n").count(), 21, "{answers}");
    server.stop();
}

#[test]
fn wrk_sees_no_error() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    for connections in ["1", "64"] {
        let report = lab.client.shell(
            30,
            &format!("wrk -t 1 -c {connections} -d 2s --latency http://{SERVER_V4}/"),
        );
        println!("{report}");
        assert!(
            !report.contains("Socket errors") && !report.contains("Non-2xx"),
            "{report}"
        );
        let rate: f64 = report
            .lines()
            .find_map(|line| line.strip_prefix("Requests/sec:"))
            .and_then(|rate| rate.trim().parse().ok())
            .expect("wrk prints its rate");
        // Far below what any machine does; a stall on every request would not reach it.
        assert!(rate > 500.0, "{report}");
    }
    server.stop();
}

/// Slowloris: an octet every quarter of a second, for ever.
#[test]
fn a_slow_client_is_given_up_and_an_honest_one_is_served() {
    require_root!();
    let lab = Lab::new(Link::default());
    let path = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("slow.toml");
    std::fs::write(&path, "[http]\nheader-timeout = \"2s\"\n").expect("cargo made its directory");
    let path = path.to_str().expect("UTF-8");
    let server = Server::start(&lab.server, &["--config", path, "http:80"]);
    let script = format!(
        "import socket, time\n\
         s = socket.create_connection(('{SERVER_V4}', 80), 5)\n\
         s.settimeout(0.25)\n\
         begun, heard = time.monotonic(), b''\n\
         text = b'GET / HTTP/1.1\\r\\nHost: a\\r\\nX: ' + b'y' * 400\n\
         for octet in text:\n\
        \x20   try:\n\
        \x20       s.send(bytes([octet]))\n\
        \x20       heard += s.recv(4096)\n\
        \x20       break\n\
        \x20   except TimeoutError:\n\
        \x20       pass\n\
         print(time.monotonic() - begun, heard.decode().splitlines()[0])\n"
    );
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let output = lab
                .client
                .command(30, "python3")
                .args(["-c", &script])
                .output();
            succeed("python3", output.expect("python3 is installed"))
        });
        let url = format!("http://{SERVER_V4}/");
        assert_eq!(curl_text(&lab, &[&url]), "hello, world\n");
        slow.join().expect("no panic")
    });
    let (seconds, status) = slow.split_once(' ').expect("a time and a status");
    assert_eq!(status.trim(), "HTTP/1.1 408 Request Timeout");
    let seconds: f64 = seconds.parse().expect("a number");
    assert!((1.9..15.0).contains(&seconds), "{seconds}");
    assert_eq!(server.count("http_header_timeouts"), 1);
    server.stop();
    lab.assert_clean();
}
