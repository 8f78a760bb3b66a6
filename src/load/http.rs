//! Answers of HTTP servers (RFC 9112), however they are cut.

use crate::services::cyclic;

/// Octets of the largest head.
const MAX_HEAD: usize = 64 * 1024;
/// Fields of the largest head.
const MAX_FIELDS: usize = 100;

/// What one worker knows of the answers that it gets.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// The octets that the content consists of are known: so many of them.
    bytes: Option<u64>,
    /// The last head: most answers have the same, octet for octet, and it means the same then.
    known: Vec<u8>,
    meaning: Head,
}

impl Expected {
    pub(super) fn new(bytes: Option<u64>) -> Self {
        Self {
            bytes,
            ..Self::default()
        }
    }

    fn lookup(&self, data: &[u8]) -> Option<(Head, usize)> {
        let len = self.known.len();
        (len > 0 && data.starts_with(&self.known)).then_some((self.meaning, len))
    }

    fn remember(&mut self, octets: &[u8], head: Head) {
        self.known.clear();
        self.known.extend_from_slice(octets);
        self.meaning = head;
    }
}

/// What a head says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Octets of content; `None`: up to the end of the connection.
    length: Option<u64>,
    /// The connection ends with this answer.
    last: bool,
}

/// What has been learned of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is not complete.
    More,
    /// It is complete.
    Answer {
        /// Its status is one of success.
        success: bool,
        /// No other will come.
        last: bool,
    },
    /// It is none, or not what it had to be.
    Bad,
}

/// Reads the answers on one connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// A head of which the end has not arrived.
    partial: Vec<u8>,
    content: Option<Content>,
}

#[derive(Clone, Copy, Debug)]
struct Content {
    head: Head,
    position: u64,
}

impl Reader {
    /// Reads one answer or what there is of it, and returns how many octets that was.
    pub(super) fn take(&mut self, expected: &mut Expected, data: &[u8]) -> (usize, Step) {
        if let Some(content) = self.content {
            return self.take_content(expected, content, data);
        }
        if !self.partial.is_empty() {
            return self.take_partial(expected, data);
        }
        if let Some((head, len)) = expected.lookup(data) {
            return (len, self.begin(expected, head));
        }
        match parse(data) {
            Parsed::Complete(head, len) => {
                expected.remember(&data[..len], head);
                (len, self.begin(expected, head))
            }
            Parsed::Partial if data.len() < MAX_HEAD => {
                self.partial.extend_from_slice(data);
                (data.len(), Step::More)
            }
            Parsed::Partial | Parsed::Bad => (data.len(), Step::Bad),
        }
    }

    /// The server has closed. What that makes of the answer under way.
    pub(super) fn finish(&mut self) -> Step {
        match self.content.take() {
            Some(Content { head, .. }) if head.length.is_none() => answer(head),
            _ => Step::Bad,
        }
    }

    /// Whether the content ends with the connection.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self.content, Some(Content { head, .. }) if head.length.is_none())
    }

    /// More of a head.
    fn take_partial(&mut self, expected: &mut Expected, data: &[u8]) -> (usize, Step) {
        let before = self.partial.len();
        let new = &data[..data.len().min(MAX_HEAD - before)];
        self.partial.extend_from_slice(new);
        // Only a line end brings news: however small the pieces, few attempts are made.
        if !new.contains(&b'\n') && self.partial.len() < MAX_HEAD {
            return (new.len(), Step::More);
        }
        match parse(&self.partial) {
            Parsed::Complete(head, len) => {
                expected.remember(&self.partial[..len], head);
                self.partial = Vec::new();
                // It was not complete before.
                (len - before, self.begin(expected, head))
            }
            Parsed::Partial if self.partial.len() < MAX_HEAD => (new.len(), Step::More),
            Parsed::Partial | Parsed::Bad => (new.len(), Step::Bad),
        }
    }

    /// The head is complete.
    fn begin(&mut self, expected: &Expected, head: Head) -> Step {
        let success = is_success(head.status);
        if success && expected.bytes.is_some() && expected.bytes != head.length {
            return Step::Bad;
        }
        if head.length == Some(0) {
            return answer(head);
        }
        self.content = Some(Content { head, position: 0 });
        Step::More
    }

    fn take_content(
        &mut self,
        expected: &Expected,
        content: Content,
        data: &[u8],
    ) -> (usize, Step) {
        let Content { head, position } = content;
        let left = head.length.map_or(u64::MAX, |length| length - position);
        let now = left.min(data.len() as u64);
        // No longer than `data`.
        let text = &data[..now as usize];
        let is_known = expected.bytes.is_some() && is_success(head.status);
        if is_known && !cyclic::matches(&cyclic::PRINTABLE, position, text) {
            return (text.len(), Step::Bad);
        }
        if now == left {
            self.content = None;
            return (text.len(), answer(head));
        }
        let position = position + now;
        self.content = Some(Content { head, position });
        (text.len(), Step::More)
    }
}

