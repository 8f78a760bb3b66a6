//! One connection: requests in, responses out, one at a time.

use super::request::{self, MAX_HEAD, Parsed, Request};
use super::response::{Persistence, Response, Sending, Status};
use crate::services::output::Output;

/// Octets that are read and thrown away after the last response (RFC 9112 section 9.6: a reset,
/// which unread text would cause, can take the response away from the peer).
const LINGER: usize = 1 << 20;

/// What the server remembers of one connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// A head of which the end has not arrived. Not allocated else: heads that arrive whole are
    /// parsed where they lie.
    partial: Vec<u8>,
    /// The response that there was no room for. Nothing is read before it has gone.
    sending: Option<Sending>,
    phase: Phase,
    peer_closed: bool,
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
                Phase::Head if !self.partial.is_empty() => refuse_partial(&self.partial),
                Phase::Content { response, .. } => {
                    Response::refusal(Status::BadRequest, response.head_only)
                }
                Phase::Head | Phase::Linger { .. } => return output.close(),
            };
            self.respond(response);
        }
    }

    /// Sends what waits. Returns whether nothing does any more.
    fn advance(&mut self, output: &mut impl Output) -> bool {
        let Some(sending) = &mut self.sending else {
            return true;
        };
        if !sending.advance(output) {
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
        match request::parse(data) {
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
        match request::parse(&self.partial) {
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
fn refuse_partial(head: &[u8]) -> Response {
    match request::parse(head) {
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
