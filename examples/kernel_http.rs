//! The control of the comparison: `GET /` over the kernel's TCP, as fast as one thread and epoll
//! get it.
//!
//! It answers as corelane's http service does and does nothing else, so that what differs is the
//! stack beneath and not the web server above. Usage: `kernel_http 198.18.0.1:8080`; it prints
//! `ready` when it serves.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nhello, world\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
const LISTENER: u64 = u64::MAX;

struct Connection {
    stream: TcpStream,
    /// The beginning of a request that has not wholly arrived.
    pending: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args()
        .nth(1)
        .ok_or("usage: kernel_http ADDRESS:PORT")?;
    let listener = TcpListener::bind(&address)?;
    listener.set_nonblocking(true)?;
    let poller = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &poller,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    println!("ready");

    let mut connections: slab::Slab<Connection> = slab::Slab::new();
    let mut events = Vec::with_capacity(1_024);
    let mut buffer = vec![0; 64 << 10];
    let mut answers = Vec::new();
    loop {
        events.clear();
        epoll::wait(&poller, spare_capacity(&mut events), None)?;
        for event in &events {
            if event.data.u64() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let entry = connections.vacant_entry();
                    let data = EventData::new_u64(entry.key() as u64);
                    epoll::add(&poller, &stream, data, EventFlags::IN)?;
                    entry.insert(Connection {
                        stream,
                        pending: Vec::new(),
                    });
                }
                continue;
            }
            let key = event.data.u64() as usize;
            if !serve(&mut connections[key], &mut buffer, &mut answers) {
                // Closing takes it off the poller.
                connections.remove(key);
            }
        }
    }
}

/// Answers what has arrived; false when the connection is over.
fn serve(connection: &mut Connection, buffer: &mut [u8], answers: &mut Vec<u8>) -> bool {
    let length = match connection.stream.read(buffer) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
    };
    answers.clear();
    let rest = if connection.pending.is_empty() {
        answer_all(&buffer[..length], answers).map(<[u8]>::to_vec)
    } else {
        connection.pending.extend_from_slice(&buffer[..length]);
        answer_all(&connection.pending, answers).map(<[u8]>::to_vec)
    };
    let Some(rest) = rest else { return false };
    connection.pending = rest;
    // A client that does not read its answers is not part of the comparison: it is cut off.
    connection.stream.write_all(answers).is_ok()
}

/// Appends the answer to each whole request; what is left over, or `None` for nonsense.
fn answer_all<'a>(mut input: &'a [u8], answers: &mut Vec<u8>) -> Option<&'a [u8]> {
    while !input.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = request.parse(input).ok()? else {
            break;
        };
        answers.extend_from_slice(if request.path == Some("/") {
            ANSWER
        } else {
            NOT_FOUND
        });
        input = &input[length..];
    }
    Some(input)
}
