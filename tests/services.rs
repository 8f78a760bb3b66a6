//! The built-in servers behind the whole stack, over the in-memory network.

#[path = "support/memory.rs"]
mod memory;

use std::sync::mpsc;

use corelane::ring::sim::{Impairment, Wire};
use corelane::services::Kind;
use corelane::stack::{Service, Socket};
use corelane::tcp::CloseReason;
use corelane::time::{Duration, Instant};
use corelane::wire::FlowKey;
use memory::{CLIENT, CLIENT_MAC, LINK, SERVER, SERVER_MAC, Settings, stack};

const PORT: u16 = 80;

/// Sends `text`, closes its side if `shuts`, and collects what comes: until the server closes, or
/// until there are `enough` octets.
struct Client {
    text: Vec<u8>,
    shuts: bool,
    enough: usize,
    results: mpsc::Sender<(Vec<u8>, CloseReason)>,
}

#[derive(Default)]
struct Progress {
    sent: usize,
    received: Vec<u8>,
}

impl Client {
    fn send(&self, progress: &mut Progress, socket: &mut Socket<'_>) {
        progress.sent += socket.send(&self.text[progress.sent..]);
        if self.shuts && progress.sent == self.text.len() {
            socket.shutdown();
        }
    }
}

impl Service for Client {
    type Connection = Progress;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Progress {
        let mut progress = Progress::default();
        self.send(&mut progress, socket);
        progress
    }

    fn on_data(&mut self, progress: &mut Progress, socket: &mut Socket<'_>, data: &[u8]) -> usize {
        progress.received.extend_from_slice(data);
        if progress.received.len() >= self.enough {
            socket.abort();
        }
        data.len()
    }

    fn on_writable(&mut self, progress: &mut Progress, socket: &mut Socket<'_>) {
        self.send(progress, socket);
    }

    fn on_close(&mut self, progress: Progress, reason: CloseReason) {
        self.results.send((progress.received, reason)).unwrap();
    }
}

/// Loses, repeats, reorders and corrupts.
fn bad_network() -> Impairment {
    Impairment {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(1),
        loss: 10_000,
        duplicate: 10_000,
        reorder: 10_000,
        corrupt: 5_000,
        ..Impairment::default()
    }
}

/// One conversation with a server, to its end on both sides. Returns what the client received.
fn converse(
    kind: Kind,
    impairment: Impairment,
    text: &[u8],
    shuts: bool,
    enough: usize,
) -> (Vec<u8>, CloseReason) {
    let (results, received) = mpsc::channel();
    let mut server = stack(SERVER_MAC, &Settings::default());
    kind.listen(&mut server, &[SERVER], PORT);
    let mut client = stack(CLIENT_MAC, &Settings::default());
    let service = client.host(Client {
        text: text.to_vec(),
        shuts,
        enough,
        results,
    });
    let mut wire = Wire::new(impairment, 1);
    let mut now = Instant::from_millis(1);
    let key = FlowKey {
        local: CLIENT,
        remote: SERVER,
        local_port: 40_000,
        remote_port: PORT,
    };
    client.connect(now, key, LINK, 0, service).unwrap();
    let end = now + Duration::from_secs(900);
    loop {
        let turns = [client.turn(now), server.turn(now)];
        let a = &mut client.queues_mut().next().unwrap().io;
        let b = &mut server.queues_mut().next().unwrap().io;
        wire.step(now, a, b);
        if turns.iter().any(|turn| turn.frames > 0) || a.rx_pending() + b.rx_pending() > 0 {
            now += Duration::from_micros(1);
            continue;
        }
        if client.live_connections() + server.live_connections() == 0 {
            break;
        }
        assert!(now < end, "{:?}", server.connections(now));
        let next = turns
            .iter()
            .filter_map(|turn| turn.deadline)
            .chain(wire.next_event())
            .min();
        now = now.max(next.expect("stuck: nothing is due"));
    }
    received.try_recv().unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| 0x20 + (i % 95) as u8).collect()
}

/// Compares without printing megabytes.
fn assert_same(received: &[u8], expected: &[u8]) {
    let differs = received.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!((received.len(), differs), (expected.len(), None));
}

#[test]
fn http_answers_all_that_was_asked_before_a_half_close() {
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for len in [0, 1_000_000, 13, 300_000] {
        requests.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        requests
            .extend_from_slice(format!("GET /bytes/{len} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        for body in [b"hello, world\n".to_vec(), pattern(len)] {
            let len = body.len();
            expected.extend_from_slice(
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\r\n"
                )
                .as_bytes(),
            );
            expected.extend_from_slice(&body);
        }
    }
    for impairment in [Impairment::default(), bad_network()] {
        let (received, reason) = converse(Kind::Http, impairment, &requests, true, usize::MAX);
        assert_same(&received, &expected);
        assert_eq!(reason, CloseReason::Finished);
    }
}

#[test]
fn http_closes_first_when_it_must() {
    // The client never closes its side before the server does; pipelined text is thrown away.
    let text = b"GET /bytes/200000 HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (received, reason) = converse(Kind::Http, bad_network(), text, false, usize::MAX);
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200000\r\n\
        Connection: close\r\n\r\n";
    assert_same(&received, &[&head[..], &pattern(200_000)].concat());
    assert_eq!(reason, CloseReason::Finished);
}

#[test]
fn echo_returns_everything_before_its_fin() {
    let text = pattern(1_000_000);
    for impairment in [Impairment::default(), bad_network()] {
        let (received, reason) = converse(Kind::Echo, impairment, &text, true, usize::MAX);
        assert_same(&received, &text);
        assert_eq!(reason, CloseReason::Finished);
    }
}

#[test]
fn discard_reads_everything_and_says_nothing() {
    let (received, reason) = converse(
        Kind::Discard,
        bad_network(),
        &pattern(500_000),
        true,
        usize::MAX,
    );
    assert_same(&received, &[]);
    assert_eq!(reason, CloseReason::Finished);
}

#[test]
fn chargen_goes_on_until_the_peer_ends_it() {
    let enough = 500_000;
    let (received, _) = converse(Kind::Chargen, bad_network(), b"ignored", false, enough);
    assert!(received.len() >= enough);
    for (number, line) in received.chunks(74).enumerate() {
        let mut expected = pattern(95 + 72)[number % 95..][..72].to_vec();
        expected.extend_from_slice(b"\r\n");
        assert_eq!(line, &expected[..line.len()], "line {number}");
    }
}

#[test]
fn chargen_closes_after_a_half_close() {
    let (received, reason) = converse(
        Kind::Chargen,
        Impairment::default(),
        b"ignored",
        true,
        usize::MAX,
    );
    assert!(received.starts_with(b" !\"#"));
    assert_eq!(reason, CloseReason::Finished);
}
