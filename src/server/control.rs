//! The thread behind the control socket: it asks the workers and adds up what they say, and changes
//! what the XDP program keeps out.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::bounded;
use rustix::event::{PollFd, PollFlags, poll};

use super::client::Client;
use super::privileges::{self, Plan};
use super::{NO_SECCOMP, ServeError};
use crate::observe::control::{DIRECTORY, Listener, directory_of};
use crate::observe::protocol::{Change, Reply, Request, Show, read_request, write_line};
use crate::observe::{Connection, Denied, Stats, SynLimitState};
use crate::stack::AddressSet;
use crate::time::{Clock, Duration};
use crate::worker::{Answer, Filter, Mailbox, Order, Wake, timespec};
use crate::xdp::{Program, SynLimit};

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client may take for its request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take for its answer, which may be that of a million connections.
const REPLY_PATIENCE: Duration = Duration::from_secs(30);
/// How long to leave a client waiting that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// Where the socket goes: a directory from which whoever we are in the end may remove it.
pub(super) fn directory(plan: Option<&Plan>) -> io::Result<PathBuf> {
    let account = plan.and_then(|plan| plan.account.as_ref());
    match account.filter(|account| account.uid != 0) {
        Some(it) => directory_of(Path::new(DIRECTORY), &it.name, it.uid, it.gid),
        None if rustix::process::geteuid().is_root() => Ok(PathBuf::from(DIRECTORY)),
        // The directory is ours, or one in it.
        None => {
            let own = Path::new(DIRECTORY).join(privileges::own_name());
            Ok(if own.is_dir() { own } else { DIRECTORY.into() })
        }
    }
}

/// The socket of this process. Without one there is a notice: no reason to serve nothing.
pub(super) fn bind(directory: io::Result<PathBuf>, notices: &mut Vec<String>) -> Option<Listener> {
    let bound = directory.and_then(|directory| Listener::bind(&directory, std::process::id()));
    let refused = |error| {
        notices.push(format!(
            "no control socket, so `corelane ss` and `corelane stats` do not find this server: \
             cannot make one in {DIRECTORY}: {error}"
        ));
    };
    bound.map_err(refused).ok()
}

