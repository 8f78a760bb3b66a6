//! What to do.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::time::Duration;

/// The XDP program has room for so many addresses.
pub(super) const MOST_ADDRESSES: usize = 256;

/// What is done on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// GET by HTTP/1.1.
    Http,
    /// Messages that come back (RFC 862).
    Echo,
    /// Text that is thrown away, as fast as it goes (RFC 863).
    Discard,
    /// Text that comes without being asked for (RFC 864).
    Chargen,
}

impl Work {
    const ALL: [Self; 4] = [Self::Http, Self::Echo, Self::Discard, Self::Chargen];

    const fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Chargen => "chargen",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Echo => 7,
            Self::Discard => 9,
            Self::Chargen => 19,
        }
    }

    /// Whether there are requests and answers.
    pub const fn has_answers(self) -> bool {
        matches!(self, Self::Http | Self::Echo)
    }
}

/// A server: `http://198.18.0.1/bytes/1000`, `echo://[fd00::1]:7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What to do with it.
    pub work: Work,
    /// Where it is.
    pub remote: SocketAddr,
    /// What to ask an HTTP server for.
    pub path: String,
}

impl Target {
    /// The `N` of `/bytes/N`, which servers of ours answer with `N` octets that are known.
    pub fn bytes(&self) -> Option<u64> {
        let number = self.path.strip_prefix("/bytes/")?;
        let is_decimal = number.bytes().all(|octet| octet.is_ascii_digit());
        number.parse().ok().filter(|_| is_decimal)
    }

    /// The octets of one request.
    pub(super) fn request(&self, close: bool) -> Vec<u8> {
        let close = if close { "Connection: close\r\n" } else { "" };
        let (path, host) = (&self.path, self.remote);
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{close}\r\n").into_bytes()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.work.scheme(), self.remote, self.path)
    }
}

impl FromStr for Target {
    type Err = BadOption;

    fn from_str(text: &str) -> Result<Self, BadOption> {
        let bad = || BadOption::Target(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let work = Work::ALL.into_iter().find(|it| it.scheme() == scheme);
        let work = work.ok_or_else(bad)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let path = match (work, path) {
            (Work::Http, "") => "/",
            (Work::Http, path) => path,
            (_, "" | "/") => "",
            _ => return Err(bad()),
        };
        if !path.bytes().all(|octet| octet.is_ascii_graphic()) || path.contains('#') {
            return Err(bad());
        }
        let bare = authority
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']'));
        let remote = match (bare, authority.parse::<IpAddr>()) {
            (Some(v6), _) => {
                let ip: Ipv6Addr = v6.parse().map_err(|_| bad())?;
                SocketAddr::new(ip.into(), work.port())
            }
            (None, Ok(ip @ IpAddr::V4(_))) => SocketAddr::new(ip, work.port()),
            (None, _) => authority.parse().map_err(|_| bad())?,
        };
        Ok(Self {
            work,
            remote,
            path: path.to_owned(),
        })
    }
}

/// Addresses from one up to another, both included: `198.18.0.2-198.18.0.250`, or one alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// The addresses.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> {
        let is_ipv4 = self.first.is_ipv4();
        (number(self.first)..=number(self.last)).map(move |number| match is_ipv4 {
            // Within the bounds of two IPv4 addresses.
            true => IpAddr::V4((number as u32).into()),
            false => IpAddr::V6(number.into()),
        })
    }
}

impl FromStr for AddressRange {
    type Err = BadOption;

    fn from_str(text: &str) -> Result<Self, BadOption> {
        let bad = || BadOption::Addresses(text.to_owned());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (IpAddr, IpAddr) = match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) => (first, last),
            _ => return Err(bad()),
        };
        let (from, to) = (number(first), number(last));
        if first.is_ipv4() != last.is_ipv4() || to < from || to - from >= MOST_ADDRESSES as u128 {
            return Err(bad());
        }
        Ok(Self { first, last })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// A load, each value legal by itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub target: Target,
    /// Addresses to open connections from; empty: the one that the kernel would use.
    pub sources: Vec<IpAddr>,
    /// Connections at once.
    pub connections: u32,
    /// How long.
    pub duration: Duration,
    /// Requests on their way on one connection.
    pub pipeline: usize,
    /// Whether each request has a connection of its own.
    pub close: bool,
    /// Requests per second, on all connections together; without it as many as are answered.
    pub rate: Option<u64>,
    /// Octets of a message to an echo server.
    pub size: u64,
    /// Whether connections are only opened and held.
    pub idle: bool,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whether the octets of answers are looked at where it is known what they must be.
    pub verify: bool,
}

