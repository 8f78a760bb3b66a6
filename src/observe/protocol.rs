//! What is said over the control socket: a line of JSON each way.

use std::io::{self, BufRead, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Connection, Stats};

/// The longest request, in octets.
const MAX_REQUEST: u64 = 4_096;

/// What may be asked: `{"show":"connections"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "show", rename_all = "snake_case")]
pub enum Request {
    /// All connections.
    Connections,
    /// All counters.
    Stats,
}

/// What is answered: `{"connections":[...]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Connections`].
    Connections(Vec<Connection>),
    /// To [`Request::Stats`].
    Stats(Box<Stats>),
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
        write_line(&mut wire, &Request::Connections).unwrap();
        assert_eq!(wire, b"{\"show\":\"connections\"}\n");
        assert_eq!(read_request(&wire[..]).unwrap(), Request::Connections);
        let mut wire = Vec::new();
        let reply = Reply::Error("no".to_owned());
        write_line(&mut wire, &reply).unwrap();
        assert_eq!(wire, b"{\"error\":\"no\"}\n");
        assert_eq!(read_reply(&wire[..]).unwrap(), reply);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let long = [b' '; 10_000];
        for bytes in [
            &b""[..],
            b"\n",
            b"{\"show\":\"connections\"}",
            b"\xff\n",
            &long,
        ] {
            assert!(read_request(bytes).is_err());
        }
    }
}
