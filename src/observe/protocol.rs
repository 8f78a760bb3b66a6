//! What is said over the control socket: a line of JSON each way.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Connection, Denied, Stats, SynLimitState};
use crate::xdp::{Prefix, SynLimit};

/// The longest request, in octets: twenty thousand prefixes at least, more than a command line has.
const MAX_REQUEST: u64 = 1 << 20;

/// What may be asked: `{"show":"connections"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// To be told something.
    Show(Show),
    /// To change the deny list.
    Deny(Change),
    /// To limit SYNs, or not to.
    SynLimit(Option<SynLimit>),
}

/// What may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// All connections.
    Connections,
    /// All counters.
    Stats,
    /// The deny list.
    Denied,
    /// The limit on SYNs.
    SynLimit,
}

/// A change of the deny list: all of it is made, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Deny these.
    Add(BTreeSet<Prefix>),
    /// Do not any more.
    Remove(BTreeSet<Prefix>),
}

/// What is answered: `{"connections":[...]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Show::Connections`].
    Connections(Vec<Connection>),
    /// To [`Show::Stats`].
    Stats(Box<Stats>),
    /// To [`Show::Denied`].
    Denied(Vec<Denied>),
    /// To [`Show::SynLimit`].
    SynLimit(SynLimitState),
    /// To all that changes something.
    Done,
    /// Why there is no better answer, in a sentence.
    Error(String),
}

/// Writes one message as a line.
pub fn write_line<T: Serialize>(stream: impl Write, message: &T) -> io::Result<()> {
    let mut stream = io::BufWriter::new(stream);
    serde_json::to_writer(&mut stream, message)?;
    stream.write_all(b"\n")?;
    stream.flush()
}

/// Reads a request. Reads no more than a request may have.
pub fn read_request(stream: impl Read) -> io::Result<Request> {
    read_line(io::BufReader::new(stream.take(MAX_REQUEST)))
}

/// Reads a reply: as long as it is, a server is trusted.
pub fn read_reply(stream: impl Read) -> io::Result<Reply> {
    read_line(io::BufReader::new(stream))
}

fn read_line<T: DeserializeOwned>(mut stream: impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lines() {
        let mut wire = Vec::new();
        let request = Request::Show(Show::Connections);
        write_line(&mut wire, &request).unwrap();
        assert_eq!(wire, b"{\"show\":\"connections\"}\n");
        assert_eq!(read_request(&wire[..]).unwrap(), request);
        let mut wire = Vec::new();
        let request = Request::Deny(Change::Add(["fd00::/8".parse().unwrap()].into()));
        write_line(&mut wire, &request).unwrap();
        assert_eq!(wire, b"{\"deny\":{\"add\":[\"fd00::/8\"]}}\n");
        assert_eq!(read_request(&wire[..]).unwrap(), request);
        let mut wire = Vec::new();
        let reply = Reply::Error("no".to_owned());
        write_line(&mut wire, &reply).unwrap();
        assert_eq!(wire, b"{\"error\":\"no\"}\n");
        assert_eq!(read_reply(&wire[..]).unwrap(), reply);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = vec![b' '; MAX_REQUEST as usize + 1];
        for bytes in [
            &b""[..],
            b"\n",
            b"{\"show\":\"connections\"}",
            b"\xff\n",
            b"{\"deny\":{\"add\":[\"fd00::1/8\"]}}\n",
            b"{\"syn_limit\":{\"rate\":0,\"burst\":1,\"ipv4_prefix\":32,\"ipv6_prefix\":64}}\n",
            &long,
        ] {
            assert!(read_request(bytes).is_err());
        }
    }
}
