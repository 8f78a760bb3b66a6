//! `corelane load` against our own server, and against Linux's TCP.

use std::process::Output;

use serde_json::Value;

use crate::active_open::Web;
use crate::require_root;
use crate::support::{CLIENT_IF, Lab, Link, SERVER_V4, SERVER_V6, Server};

/// Runs `corelane load` at the client's end of the lab.
fn load(lab: &Lab, arguments: &[&str]) -> Output {
    load_behind(lab, &[], arguments)
}

/// As [`load`], behind `wrapper`, a command that runs the rest of its arguments.
fn load_behind(lab: &Lab, wrapper: &[&str], arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_corelane");
    let words = [
        wrapper,
        &[binary, "load", "--interface", CLIENT_IF, "--json"],
        arguments,
    ]
    .concat();
    let mut command = lab.client.command(60, words[0]);
    let output = command.args(&words[1..]).output();
    output.expect("ip is installed")
}

/// The result, if there was to be one.
fn result(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    match serde_json::from_slice(&output.stdout) {
        Ok(value) => value,
        Err(error) => panic!("{error}: {}\n{stderr}", output.status),
    }
}

/// The result of a load in which all went well.
fn good(lab: &Lab, arguments: &[&str]) -> Value {
    let output = load(lab, arguments);
    let result = result(&output);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{result:#}\n{stderr}");
    let errors = result["errors"].as_object().expect("errors by kind");
    assert!(errors.values().all(|count| count == 0), "{result:#}");
    result
}

fn count(result: &Value, name: &str) -> u64 {
    let count = result[name].as_u64();
    count.unwrap_or_else(|| panic!("no {name} in {result:#}"))
}

/// Every request has a latency, and the percentiles are in order.
fn assert_latencies(result: &Value, requests: u64) {
    let latency = &result["latency_us"];
    assert_eq!(latency["count"], requests, "{result:#}");
    let names = ["min", "p50", "p90", "p99", "p99_9", "p99_99", "max"];
    let all = names.map(|name| latency[name].as_f64().expect("a number"));
    assert!(all[0] > 0.0 && all.is_sorted(), "{result:#}");
}

#[test]
fn http_over_both_families_with_and_without_pipeline() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    for (host, path, pipeline) in [
        (SERVER_V4.to_owned(), "/", 1),
        (format!("[{SERVER_V6}]"), "/", 8),
        (SERVER_V4.to_owned(), "/bytes/100000", 3),
    ] {
        let target = format!("http://{host}{path}");
        let pipeline = pipeline.to_string();
        let arguments = ["-c", "16", "-d", "1s", "--pipeline", &pipeline, &target];
        let result = good(&lab, &arguments);
        let requests = count(&result, "requests");
        assert!(requests > 16, "{result:#}");
        assert_eq!(count(&result, "opened"), 16);
        assert_eq!(count(&result, "open"), 16);
        assert_latencies(&result, requests);
    }
    server.stop();
    lab.assert_clean();
}

#[test]
fn a_connection_for_each_request() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80", "echo:7"]);
    for target in [
        &["http://198.18.0.1/bytes/2000"][..],
        // Whoever closes first has TIME-WAIT, and that is us here: with more there are no ports left.
        &["--rate", "1000", "echo://198.18.0.1"],
    ] {
        let close = ["-c", "8", "-d", "1s", "--close"];
        let result = good(&lab, &[&close, target].concat());
        let requests = count(&result, "requests");
        assert!(requests > 8, "{result:#}");
        let opened = count(&result, "opened");
        // Those that were open at the end have not had their answer, or not all of them.
        assert!((requests..=requests + 8).contains(&opened), "{result:#}");
        assert_latencies(&result, requests);
    }
    server.stop();
    lab.assert_clean();
}

/// The server's TIME-WAITs of a run do not refuse the next one's SYNs, which would come again after
/// a second: sequence numbers go on from process to process.
#[test]
fn a_run_uses_the_ports_of_the_one_before() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    for _ in 0..4 {
        let ports = ["--ports", "20000-20063", "--close"];
        let result = good(
            &lab,
            &[&ports[..], &["-c", "8", "-d", "1s", "http://198.18.0.1/"]].concat(),
        );
        assert!(count(&result, "requests") > 128, "{result:#}");
        let slowest = result["latency_us"]["p99"].as_f64().expect("a number");
        assert!(slowest < 900_000.0, "{result:#}");
    }
    server.stop();
    lab.assert_clean();
}