/// The control socket and its thread. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Control {
    end: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts to answer on `listener`.
    pub(super) fn start(
        listener: Listener,
        workers: Vec<(usize, Arc<Mailbox>)>,
        answered: Arc<Wake>,
        program: Arc<Program>,
        syn_limit: Option<SynLimit>,
        clock: Clock,
        filter: Option<Filter>,
    ) -> Result<Self, ServeError> {
        let end = Arc::new(Wake::new().map_err(ServeError::exhausted("descriptor"))?);
        let clerk = Clerk {
            workers,
            answered,
            syn_limit,
            clock,
            last_id: 0,
        };
        let ended = Arc::clone(&end);
        let (said, confined) = bounded(1);
        let thread = thread::Builder::new()
            .name("corelane-control".to_owned())
            .spawn(move || {
                let is_confined = filter.is_none_or(|filter| filter.apply().is_ok());
                let heard = said.send(is_confined).is_ok();
                if is_confined && heard {
                    clerk.run(&listener, &program, &ended);
                }
            })
            .map_err(ServeError::exhausted("thread"))?;
        // `ready` is said of threads that are confined.
        if confined.recv() != Ok(true) {
            return Err(ServeError::Sandbox(NO_SECCOMP.to_owned()));
        }
        Ok(Self {
            end,
            thread: Some(thread),
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end.ring();
        if let Some(thread) = self.thread.take() {
            // A panic there has printed itself; there is nothing to mend any more.
            let _ = thread.join();
        }
    }
}

struct Clerk {
    workers: Vec<(usize, Arc<Mailbox>)>,
    answered: Arc<Wake>,
    syn_limit: Option<SynLimit>,
    clock: Clock,
    last_id: u64,
}

impl Clerk {
    fn run(mut self, listener: &Listener, program: &Program, end: &Wake) {
        loop {
            let mut files = [
                PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            ];
            let _ = poll(&mut files, None);
            if !files[0].revents().is_empty() {
                return;
            }
            let client = listener
                .accept()
                .and_then(|stream| Client::new(stream, self.clock, REQUEST_PATIENCE, end).ok());
            match client {
                Some(client) => self.serve(client, program),
                // Gone again, or no descriptor is left: whoever waits still waits then.
                None => {
                    let _ = poll(&mut files[..1], Some(&timespec(ACCEPT_AGAIN)));
                }
            }
        }
    }

    fn serve(&mut self, mut client: Client<'_>, program: &Program) {
        let reply = match read_request(&mut client) {
            Ok(Request::Show(Show::Connections)) => self.connections(),
            Ok(Request::Show(Show::Stats)) => self.stats(program),
            Ok(Request::Show(Show::Denied)) => denied(program),
            Ok(Request::Show(Show::SynLimit)) => self.show_syn_limit(program),
            Ok(Request::Deny(change)) => self.change_denied(program, &change),
            Ok(Request::SynLimit(limit)) => self.change_syn_limit(program, limit),
            Err(error) => Reply::Error(format!("that is no request: {error}")),
        };
        client.grant(REPLY_PATIENCE);
        // A client that has gone needs no answer.
        let _ = write_line(&mut client, &reply);
    }

    fn connections(&mut self) -> Reply {
        let mut all = Vec::new();
        for index in 0..self.workers.len() {
            let core = self.workers[index].0;
            match self.ask(index, Order::Connections) {
                Some(Answer::Connections(connections)) => {
                    all.extend(connections.iter().map(|it| Connection::new(core, it)));
                }
                _ => return silent(core),
            }
        }
        Reply::Connections(all)
    }

    fn stats(&mut self, program: &Program) -> Reply {
        let mut stats = Stats::default();
        match program.counters() {
            Ok(counters) => stats
                .xdp
                .extend(counters.map(|(name, value)| (name.to_owned(), value))),
            Err(error) => return Reply::Error(error.to_string()),
        }
        for index in 0..self.workers.len() {
            let core = self.workers[index].0;
            match self.ask(index, Order::Counters) {
                Some(Answer::Counters(counters, tally)) => stats.add(core, &counters, tally),
                _ => return silent(core),
            }
        }
        Reply::Stats(Box::new(stats))
    }

    /// Connections with peers that are denied from now on are reset: nothing of them arrives any
    /// more, and what they hold would be held until it times out.
    fn change_denied(&self, program: &Program, change: &Change) -> Reply {
        let outcome = match change {
            Change::Add(prefixes) => program.deny(prefixes),
            Change::Remove(prefixes) => program.undeny(prefixes),
        };
        if let Err(error) = outcome {
            return Reply::Error(error.to_string());
        }
        if let Change::Add(prefixes) = change {
            let peers = prefixes.iter().flat_map(|prefix| prefix.ranges());
            let peers: Arc<AddressSet> = Arc::new(peers.collect());
            for (core, mailbox) in &self.workers {
                if !mailbox.order(Order::AbortPeers(Arc::clone(&peers))) {
                    return silent(*core);
                }
            }
        }
        Reply::Done
    }

    fn show_syn_limit(&self, program: &Program) -> Reply {
        let counters = match program.counters() {
            Ok(counters) => counters,
            Err(error) => return Reply::Error(error.to_string()),
        };
        let mut counters = counters.into_iter();
        let dropped = counters.find(|(name, _)| *name == "dropped_syn_limit");
        Reply::SynLimit(SynLimitState {
            limit: self.syn_limit,
            dropped: dropped.map_or(0, |(_, count)| count),
        })
    }

    fn change_syn_limit(&mut self, program: &Program, limit: Option<SynLimit>) -> Reply {
        match program.set_syn_limit(limit) {
            Ok(()) => {
                self.syn_limit = limit;
                Reply::Done
            }
            Err(error) => Reply::Error(error.to_string()),
        }
    }

    fn ask(&mut self, worker: usize, order: fn(u64) -> Order) -> Option<Answer> {
        self.last_id += 1;
        let mailbox = &self.workers[worker].1;
        if !mailbox.order(order(self.last_id)) {
            return None;
        }
        let deadline = self.clock.now() + PATIENCE;
        loop {
            if let Some(answer) = mailbox.take_answer(self.last_id) {
                return Some(answer);
            }
            let left = deadline.saturating_since(self.clock.now());
            if left == Duration::ZERO {
                return None;
            }
            self.answered.wait(left);
        }
    }
}

fn denied(program: &Program) -> Reply {
    match program.denied() {
        Ok(denied) => {
            let denied = denied.into_iter();
            Reply::Denied(
                denied
                    .map(|(prefix, dropped)| Denied { prefix, dropped })
                    .collect(),
            )
        }
        Err(error) => Reply::Error(error.to_string()),
    }
}

fn silent(core: usize) -> Reply {
    Reply::Error(format!("the worker on core {core} does not answer"))
}
