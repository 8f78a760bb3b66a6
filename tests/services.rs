//! The built-in servers behind the whole stack, over the in-memory network.

#[path = "support/memory.rs"]
mod memory;

use std::collections::BTreeMap;
use std::sync::mpsc;

use corelane::ring::sim::{Impairment, SimDevice, Wire};
use corelane::services::http::Limits;
use corelane::services::{Http, Kind};
use corelane::stack::{Service, ServiceId, Socket, Stack};
use corelane::tcp::CloseReason;
use corelane::time::{Duration, Instant};
use corelane::wire::FlowKey;
use memory::{CLIENT, CLIENT_MAC, LINK, SERVER, SERVER_MAC, START, Settings, io, stack};

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

/// A client and a server, and what is between them.
struct World {
    client: Stack<SimDevice>,
    server: Stack<SimDevice>,
    wire: Wire,
    now: Instant,
    port: u16,
}

impl World {
    fn new(impairment: Impairment, server: Stack<SimDevice>) -> Self {
        Self {
            client: stack(CLIENT_MAC, &Settings::default()),
            server,
            wire: Wire::new(impairment, 1),
            now: START,
            port: 40_000,
        }
    }

    fn with_http(limits: Limits) -> Self {
        let mut server = stack(SERVER_MAC, &Settings::default());
        server.listen(&[SERVER], PORT, Http::new(limits));
        Self::new(Impairment::default(), server)
    }

