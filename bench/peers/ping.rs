//! Ping-pong over the kernel's TCP, for `scripts/bench`: writes a message, looks for it to come back
//! without ever sleeping, writes the next.
//!
//! It prints what `corelane load --json` prints of the same, as far as it knows it.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use clap::Parser;
use corelane::time::{Clock, Duration};
use hdrhistogram::Histogram;
use serde_json::json;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Parser)]
#[command(about = "Sends messages to an echo server, one at a time, and never sleeps")]
struct Arguments {
    /// The echo server.
    to: SocketAddr,
    /// Octets of a message.
    #[arg(long, default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    size: u16,
    /// How long.
    #[arg(long = "for")]
    duration: humantime::Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let mut stream = TcpStream::connect_timeout(&arguments.to, PATIENCE.into())?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut message = vec![0; arguments.size.into()];
    let mut answer = message.clone();
    let mut latency = Histogram::<u64>::new(3)?;
    let length = Duration::from(*arguments.duration);
    let clock = Clock::start();
    let begin = clock.now();
    let mut sent = begin;
    while sent.saturating_since(begin) < length {
        message.fill(latency.len() as u8);
        stream.write_all(&message)?;
        let mut got = 0;
        while got < answer.len() {
            match stream.read(&mut answer[got..]) {
                Ok(0) => return Err("the server has closed".into()),
                Ok(count) => got += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if clock.now().saturating_since(sent) > PATIENCE {
                        return Err("no answer within 5 s".into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if answer != message {
            return Err("what came back is not what went".into());
        }
        let now = clock.now();
        latency.record(now.saturating_since(sent).as_nanos())?;
        sent = now;
    }
    let seconds = sent.saturating_since(begin).as_nanos() as f64 / 1e9;
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let at = |quantile| micros(latency.value_at_quantile(quantile));
    let outcome = json!({
        "target": format!("echo://{}", arguments.to),
        "connections": 1,
        "seconds": seconds,
        "requests": latency.len(),
        "requests_per_second": latency.len() as f64 / seconds,
        "latency_us": {
            "count": latency.len(),
            "mean": latency.mean() / 1e3,
            "min": micros(latency.min()),
            "p50": at(0.5),
            "p90": at(0.9),
            "p99": at(0.99),
            "p99_9": at(0.999),
            "p99_99": at(0.9999),
            "max": micros(latency.max()),
        },
        "errors": {},
    });
    println!("{outcome:#}");
    Ok(())
}
