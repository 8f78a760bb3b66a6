//! A client of the control socket. It is of our own user, or root; but the thread that serves it serves
//! all others as well, and the server's end waits for that thread. So a client has only so long,
//! however slowly it goes on, and no longer than the server lasts.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};

use crate::time::{Clock, Duration, Instant};
use crate::worker::{Wake, timespec};

/// See the module.
#[derive(Debug)]
pub(super) struct Client<'a> {
    stream: UnixStream,
    clock: Clock,
    deadline: Instant,
    /// Rung when the server ends.
    end: &'a Wake,
}

impl<'a> Client<'a> {
    /// A client that has `patience` for its request.
    pub(super) fn new(
        stream: UnixStream,
        clock: Clock,
        patience: Duration,
        end: &'a Wake,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            clock,
            deadline: clock.now() + patience,
            end,
        })
    }

    /// From now on it has so long for its answer.
    pub(super) fn grant(&mut self, patience: Duration) {
        self.deadline = self.clock.now() + patience;
    }

    /// Repeats `attempt` until it need not wait for the client.
    fn patiently<T>(
        &mut self,
        event: PollFlags,
        mut attempt: impl FnMut(&UnixStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let left = self.deadline.saturating_since(self.clock.now());
            if left == Duration::ZERO {
                return Err(ErrorKind::TimedOut.into());
            }
            match attempt(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            let mut files = [
                PollFd::from_borrowed_fd(self.end.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.stream.as_fd(), event),
            ];
            let _ = poll(&mut files, Some(&timespec(left)));
            if !files[0].revents().is_empty() {
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
    }
}

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(PollFlags::IN, |mut stream| stream.read(buffer))
    }
}

impl Write for Client<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.patiently(PollFlags::OUT, |mut stream| stream.write(data))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::observe::protocol::{Reply, Request, Show, read_reply, read_request, write_line};

    const SOON: Duration = Duration::from_millis(100);
    const NEVER: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_client_is_heard_and_answered() {
        let (near, far) = UnixStream::pair().unwrap();
        let end = Wake::new().unwrap();
        let mut client = Client::new(near, Clock::start(), NEVER, &end).unwrap();
        let request = Request::Show(Show::Stats);
        write_line(&far, &request).unwrap();
        assert_eq!(read_request(&mut client).unwrap(), request);
        // More than fits into the socket at once.
        let reply = Reply::Error("x".repeat(8 << 20));
        client.grant(NEVER);
        thread::scope(|scope| {
            let answer = scope.spawn(|| read_reply(&far));
            write_line(&mut client, &reply).unwrap();
            assert_eq!(answer.join().unwrap().unwrap(), reply);
        });
    }

    /// An octet now and then is no request.
    #[test]
    fn who_takes_too_long_is_given_up_however_alive() {
        let (near, far) = UnixStream::pair().unwrap();
        let end = Wake::new().unwrap();
        let mut client = Client::new(near, Clock::start(), SOON, &end).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let clock = Clock::start();
                let deadline = clock.now() + Duration::from_secs(30);
                while clock.now() < deadline && (&far).write_all(b" ").is_ok() {
                    thread::yield_now();
                }
            });
            let error = read_request(&mut client).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            drop(client);
        });
    }

    #[test]
    fn nobody_is_waited_for_when_the_server_ends() {
        let (near, _far) = UnixStream::pair().unwrap();
        let end = Wake::new().unwrap();
        let mut client = Client::new(near, Clock::start(), NEVER, &end).unwrap();
        end.ring();
        let error = read_request(&mut client).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        let reply = Reply::Error("x".repeat(8 << 20));
        let error = write_line(&mut client, &reply).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }
}