    /// Has `service` of the client's open a connection, and goes on until `is_over`, which is asked
    /// when there is nothing left to do at once.
    fn run(&mut self, service: ServiceId, mut is_over: impl FnMut(&mut Self) -> bool) {
        let key = FlowKey {
            local: CLIENT,
            remote: SERVER,
            local_port: self.port,
            remote_port: PORT,
        };
        self.port += 1;
        let end = self.now + Duration::from_secs(900);
        self.client
            .connect(self.now, key, LINK, 0, service)
            .unwrap();
        loop {
            let turns = [self.client.turn(self.now), self.server.turn(self.now)];
            let (a, b) = (io(&mut self.client), io(&mut self.server));
            self.wire.step(self.now, a, b);
            if turns.iter().any(|turn| turn.frames > 0) || a.rx_pending() + b.rx_pending() > 0 {
                self.now += Duration::from_micros(1);
                continue;
            }
            if is_over(self) {
                return;
            }
            assert!(self.now < end, "{:?}", self.server.connections(self.now));
            let deadlines = turns.iter().filter_map(|turn| turn.deadline);
            let next = deadlines.chain(self.wire.next_event()).min();
            self.now = self.now.max(next.expect("stuck: nothing is due"));
        }
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
    let mut world = World::new(impairment, server);
    let service = world.client.host(Client {
        text: text.to_vec(),
        shuts,
        enough,
        results,
    });
    world.run(service, |it| {
        it.client.live_connections() + it.server.live_connections() == 0
    });
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

/// Says `text`, the first `at_once` octets of it at once and then one after each `interval`. Reads
/// what comes unless it is `deaf`, and never closes.
struct Slow {
    text: Vec<u8>,
    at_once: usize,
    interval: Duration,
    deaf: bool,
    heard: mpsc::Sender<(Vec<u8>, Duration)>,
}

struct Said {
    sent: usize,
    next: Option<Instant>,
    received: Vec<u8>,
    begun: Instant,
}

impl Service for Slow {
    type Connection = Said;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Said {
        let sent = socket.send(&self.text[..self.at_once]);
        assert_eq!(sent, self.at_once);
        Said {
            sent,
            next: (sent < self.text.len()).then(|| socket.now() + self.interval),
            received: Vec::new(),
            begun: socket.now(),
        }
    }

    fn on_data(&mut self, said: &mut Said, _: &mut Socket<'_>, data: &[u8]) -> usize {
        if self.deaf {
            return 0;
        }
        said.received.extend_from_slice(data);
        data.len()
    }

    fn on_peer_close(&mut self, said: &mut Said, socket: &mut Socket<'_>) {
        let heard = std::mem::take(&mut said.received);
        let after = socket.now().saturating_since(said.begun);
        self.heard.send((heard, after)).unwrap();
    }

    fn deadline(&self, said: &Said) -> Option<Instant> {
        said.next
    }

    fn on_timer(&mut self, said: &mut Said, socket: &mut Socket<'_>) {
        let due = said.next.expect("there is a deadline");
        assert!(due <= socket.now(), "too early");
        said.sent += socket.send(&self.text[said.sent..=said.sent]);
        said.next = (said.sent < self.text.len()).then(|| due + self.interval);
    }
}

/// What became of a slow client.
struct Fate {
    /// What it was told before the server closed, and how long after the connection's beginning
    /// that was.
    heard: Option<(String, Duration)>,
    /// When the server had forgotten the connection.
    forgotten: Duration,
    counters: BTreeMap<&'static str, u64>,
}

impl Fate {
    /// Fails unless the server has closed after `seconds`, and not half a second later.
    fn assert_closed_after(&self, seconds: u64, told: &str) {
        let (text, after) = self
            .heard
            .as_ref()
            .expect("the server closed in good order");
        assert!(
            text.starts_with(told) && (told.is_empty() == text.is_empty()),
            "{text}"
        );
        let millis = after.as_millis();
        assert!(
            (seconds * 1000..seconds * 1000 + 500).contains(&millis),
            "{millis} ms"
        );
    }

    /// Fails unless of the limits this one was met, once.
    fn assert_counted(&self, name: &str) {
        let met: Vec<_> = self
            .counters
            .iter()
            .filter(|(counter, value)| counter.starts_with("http_") && **value > 0)
            .collect();
        assert!(met.contains(&(&name, &1)), "{met:?}");
        // The client never closes, so that the server ends waiting for that too.
        let others = met
            .iter()
            .filter(|(counter, _)| ![name, "http_linger_timeouts"].contains(counter));
        assert_eq!(others.count(), 0, "{met:?}");
    }
}

/// A slow client meets an HTTP server with the default limits, until the server forgets it.
fn meet(text: &str, at_once: usize, interval: Duration, deaf: bool) -> Fate {
    visit(
        &mut World::with_http(Limits::default()),
        text,
        at_once,
        interval,
        deaf,
    )
}

/// A slow client meets the server of `world`, until that forgets it.
fn visit(world: &mut World, text: &str, at_once: usize, interval: Duration, deaf: bool) -> Fate {
    let (sender, heard) = mpsc::channel();
    let begun = world.now;
    let service = world.client.host(Slow {
        text: text.as_bytes().to_vec(),
        at_once,
        interval,
        deaf,
        heard: sender,
    });
    let mut was_accepted = false;
    world.run(service, |it| {
        was_accepted |= it.server.live_connections() > 0;
        was_accepted && it.server.live_connections() == 0
    });
    let heard = heard.try_recv().ok();
    Fate {
        heard: heard.map(|(text, after)| (String::from_utf8(text).unwrap(), after)),
        forgotten: world.now.saturating_since(begun),
        counters: world.server.counters().stack.into_iter().collect(),
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Slowloris: RFC 9110 section 15.5.9.
#[test]
fn a_head_that_does_not_end_is_given_up() {
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(500));
    // The first octet comes at once, or later: from then on it counts.
    let fate = meet(&text, 1, SECOND, false);
    fate.assert_closed_after(10, "HTTP/1.1 408 Request Timeout\r\n");
    fate.assert_counted("http_header_timeouts");
    let fate = meet(&text, 0, SECOND, false);
    fate.assert_closed_after(11, "HTTP/1.1 408 Request Timeout\r\n");
    // The next one of a connection gets as much time.
    let hello = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let fate = meet(&format!("{hello}{text}"), hello.len(), SECOND * 5, false);
    fate.assert_closed_after(15, "HTTP/1.1 200 OK\r\n");
    let (heard, _) = fate.heard.as_ref().unwrap();
    assert!(
        heard.contains("HTTP/1.1 408 Request Timeout\r\n"),
        "{heard}"
    );
    assert!(heard.contains("Connection: close\r\n"), "{heard}");
    fate.assert_counted("http_header_timeouts");
    // Within the time it is answered, however small the pieces.
    let fate = meet(hello, 1, Duration::from_millis(200), false);
    fate.assert_closed_after(60 + 5, "HTTP/1.1 200 OK\r\n");
    fate.assert_counted("http_idle_timeouts");
}

#[test]
fn a_silent_connection_is_closed_without_a_word() {
    let fate = meet("", 0, SECOND, false);
    fate.assert_closed_after(60, "");
    fate.assert_counted("http_idle_timeouts");
    // A client that does not close does not keep the server waiting (FIN-WAIT-2).
    assert!(fate.forgotten < SECOND * 130, "{:?}", fate.forgotten);
    // Empty lines before a request are no request.
    let fate = meet(&"\r\n".repeat(300), 0, SECOND, false);
    fate.assert_closed_after(60, "");
    let fate = meet("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, SECOND, false);
    fate.assert_closed_after(60, "HTTP/1.1 200 OK\r\n");
    fate.assert_counted("http_idle_timeouts");
}

#[test]
fn content_has_to_come_at_a_rate() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n";
    let text = format!("{head}{}", "z".repeat(40_000));
    let fate = meet(&text, head.len(), SECOND, false);
    fate.assert_closed_after(20, "HTTP/1.1 408 Request Timeout\r\n");
    fate.assert_counted("http_body_timeouts");
    // What came fast does not buy more than that for the rest.
    let fate = meet(
        &text[..text.len() - 1000],
        text.len() - 2000,
        SECOND * 90,
        false,
    );
    fate.assert_closed_after(20, "HTTP/1.1 408 Request Timeout\r\n");
    // 1000 octets a second may take as long as they need: 40 s here, and then it is idle.
    let fate = meet(&text, head.len(), Duration::from_millis(1), false);
    fate.assert_closed_after(40 + 60, "HTTP/1.1 405 Method Not Allowed\r\n");
    fate.assert_counted("http_idle_timeouts");
}

#[test]
fn a_peer_that_takes_nothing_is_reset() {
    let text = "GET /bytes/100000000 HTTP/1.1\r\nHost: a\r\n\r\n";
    let fate = meet(text, text.len(), SECOND, true);
    fate.assert_counted("http_send_timeouts");
    assert!(fate.heard.is_none());
    let seconds = fate.forgotten.as_millis() / 1000;
    assert!((60..65).contains(&seconds), "{seconds}");
}

#[test]
fn heads_and_content_that_are_too_large_are_counted() {
    for (text, status, name) in [
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(9_000)),
            "431 Request Header Fields Too Large",
            "http_heads_too_large",
        ),
        (
            format!("GET /{}", "y".repeat(9_000)),
            "414 URI Too Long",
            "http_heads_too_large",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n".to_owned(),
            "413 Content Too Large",
            "http_bodies_too_large",
        ),
    ] {
        let fate = meet(&text, text.len(), SECOND, false);
        fate.assert_closed_after(0, &format!("HTTP/1.1 {status}\r\n"));
        fate.assert_counted(name);
    }
}

/// What one of them holds is given back when it ends.
#[test]
fn the_heads_of_all_connections_have_a_limit() {
    let begun = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(1_000));
    let mut world = World::with_http(Limits {
        head_memory: 1_500,
        ..Limits::default()
    });
    for _ in 0..3 {
        let fate = visit(&mut world, &begun, begun.len(), SECOND, false);
        fate.assert_closed_after(10, "HTTP/1.1 408 Request Timeout\r\n");
    }
    let more = format!("{begun}{}", "y".repeat(1_000));
    let fate = visit(
        &mut world,
        &more,
        begun.len(),
        Duration::from_millis(1),
        false,
    );
    fate.assert_closed_after(0, "HTTP/1.1 503 Service Unavailable\r\n");
    assert_eq!(fate.counters["http_heads_refused"], 1);
    // One that arrives whole needs none of it.
    let whole = format!("{more}{}\r\n\r\n", "y".repeat(300));
    let fate = visit(&mut world, &whole, whole.len(), SECOND, false);
    fate.assert_closed_after(60, "HTTP/1.1 200 OK\r\n");
}