fn answer(head: Head) -> Step {
    Step::Answer {
        success: is_success(head.status),
        last: head.last,
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

enum Parsed {
    Partial,
    Complete(Head, usize),
    Bad,
}

fn parse(data: &[u8]) -> Parsed {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(data) {
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Ok(httparse::Status::Complete(len)) => match examine(&response) {
            Some(head) => Parsed::Complete(head, len),
            None => Parsed::Bad,
        },
        Err(_) => Parsed::Bad,
    }
}

/// `None` if what follows cannot be understood.
fn examine(response: &httparse::Response<'_, '_>) -> Option<Head> {
    let (status, version) = (response.code?, response.version?);
    let (mut length, mut close, mut keep_alive) = (None, false, false);
    for field in response.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(field.value).ok()?.trim();
            let is_decimal = value.bytes().all(|octet| octet.is_ascii_digit());
            let value = value.parse::<u64>().ok().filter(|_| is_decimal)?;
            // RFC 9112 section 6.3: two that differ say nothing.
            if length.replace(value).is_some_and(|other| other != value) {
                return None;
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            // Nobody has to send it, and this reader does not understand it.
            return None;
        } else if field.name.eq_ignore_ascii_case("connection") {
            for word in field.value.split(|&octet| octet == b',') {
                close |= word.trim_ascii().eq_ignore_ascii_case(b"close");
                keep_alive |= word.trim_ascii().eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }
    // RFC 9112 section 6.3: these have no content. 1xx would not be the answer, and is not asked for.
    match status {
        100..200 => return None,
        204 | 304 => length = Some(0),
        _ => {}
    }
    Some(Head {
        status,
        length,
        last: close || (version == 0 && !keep_alive) || length.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const GOOD: Step = Step::Answer {
        success: true,
        last: false,
    };

    /// What pieces of at most `size` octets come to, up to the first that is bad.
    fn read(expected: &mut Expected, stream: &[u8], size: usize) -> Vec<Step> {
        let mut reader = Reader::default();
        let mut steps = Vec::new();
        for mut piece in stream.chunks(size) {
            while !piece.is_empty() {
                let (taken, step) = reader.take(expected, piece);
                assert!(taken > 0, "no progress");
                piece = &piece[taken..];
                if step != Step::More {
                    steps.push(step);
                }
                if step == Step::Bad {
                    return steps;
                }
            }
        }
        if reader.ends_with_connection() {
            steps.push(reader.finish());
        }
        steps
    }

    fn read_all(stream: &[u8], bytes: Option<u64>) -> Vec<Step> {
        let whole = read(&mut Expected::new(bytes), stream, stream.len());
        for size in 1..stream.len() {
            let pieces = read(&mut Expected::new(bytes), stream, size);
            assert_eq!(pieces, whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn answers_are_the_same_however_they_are_cut() {
        let stream = [HELLO, HELLO, b"HTTP/1.1 204 No\r\n\r\n", HELLO].concat();
        assert_eq!(read_all(&stream, None), [GOOD; 4]);
    }

    #[test]
    fn heads_that_differ_are_read_anew() {
        let other = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        let refused = b"HTTP/1.1 404 No\r\nContent-Length: 3\r\nConnection: x, Close\r\n\r\nno\n";
        let stream = [HELLO, other, HELLO, refused].concat();
        let last = Step::Answer {
            success: false,
            last: true,
        };
        assert_eq!(read_all(&stream, None), [GOOD, GOOD, GOOD, last]);
    }

    #[test]
    fn octets_that_are_known_must_be_right() {
        let content = |len: u64| {
            let mut octets = vec![0; len as usize];
            cyclic::fill(&cyclic::PRINTABLE, 0, &mut octets);
            [
                format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").into_bytes(),
                octets,
            ]
            .concat()
        };
        let mut stream = content(300);
        assert_eq!(read_all(&stream, Some(300)), [GOOD]);
        assert_eq!(read_all(&content(299), Some(300)), [Step::Bad]);
        *stream.last_mut().unwrap() ^= 1;
        assert_eq!(read_all(&stream, Some(300)), [Step::Bad]);
        assert_eq!(read_all(&stream, None), [GOOD]);
    }

    #[test]
    fn without_a_length_the_connection_ends_the_answer() {
        let last = Step::Answer {
            success: true,
            last: true,
        };
        let stream = b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nsome text";
        assert_eq!(read_all(stream, None), [last]);
        let old = b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(read_all(old, None), [last]);
        let kept = b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\nx";
        assert_eq!(read_all(kept, None), [GOOD]);
    }

    #[test]
    fn what_is_no_answer_is_bad() {
        for stream in [
            &b"HELLO\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            assert_eq!(read_all(stream, None), [Step::Bad]);
        }
        let endless = [&b"HTTP/1.1 200 OK\r\nA: "[..], &vec![b'a'; 2 * MAX_HEAD]].concat();
        for size in [1_460, endless.len()] {
            assert_eq!(read(&mut Expected::new(None), &endless, size), [Step::Bad]);
        }
        let mut reader = Reader::default();
        assert_eq!(reader.finish(), Step::Bad);
    }
}
