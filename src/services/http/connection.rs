//! One connection: requests in, responses out, one at a time.

use super::limits::{Limits, Wait};
use super::request::{self, MAX_HEAD, Parsed, Request};
use super::response::{Body, Persistence, Response, Sending, Status};
use crate::services::output::Output;
use crate::time::{Duration, Instant};

/// Octets that are read and thrown away after the last response (RFC 9112 section 9.6: a reset,
/// which unread text would cause, can take the response away from the peer).
const LINGER: usize = 1 << 20;

/// What the server remembers of one connection.
#[derive(Debug)]
pub struct Connection {
    /// A head of which the end has not arrived. Not allocated else: heads that arrive whole are
    /// parsed where they lie.
    partial: Vec<u8>,
    /// The response that there was no room for. Nothing is read before it has gone.
    sending: Option<Sending>,
    phase: Phase,
    peer_closed: bool,
    /// See [`Limits`].
    max_body: u64,
    /// What `due` is for.
    wait: Wait,
    /// Whether what it waited for has come since, or some of it, so that it waits anew.
    moved: bool,
    /// Octets of content since the last look at the clock.
    arrived: u64,
    /// When it has waited long enough.
    due: Instant,
    /// It is closed or reset: nothing is waited for.
    ended: bool,
    /// A status that a limit has caused, and that was not counted yet.
    refused: Option<Status>,
    /// What the server knows of `partial`; see [`news_of_memory`](Self::news_of_memory).
    reported: usize,
}

/// What the next octet is.
#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    /// Part of a head.
    #[default]
    Head,
    /// The first of `rest` octets of content; then `response` is due.
    Content { rest: u64, response: Response },
    /// Of no interest. No more than `rest` of these are put up with.
    Linger { rest: usize },
}

