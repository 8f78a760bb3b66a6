//! `corelane ss` of a running server.

use serde_json::Value;

use crate::require_root;
use crate::support::{CLIENT_V4, CLIENT_V6, Lab, Link, SERVER_V4, SERVER_V6, Server, stream};

/// Every object within `value` that has a `state`.
fn connections(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(fields) if fields.contains_key("state") => vec![value],
        Value::Object(fields) => fields.values().flat_map(connections).collect(),
        Value::Array(values) => values.iter().flat_map(connections).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn live_connections_are_listed() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7"]);
    let v4 = stream::connect(&lab.client, SERVER_V4, 7).expect("a connection");
    let v6 = stream::connect(&lab.client, SERVER_V6, 7).expect("a connection");

    let text = server.ss(&[]);
    assert_eq!(
        text.to_ascii_lowercase().matches("estab").count(),
        2,
        "{text}"
    );
    assert!(
        text.contains(CLIENT_V4) && text.contains(CLIENT_V6),
        "{text}"
    );
    for word in ["rto", "cwnd", "mss"] {
        assert!(text.contains(word), "no {word} in\n{text}");
    }

    let json = server.ss(&["--json"]);
    let value: Value = serde_json::from_str(&json).expect("JSON");
    let listed = connections(&value);
    let established = |connection: &&&Value| {
        connection["state"]
            .as_str()
            .is_some_and(|state| state.to_lowercase().starts_with("estab"))
    };
    assert_eq!(listed.iter().filter(established).count(), 2, "{json}");
    let port = v4.local_addr().expect("bound").port().to_string();
    assert!(
        json.contains(&port) && json.contains(CLIENT_V4) && json.contains(CLIENT_V6),
        "{json}"
    );

    drop((v4, v6));
    let gone = crate::support::wait_until(std::time::Duration::from_secs(5), || {
        !server.ss(&[]).to_ascii_lowercase().contains("estab")
    });
    assert!(gone, "{}", server.ss(&[]));
    server.stop();
}

/// What Linux's `ss -i` says of a sender whose peer does not read: how long it was busy, and how much
/// of that the peer's window kept it.
#[test]
fn a_sender_whose_peer_does_not_read_is_limited_by_its_window() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["chargen:19"]);
    let stream = stream::connect(&lab.client, SERVER_V4, 19).expect("a connection");
    let mut said = String::new();
    let is_limited = crate::support::wait_until(std::time::Duration::from_secs(10), || {
        said = server.ss(&["-i"]);
        said.contains(" rwnd_limited:")
    });
    assert!(is_limited, "{said}");
    // "busy:1234.000ms rwnd_limited:1200.000ms(97.2%)"
    let word = |name: &str| {
        let mut words = said.split_whitespace();
        words
            .find_map(|word| word.strip_prefix(name))
            .map(str::to_owned)
    };
    let busy = word("busy:").expect("it is busy");
    assert!(busy.ends_with("ms"), "{busy}");
    let limited = word("rwnd_limited:").expect("it was there");
    assert!(
        limited.contains("ms(") && limited.ends_with("%)"),
        "{limited}"
    );

    let json = server.ss(&["--json"]);
    let value: Value = serde_json::from_str(&json).expect("JSON");
    let listed = connections(&value);
    let times = |name: &str| listed[0][name].as_u64().expect("microseconds");
    let (busy, limited) = (times("busy_us"), times("rwnd_limited_us"));
    assert!(limited > 0 && limited <= busy, "{limited} of {busy}");
    assert_eq!(listed[0]["reordering"].as_u64(), Some(3));
    drop(stream);
    server.stop();
}