#[test]
fn messages_and_streams() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7", "discard:9", "chargen:19"]);
    for (size, pipeline) in [("1", "1"), ("64", "4"), ("100000", "2")] {
        let size = ["--size", size, "--pipeline", pipeline];
        let more = ["-c", "4", "-d", "700ms", "echo://198.18.0.1"];
        let result = good(&lab, &[&size[..], &more].concat());
        assert_latencies(&result, count(&result, "requests"));
    }
    let result = good(&lab, &["-c", "4", "-d", "1s", "discard://198.18.0.1"]);
    assert!(count(&result, "octets_sent") > 1 << 20, "{result:#}");
    let result = good(&lab, &["-c", "4", "-d", "1s", "chargen://[fd00::1]"]);
    assert!(count(&result, "octets_received") > 1 << 20, "{result:#}");
    server.stop();
    lab.assert_clean();
}

/// No more than were due; and on a machine of any use at least half of them.
#[test]
fn a_rate_is_kept() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    for more in [&["-c", "10"][..], &["-c", "10", "--close"]] {
        let rate = ["--rate", "500", "-d", "2s", "http://198.18.0.1/"];
        let result = good(&lab, &[more, &rate].concat());
        let requests = count(&result, "requests");
        assert!((500..=1_010).contains(&requests), "{result:#}");
        assert_latencies(&result, requests);
    }
    server.stop();
}

#[test]
fn two_workers_share_the_work() {
    require_root!();
    let lab = Lab::new(Link {
        queues: 2,
        ..Link::default()
    });
    let server = Server::start(&lab.server, &["http:80"]);
    let result = good(&lab, &["-c", "9", "-d", "1s", "http://198.18.0.1/"]);
    assert_eq!(count(&result, "opened"), 9);
    assert!(count(&result, "requests") > 9, "{result:#}");
    server.stop();
    lab.assert_clean();
}

/// Python answers by HTTP/1.0: each answer ends its connection.
#[test]
fn the_kernel_serves_it_as_well() {
    require_root!();
    let lab = Lab::new(Link::default());
    let _web = Web::start(&lab.server, SERVER_V4);
    let target = format!("http://{SERVER_V4}:8000/zeroes");
    for more in [&["-c", "4"][..], &["-c", "4", "--close"]] {
        let result = good(&lab, &[more, &["-d", "1s", &target]].concat());
        let requests = count(&result, "requests");
        assert!(requests > 4, "{result:#}");
        assert!(count(&result, "octets_received") >= requests * 300_000);
    }
    lab.assert_clean();
}

#[test]
fn connections_are_held_from_several_addresses() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7"]);
    for last in 3..=5 {
        let address = format!("198.18.0.{last}/24");
        lab.client.ip(&["addr", "add", &address, "dev", CLIENT_IF]);
    }
    let ports = ["--ports", "61000-61299", "--idle", "-d", "300ms"];
    let many = ["-c", "1000", "echo://198.18.0.1"];
    let few = load(&lab, &[&ports[..], &many].concat());
    let said = String::from_utf8_lossy(&few.stderr);
    assert!(
        !few.status.success() && said.contains("--address"),
        "{said}"
    );
    let range = ["--address", "198.18.0.2-198.18.0.5"];
    let result = good(&lab, &[&ports[..], &range, &many].concat());
    assert_eq!(count(&result, "open"), 1_000);
    assert!(result["opening_seconds"].as_f64().is_some(), "{result:#}");
    assert_eq!(server.count("passive_opens"), 1_000);
    server.stop();
    lab.assert_clean();
}

#[test]
fn what_goes_wrong_is_named() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80", "chargen:19"]);
    for (target, kind) in [
        // Nobody listens there.
        ("http://198.18.0.1:81/", "refused"),
        ("http://198.18.0.1/nothing", "status"),
        ("http://198.18.0.1:19/", "bad_answer"),
    ] {
        let output = load(&lab, &["-c", "2", "-d", "500ms", target]);
        let result = result(&output);
        assert_eq!(output.status.code(), Some(1), "{result:#}");
        assert_eq!(count(&result, "requests"), 0, "{result:#}");
        assert!(count(&result["errors"], kind) > 0, "{result:#}");
    }
    for (arguments, why) in [
        (&["http://198.18.0.77/"][..], "neighbour"),
        (&["http://198.19.0.1/"], "no route"),
        (
            &["--address", "198.18.0.9", "http://198.18.0.1/"],
            "198.18.0.9",
        ),
        (&["--address", "fd00::2", "http://198.18.0.1/"], "addresses"),
        (
            &["--ports", "40000-40010", "http://198.18.0.1/"],
            "ip_local_port_range",
        ),
    ] {
        let output = load(&lab, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why), "{said}");
    }
    server.stop();
    lab.assert_clean();
}

#[test]
fn a_signal_ends_it_with_a_result() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    let interrupt = ["timeout", "--preserve-status", "-s", "INT", "2"];
    let output = load_behind(&lab, &interrupt, &["-d", "50s", "http://198.18.0.1/"]);
    let result = result(&output);
    assert!(output.status.success(), "{result:#}");
    assert!(count(&result, "requests") > 0, "{result:#}");
    assert!(result["seconds"].as_f64().is_some_and(|it| it < 20.0));
    server.stop();
    lab.assert_clean();
}
