//! The thread behind the control socket: it asks the workers and adds up what they say.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::bounded;
use rustix::event::{PollFd, PollFlags, poll};

use super::privileges::{self, Plan};
use super::{NO_SECCOMP, ServeError};
use crate::observe::control::{DIRECTORY, Listener, directory_of};
use crate::observe::protocol::{Reply, Request, read_request, write_line};
use crate::observe::{Connection, Stats};
use crate::time::{Clock, Duration};
use crate::worker::{Answer, Filter, Mailbox, Order, Wake, timespec};
use crate::xdp::Program;

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
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
        clock: Clock,
        filter: Option<Filter>,
    ) -> Result<Self, ServeError> {
        let end = Arc::new(Wake::new().map_err(ServeError::exhausted("descriptor"))?);
        let clerk = Clerk {
            workers,
            answered,
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
            match listener.accept() {
                Some(client) => self.serve(&client, program),
                // Gone again, or no descriptor is left: whoever waits still waits then.
                None => {
                    let _ = poll(&mut files[..1], Some(&timespec(ACCEPT_AGAIN)));
                }
            }
        }
    }

    fn serve(&mut self, client: &UnixStream, program: &Program) {
        let reply = match read_request(client) {
            Ok(Request::Connections) => self.connections(),
            Ok(Request::Stats) => self.stats(program),
            Err(error) => Reply::Error(format!("that is no request: {error}")),
        };
        // A client that has gone needs no answer.
        let _ = write_line(client, &reply);
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

fn silent(core: usize) -> Reply {
    Reply::Error(format!("the worker on core {core} does not answer"))
}
