//! From a [`Config`] to running workers and back: start, signals, drain, stop.
//!
//! What starts, and why in this order: a segment of ours must never reach the kernel's TCP, whose
//! reset would kill the connection, and whatever fails must leave nothing behind.
//!
//! 1. The device, its addresses, the cores; the program is loaded; the ports are held.
//! 2. The program is attached with no service: all still passes.
//! 3. Each queue's socket is bound, its FILL full; then it goes into the XSKMAP.
//! 4. Privileges are given up, if that was asked for. The control socket is there, and the workers
//!    run.
//! 5. Addresses and services: from now on it is ours.
//!
//! The end goes the other way round, whether it was asked for or is the end of an error.

mod client;
mod client_ports;
mod control;
mod cookies;
mod error;
mod floods;
mod gro;
mod neighbour;
mod notify;
mod open;
mod opener;
mod plan;
mod ports;
mod privileges;
mod sandbox;
mod secret;
mod signals;
mod watch;
mod ways;

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

use self::control::Control;
use self::cookies::Cookies;
pub use self::error::ServeError;
use self::floods::Floods;
pub use self::gro::keep_gro_off;
pub use self::notify::Supervisor;
use self::opener::OpenerThread;
pub use self::opener::{ClientId, Opener};
pub use self::signals::Signals;
use self::watch::Watch;
use crate::config::Config;
use crate::ring::xsk::Xsk;
use crate::stack::{Service, ServiceId, Stack};
use crate::time::{Clock, Duration, Instant};
use crate::wire::Address;
use crate::worker::{Mailbox, Order, Phase, Wake, timespec};
use crate::xdp::{Device, Program};

/// How often a server that is not asked anything looks after its interface.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// How often it looks after connections that are ending.
const LOOK_AT_DRAIN: Duration = Duration::from_millis(5);
/// A second signal within this is no second wish: `timeout`, for one, sends each twice.
const ONE_WISH: Duration = Duration::from_millis(100);
/// How long resets may take to leave.
const ABORT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a worker may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// What is wrong when the kernel takes no filter.
const NO_SECCOMP: &str = "the kernel takes no seccomp filter";
/// How long a worker may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

type Open = Arc<dyn Fn(&mut Stack<Xsk>, &[Address]) + Send + Sync>;

/// What is served on one port: has a worker's stack listen.
#[derive(Clone)]
struct Listener {
    port: u16,
    open: Open,
}

type Host = Arc<dyn Fn(&mut Stack<Xsk>) + Send + Sync>;

/// A server that does not run yet.
///
/// ```no_run
/// use corelane::config::Config;
/// use corelane::server::{Server, Signals};
/// use corelane::services::Echo;
///
/// let mut signals = Signals::install()?;
/// let running = Server::new(Config::new("eth0")).listen(7, || Echo).start()?;
/// running.serve(&mut signals)?;
/// # Ok::<(), corelane::server::ServeError>(())
/// ```
#[derive(Clone)]
pub struct Server {
    config: Config,
    listeners: Vec<Listener>,
    clients: Vec<Host>,
}

impl Server {
    /// A server with the built-in services that `config` names.
    pub fn new(config: Config) -> Self {
        let built_in = config.services.iter().map(|service| {
            let (kind, port) = (service.kind, service.port.get());
            let special = config.service_options.get(&service.port);
            let options = special.unwrap_or(&config.tcp.options).clone();
            let limits = config.http;
            Listener {
                port,
                open: Arc::new(move |stack, addresses| {
                    kind.listen_with(stack, addresses, port, options.clone(), limits);
                }),
            }
        });
        Self {
            listeners: built_in.collect(),
            clients: Vec::new(),
            config,
        }
    }

    /// Serves `port` of all addresses by what `make` makes: one instance for each worker.
    pub fn listen<S: Service>(
        mut self,
        port: u16,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        self.listeners.push(Listener {
            port,
            open: Arc::new(move |stack, addresses| stack.listen(addresses, port, make())),
        });
        self
    }

    /// Adds a service for connections that [`Running::opener`] opens: one instance of what `make`
    /// makes for each worker.
    pub fn client<S: Service>(&mut self, make: impl Fn() -> S + Send + Sync + 'static) -> ClientId {
        self.clients.push(Arc::new(move |stack| {
            stack.host(make());
        }));
        // Every worker hosts them first, in this order. A handful.
        ClientId(ServiceId::nth((self.clients.len() - 1) as u16))
    }

