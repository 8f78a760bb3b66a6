//! An HTTP client on Corelane's active open: fetches a path over many connections and says how long
//! each answer was, what its SHA-256 is, and how long it took.
//!
//! ```sh
//! ip netns exec CLIENT fetch --interface cli0 -n 100 198.18.0.1:80 /bytes/100000
//! ```
//!
//! One line for each different answer and each different failure, with how often it came.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use clap::Parser;
use corelane::config::{Config, PortRange};
use corelane::server::{ClientId, Opener, Server};
use corelane::stack::{ConnectError, Service, Socket};
use corelane::tcp::CloseReason;
use corelane::time::{Clock, Instant};
use sha2::{Digest as _, Sha256};

/// The end of an answer's head.
const BLANK_LINE: &[u8] = b"\r\n\r\n";
/// A head that is longer is none.
const LONGEST_HEAD: usize = 64 * 1024;

#[derive(Parser)]
#[command(about = "Fetches a path by HTTP over Corelane's TCP")]
struct Arguments {
    /// The interface to send from.
    #[arg(long)]
    interface: String,
    /// CPUs to work on; without it one per queue.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// Local ports.
    #[arg(long, default_value_t = PortRange::CLIENT)]
    client_ports: PortRange,
    /// Connections in all.
    #[arg(short = 'n', long, default_value_t = 1)]
    count: u64,
    /// Connections at once.
    #[arg(short, long, default_value_t = 64)]
    parallel: u64,
    /// Send the request with the SYN, where the server allows it (RFC 7413).
    #[arg(long)]
    fast_open: bool,
    /// How long to wait for the next answer.
    #[arg(long, default_value = "30s")]
    patience: humantime::Duration,
    /// The server.
    address: SocketAddr,
    /// What to ask it for.
    #[arg(default_value = "/")]
    path: String,
}

/// How one connection went.
struct Report {
    outcome: Outcome,
    took: std::time::Duration,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Answer {
        status: String,
        length: u64,
        digest: String,
    },
    CutShort(String),
    Failed(String),
}

struct Fetch {
    request: Arc<[u8]>,
    is_sent_early: bool,
    reports: Sender<Report>,
}

/// One answer.
struct Answer {
    since: Instant,
    now: Instant,
    head: Vec<u8>,
    in_body: bool,
    length: u64,
    digest: Sha256,
}

impl Service for Fetch {
    type Connection = Answer;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Answer {
        // A request is far shorter than what a new connection may queue.
        if !self.is_sent_early {
            socket.send(&self.request);
        }
        Answer {
            since: socket.now(),
            now: socket.now(),
            head: Vec::new(),
            in_body: false,
            length: 0,
            digest: Sha256::new(),
        }
    }

    fn on_data(&mut self, answer: &mut Answer, socket: &mut Socket<'_>, data: &[u8]) -> usize {
        answer.now = socket.now();
        answer.take(data);
        if answer.head.len() > LONGEST_HEAD {
            socket.abort();
        }
        data.len()
    }

    fn on_connect_failed(&mut self, _: SocketAddr, _: u64, error: ConnectError) {
        self.report(
            Outcome::Failed(error.to_string()),
            std::time::Duration::ZERO,
        );
    }

    fn on_close(&mut self, answer: Answer, reason: CloseReason) {
        let took = answer.now.saturating_since(answer.since).into();
        let outcome = match reason {
            CloseReason::Finished => answer.outcome(),
            reason => Outcome::CutShort(format!("{reason:?}")),
        };
        self.report(outcome, took);
    }
}

impl Fetch {
    fn report(&self, outcome: Outcome, took: std::time::Duration) {
        // Nobody listens any more at the end.
        let _ = self.reports.send(Report { outcome, took });
    }
}

impl Answer {
    fn take(&mut self, data: &[u8]) {
        if self.in_body {
            return self.take_body(data);
        }
        self.head.extend_from_slice(data);
        let end = self
            .head
            .windows(BLANK_LINE.len())
            .position(|four| four == BLANK_LINE);
        if let Some(end) = end {
            self.in_body = true;
            let body = self.head.split_off(end + BLANK_LINE.len());
            self.take_body(&body);
        }
    }

