//! Requests and answers on one connection.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::http::{Expected, Reader, Step};
use super::options::{Options, Work};
use super::report::Report;
use crate::services::cyclic;
use crate::stack::Socket;
use crate::time::{Duration, Instant};

/// What the requests of all connections have in common.
#[derive(Debug)]
pub(super) struct Script {
    /// A connection's requests are the endless repetition of this.
    text: Cow<'static, [u8]>,
    /// Octets of one request.
    request: u64,
    /// Requests that may be on their way.
    pipeline: usize,
    /// Whether octets that come back are compared.
    verify: bool,
    expected: Expected,
}

impl Script {
    pub(super) fn new(options: &Options) -> Self {
        let (text, request) = match options.target.work {
            Work::Http => {
                let text = options.target.request(options.close);
                let len = text.len() as u64;
                (Cow::Owned(text), len)
            }
            _ => (Cow::Borrowed(&cyclic::PRINTABLE[..]), options.size),
        };
        let bytes = options.target.bytes().filter(|_| options.verify);
        Self {
            text,
            request,
            pipeline: options.pipeline,
            verify: options.verify,
            expected: Expected::new(bytes),
        }
    }
}

/// One connection's requests and answers.
#[derive(Debug)]
pub(super) struct Talk {
    /// When the requests began that have no answer yet, the oldest first.
    begun: VecDeque<Instant>,
    /// Octets of the requests begun, and of those the ones that are written.
    wanted: u64,
    written: u64,
    answers: Answers,
    /// There are no more requests: this connection ends.
    last: bool,
    /// Since when it waits for what is next.
    since: Instant,
}

#[derive(Debug)]
enum Answers {
    Http(Reader),
    Echo { received: u64 },
}

impl Talk {
    pub(super) fn new(work: Work, now: Instant) -> Self {
        Self {
            begun: VecDeque::new(),
            wanted: 0,
            written: 0,
            answers: match work {
                Work::Http => Answers::Http(Reader::default()),
                _ => Answers::Echo { received: 0 },
            },
            last: false,
            since: now,
        }
    }

    /// One request, which was due at `due`, and none after it.
    pub(super) fn begin_only(&mut self, script: &Script, due: Instant) {
        self.begin(script, due);
        self.last = true;
    }

    /// As many requests as may be on their way.
    pub(super) fn begin_all(&mut self, script: &Script, now: Instant) {
        while self.may_begin(script) {
            self.wait_from(now);
            self.begin(script, now);
        }
    }

    /// The requests that are due: the next one at `due`, then one after each `interval`.
    pub(super) fn begin_due(
        &mut self,
        script: &Script,
        now: Instant,
        due: &mut Instant,
        interval: Duration,
    ) {
        while self.may_begin(script) && *due <= now {
            self.wait_from(now);
            self.begin(script, *due);
            *due += interval;
        }
    }

    /// Whether one more request may be on its way.
    pub(super) fn may_begin(&self, script: &Script) -> bool {
        !self.last && self.begun.len() < script.pipeline
    }

    /// Whether an answer is due.
    pub(super) fn is_waiting(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Whether this connection is to end.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// Since when it waits for an answer or for its end; `None` if for neither.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let waits = self.is_waiting() || self.last;
        (waits && self.since < Instant::FAR_FUTURE).then_some(self.since)
    }

    /// It waits for nothing any more.
    pub(super) fn give_up(&mut self) {
        self.begun.clear();
        self.last = true;
        self.since = Instant::FAR_FUTURE;
    }

    /// Writes what there is room for.
    pub(super) fn write(&mut self, script: &Script, socket: &mut Socket<'_>, report: &mut Report) {
        let left = self.wanted - self.written;
        if left == 0 {
            return;
        }
        let mut at = self.written;
        let limit = usize::try_from(left).unwrap_or(usize::MAX);
        let sent = socket.send_with(limit, |room| {
            cyclic::fill(&script.text, at, room);
            at += room.len() as u64;
            room.len()
        }) as u64;
        self.written += sent;
        report.sent += sent;
    }

    /// Answers have arrived. Returns false if that is not what they are.
    pub(super) fn read(
        &mut self,
        script: &mut Script,
        now: Instant,
        mut data: &[u8],
        report: &mut Report,
    ) -> bool {
        while !data.is_empty() {
            if self.begun.is_empty() {
                // Nobody asked.
                return false;
            }
            let (taken, step) = match &mut self.answers {
                Answers::Http(reader) => reader.take(&mut script.expected, data),
                Answers::Echo { received } => take_echo(script, received, data),
            };
            data = &data[taken..];
            match step {
                Step::More => {}
                Step::Answer { success, last } => self.answered(now, success, last, report),
                Step::Bad => return false,
            }
        }
        true
    }