    /// Adds a service that opens connections by itself, by [`Service::poll_open`], and has Nagle's
    /// algorithm off: one instance of what `make` makes for each worker. [`Running::ways`] says by
    /// what way.
    pub fn caller<S: Service>(&mut self, make: impl Fn() -> S + Send + Sync + 'static) {
        self.clients.push(Arc::new(move |stack| {
            let mut options = stack.default_options().clone();
            options.nodelay = true;
            let caller = stack.host_with(options, make());
            stack.let_open(caller);
        }));
    }

    /// Starts to serve.
    ///
    /// # Errors
    ///
    /// See [`ServeError`]. Nothing is left behind then.
    pub fn start(self) -> Result<Running, ServeError> {
        open::start(&self.config, &self.listeners, &self.clients)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<u16> = self
            .listeners
            .iter()
            .map(|listener| listener.port)
            .collect();
        f.debug_struct("Server")
            .field("config", &self.config)
            .field("ports", &ports)
            .field("clients", &self.clients.len())
            .finish()
    }
}

/// A server that runs, or is about to. Ends when it is dropped: connections that are left are
/// forgotten, and the kernel resets them.
#[derive(Debug)]
pub struct Running {
    device: Device,
    /// Alone ours but for the control thread, which has its own copy.
    program: Arc<Program>,
    control: Option<Control>,
    opener: Option<OpenerThread>,
    /// When to look after the interface again, where that is not [`serve`](Self::serve)'s.
    look_around_at: Instant,
    /// The addresses that are served.
    addresses: Vec<IpAddr>,
    workers: Vec<Worker>,
    phase_changed: Arc<Wake>,
    clock: Clock,
    drain_timeout: Duration,
    queues: Vec<String>,
    notices: Vec<String>,
    notice_listener: Option<NoticeListener>,
    floods: Floods,
    cookies: Cookies,
    watch: Watch,
    // Only kept until the end.
    _gro: Option<gro::Off>,
    _ports: Vec<OwnedFd>,
}

struct NoticeListener(Box<dyn FnMut(&str) + Send>);

impl fmt::Debug for NoticeListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoticeListener")
    }
}

#[derive(Debug)]
struct Worker {
    core: usize,
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
}

/// How a server has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All connections had ended.
    Drained,
    /// The drain took too long: so many connections were reset.
    Reset(usize),
    /// A second signal came.
    Forced,
}

impl Running {
    /// What was got, a line for each queue.
    pub fn queues(&self) -> &[String] {
        &self.queues
    }

    /// What is not as it was asked for or could be better, a line each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Has what an administrator may want to know of while it [serves](Self::serve) told to `tell`, a
    /// line each: a SYN flood that has begun or ended, another MTU, a service that panics.
    pub fn on_notice(&mut self, tell: impl FnMut(&str) + Send + 'static) {
        self.notice_listener = Some(NoticeListener(Box::new(tell)));
    }

    /// Opens connections; `None` if the server was given no [`client`](Server::client).
    pub fn opener(&self) -> Option<Opener> {
        self.opener.as_ref().map(|thread| thread.opener().clone())
    }

    /// Serves until a signal comes; then drains, and ends.
    ///
    /// # Errors
    ///
    /// A worker has ended by itself, or the interface has gone or changed such that nothing comes to
    /// us any more.
    pub fn serve(mut self, signals: &mut Signals) -> Result<Ending, ServeError> {
        while !self.wait(signals, self.patience()) {
            self.tell_floods();
            self.answer_floods();
            self.check_workers()?;
            self.look_around()?;
        }
        let ending = self.drain(signals)?;
        self.shut_down();
        Ok(ending)
    }

    /// How long to wait for a signal.
    fn patience(&self) -> Duration {
        match self.cookies.is_pending() {
            true => cookies::NOTICE,
            false => LOOK_AROUND,
        }
    }

    fn tell_floods(&mut self) {
        for index in 0..self.workers.len() {
            while let Some(flood) = self.workers[index].mailbox.take_flood() {
                let notice = self.floods.note(index, flood);
                self.tell(notice);
            }
        }
    }

    fn tell(&mut self, notice: Option<String>) {
        if let (Some(notice), Some(listener)) = (notice, &mut self.notice_listener) {
            (listener.0)(&notice);
        }
    }

