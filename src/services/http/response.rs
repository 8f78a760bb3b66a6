//! Responses as values, and their octets.

use std::io::Write;

use arrayvec::ArrayVec;

use crate::services::cyclic;
use crate::services::output::Output;

/// Octets that hold any head, with the text that follows it unless that is [`Body::Bytes`].
const MAX_LEN: usize = 192;

const HELLO: &str = "hello, world\n";
/// [`HELLO_RESPONSE`] in octets; the test `hello_is_what_would_be_written` holds them together.
const HELLO_OCTETS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\n\r\nhello, world\n";
const HELLO_RESPONSE: Response = Response {
    body: Body::Hello,
    head_only: false,
    persistence: Persistence::Implied,
};

/// A response. Small: what was not sent at once is written again later, not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) body: Body,
    /// It answers HEAD.
    pub(super) head_only: bool,
    pub(super) persistence: Persistence,
}

/// Of what a response consists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// 100 (Continue).
    Continue,
    /// What `/` is.
    Hello,
    /// What `/bytes/N` is.
    Bytes(u64),
    /// Some other status, in words.
    Status(Status),
}

/// What becomes of the connection, and whether that must be said (RFC 9112 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It stays, as always in HTTP/1.1.
    Implied,
    /// It stays, which HTTP/1.0 asked for and has to be told.
    Said,
    /// It ends with this response.
    Close,
}

/// The statuses that say what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    UriTooLong,
    FieldsTooLarge,
    NotImplemented,
    ServiceUnavailable,
    VersionNotSupported,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::ContentTooLarge => "413 Content Too Large",
            Self::UriTooLong => "414 URI Too Long",
            Self::FieldsTooLarge => "431 Request Header Fields Too Large",
            Self::NotImplemented => "501 Not Implemented",
            Self::ServiceUnavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

impl Response {
    pub(super) const CONTINUE: Self = Self {
        body: Body::Continue,
        head_only: true,
        persistence: Persistence::Implied,
    };

    /// `status`, and the end of the connection.
    pub(super) const fn refusal(status: Status, head_only: bool) -> Self {
        Self {
            body: Body::Status(status),
            head_only,
            persistence: Persistence::Close,
        }
    }

    /// Whether it says that something was wrong.
    pub(super) const fn is_error(&self) -> bool {
        matches!(self.body, Body::Status(_))
    }

    /// The octets that come before [`Body::Bytes`]: all, if it is another body.
    fn text(&self) -> ArrayVec<u8, MAX_LEN> {
        let mut text = ArrayVec::new();
        // Writing fails if there is no room; the test `every_response_fits` shows that there is.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        let (line, words, len) = match self.body {
            Body::Continue => return to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n"),
            Body::Hello => ("200 OK", HELLO, HELLO.len() as u64),
            Body::Bytes(len) => ("200 OK", "", len),
            Body::Status(status) => (status.line(), status.line(), status.line().len() as u64 + 1),
        };
        write!(
            to,
            "HTTP/1.1 {line}\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n"
        )?;
        if self.body == Body::Status(Status::MethodNotAllowed) {
            to.write_all(b"Allow: GET, HEAD\r\n")?;
        }
        to.write_all(match self.persistence {
            Persistence::Implied => b"\r\n",
            Persistence::Said => b"Connection: keep-alive\r\n\r\n",
            Persistence::Close => b"Connection: close\r\n\r\n",
        })?;
        if !self.head_only {
            to.write_all(words.as_bytes())?;
            if self.is_error() {
                to.write_all(b"\n")?;
            }
        }
        Ok(())
    }
}

/// A response on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sending {
    response: Response,
    /// Octets sent.
    position: u64,
}

impl Sending {
    pub(super) const fn new(response: Response) -> Self {
        Self {
            response,
            position: 0,
        }
    }

    /// Octets sent so far.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// Sends what there is room for. Returns whether that was the rest.
    pub(super) fn advance(&mut self, output: &mut impl Output) -> bool {
        if self.response == HELLO_RESPONSE {
            return self.advance_text(output, HELLO_OCTETS);
        }
        let text = self.response.text();
        if !self.advance_text(output, &text) {
            return false;
        }
        match self.response.body {
            Body::Bytes(len) if !self.response.head_only => {
                self.advance_bytes(output, text.len() as u64, len)
            }
            _ => true,
        }
    }

    fn advance_text(&mut self, output: &mut impl Output, text: &[u8]) -> bool {
        // Past the text when the position is in the bytes behind it.
        let start = usize::try_from(self.position).unwrap_or(usize::MAX);
        let rest = text.get(start..).unwrap_or_default();
        if rest.is_empty() {
            return true;
        }
        let sent = output.send(rest);
        self.position += sent as u64;
        sent == rest.len()
    }

    fn advance_bytes(&mut self, output: &mut impl Output, start: u64, len: u64) -> bool {
        let mut at = self.position - start;
        let rest = len - at;
        if rest == 0 {
            return true;
        }
        let limit = usize::try_from(rest).unwrap_or(usize::MAX);
        let sent = output.send_with(limit, |room| {
            cyclic::fill(&cyclic::PRINTABLE, at, room);
            at += room.len() as u64;
            room.len()
        }) as u64;
        self.position += sent;
        sent == rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::output::Pipe;

    #[test]
    fn hello_is_what_would_be_written() {
        assert_eq!(HELLO_OCTETS, &HELLO_RESPONSE.text()[..]);
    }

    #[test]
    fn every_response_fits() {
        let statuses = [
            Status::BadRequest,
            Status::NotFound,
            Status::MethodNotAllowed,
            Status::RequestTimeout,
            Status::ContentTooLarge,
            Status::UriTooLong,
            Status::FieldsTooLarge,
            Status::NotImplemented,
            Status::ServiceUnavailable,
            Status::VersionNotSupported,
        ];
        let bodies = [Body::Continue, Body::Hello, Body::Bytes(u64::MAX)]
            .into_iter()
            .chain(statuses.map(Body::Status));
        for body in bodies {
            for persistence in [Persistence::Implied, Persistence::Said, Persistence::Close] {
                let response = Response {
                    body,
                    head_only: false,
                    persistence,
                };
                let mut octets = Vec::new();
                response.write(&mut octets).unwrap();
                assert_eq!(response.text()[..], octets[..], "{response:?}");
            }
        }
    }

    #[test]
    fn bytes_go_on_from_any_position() {
        let response = Response {
            body: Body::Bytes(1 << 40),
            ..HELLO_RESPONSE
        };
        let head = response.text().len() as u64;
        for at in [
            0,
            94,
            95,
            3039,
            3040,
            (1 << 32) - 3,
            (1 << 40) - 5000,
            (1 << 40) - 1,
        ] {
            let mut sending = Sending {
                response,
                position: head + at,
            };
            let mut pipe = Pipe::new(4000, 1460);
            let rest = (1u64 << 40) - at;
            assert_eq!(sending.advance(&mut pipe), rest <= 4000);
            assert_eq!(pipe.sent.len() as u64, rest.min(4000));
            for (i, &octet) in pipe.sent.iter().enumerate() {
                assert_eq!(u64::from(octet), 0x20 + (at + i as u64) % 95);
            }
        }
    }
}