    /// The server has closed, which may be the end of an answer.
    pub(super) fn read_end(&mut self, now: Instant, report: &mut Report) {
        if let Answers::Http(reader) = &mut self.answers
            && reader.ends_with_connection()
            && let Step::Answer { success, .. } = reader.finish()
        {
            self.answered(now, success, true, report);
        }
    }

    fn answered(&mut self, now: Instant, success: bool, last: bool, report: &mut Report) {
        let Some(since) = self.begun.pop_front() else {
            return;
        };
        if success {
            report.requests += 1;
            report.record(since, now);
        } else {
            report.errors.status += 1;
        }
        self.since = now;
        if last {
            // RFC 9112 section 9.6: the requests behind it are not answered.
            self.begun.clear();
            self.last = true;
        }
    }

    fn begin(&mut self, script: &Script, due: Instant) {
        self.begun.push_back(due);
        self.wanted += script.request;
    }

    /// A wait begins now, unless one has begun already.
    fn wait_from(&mut self, now: Instant) {
        if self.begun.is_empty() {
            self.since = now;
        }
    }
}

/// What comes back must be what was sent, from the first octet of the connection on.
fn take_echo(script: &Script, received: &mut u64, data: &[u8]) -> (usize, Step) {
    let left = script.request - *received % script.request;
    let now = left.min(data.len() as u64);
    // No longer than `data`.
    let text = &data[..now as usize];
    if script.verify && !cyclic::matches(&script.text, *received, text) {
        return (text.len(), Step::Bad);
    }
    *received += now;
    let step = match now == left {
        true => Step::Answer {
            success: true,
            last: false,
        },
        false => Step::More,
    };
    (text.len(), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(target: &str, pipeline: usize, size: u64) -> Options {
        Options {
            target: target.parse().unwrap(),
            sources: Vec::new(),
            connections: 1,
            duration: Duration::from_secs(1),
            pipeline,
            close: false,
            rate: None,
            size,
            idle: false,
            timeout: Duration::from_secs(5),
            verify: true,
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_server_that_stalls_is_measured_from_when_requests_were_due() {
        let options = options("echo://198.18.0.1", 1, 4);
        let mut script = Script::new(&options);
        let mut talk = Talk::new(Work::Echo, at(1_000));
        let mut report = Report::new();
        let (mut due, interval) = (at(1_000), Duration::from_millis(10));
        talk.begin_due(&script, at(1_000), &mut due, interval);
        // The answer takes 100 ms, in which ten more were due, and the others none.
        assert!(talk.read(&mut script, at(1_100), b" !\"#", &mut report));
        let mut text = 4;
        while due <= at(1_100) {
            talk.begin_due(&script, at(1_100), &mut due, interval);
            let mut answer = [0; 4];
            cyclic::fill(&cyclic::PRINTABLE, text, &mut answer);
            text += 4;
            assert!(talk.read(&mut script, at(1_100), &answer, &mut report));
        }
        assert_eq!(report.requests, 11);
        let (max, median) = (report.latency.max(), report.latency.value_at_quantile(0.5));
        assert!((99_900_000..=100_100_000).contains(&max), "{max}");
        assert!((49_900_000..=50_100_000).contains(&median), "{median}");
        assert_eq!(due, at(1_110));
    }

    #[test]
    fn what_comes_back_must_be_what_was_sent() {
        let options = options("echo://198.18.0.1", 3, 100);
        let mut stream = vec![0; 300];
        cyclic::fill(&cyclic::PRINTABLE, 0, &mut stream);
        for size in 1..=stream.len() {
            let mut script = Script::new(&options);
            let mut talk = Talk::new(Work::Echo, at(1));
            let mut report = Report::new();
            talk.begin_all(&script, at(1));
            for piece in stream.chunks(size) {
                assert!(talk.read(&mut script, at(2), piece, &mut report));
            }
            assert_eq!((report.requests, talk.is_waiting()), (3, false));
            // One octet more than was sent.
            assert!(!talk.read(&mut script, at(2), b"x", &mut report));
        }
        let mut script = Script::new(&options);
        let mut talk = Talk::new(Work::Echo, at(1));
        talk.begin_all(&script, at(1));
        stream[299] ^= 1;
        assert!(!talk.read(&mut script, at(2), &stream, &mut Report::new()));
    }

    #[test]
    fn nothing_is_asked_on_a_connection_that_ends() {
        let options = options("http://198.18.0.1", 2, 1);
        let mut script = Script::new(&options);
        let mut talk = Talk::new(Work::Http, at(1));
        let mut report = Report::new();
        talk.begin_all(&script, at(1));
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        assert!(talk.read(&mut script, at(2), answer, &mut report));
        assert!(talk.is_last() && !talk.is_waiting() && !talk.may_begin(&script));
        assert_eq!((report.requests, report.errors.total()), (1, 0));
        assert_eq!(talk.waits_since(), Some(at(2)));
    }
}
