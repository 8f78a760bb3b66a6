//! An honest client of the kernel's, for `scripts/flood`: connects, asks for `/`, reads the answer,
//! and closes, again and again.
//!
//! It prints a line of words and numbers: how often it tried, how often that succeeded, how many per
//! second those were, and the median and the 99th percentile of the time that they took, in
//! microseconds.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration as Limit;

use clap::Parser;
use corelane::time::{Clock, Duration};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
const ANSWER: &[u8] = b"hello, world\n";

#[derive(Parser)]
#[command(about = "Asks a server for / by a connection for each request")]
struct Arguments {
    /// The server.
    to: SocketAddr,
    /// How long.
    #[arg(long = "for")]
    duration: humantime::Duration,
    /// How long a request may take, the connection included.
    #[arg(long, default_value = "5s")]
    timeout: humantime::Duration,
}

fn ask(to: &SocketAddr, limit: Limit) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(to, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_nodelay(true)?;
    stream.write_all(REQUEST)?;
    let mut answer = Vec::with_capacity(256);
    let mut buffer = [0; 512];
    // Its end by its length, so that whoever closes first does not matter.
    while !answer.ends_with(ANSWER) {
        match stream.read(&mut buffer)? {
            0 => return Ok(false),
            len => answer.extend_from_slice(&buffer[..len]),
        }
    }
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let clock = Clock::start();
    let begin = clock.now();
    let length = Duration::from_nanos(u64::try_from(arguments.duration.as_nanos())?);
    let (mut tried, mut micros) = (0_u64, Vec::new());
    while clock.now().saturating_since(begin) < length {
        let start = clock.now();
        tried += 1;
        match ask(&arguments.to, *arguments.timeout) {
            Ok(true) => micros.push(clock.now().saturating_since(start).as_micros()),
            Ok(false) => eprintln!("a wrong answer"),
            Err(error) => eprintln!("{error}"),
        }
    }
    let seconds = clock.now().saturating_since(begin).as_nanos() as f64 / 1e9;
    micros.sort_unstable();
    let at = |share: f64| {
        let index = (micros.len() as f64 * share) as usize;
        micros
            .get(index.min(micros.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    println!(
        "tried {tried} succeeded {} rate {:.0} p50 {} p99 {}",
        micros.len(),
        micros.len() as f64 / seconds,
        at(0.5),
        at(0.99)
    );
    Ok(())
}
