//! The head of a request: octets to what is to be done about it.

use std::mem::MaybeUninit;

use super::response::{Body, Persistence, Response, Status};

/// Octets of the largest head, from the request line to the empty line.
pub(super) const MAX_HEAD: usize = 8192;
/// Fields of the largest head.
const MAX_FIELDS: usize = 64;
/// Octets of the largest `/bytes/N`.
const MAX_BYTES: u64 = 1 << 40;

/// What the octets at the beginning of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// More is needed.
    Incomplete,
    /// The head is complete.
    Complete { request: Request, len: usize },
    /// It is not to be served, and what follows it not to be understood.
    Refused(Response),
}

/// A request that may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The answer, due after the content.
    pub(super) response: Response,
    /// Octets of content that follow the head.
    pub(super) content: u64,
    /// The content follows only after 100 (Continue).
    pub(super) expects_continue: bool,
}

/// Parses the head at the beginning of `data`, which must not start with an empty line. Content of
/// more than `max_content` octets is refused.
///
/// Looks at [`MAX_HEAD`] octets at most. A head that is in error stays so whatever follows: the
/// outcome does not depend on how much of it has arrived when one looks.
pub(super) fn parse(data: &[u8], max_content: u64) -> Parsed {
    let window = &data[..data.len().min(MAX_HEAD)];
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let status = match head.parse_with_uninit_headers(window, &mut fields) {
        Ok(httparse::Status::Complete(len)) => match examine(&head, max_content) {
            Ok(request) => return Parsed::Complete { request, len },
            Err(status) => status,
        },
        Ok(httparse::Status::Partial) if window.len() < MAX_HEAD => return Parsed::Incomplete,
        Ok(httparse::Status::Partial) if window.contains(&b'\n') => Status::FieldsTooLarge,
        // RFC 9112 section 3.
        Ok(httparse::Status::Partial) => Status::UriTooLong,
        Err(httparse::Error::TooManyHeaders) => Status::FieldsTooLarge,
        Err(httparse::Error::Version) if is_http(window) => Status::VersionNotSupported,
        Err(_) => Status::BadRequest,
    };
    Parsed::Refused(Response::refusal(status, head.method == Some("HEAD")))
}

/// Whether the third word of the request line names some version of HTTP.
fn is_http(head: &[u8]) -> bool {
    head.splitn(3, |&octet| octet == b' ')
        .nth(2)
        .and_then(|version| version.strip_prefix(b"HTTP/"))
        .and_then(<[u8]>::first)
        .is_some_and(u8::is_ascii_digit)
}

/// The fields that matter here.
#[derive(Default)]
struct Fields {
    host: bool,
    content_length: Option<u64>,
    transfer_encoding: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
}

fn examine(head: &httparse::Request<'_, '_>, max_content: u64) -> Result<Request, Status> {
    let (Some(method), Some(target)) = (head.method, head.path) else {
        return Err(Status::BadRequest);
    };
    let is_1_1 = head.version == Some(1);
    let fields = Fields::read(head.headers)?;
    if is_1_1 && !fields.host {
        // RFC 9112 section 3.2.
        return Err(Status::BadRequest);
    }
    if fields.transfer_encoding {
        // RFC 9112 section 6.1: both, or a coding in HTTP/1.0, is how requests are smuggled.
        return Err(if fields.content_length.is_some() || !is_1_1 {
            Status::BadRequest
        } else {
            Status::NotImplemented
        });
    }
    let content = fields.content_length.unwrap_or(0);
    if content > max_content {
        return Err(Status::ContentTooLarge);
    }
    let persistence = match (is_1_1, fields.close, fields.keep_alive) {
        (_, true, _) | (false, _, false) => Persistence::Close,
        (true, false, _) => Persistence::Implied,
        (false, false, true) => Persistence::Said,
    };
    Ok(Request {
        response: Response {
            body: answer(method, target)?,
            head_only: method == "HEAD",
            persistence,
        },
        content,
        // RFC 9110 section 10.1.1: not from HTTP/1.0, and not without content.
        expects_continue: fields.expects_continue && is_1_1 && content > 0,
    })
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, Status> {
        let mut fields = Self::default();
        for header in headers {
            let (name, value) = (header.name, header.value);
            // The length tells them apart from most others at once.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    if fields.host || !is_host(value) {
                        return Err(Status::BadRequest);
                    }
                    fields.host = true;
                }
                6 if name.eq_ignore_ascii_case("expect") => {
                    fields.expects_continue |= value.eq_ignore_ascii_case(b"100-continue");
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in value.split(|&octet| octet == b',') {
                        let option = option.trim_ascii();
                        fields.close |= option.eq_ignore_ascii_case(b"close");
                        fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    // RFC 9110 section 8.6 lets us refuse equal ones too.
                    if fields.content_length.is_some() {
                        return Err(Status::BadRequest);
                    }
                    fields.content_length = Some(decimal(value).ok_or(Status::BadRequest)?);
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    fields.transfer_encoding = true;
                }
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// Whether `value` consists of what RFC 3986 section 3.2 allows in a host and port.
fn is_host(value: &[u8]) -> bool {
    value
        .iter()
        .all(|octet| octet.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%[]".contains(octet))
}

/// What the answer to a well-formed request contains.
fn answer(method: &str, target: &str) -> Result<Body, Status> {
    if method == "CONNECT" || (method == "OPTIONS" && target == "*") {
        return Ok(Body::Status(Status::MethodNotAllowed));
    }
    let path = path(target).ok_or(Status::BadRequest)?;
    let resource = if path == "/" {
        Some(Body::Hello)
    } else {
        path.strip_prefix("/bytes/")
            .and_then(|number| decimal(number.as_bytes()))
            .filter(|&octets| octets <= MAX_BYTES)
            .map(Body::Bytes)
    };
    Ok(match resource {
        None => Body::Status(Status::NotFound),
        Some(body) if matches!(method, "GET" | "HEAD") => body,
        Some(_) => Body::Status(Status::MethodNotAllowed),
    })
}

/// The path in a target of origin or absolute form (RFC 9112 section 3.2), without its query.
fn path(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') {
        target
    } else {
        let (scheme, rest) = target.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return None;
        }
        let path = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path);
        if authority.is_empty() {
            return None;
        }
        if path.starts_with('/') { path } else { "/" }
    };
    path.split('?').next()
}

/// Digits only: no sign, no space, no list.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_digits_and_fit() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(decimal(b"0042"), Some(42));
        for bad in [
            "",
            "+1",
            "-1",
            " 1",
            "1 ",
            "1,1",
            "0x1",
            "18446744073709551616",
        ] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn paths() {
        for (target, expected) in [
            ("/", Some("/")),
            ("/?a=/b", Some("/")),
            ("/bytes/5?x?y", Some("/bytes/5")),
            ("http://a", Some("/")),
            ("HTTP://a:80/bytes/1", Some("/bytes/1")),
            ("https://a?q=/x", Some("/")),
            ("//a", Some("//a")),
            ("http:///", None),
            ("http://", None),
            ("ftp://a/", None),
            ("a:80", None),
            ("*", None),
        ] {
            assert_eq!(path(target), expected, "{target}");
        }
    }
}
