//! The real binary in a namespace.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use corelane::time::Clock;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{Namespace, SERVER_IF, pause};

/// Long enough to load, attach and bind on a slow machine under load.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running `corelane serve`; ended when dropped.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    output: String,
}

impl Server {
    /// `corelane serve --interface SERVER_IF` with more `arguments`, when it is ready. Fails the
    /// test if it does not become so.
    pub(crate) fn start(namespace: &Namespace, arguments: &[&str]) -> Self {
        Self::start_behind(namespace, &[], arguments)
    }

    /// As [`Server::start`], behind `wrapper`, a command that runs the rest of its arguments.
    pub(crate) fn start_behind(
        namespace: &Namespace,
        wrapper: &[&str],
        arguments: &[&str],
    ) -> Self {
        // One pipe for both, so that what was said before `ready` is read before it.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let child = command(namespace, wrapper, arguments)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().expect("another end of it"))
            .stderr(writer)
            .spawn()
            .expect("ip is installed");
        let (sender, lines) = channel();
        collect(reader, sender);
        let mut server = Self {
            child,
            lines,
            output: String::new(),
        };
        server.wait_for_line(START_LIMIT, |line| line.trim_start().starts_with("ready"));
        server
    }

    /// Runs a `corelane serve` that ought to fail at start: it must end by itself, soon, not with
    /// 0, and not by a panic.
    pub(crate) fn fail(namespace: &Namespace, arguments: &[&str]) -> Output {
        fail(&mut command_within(namespace, "15", &[], arguments))
    }

    /// As [`Server::fail`], behind `wrapper`, a command that runs the rest of its arguments.
    pub(crate) fn fail_behind(
        namespace: &Namespace,
        wrapper: &[&str],
        arguments: &[&str],
    ) -> Output {
        fail(&mut command_within(namespace, "15", wrapper, arguments))
    }

    /// The server's pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Everything that it has printed until now.
    pub(crate) fn output(&mut self) -> &str {
        while let Ok(line) = self.lines.try_recv() {
            self.keep(&line);
        }
        &self.output
    }

    fn keep(&mut self, line: &str) {
        self.output.push_str(line);
        self.output.push('\n');
    }

    /// Sends `signal`.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.process(), signal).expect("our child takes signals");
    }

    /// Waits for the end; fails the test if it does not come within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        match self.wait_at_most(limit) {
            Some(status) => {
                // What it has said last. A helper of its own may live on for a moment.
                while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
                    self.keep(&line);
                }
                status
            }
            None => panic!("still running after {limit:?}\n{}", self.output()),
        }
    }

    /// SIGTERM, then the end, which must be soon and with status 0.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait(Duration::from_secs(20));
        assert!(status.success(), "{status}\n{}", self.output());
    }

    /// `corelane ss` of this server, with more `arguments`; its stdout.
    pub(crate) fn ss(&self, arguments: &[&str]) -> String {
        self.show("ss", arguments)
    }

    /// A counter of `corelane stats`, 0 where it says nothing of it.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let stats = self.show("stats", &[]);
        let named = stats.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(name)).then(|| words.next()?.parse::<u64>().ok())?
        });
        named.sum()
    }

    /// `corelane WORDS` of this server.
    pub(crate) fn ask(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_corelane"))
            .args(words)
            .args(["--pid", &self.pid().to_string()])
            .output()
            .expect("the binary is built")
    }

    fn show(&self, what: &str, arguments: &[&str]) -> String {
        let words = [&[what], arguments].concat();
        super::succeed("corelane", self.ask(&words))
    }

    fn wait_at_most(&mut self, limit: Duration) -> Option<ExitStatus> {
        let clock = Clock::start();
        let deadline = clock.now() + limit.into();
        if let Ok(process) = rustix::process::pidfd_open(self.process(), PidfdFlags::empty()) {
            let mut fds = [rustix::event::PollFd::new(
                &process,
                rustix::event::PollFlags::IN,
            )];
            let left = deadline.saturating_since(clock.now());
            let timeout = Duration::from(left).try_into().expect("a short time");
            let _ = rustix::event::poll(&mut fds, Some(&timeout));
        }
        self.child.try_wait().expect("our child")
    }

    fn wait_for_line(&mut self, limit: Duration, wanted: impl Fn(&str) -> bool) {
        let clock = Clock::start();
        let deadline = clock.now() + limit.into();
        loop {
            let left = deadline.saturating_since(clock.now()).into();
            let Ok(line) = self.lines.recv_timeout(left) else {
                let status = self.child.try_wait().expect("our child");
                panic!(
                    "no such line within {limit:?}; status {status:?}\n{}",
                    self.output()
                );
            };
            self.keep(&line);
            if wanted(&line) {
                return;
            }
        }
    }

    fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.is_running() {
            self.signal(Signal::TERM);
            // The second one ends it at once, if it is clear that it is one.
            pause(Duration::from_millis(150));
            let _ = rustix::process::kill_process(self.process(), Signal::TERM);
            if self.wait_at_most(Duration::from_secs(5)).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the server printed:\n{}---", self.output());
        }
    }
}

/// The server must not outlive a test that is killed.
fn command(namespace: &Namespace, wrapper: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace.name()]);
    command.args(wrapper);
    // Last, since it does not outlast a change of the user.
    command.args(["setpriv", "--pdeathsig", "KILL"]);
    command.arg(env!("CARGO_BIN_EXE_corelane"));
    command
        .args(["serve", "--interface", SERVER_IF])
        .args(arguments);
    command
}

/// As [`command`], but ended after `seconds`, and `--interface` is left to `arguments`.
fn command_within(
    namespace: &Namespace,
    seconds: &str,
    wrapper: &[&str],
    arguments: &[&str],
) -> Command {
    let mut command = Command::new("ip");
    command.args([
        "netns",
        "exec",
        namespace.name(),
        "timeout",
        "--kill-after=5",
        seconds,
    ]);
    command
        .args(wrapper)
        .arg(env!("CARGO_BIN_EXE_corelane"))
        .arg("serve")
        .args(arguments);
    command
}

fn fail(command: &mut Command) -> Output {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("ip is installed");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    assert!(
        !matches!(code, None | Some(0 | 101 | 124)),
        "{}\n{stderr}",
        output.status
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    output
}

fn collect(stream: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}