impl Options {
    /// Whether connections have requests and answers.
    pub fn has_answers(&self) -> bool {
        self.target.work.has_answers() && !self.idle
    }
}

/// What cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadOption {
    #[error(
        "\"{0}\" is no server: write http://ADDRESS[:PORT]/PATH, or echo, discard or chargen \
         ://ADDRESS[:PORT], where ADDRESS is an IPv4 address or [an IPv6 address]"
    )]
    Target(String),
    #[error(
        "\"{0}\" is no range of addresses: write FIRST-LAST, of one family, with no more than 256"
    )]
    Addresses(String),
    #[error("{0} is for http and echo: a stream has no requests")]
    NoAnswers(&'static str),
    #[error("--size is for echo: what http answers is the server's choice")]
    Size,
    #[error("{given} addresses were given, and 256 is the most that the XDP program takes")]
    TooManyAddresses { given: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_defaults() {
        for (text, whole) in [
            ("http://198.18.0.1", "http://198.18.0.1:80/"),
            (
                "http://198.18.0.1:8080/a?b=/c",
                "http://198.18.0.1:8080/a?b=/c",
            ),
            ("http://[fd00::1]/bytes/5", "http://[fd00::1]:80/bytes/5"),
            ("http://[fd00::1]:81", "http://[fd00::1]:81/"),
            ("echo://198.18.0.1", "echo://198.18.0.1:7"),
            ("discard://198.18.0.1:99/", "discard://198.18.0.1:99"),
            ("chargen://[fd00::1]", "chargen://[fd00::1]:19"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), whole, "{text}");
            assert_eq!(whole.parse::<Target>().unwrap(), target);
        }
    }

    #[test]
    fn what_is_no_target_is_quoted() {
        for text in [
            "",
            "198.18.0.1",
            "https://198.18.0.1/",
            "http://",
            "http:///",
            "http://example.com/",
            "http://198.18.0.1:x/",
            "http://198.18.0.1:65536/",
            "http://fd00::1/",
            "http://[198.18.0.1]/",
            "http://198.18.0.1/a b",
            "http://198.18.0.1/\r\nX: y",
            "http://198.18.0.1/a#b",
            "echo://198.18.0.1/path",
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
    }

    #[test]
    fn only_decimals_are_known_octets() {
        let bytes = |path: &str| {
            let target: Target = format!("http://198.18.0.1{path}").parse().unwrap();
            target.bytes()
        };
        assert_eq!(bytes("/bytes/1000"), Some(1000));
        for path in [
            "/",
            "/bytes/",
            "/bytes/+1",
            "/bytes/1/",
            "/bytes/1?x",
            "/Bytes/1",
        ] {
            assert_eq!(bytes(path), None, "{path}");
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        let count = |text: &str| {
            text.parse::<AddressRange>()
                .map(|it| it.addresses().count())
        };
        assert_eq!(count("198.18.0.2"), Ok(1));
        assert_eq!(count("198.18.0.2-198.18.0.250"), Ok(249));
        assert_eq!(count("fd00::2-fd00::101"), Ok(256));
        let range: AddressRange = "198.18.0.254-198.18.1.1".parse().unwrap();
        let all: Vec<String> = range.addresses().map(|it| it.to_string()).collect();
        assert_eq!(
            all,
            ["198.18.0.254", "198.18.0.255", "198.18.1.0", "198.18.1.1"]
        );
        for text in [
            "",
            "-",
            "198.18.0.2-",
            "198.18.0.2-198.18.0.1",
            "198.18.0.2-fd00::1",
            "198.18.0.0-198.18.1.0",
            "198.18.0.2-250",
            "a-b",
        ] {
            let error = text.parse::<AddressRange>().unwrap_err().to_string();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
        }
    }
}