impl Connection {
    /// A connection that has just begun.
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            partial: Vec::new(),
            sending: None,
            phase: Phase::default(),
            peer_closed: false,
            max_body: limits.max_body,
            wait: Wait::Request,
            moved: false,
            arrived: 0,
            due: now + limits.timeout(Wait::Request),
            ended: false,
            refused: None,
            reported: 0,
        }
    }

    /// Octets of memory for heads that this connection holds, and how many of them it held when this
    /// was last asked.
    pub(super) fn news_of_memory(&mut self) -> (usize, usize) {
        let now = self.partial.capacity();
        (now, std::mem::replace(&mut self.reported, now))
    }

    /// What the server knows of its memory for heads.
    pub(super) const fn reported_memory(&self) -> usize {
        self.reported
    }

    /// There is no memory for the rest of its head.
    pub(super) fn refuse_head(&mut self, output: &mut impl Output) {
        let head_only = self.partial.starts_with(b"HEAD ");
        self.respond(Response::refusal(Status::ServiceUnavailable, head_only));
        self.advance(output);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.ended).then_some(self.due)
    }

    /// To be called when anything has happened: what does it wait for, and how long may that take?
    pub(super) fn settle(&mut self, limits: &Limits, now: Instant) {
        let wait = match (&self.sending, self.phase) {
            (Some(_), _) => Wait::Room,
            (None, Phase::Linger { .. }) => Wait::Close,
            (None, Phase::Content { .. }) => Wait::Content,
            // Half an empty line is no request.
            (None, Phase::Head) if matches!(&self.partial[..], b"" | b"\r") => Wait::Request,
            (None, Phase::Head) => Wait::Head,
        };
        if std::mem::take(&mut self.moved) || wait != self.wait {
            self.wait = wait;
            self.due = now + limits.timeout(wait);
        }
        let arrived = std::mem::take(&mut self.arrived);
        if wait == Wait::Content && arrived > 0 {
            let credit = arrived.saturating_mul(1_000_000) / limits.body_rate.max(1);
            let due = self.due + Duration::from_micros(credit);
            // What came fast does not let the rest come never.
            self.due = due.min(now + limits.timeout(wait));
        }
    }

    /// What was waited for has not come in time. Returns what that was.
    pub(super) fn handle_timeout(&mut self, output: &mut impl Output) -> Wait {
        self.moved = true;
        let waited = self.wait;
        match waited {
            // Nobody asked, so nobody would understand an answer.
            Wait::Request => self.close(output),
            Wait::Head | Wait::Content => {
                let head_only = match self.phase {
                    Phase::Content { response, .. } => response.head_only,
                    Phase::Head | Phase::Linger { .. } => self.partial.starts_with(b"HEAD "),
                };
                self.respond(Response::refusal(Status::RequestTimeout, head_only));
                self.advance(output);
            }
            // It has had its answer; what is on its way still arrives.
            Wait::Close => self.close(output),
            Wait::Room => {
                self.ended = true;
                output.abort();
            }
        }
        waited
    }

    fn close(&mut self, output: &mut impl Output) {
        self.ended = true;
        output.close();
    }

    /// A status that a limit has caused since the last time.
    pub(super) const fn take_refused(&mut self) -> Option<Status> {
        self.refused.take()
    }

    /// Returns how much of `data` is consumed: all, unless a response waits for room.
    pub(super) fn handle_data(&mut self, output: &mut impl Output, data: &[u8]) -> usize {
        let mut consumed = 0;
        while self.advance(output) && consumed < data.len() {
            let rest = &data[consumed..];
            consumed += match self.phase {
                Phase::Head if self.partial.is_empty() => self.handle_head(rest),
                Phase::Head => self.handle_partial(rest),
                Phase::Content {
                    rest: due,
                    response,
                } => self.skip(due, response, rest.len()),
                Phase::Linger { rest: limit } => {
                    if rest.len() > limit {
                        self.ended = true;
                        output.abort();
                    }
                    self.phase = Phase::Linger {
                        rest: limit.saturating_sub(rest.len()),
                    };
                    rest.len()
                }
            };
        }
        consumed
    }

    pub(super) fn handle_writable(&mut self, output: &mut impl Output) {
        if self.peer_closed {
            self.finish(output);
        } else {
            self.advance(output);
        }
    }

    /// The peer has no more to send and all of it has been consumed.
    pub(super) fn handle_peer_close(&mut self, output: &mut impl Output) {
        self.peer_closed = true;
        self.finish(output);
    }

    /// Closes as soon as everything is answered.
    fn finish(&mut self, output: &mut impl Output) {
        while self.advance(output) {
            let response = match self.phase {
                Phase::Head if !self.partial.is_empty() => {
                    refuse_partial(&self.partial, self.max_body)
                }
                Phase::Content { response, .. } => {
                    Response::refusal(Status::BadRequest, response.head_only)
                }
                Phase::Head | Phase::Linger { .. } => return self.close(output),
            };
            self.respond(response);
        }
    }

    /// Sends what waits. Returns whether nothing does any more.
    fn advance(&mut self, output: &mut impl Output) -> bool {
        let Some(sending) = &mut self.sending else {
            return true;
        };
        let before = sending.position();
        let complete = sending.advance(output);
        self.moved |= sending.position() != before;
        if !complete {
            return false;
        }
        self.sending = None;
        if matches!(self.phase, Phase::Linger { .. }) {
            output.shutdown();
        }
        true
    }

    /// The beginning of a head. Returns how much of `data` is consumed.
    fn handle_head(&mut self, data: &[u8]) -> usize {
        let empty_lines = empty_lines(data);
        if empty_lines > 0 {
            return empty_lines;
        }
        match request::parse(data, self.max_body) {
            Parsed::Complete { request, len } => {
                self.accept(request);
                len
            }
            Parsed::Refused(response) => {
                self.respond(response);
                0
            }
            Parsed::Incomplete => {
                self.partial.extend_from_slice(data);
                data.len()
            }
        }
    }

    /// More of a head. Returns how much of `data` is consumed.
    fn handle_partial(&mut self, data: &[u8]) -> usize {
        let before = self.partial.len();
        if self.partial == b"\r" && data.starts_with(b"\n") {
            self.partial = Vec::new();
            return 1;
        }
        let new = &data[..data.len().min(MAX_HEAD - before)];
        self.partial.extend_from_slice(new);
        // Only a line end or the limit brings news, and there are no more line ends than fields
        // are allowed: however small the pieces, few attempts are made.
        if self.partial.len() < MAX_HEAD && !new.contains(&b'\n') {
            return new.len();
        }
        match request::parse(&self.partial, self.max_body) {
            Parsed::Complete { request, len } => {
                self.partial = Vec::new();
                self.accept(request);
                len.saturating_sub(before)
            }
            Parsed::Refused(response) => {
                self.respond(response);
                new.len()
            }
            Parsed::Incomplete => new.len(),
        }
    }

    fn accept(&mut self, request: Request) {
        self.moved = true;
        let mut response = request.response;
        if request.content == 0 {
            return self.respond(response);
        }
        if request.expects_continue {
            if response.is_error() {
                // RFC 9110 section 10.1.1: whether the content will follow cannot be known, so
                // nothing that follows can be understood.
                response.persistence = Persistence::Close;
                return self.respond(response);
            }
            self.sending = Some(Sending::new(Response::CONTINUE));
        }
        self.phase = Phase::Content {
            rest: request.content,
            response,
        };
    }

    /// Skips content. Returns how many of the `arrived` octets belong to it.
    fn skip(&mut self, due: u64, response: Response, arrived: usize) -> usize {
        let skipped = due.min(arrived as u64);
        self.arrived += skipped;
        if skipped == due {
            self.respond(response);
        } else {
            self.phase = Phase::Content {
                rest: due - skipped,
                response,
            };
        }
        skipped as usize
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn partial_capacity(&self) -> usize {
        self.partial.capacity()
    }

    /// `response` is to be sent next.
    fn respond(&mut self, response: Response) {
        if let Body::Status(
            status @ (Status::FieldsTooLarge
            | Status::UriTooLong
            | Status::ContentTooLarge
            | Status::ServiceUnavailable),
        ) = response.body
        {
            self.refused = Some(status);
        }
        self.sending = Some(Sending::new(response));
        self.phase = if response.persistence == Persistence::Close {
            self.partial = Vec::new();
            Phase::Linger { rest: LINGER }
        } else {
            Phase::Head
        };
    }
}

/// What a head is answered with of which no more will come (RFC 9112 section 8).
fn refuse_partial(head: &[u8], max_body: u64) -> Response {
    match request::parse(head, max_body) {
        Parsed::Refused(response) => response,
        Parsed::Incomplete | Parsed::Complete { .. } => {
            Response::refusal(Status::BadRequest, head.starts_with(b"HEAD "))
        }
    }
}

/// Octets of the empty lines at the beginning of `data`, which may precede a request (RFC 9112
/// section 2.2).
fn empty_lines(data: &[u8]) -> usize {
    let mut rest = data;
    while let Some(next) = rest
        .strip_prefix(b"\r\n")
        .or_else(|| rest.strip_prefix(b"\n"))
    {
        rest = next;
    }
    data.len() - rest.len()
}
