//! A million clients of one server over memory, each of which is three numbers: no second stack takes
//! part in what is measured.

#![allow(dead_code, reason = "no test uses all of it")]

use corelane::ring::BATCH;
use corelane::ring::sim::{SimConfig, SimDevice};
use corelane::stack::{Service, Stack};
use corelane::time::{Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
use corelane::wire::tcp::{Flags, Header, Options, Timestamps};
use corelane::wire::{Address, ChecksumPolicy, FlowKey, Packet, parse};

use super::memory::{Host, LINK, SERVER, SERVER_MAC, START, Settings, stack};

/// The port that is served.
pub(crate) const PORT: u16 = 7;
/// Clients of one address, and the first of their ports.
pub(crate) const PORTS: u32 = 50_000;
pub(crate) const FIRST_PORT: u16 = 1_024;
/// What the windows of clients count in (RFC 7323).
const WINDOW_SHIFT: u8 = 7;
/// Between two turns.
const STEP: Duration = Duration::from_micros(10);
/// Between two turns while nobody sends.
const REST_STEP: Duration = Duration::from_millis(1);

/// See the module.
pub(crate) struct Crowd<H = Stack<SimDevice>> {
    pub(crate) server: H,
    pub(crate) now: Instant,
    clients: Vec<Client>,
    /// The window of every client, before scaling.
    window: u16,
    /// Octets of text that the last turn has brought.
    brought: u32,
    /// What the last segment has acknowledged.
    acked: u32,
    frame: Vec<u8>,
}

/// What a client puts into its next segment.
#[derive(Clone, Copy)]
struct Client {
    seq: u32,
    ack: u32,
    /// The server's last timestamp, if this connection has timestamps.
    tsecr: Option<u32>,
}

/// The client that has an address and a port.
fn number(key: &FlowKey) -> usize {
    let octets = key.local.octets();
    let address = u32::from(octets[14]) << 8 | u32::from(octets[15]);
    (address * PORTS + u32::from(key.local_port - FIRST_PORT)) as usize
}

/// The address of a client.
pub(crate) fn address(number: usize) -> Address {
    let [high, low] = ((number as u32 / PORTS) as u16).to_be_bytes();
    Address::from_ipv4([198, 19, high, low])
}

fn key(number: usize) -> FlowKey {
    FlowKey {
        local: address(number),
        remote: SERVER,
        local_port: FIRST_PORT + (number as u32 % PORTS) as u16,
        remote_port: PORT,
    }
}

/// A server of so many clients.
pub(crate) fn server<S: Service>(clients: usize, service: S) -> Stack<SimDevice> {
    let settings = Settings {
        // Each answer keeps one until it is acknowledged.
        device: SimConfig {
            tx_frames: 16_384,
            ..SimConfig::default()
        },
        max_connections: clients,
        ..Settings::default()
    };
    let mut server = stack(SERVER_MAC, &settings);
    server.listen(&[SERVER], PORT, service);
    server
}

impl Crowd {
    /// So many clients of `service`, none of which is connected.
    pub(crate) fn new<S: Service>(clients: usize, service: S) -> Self {
        Self::of(server(clients, service), clients)
    }
}

impl<H: Host> Crowd<H> {
    /// So many clients of `server`, none of which is connected.
    pub(crate) fn of(server: H, clients: usize) -> Self {
        let client = Client {
            seq: 1,
            ack: 0,
            tsecr: Some(0),
        };
        Self {
            server,
            now: START,
            clients: vec![client; clients],
            window: 0xffff,
            brought: 0,
            acked: 0,
            frame: Vec::new(),
        }
    }

    /// Clients for bulk: without timestamps, so that text fills segments of 1460 octets, and with
    /// windows of so many octets, a multiple of 128.
    pub(crate) fn for_bulk(mut self, window: usize) -> Self {
        for client in &mut self.clients {
            client.tsecr = None;
        }
        self.window = (window >> WINDOW_SHIFT) as u16;
        self
    }

    /// Opens a connection of each.
    pub(crate) fn open(&mut self, clients: impl Iterator<Item = usize>) {
        self.batches(clients, BATCH, |crowd, batch| {
            for &client in batch {
                crowd.send(client, Flags::SYN, &[]);
            }
            assert_eq!(crowd.turn(), batch.len(), "a SYN-ACK each");
            for &client in batch {
                crowd.send(client, Flags::ACK, &[]);
            }
            assert_eq!(crowd.turn(), 0);
        });
    }

    /// Nobody sends for `time`, and what timers there are run out.
    pub(crate) fn rest(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += REST_STEP;
            assert_eq!(self.turn(), 0);
        }
    }

    /// Opens a connection of one client, to which the server may speak first.
    pub(crate) fn connect(&mut self, client: usize) {
        self.send(client, Flags::SYN, &[]);
        assert_eq!(self.turn(), 1, "a SYN-ACK");
        self.send(client, Flags::ACK, &[]);
        self.turn();
    }

    /// Each sends `text` and gets an answer, so many of them in one turn.
    pub(crate) fn ask(
        &mut self,
        clients: impl Iterator<Item = usize>,
        text: &[u8],
        at_once: usize,
    ) {
        self.batches(clients, at_once, |crowd, batch| {
            for &client in batch {
                crowd.send(client, Flags::ACK | Flags::PSH, text);
            }
            assert_eq!(crowd.turn(), batch.len(), "an answer each");
        });
    }

    /// A client sends so many segments of `text`, which the server acknowledges in one turn.
    pub(crate) fn upload(&mut self, client: usize, text: &[u8], segments: usize) {
        for _ in 0..segments {
            self.send(client, Flags::ACK, text);
        }
        assert!(self.turn() > 0, "no acknowledgment");
        assert_eq!(self.acked, self.clients[client].seq, "not of everything");
    }

    /// A client acknowledges what the last turn has brought, every `step` octets (RFC 5681 section 4.2:
    /// at least every second segment), and gets more; how many segments.
    pub(crate) fn download(&mut self, client: usize, step: u32) -> usize {
        let received = self.clients[client].ack;
        let mut left = self.brought;
        while left > 0 {
            left = left.saturating_sub(step);
            self.clients[client].ack = received.wrapping_sub(left);
            self.send(client, Flags::ACK, &[]);
        }
        self.turn()
    }

    /// Each acknowledges what it has got, which its next request would do as well.
    pub(crate) fn acknowledge(&mut self, clients: impl Iterator<Item = usize>) {
        self.batches(clients, BATCH, |crowd, batch| {
            for &client in batch {
                crowd.send(client, Flags::ACK, &[]);
            }
            assert_eq!(crowd.turn(), 0);
        });
    }

    /// Each closes its connection, as the server does then, and stays in TIME-WAIT by itself.
    pub(crate) fn close(&mut self, clients: impl Iterator<Item = usize>) {
        self.batches(clients, BATCH, |crowd, batch| {
            for &client in batch {
                crowd.send(client, Flags::ACK | Flags::FIN, &[]);
            }
            assert!(crowd.turn() >= batch.len(), "a FIN each");
            for &client in batch {
                crowd.send(client, Flags::ACK, &[]);
            }
            assert_eq!(crowd.turn(), 0);
            for &client in batch {
                // What follows is another connection.
                crowd.clients[client].seq += 1 << 16;
                crowd.clients[client].ack = 0;
            }
        });
    }

    fn batches(
        &mut self,
        mut clients: impl Iterator<Item = usize>,
        at_once: usize,
        mut exchange: impl FnMut(&mut Self, &[usize]),
    ) {
        let mut batch = Vec::with_capacity(at_once);
        loop {
            batch.clear();
            batch.extend(clients.by_ref().take(at_once));
            if batch.is_empty() {
                return;
            }
            exchange(self, &batch);
        }
    }

    fn send(&mut self, number: usize, flags: Flags, text: &[u8]) {
        let is_syn = flags.contains(Flags::SYN);
        let client = &mut self.clients[number];
        let header = Header {
            seq: client.seq,
            ack: client.ack,
            flags,
            // That of a SYN is not scaled.
            window: if is_syn { 0xffff } else { self.window },
            urgent: 0,
            options: Options {
                mss: is_syn.then_some(1_460),
                window_scale: is_syn.then_some(WINDOW_SHIFT),
                sack_permitted: is_syn,
                timestamps: client.tsecr.map(|tsecr| Timestamps {
                    tsval: self.now.as_millis() as u32,
                    tsecr,
                }),
                ..Options::default()
            },
        };
        let numbers = text.len() as u32 + u32::from(is_syn || flags.contains(Flags::FIN));
        client.seq = client.seq.wrapping_add(numbers);
        let route = Route {
            link: LINK,
            key: key(number),
            hop_limit: 64,
            traffic_class: 0,
            identification: 0,
        };
        self.frame.clear();
        self.frame.resize(MAX_HEADERS, 0);
        let payload = (text.len(), Sum::of(text));
        let len = segment_headers(&mut self.frame, &route, &header, payload);
        self.frame.extend_from_slice(text);
        let frame = &self.frame[MAX_HEADERS - len..];
        assert!(self.server.receive(frame), "no room in RX");
    }

    /// One turn of the server; how many segments it has sent.
    pub(crate) fn turn(&mut self) -> usize {
        self.now += STEP;
        self.server.turn(self.now);
        let (mut sent, clients) = (0, &mut self.clients);
        let (brought, acked) = (&mut self.brought, &mut self.acked);
        *brought = 0;
        self.server.take_sent(|frame| {
            // The wire is memory: the server's checksums are tested elsewhere.
            let Ok(Packet::Tcp { key, segment, .. }) = parse(frame, ChecksumPolicy::Full) else {
                panic!("{frame:02x?}");
            };
            let header = &segment.header;
            assert!(!header.flags.contains(Flags::RST), "{header:?}");
            let client = &mut clients[number(&key)];
            let text = segment.payload.len() as u32;
            let numbers = text + u32::from(header.flags.intersects(Flags::SYN | Flags::FIN));
            client.ack = header.seq.wrapping_add(numbers);
            // No SYN-ACK with timestamps, no timestamps (RFC 7323 section 3.2).
            client.tsecr = header.options.timestamps.map(|option| option.tsval);
            sent += 1;
            *brought += text;
            *acked = header.ack;
        });
        sent
    }
}
