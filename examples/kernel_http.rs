//! The control of comparisons: HTTP over the kernel's TCP, as fast as one thread and epoll get it.
//!
//! It answers as corelane's http service answers `GET /`, octet for octet, and does nothing else, so that
//! what differs is the stack beneath and not the web server above. `--spin` never sleeps (epoll_wait with
//! a timeout of 0); `--echo` gives back what comes. It prints `ready` when it serves.
//!
//! ```sh
//! kernel_http 198.18.0.1:8080
//! ```

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use clap::Parser;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{SocketFlags, accept_with, listen, sockopt};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\n\r\nhello, world\n";
/// To a request with `Connection: close`.
const LAST_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\nConnection: close\r\n\r\nhello, world\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
const LISTENER: u64 = u64::MAX;
/// Connections that wait to be accepted: a thousand come at once.
const BACKLOG: i32 = 4_096;
const NO_TIME: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

#[derive(Parser)]
#[command(about = "Serves GET / over the kernel's TCP, by one thread and epoll")]
struct Arguments {
    /// Where to serve.
    address: SocketAddr,
    /// Never sleep.
    #[arg(long)]
    spin: bool,
    /// Give back what comes instead.
    #[arg(long)]
    echo: bool,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a request that has not wholly arrived.
    pending: Vec<u8>,
}

struct Server {
    echo: bool,
    buffer: Vec<u8>,
    answers: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(arguments.address)?;
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    // Inherited by what it accepts, which saves a call for each.
    sockopt::set_tcp_nodelay(&listener, true)?;
    let poller = epoll::create(CreateFlags::CLOEXEC)?;
    let data = EventData::new_u64(LISTENER);
    epoll::add(&poller, &listener, data, EventFlags::IN)?;
    println!("ready");

    let timeout = arguments.spin.then_some(&NO_TIME);
    let mut server = Server {
        echo: arguments.echo,
        buffer: vec![0; 64 << 10],
        answers: Vec::new(),
    };
    let mut connections: slab::Slab<Connection> = slab::Slab::new();
    let mut events = Vec::with_capacity(1_024);
    loop {
        events.clear();
        epoll::wait(&poller, spare_capacity(&mut events), timeout)?;
        for event in &events {
            if event.data.u64() == LISTENER {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                while let Ok(accepted) = accept_with(&listener, flags) {
                    let mut connection = Connection {
                        stream: accepted.into(),
                        pending: Vec::new(),
                    };
                    // The first request is mostly there already, and may be the only one.
                    if server.serve(&mut connection) {
                        let entry = connections.vacant_entry();
                        let data = EventData::new_u64(entry.key() as u64);
                        epoll::add(&poller, &connection.stream, data, EventFlags::IN)?;
                        entry.insert(connection);
                    }
                }
                continue;
            }
            let key = event.data.u64() as usize;
            if !server.serve(&mut connections[key]) {
                // Closing takes it off the poller.
                connections.remove(key);
            }
        }
    }
}

impl Server {
    /// Answers what has arrived; false when the connection is over.
    fn serve(&mut self, connection: &mut Connection) -> bool {
        let length = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return false,
            Ok(length) => length,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        };
        let input = &self.buffer[..length];
        if self.echo {
            return connection.stream.write_all(input).is_ok();
        }
        self.answers.clear();
        let rest = if connection.pending.is_empty() {
            answer_all(input, &mut self.answers).map(<[u8]>::to_vec)
        } else {
            connection.pending.extend_from_slice(input);
            answer_all(&connection.pending, &mut self.answers).map(<[u8]>::to_vec)
        };
        // A client that does not read its answers is not part of the comparison: it is cut off.
        let written = connection.stream.write_all(&self.answers);
        let Some(rest) = rest else { return false };
        connection.pending = rest;
        written.is_ok()
    }
}

/// Appends the answer to each whole request; what is left over, or `None` when nothing more will be
/// answered: for nonsense, and after the last request.
fn answer_all<'a>(mut input: &'a [u8], answers: &mut Vec<u8>) -> Option<&'a [u8]> {
    while !input.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = request.parse(input).ok()? else {
            break;
        };
        let is_last = is_last(&request);
        answers.extend_from_slice(match (request.path, is_last) {
            (Some("/"), false) => ANSWER,
            (Some("/"), true) => LAST_ANSWER,
            _ => NOT_FOUND,
        });
        if is_last {
            return None;
        }
        input = &input[length..];
    }
    Some(input)
}

fn is_last(request: &httparse::Request<'_, '_>) -> bool {
    request.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("Connection")
            && header.value.eq_ignore_ascii_case(b"close")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_whole_request_is_answered() {
        let one = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let last = b"GET / HTTP/1.1\r\nHost: a\r\nconnection: Close\r\n\r\n";
        let none = b"GET /none HTTP/1.1\r\n\r\n";
        let answers_to = |input: &[u8]| {
            let mut answers = Vec::new();
            let rest = answer_all(input, &mut answers).map(<[u8]>::to_vec);
            (answers, rest)
        };
        let (answers, rest) = answers_to(&[&one[..], none, &one[..9]].concat());
        assert_eq!(answers, [ANSWER, NOT_FOUND].concat());
        assert_eq!(rest.as_deref(), Some(&one[..9]));
        let (answers, rest) = answers_to(&[&one[..], last, one].concat());
        assert_eq!(answers, [ANSWER, LAST_ANSWER].concat());
        assert_eq!(rest, None);
        assert_eq!(answers_to(b"\0 nonsense"), (Vec::new(), None));
    }
}
