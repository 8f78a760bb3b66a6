//! Start, progress, end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam::channel::{Receiver, unbounded};

use super::caller::{Caller, Gauges, Go, Terms};
use super::options::Options;
use super::outcome::Outcome;
use super::report::Report;
use crate::config::Config;
use crate::server::{Running, ServeError, Server, Signals};
use crate::stack::ConnectError;
use crate::time::{Clock, Duration, Instant};

/// How often to look whether workers have ended.
const LOOK: Duration = Duration::from_millis(20);
/// How long a worker may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that a worker may have beyond its own: TIME-WAITs, and those that end.
const SPARE_CONNECTIONS: usize = 65_536;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LoadError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot reach {remote}: {error}")]
    NoWay {
        remote: SocketAddr,
        error: ConnectError,
    },
    #[error(
        "{connections} connections need more than {ports} ports of {addresses} address(es): give \
         more addresses of the interface by --address, or more --ports"
    )]
    TooFewPorts {
        connections: u32,
        ports: usize,
        addresses: usize,
    },
    #[error("a worker does not end: {0} of {1} have reported")]
    WorkerHangs(u32, u32),
}

/// What happens on the way to a result.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// What was got, of one queue.
    Queue(&'a str),
    /// What is not as it was asked for or could be better.
    Notice(&'a str),
    /// Another second is over.
    Progress(Progress),
}

/// How far all workers are, to some milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Duration,
    /// Answers of success.
    pub requests: u64,
    /// Octets of application text received.
    pub received: u64,
    /// Octets of application text sent.
    pub sent: u64,
    /// Mistakes of all kinds.
    pub errors: u64,
    /// Connections that are open.
    pub open: u64,
}

/// Does what `options` say from the interface of `config`, until that is done or a signal comes. The
/// first signal ends it early, with a result. A client needs CAP_NET_ADMIN to find its peer's Ethernet
/// address; nothing is given up.
///
/// # Errors
///
/// It does not start, there is no way to the server, or the interface goes.
pub fn run(
    options: &Options,
    mut config: Config,
    signals: &mut Signals,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, LoadError> {
    config.addresses.clone_from(&options.sources);
    let needed = options.connections as usize + SPARE_CONNECTIONS;
    config.max_connections = config.max_connections.max(needed);
    let ports = config.client_ports.ports().len();
    let terms = Arc::new(Terms {
        options: options.clone(),
        go: OnceLock::new(),
        stop: AtomicBool::new(false),
        gauges: Gauges::default(),
    });
    let (sender, reports) = unbounded();
    let mut server = Server::new(config);
    let (made, shared) = (AtomicU32::new(0), Arc::clone(&terms));
    server.caller(move || {
        let index = made.fetch_add(1, Ordering::Relaxed);
        Caller::new(Arc::clone(&shared), index, sender.clone())
    });
    let mut running = server.start()?;
    for queue in running.queues() {
        tell(Event::Queue(queue));
    }
    for notice in running.notices() {
        tell(Event::Notice(notice));
    }
    let remote = options.target.remote;
    let ways = running
        .ways(remote, &options.sources)
        .map_err(|error| LoadError::NoWay { remote, error })?;
    if options.connections as usize > ways.len() * ports {
        return Err(LoadError::TooFewPorts {
            connections: options.connections,
            ports: ways.len() * ports,
            addresses: ways.len(),
        });
    }
    // A server has at most as many workers as its device has queues.
    let workers = running.workers() as u32;
    // Set once, here.
    let _ = terms.go.set(Go { ways, workers });
    let report = wait(&terms, &mut running, workers, &reports, signals, tell)?;
    let resident = resident_octets();
    running.reset(signals)?;
    Ok(Outcome::new(options, &report, resident))
}

/// Until all workers have reported.
fn wait(
    terms: &Terms,
    running: &mut Running,
    workers: u32,
    reports: &Receiver<Report>,
    signals: &mut Signals,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Report, LoadError> {
    let clock = Clock::start();
    let start = clock.now();
    let mut next_progress = start + Duration::from_secs(1);
    // Idle connections are held for a time that begins when they are there.
    let mut deadline = match terms.options.idle {
        true => Instant::FAR_FUTURE,
        false => start + terms.options.duration + END_TIMEOUT,
    };
    let mut sum: Option<Report> = None;
    let mut reported = 0;
    while reported < workers {
        if running.watch(signals, LOOK)? {
            terms.stop.store(true, Ordering::Relaxed);
            deadline = deadline.min(clock.now() + END_TIMEOUT);
        }
        for report in reports.try_iter() {
            reported += 1;
            match &mut sum {
                Some(sum) => sum.add(&report),
                None => sum = Some(report),
            }
        }
        let now = clock.now();
        if now >= deadline {
            return Err(LoadError::WorkerHangs(reported, workers));
        }
        if now >= next_progress && reported == 0 {
            next_progress += Duration::from_secs(1);
            let elapsed = now.saturating_since(start);
            tell(Event::Progress(progress(&terms.gauges, elapsed)));
        }
    }
    Ok(sum.unwrap_or_else(Report::new))
}

fn progress(gauges: &Gauges, elapsed: Duration) -> Progress {
    let read = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
    Progress {
        elapsed,
        requests: read(&gauges.requests),
        received: read(&gauges.received),
        sent: read(&gauges.sent),
        errors: read(&gauges.errors),
        open: read(&gauges.open),
    }
}

fn resident_octets() -> Option<u64> {
    let status = procfs::process::Process::myself().ok()?.status().ok()?;
    // In KiB.
    Some(status.vmrss? * 1024)
}
