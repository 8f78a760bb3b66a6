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