    fn take_body(&mut self, body: &[u8]) {
        self.length += body.len() as u64;
        self.digest.update(body);
    }

    fn outcome(self) -> Outcome {
        let head = String::from_utf8_lossy(&self.head).into_owned();
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default().to_owned();
        let announced = lines
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, length)| length.trim().parse::<u64>().ok());
        match announced {
            Some(announced) if announced != self.length => {
                Outcome::CutShort(format!("{} of {announced} octets", self.length))
            }
            _ => Outcome::Answer {
                status,
                length: self.length,
                digest: self
                    .digest
                    .finalize()
                    .iter()
                    .map(|octet| format!("{octet:02x}"))
                    .collect(),
            },
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let mut config = Config::new(&arguments.interface);
    config.cores.clone_from(&arguments.cores);
    config.client_ports = arguments.client_ports;
    let request: Arc<[u8]> = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n",
        arguments.path, arguments.address
    )
    .into_bytes()
    .into();
    let early = match arguments.fast_open {
        true => Arc::clone(&request),
        false => Arc::default(),
    };
    let is_sent_early = arguments.fast_open;
    let (sender, reports) = channel();
    let mut server = Server::new(config);
    let client = server.client(move || Fetch {
        request: Arc::clone(&request),
        is_sent_early,
        reports: sender.clone(),
    });
    let running = server.start()?;
    for notice in running.notices() {
        eprintln!("note: {notice}");
    }
    let opener = running.opener().ok_or("a server with a client")?;
    let clock = Clock::start();
    let start = clock.now();
    let tally = fetch_all(arguments, client, &early, &opener, &reports);
    let took: std::time::Duration = clock.now().saturating_since(start).into();
    drop(running);
    Ok(tally.print(arguments.count, took))
}

/// What came back, and how often.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<Outcome, u64>,
    slowest: std::time::Duration,
    octets: u64,
}

fn fetch_all(
    arguments: &Arguments,
    client: ClientId,
    early: &Arc<[u8]>,
    opener: &Opener,
    reports: &Receiver<Report>,
) -> Tally {
    let mut tally = Tally::default();
    let (mut opened, mut ended) = (0, 0);
    while ended < arguments.count {
        while opened < arguments.count && opened - ended < arguments.parallel {
            match opener.open_with(client, arguments.address, opened, Arc::clone(early)) {
                Ok(()) => opened += 1,
                Err(ConnectError::Busy) => break,
                Err(error) => {
                    tally.add(Outcome::Failed(error.to_string()));
                    return tally;
                }
            }
        }
        match reports.recv_timeout(*arguments.patience) {
            Ok(report) => {
                ended += 1;
                tally.slowest = tally.slowest.max(report.took);
                tally.add(report.outcome);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let left = arguments.count - ended;
                tally.add(Outcome::Failed(format!("no answer, {left} times")));
                return tally;
            }
        }
    }
    tally
}

impl Tally {
    fn add(&mut self, outcome: Outcome) {
        if let Outcome::Answer { length, .. } = &outcome {
            self.octets += length;
        }
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn print(&self, wanted: u64, took: std::time::Duration) -> ExitCode {
        let mut answered = 0;
        for (outcome, times) in &self.outcomes {
            match outcome {
                Outcome::Answer {
                    status,
                    length,
                    digest,
                } => {
                    answered += times;
                    println!("{times} x {status}: {length} octets, sha256 {digest}");
                }
                Outcome::CutShort(why) => println!("{times} x cut short: {why}"),
                Outcome::Failed(why) => println!("{times} x failed: {why}"),
            }
        }
        println!(
            "{answered} of {wanted} answered, {} octets in {took:.3?}, the slowest in {:.3?}",
            self.octets, self.slowest
        );
        match answered == wanted {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}
