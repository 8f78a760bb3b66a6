//! A bad network by hand: carries frames between two interfaces, with delay, loss and so on.
//!
//! ```sh
//! ip netns exec MIDDLE relay --a to-client --b to-server --loss 1% --reorder 1% --delay 1ms
//! ```
//!
//! Switch `tx`, `tso`, `gso`, `gro` and `sg` off at every end of both links first (`ethtool -K`).
//! It runs until SIGINT or SIGTERM, or for `--for`, and prints what it did.

#[path = "../tests/support/packet.rs"]
mod packet;
#[path = "../tests/support/relay.rs"]
mod relay;

use std::error::Error;

use clap::Parser;
use corelane::time::Duration;
use packet::PacketSocket;
use relay::{Counts, Impairment};

#[derive(Parser)]
#[command(about = "Carries frames between two interfaces as a bad network would")]
struct Arguments {
    /// One interface.
    #[arg(long)]
    a: String,
    /// The other interface.
    #[arg(long)]
    b: String,
    /// Frames lost, such as 1% or 0.01%.
    #[arg(long, default_value = "0", value_parser = share)]
    loss: u32,
    /// Frames that begin a burst of losses.
    #[arg(long, default_value = "0", value_parser = share)]
    burst: u32,
    /// Frames that one burst takes.
    #[arg(long, default_value_t = 8)]
    burst_length: u32,
    /// Frames held back so that later ones overtake them.
    #[arg(long, default_value = "0", value_parser = share)]
    reorder: u32,
    /// How long those are held back.
    #[arg(long, default_value = "500us")]
    reorder_delay: humantime::Duration,
    /// Frames sent twice.
    #[arg(long, default_value = "0", value_parser = share)]
    duplicate: u32,
    /// Added to every frame, in each direction.
    #[arg(long, default_value = "0s")]
    delay: humantime::Duration,
    /// Bits per second; 0 is without limit.
    #[arg(long, default_value_t = 0)]
    bandwidth: u64,
    /// Frames in flight at most.
    #[arg(long, default_value_t = 10_000)]
    queue_limit: usize,
    /// Impair frames in one direction only.
    #[arg(long, value_enum)]
    only: Option<Way>,
    /// What chance follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End after this time.
    #[arg(long = "for")]
    limit: Option<humantime::Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    AToB,
    BToA,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let impairment = Impairment {
        bandwidth: arguments.bandwidth,
        delay: Duration::from(*arguments.delay),
        loss: arguments.loss,
        burst: arguments.burst,
        burst_length: arguments.burst_length,
        reorder: arguments.reorder,
        reorder_delay: Duration::from(*arguments.reorder_delay),
        duplicate: arguments.duplicate,
        queue_limit: arguments.queue_limit,
    };
    let mut impairments = [impairment; 2];
    match arguments.only {
        Some(Way::AToB) => impairments[1] = Impairment::default(),
        Some(Way::BToA) => impairments[0] = Impairment::default(),
        None => {}
    }
    let [a, b] = [&arguments.a, &arguments.b]
        .map(|name| PacketSocket::open(name).map_err(|error| format!("{name}: {error}")));
    let (a, b) = (a?, b?);

    let (ended, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
    ])?;
    let handle = signals.handle();
    std::thread::spawn(move || {
        signals.forever().next();
        drop(stop);
    });
    if let Some(limit) = arguments.limit {
        std::thread::spawn(move || {
            std::thread::park_timeout(*limit);
            handle.close();
        });
    }

    eprintln!(
        "relaying between {} and {}: {impairments:?}",
        arguments.a, arguments.b
    );
    let [a_to_b, b_to_a] = relay::run(&a, &b, impairments, arguments.seed, &ended)?;
    report(&arguments.a, &arguments.b, a_to_b);
    report(&arguments.b, &arguments.a, b_to_a);
    Ok(())
}

/// A share of frames in parts per million, from a percentage or a plain fraction.
fn share(text: &str) -> Result<u32, String> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number, 10_000.0),
        None => (text, 1_000_000.0),
    };
    let share: f64 = number
        .parse()
        .map_err(|_| "not a share such as 1% or 0.01".to_owned())?;
    let share = share * scale;
    if (0.0..=1_000_000.0).contains(&share) {
        Ok(share.round() as u32)
    } else {
        Err("not between 0% and 100%".to_owned())
    }
}

fn report(from: &str, to: &str, counts: Counts) {
    println!(
        "{from} -> {to}: received {}, sent {}, lost {}, reordered {}, duplicated {}, overflowed {}, \
         oversized {}",
        counts.received,
        counts.sent,
        counts.lost,
        counts.reordered,
        counts.duplicated,
        counts.overflowed,
        counts.oversized,
    );
    if counts.oversized > 0 {
        println!("  oversized frames: an offload is on; see the top of examples/relay.rs");
    }
}