    fn drain(&mut self, signals: &mut Signals) -> Result<Ending, ServeError> {
        let start = self.clock.now();
        let deadline = start + self.drain_timeout;
        self.answer_no_more();
        self.order(&Order::Drain);
        loop {
            if self.wait(signals, LOOK_AT_DRAIN) && self.clock.now() >= start + ONE_WISH {
                return Ok(Ending::Forced);
            }
            self.check_workers()?;
            // Phase first: the number is never older.
            let draining = |worker: &Worker| worker.mailbox.phase() >= Phase::Draining;
            let all = self.workers.iter().all(draining);
            let live = self.live();
            if all && live == 0 {
                return Ok(Ending::Drained);
            }
            if self.clock.now() >= deadline {
                return self.abort(signals, live, ABORT_TIMEOUT);
            }
        }
    }

    fn abort(
        &mut self,
        signals: &mut Signals,
        live: usize,
        patience: Duration,
    ) -> Result<Ending, ServeError> {
        let deadline = self.clock.now() + patience;
        self.order(&Order::Abort);
        let aborted = |worker: &Worker| worker.mailbox.phase() >= Phase::Aborted;
        while !self.workers.iter().all(aborted) && self.clock.now() < deadline {
            if self.wait(signals, LOOK_AT_DRAIN) {
                return Ok(Ending::Forced);
            }
            self.check_workers()?;
        }
        Ok(Ending::Reset(live))
    }

    /// Waits for a signal (true), a change of a worker, or the end of `longest`.
    fn wait(&self, signals: &mut Signals, longest: Duration) -> bool {
        let mut files = [
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.phase_changed.as_fd(), PollFlags::IN),
        ];
        // Interrupted by the signal itself: it is read below.
        let _ = poll(&mut files, Some(&timespec(longest)));
        self.phase_changed.clear();
        signals.take()
    }

    fn live(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.mailbox.live())
            .sum()
    }

    fn order(&self, order: &Order) {
        for worker in &self.workers {
            // A full mailbox is that of a worker who hangs; the deadlines deal with it.
            let _ = worker.mailbox.order(order.clone());
        }
    }

    /// That no worker has ended.
    fn check_workers(&self) -> Result<(), ServeError> {
        for worker in &self.workers {
            match worker.mailbox.phase() {
                Phase::NotPinned => return Err(ServeError::NotPinned(worker.core)),
                Phase::NotConfined => return Err(ServeError::Sandbox(NO_SECCOMP.to_owned())),
                Phase::Ended => return Err(ServeError::WorkerEnded(worker.core)),
                Phase::Starting | Phase::Running | Phase::Draining | Phase::Aborted => {}
            }
        }
        Ok(())
    }

    /// Waits until all workers turn.
    fn wait_for_workers(&self) -> Result<(), ServeError> {
        let deadline: Instant = self.clock.now() + START_TIMEOUT;
        loop {
            self.check_workers()?;
            let slow = self
                .workers
                .iter()
                .find(|worker| worker.mailbox.phase() == Phase::Starting);
            let Some(slow) = slow else {
                return Ok(());
            };
            let left = deadline.saturating_since(self.clock.now());
            if left == Duration::ZERO {
                return Err(ServeError::WorkerSlow(slow.core));
            }
            self.phase_changed.wait(left);
        }
    }

    /// Gives everything back, the services first. Does next to nothing the second time.
    fn shut_down(&mut self) {
        // Errors are of no use any more: the program goes with its link in any case.
        let _ = self.program.clear_services();
        // It has a copy of the program.
        self.control = None;
        self.opener = None;
        if let Some(program) = Arc::get_mut(&mut self.program) {
            let _ = program.detach();
        }
        self.order(&Order::Stop);
        let deadline = self.clock.now() + STOP_TIMEOUT;
        let works = |worker: &Worker| matches!(&worker.thread, Some(it) if !it.is_finished());
        while self.workers.iter().any(works) && self.clock.now() < deadline {
            self.phase_changed.wait(LOOK_AT_DRAIN);
        }
        for worker in &mut self.workers {
            // One that panicked was reported by its phase; one that hangs goes with the process.
            if let Some(thread) = worker.thread.take_if(|thread| thread.is_finished()) {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shut_down();
    }
}
