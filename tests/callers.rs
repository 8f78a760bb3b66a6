//! Services that open connections by themselves, over the in-memory network.

#[path = "support/memory.rs"]
mod memory;

use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};

use corelane::stack::{ClientPorts, ConnectError, Destination, Service, Socket, Steering, Wish};
use corelane::tcp::{CloseReason, Counters};
use corelane::time::{Duration, Instant};
use memory::{CLIENT, CLIENT_MAC, Echo, LINK, SERVER, SERVER_MAC, Settings, io, stack};

const PORT: u16 = 7;
/// When the last connection is wanted.
const LATER: Duration = Duration::from_millis(70);

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Open(u64),
    Failed(SocketAddr, u64, ConnectError),
    Close(CloseReason),
}

/// Wants `at_once` connections, and one more `later`.
struct Caller {
    heard: Sender<Heard>,
    wanted: u64,
    at_once: u64,
    later: Instant,
}

impl Service for Caller {
    type Connection = ();

    fn poll_open(&mut self, now: Instant, counters: &Counters) -> Wish {
        if self.wanted > self.at_once {
            return Wish::Until(Instant::FAR_FUTURE);
        }
        if self.wanted == self.at_once && now < self.later {
            return Wish::Until(self.later);
        }
        // Those before have been opened by now, all that there are ports for.
        assert_eq!(counters.active_opens, self.wanted.min(4));
        let way = Destination {
            local: CLIENT,
            remote: SERVER,
            port: PORT,
            link: LINK,
            mtu: None,
        };
        self.wanted += 1;
        Wish::Open(way, self.wanted)
    }

    fn on_open(&mut self, socket: &mut Socket<'_>) {
        let token = socket.token().expect("it was asked for");
        self.heard.send(Heard::Open(token)).unwrap();
    }

    fn on_data(&mut self, (): &mut (), _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_connect_failed(&mut self, remote: SocketAddr, token: u64, error: ConnectError) {
        let failed = Heard::Failed(remote, token, error);
        self.heard.send(failed).unwrap();
    }

    fn on_close(&mut self, (): (), reason: CloseReason) {
        self.heard.send(Heard::Close(reason)).unwrap();
    }
}

/// What a caller hears that wants `at_once` connections and one later, with four ports.
fn call(at_once: u64) -> Vec<Heard> {
    let (sender, heard) = channel();
    let mut now = Instant::from_millis(1);
    let later = now + LATER;
    let mut client = stack(CLIENT_MAC, &Settings::default());
    let caller = client.host(Caller {
        heard: sender,
        wanted: 0,
        at_once,
        later,
    });
    client.let_open(caller);
    let alone = Steering::Dealt { index: 0, of: 1 };
    client.set_client_ports(ClientPorts::new(61_000..=61_003, alone, [3, 4]));
    let mut server = stack(SERVER_MAC, &Settings::default());
    server.listen(&[SERVER], PORT, Echo);
    for _ in 0..100 {
        let deadline = client.turn(now).deadline;
        // A driver that sleeps wakes up in time.
        assert!(now >= later || deadline.is_some_and(|due| due <= later));
        let mut sent: Vec<Vec<u8>> = Vec::new();
        io(&mut client).take_sent(|frame| sent.push(frame.to_vec()));
        for frame in sent.drain(..) {
            assert!(io(&mut server).receive(&frame));
        }
        server.turn(now);
        io(&mut server).take_sent(|frame| sent.push(frame.to_vec()));
        for frame in sent.drain(..) {
            assert!(io(&mut client).receive(&frame));
        }
        now += Duration::from_millis(1);
    }
    heard.try_iter().collect()
}

#[test]
fn connections_are_opened_when_they_are_wanted() {
    assert_eq!(call(2), [Heard::Open(1), Heard::Open(2), Heard::Open(3)]);
}

/// All that a turn opens are too many for the ports.
#[test]
fn what_cannot_be_opened_is_told() {
    let heard = call(100);
    let remote = SocketAddr::new(SERVER.to_ip(), PORT);
    let exhausted = |token| Heard::Failed(remote, token, ConnectError::PortsExhausted);
    let failed: Vec<Heard> = (5..=101).map(exhausted).collect();
    let (open, rest): (Vec<Heard>, Vec<Heard>) = heard
        .into_iter()
        .partition(|it| matches!(it, Heard::Open(_)));
    assert_eq!(open, (1..=4).map(Heard::Open).collect::<Vec<_>>());
    assert_eq!(rest, failed);
}
