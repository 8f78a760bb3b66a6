//! Network namespaces without a name: each lives as long as the thread that made it, so nothing is
//! left behind however the test ends.

use std::io::Write;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Runs a test in a thread with a network namespace of its own; says so and skips it when it may
/// not make one.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        skip("it needs root");
        return;
    }
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let thread = thread::Builder::new().name(name).spawn(|| {
        enter_new();
        test();
    });
    let thread = thread.unwrap();
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Says aloud that the test of this thread is skipped: not by eprintln, which the harness keeps.
pub(crate) fn skip(reason: &str) {
    let thread = thread::current();
    let line = format!("SKIPPED {}: {reason}\n", thread.name().unwrap_or("a test"));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn enter_new() {
    // SAFETY: NEWNET alone does not unshare the file descriptor table.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
    ip("link set lo up");
}

/// Runs `ip` in the namespace of this thread.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A second namespace: what is sent to it runs there, one after the other.
pub(crate) struct Neighbour {
    jobs: std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>,
    /// Its path, as `ip link set X netns PATH` takes it.
    pub(crate) path: String,
}

impl Neighbour {
    pub(crate) fn new() -> Self {
        let (jobs, queue): (_, Receiver<Box<dyn FnOnce() + Send>>) = channel();
        let (tell, told) = channel();
        // Ends when the sender goes.
        thread::spawn(move || {
            enter_new();
            let process = rustix::process::getpid();
            let thread = rustix::thread::gettid();
            tell.send(format!("/proc/{process}/task/{thread}/ns/net"))
                .unwrap();
            while let Ok(job) = queue.recv() {
                job();
            }
        });
        Self {
            jobs,
            path: told.recv().unwrap(),
        }
    }

    /// Runs a job there and waits for its result.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        self.jobs
            .send(Box::new(move || {
                let _ = tell.send(job());
            }))
            .unwrap();
        told.recv().expect("the job panicked")
    }
}
