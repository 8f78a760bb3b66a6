//! A flood of SYNs from random addresses, as fast as one core sends, for `scripts/flood`.
//!
//! ```sh
//! ip netns exec CLIENT flood --interface veth1 --peer 02:00:00:00:00:01 --to 198.18.0.1:80 --for 5s
//! ```
//!
//! Only between test hosts: addresses outside of 198.18.0.0/15 and fd00::/8 are refused. It sends by
//! AF_XDP past the kernel's queues, receives nothing, and prints how many SYNs have left.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use clap::Parser;
use corelane::ring::PacketIo;
use corelane::ring::xsk::{BindMode, Xsk, XskConfig};
use corelane::time::{Clock, Duration, Instant};
use corelane::wire::checksum::Sum;
use corelane::wire::emit::{Route, segment_headers};
use corelane::wire::tcp::{Flags, Header, Options, Timestamps};
use corelane::wire::{Address, FlowKey, Link, MacAddr};
use corelane::xdp::Device;

const MTU: u32 = 1500;
/// SYNs between two looks at the clock.
const BATCH: u32 = 64;
const LONGEST: Duration = Duration::from_secs(3_600);

#[derive(Parser)]
#[command(about = "Sends SYNs from random addresses of 198.19.0.0/16 or fd00:19::/32")]
struct Arguments {
    /// Where to send from: one end of a veth pair.
    #[arg(long)]
    interface: String,
    /// The Ethernet address of the server.
    #[arg(long, value_parser = mac)]
    peer: MacAddr,
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// SYNs per second; 0 is without limit.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// How long, at most an hour.
    #[arg(long = "for")]
    duration: humantime::Duration,
}

fn mac(text: &str) -> Result<MacAddr, String> {
    let octets: Vec<u8> = text
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16))
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let octets = octets
        .try_into()
        .map_err(|_| "six octets, as in 02:00:00:00:00:01")?;
    Ok(MacAddr(octets))
}

/// Whether nobody but a test host has this address (RFC 2544, RFC 4193).
fn is_for_tests(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.octets()[0] == 198 && it.octets()[1] & 0xfe == 18,
        IpAddr::V6(it) => it.octets()[0] == 0xfd,
    }
}

/// SYNs, no two of one peer.
struct Flood {
    link: Link,
    to: SocketAddr,
    state: u64,
}

impl Flood {
    fn random(&mut self) -> u64 {
        // xorshift64*.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Writes one into the end of `headroom` and returns its length.
    fn syn(&mut self, headroom: &mut [u8], now: Instant) -> usize {
        let (who, number) = (self.random(), self.random());
        let [a, b, c, d, e, f, ..] = who.to_be_bytes();
        let local = match self.to {
            SocketAddr::V4(_) => Address::from_ipv4([198, 19, a, b]),
            SocketAddr::V6(_) => {
                Address::from_ipv6([0xfd, 0, 0, 0x19, 0, 0, 0, 0, 0, 0, 0, 0, a, b, e, f])
            }
        };
        let route = Route {
            link: self.link,
            key: FlowKey {
                local,
                remote: self.to.ip().into(),
                local_port: u16::from_be_bytes([c, d]).max(1_024),
                remote_port: self.to.port(),
            },
            hop_limit: 64,
            traffic_class: 0,
            identification: 0,
        };
        let header = Header {
            seq: number as u32,
            flags: Flags::SYN,
            window: 64_240,
            // What Linux sends.
            options: Options {
                mss: Some(1_460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some(Timestamps {
                    tsval: now.as_millis() as u32,
                    tsecr: 0,
                }),
                ..Options::default()
            },
            ..Header::default()
        };
        segment_headers(headroom, &route, &header, (0, Sum::default()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if !is_for_tests(arguments.to.ip()) {
        return Err("only for test hosts: an address of 198.18.0.0/15 or fd00::/8".into());
    }
    let device = Device::open(&arguments.interface)?;
    let mut xsk = Xsk::open(&XskConfig {
        bind: BindMode::Copy,
        ..XskConfig::new(&arguments.interface, 0, MTU)
    })?;
    let clock = Clock::start();
    let begin = clock.now();
    let mut flood = Flood {
        link: Link {
            local: device.mac(),
            remote: arguments.peer,
            vlan: None,
        },
        to: arguments.to,
        state: 0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id()),
    };
    let nanos = u64::try_from(arguments.duration.as_nanos())?;
    let length = Duration::from_nanos(nanos).min(LONGEST);
    let mut sent = 0_u64;
    loop {
        let now = clock.now();
        let elapsed = now.saturating_since(begin);
        if elapsed >= length {
            break;
        }
        while let Some(frame) = xsk.completed() {
            xsk.release(frame);
        }
        let due = match arguments.rate {
            0 => u64::MAX,
            rate => (u128::from(rate) * u128::from(elapsed.as_nanos()) / 1_000_000_000) as u64,
        };
        for _ in 0..BATCH {
            if sent >= due || xsk.tx_room() == 0 {
                break;
            }
            let Some(mut frame) = xsk.allocate() else {
                break;
            };
            let len = flood.syn(frame.headroom_mut(), now);
            frame.prepend(len);
            match xsk.transmit(frame) {
                Ok(()) => sent += 1,
                Err(frame) => xsk.release(frame),
            }
        }
        xsk.flush();
    }
    let seconds = clock.now().saturating_since(begin).as_nanos() as f64 / 1e9;
    println!("{sent} SYNs, {:.0} per second", sent as f64 / seconds);
    Ok(())
}
