//! The floor of `scripts/bench`: the least that a TCP server on AF_XDP has to do, and nothing else.
//!
//! It has the XDP program, the rings and the idle policy that `corelane serve` has, and no TCP: no flow
//! table, no state, no timer. Each answer is made of the segment that it answers and of what is always
//! the same. A SYN gets a SYN-ACK, a segment with text gets one answer, a FIN a FIN, anything else
//! nothing. So what a real stack does not reach of it is what the stack costs.
//!
//! ```sh
//! ip netns exec SERVER floor --interface veth0 http
//! ```
//!
//! Only for networks that lose nothing and that nobody else can send to: IPv4 without options, requests
//! of one segment, one at a time, and no checksum is looked at. It prints `ready` when it serves.

use std::error::Error;
use std::os::fd::AsFd as _;

use clap::{Parser, ValueEnum};
use core_affinity::CoreId;
use corelane::ring::xsk::{Xsk, XskConfig};
use corelane::ring::{PacketIo as _, RxBatch};
use corelane::time::{Clock, Duration};
use corelane::wire::checksum::Sum;
use corelane::wire::tcp::Flags;
use corelane::xdp::{AttachMode, Device, LoadOptions, Program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What `corelane serve` answers to `GET /`, octet for octet.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\n\r\nhello, world\n";
/// The same to a request with `Connection: close`.
const LAST_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\nConnection: close\r\n\r\nhello, world\n";
/// The only option of our SYN-ACKs: an MSS of 1460.
const MSS: &[u8] = &[2, 4, 0x05, 0xb4];
/// Of Ethernet, IPv4 and TCP without options.
const HEADERS: usize = 14 + 20 + 20;
/// Where a connection begins: the peer's text says where it is.
const ISS: u32 = 0;
/// How long to look for work before a sleep, as an adaptive worker does.
const SPIN: Duration = Duration::from_micros(50);
/// The longest sleep.
const SLEEP: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

#[derive(Parser)]
#[command(about = "Answers TCP segments without TCP, as fast as AF_XDP goes")]
struct Arguments {
    /// The interface to serve on; its queue 0.
    #[arg(long)]
    interface: String,
    /// The port to serve.
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// The CPU to work on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Never sleep.
    #[arg(long)]
    spin: bool,
    /// What to answer.
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// `hello, world` to each segment.
    Http,
    /// The same, and a FIN with it.
    HttpClose,
    /// The text of each segment.
    Echo,
}

/// A segment that may be answered.
struct Request<'a> {
    headers: &'a [u8; HEADERS],
    text: &'a [u8],
}

impl<'a> Request<'a> {
    fn parse(frame: &'a [u8]) -> Option<Self> {
        let headers: &[u8; HEADERS] = frame.first_chunk()?;
        // IPv4 with a header of 20 octets, TCP.
        if headers[12..15] != [0x08, 0x00, 0x45] || headers[23] != 6 {
            return None;
        }
        let end = 14 + usize::from(u16::from_be_bytes([headers[16], headers[17]]));
        let begin = 34 + usize::from(headers[46] >> 4) * 4;
        let text = frame.get(begin..end)?;
        Some(Self { headers, text })
    }

    fn word(&self, at: usize) -> u32 {
        let it = self.headers;
        u32::from_be_bytes([it[at], it[at + 1], it[at + 2], it[at + 3]])
    }

    const fn flags(&self) -> Flags {
        Flags(self.headers[47])
    }
}

/// What an answer consists of beside what the request says.
struct Reply<'a> {
    seq: u32,
    /// Sequence numbers that the request takes.
    taken: u32,
    flags: Flags,
    /// Octets of options, which lead `text`.
    options: usize,
    text: &'a [u8],
    sum: Sum,
}

impl Reply<'_> {
    /// Writes the whole frame and returns its length; 0 if it does not fit.
    fn write(&self, request: &Request<'_>, out: &mut [u8]) -> usize {
        let len = HEADERS + self.text.len();
        let Some(out) = out.get_mut(..len) else {
            return 0;
        };
        let (headers, text) = out.split_at_mut(HEADERS);
        text.copy_from_slice(self.text);

        let from = request.headers;
        headers[..6].copy_from_slice(&from[6..12]);
        headers[6..12].copy_from_slice(&from[..6]);
        headers[12..14].copy_from_slice(&[0x08, 0x00]);

        // No longer than a frame.
        let total = (len - 14) as u16;
        let addresses = u64::from(request.word(26)) + u64::from(request.word(30));
        let ip = [0x4500_0000 | u32::from(total), 0x0000_4000, 0x4006_0000];
        let sum = addresses + ip.iter().map(|it| u64::from(*it)).sum::<u64>();
        headers[14..18].copy_from_slice(&ip[0].to_be_bytes());
        headers[18..22].copy_from_slice(&ip[1].to_be_bytes());
        headers[22..24].copy_from_slice(&[0x40, 0x06]);
        headers[24..26].copy_from_slice(&finish(sum).to_be_bytes());
        headers[26..30].copy_from_slice(&from[30..34]);
        headers[30..34].copy_from_slice(&from[26..30]);

        let ack = request.word(38).wrapping_add(self.taken);
        let offset = (5 + self.options as u32 / 4) << 28;
        // The largest window that needs no scale.
        let bits = offset | u32::from(self.flags.0) << 16 | 0xffff;
        let sum = addresses
            + u64::from(request.word(34))
            + (6 + u64::from(total) - 20)
            + u64::from(self.seq)
            + u64::from(ack)
            + u64::from(bits)
            + u64::from(self.sum.fold());
        headers[34..36].copy_from_slice(&from[36..38]);
        headers[36..38].copy_from_slice(&from[34..36]);
        headers[38..42].copy_from_slice(&self.seq.to_be_bytes());
        headers[42..46].copy_from_slice(&ack.to_be_bytes());
        headers[46..50].copy_from_slice(&bits.to_be_bytes());
        headers[50..52].copy_from_slice(&finish(sum).to_be_bytes());
        headers[52..54].fill(0);
        len
    }
}

/// The checksum of a sum of 32-bit words, as good as one of their halves (RFC 1071 section 2).
const fn finish(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The text that does not change, summed once.
struct Responder {
    mode: Mode,
    answer: &'static [u8],
    sum: Sum,
    mss: Sum,
}

impl Responder {
    fn new(mode: Mode) -> Self {
        let answer = match mode {
            Mode::HttpClose => LAST_ANSWER,
            Mode::Http | Mode::Echo => ANSWER,
        };
        Self {
            mode,
            answer,
            sum: Sum::of(answer),
            mss: Sum::of(MSS),
        }
    }

    /// Writes the answer to a frame, if it gets one, and returns its length; else 0.
    fn answer(&self, frame: &[u8], out: &mut [u8]) -> usize {
        let Some(request) = Request::parse(frame) else {
            return 0;
        };
        let flags = request.flags();
        if flags.intersects(Flags::RST) {
            return 0;
        }
        if flags.intersects(Flags::SYN) {
            let reply = Reply {
                seq: ISS,
                taken: 1,
                flags: Flags::SYN | Flags::ACK,
                options: MSS.len(),
                text: MSS,
                sum: self.mss,
            };
            return reply.write(&request, out);
        }
        let ends = flags.contains(Flags::FIN);
        if !ends && request.text.is_empty() {
            return 0;
        }
        let (text, sum) = match (request.text, self.mode) {
            ([], _) => (&[][..], Sum::default()),
            (_, Mode::Http | Mode::HttpClose) => (self.answer, self.sum),
            (text, Mode::Echo) => (text, Sum::of(text)),
        };
        // Who closes first has its FIN acknowledged with the other's; with `HttpClose` that is us.
        let fin = match self.mode {
            Mode::HttpClose => !text.is_empty(),
            Mode::Http | Mode::Echo => ends,
        };
        let reply = Reply {
            seq: request.word(42),
            taken: request.text.len() as u32 + u32::from(ends),
            flags: match (text.is_empty(), fin) {
                (true, false) => Flags::ACK,
                (true, true) => Flags::ACK | Flags::FIN,
                (false, false) => Flags::ACK | Flags::PSH,
                (false, true) => Flags::ACK | Flags::PSH | Flags::FIN,
            },
            options: 0,
            text,
            sum,
        };
        reply.write(&request, out)
    }
}

/// Answers until it is killed.
fn serve(xsk: &mut Xsk, responder: &Responder, spin: bool) -> Result<(), Box<dyn Error>> {
    let clock = Clock::start();
    let bed = xsk.as_fd().try_clone_to_owned()?;
    let mut batch = RxBatch::new();
    let mut last_active = clock.now();
    loop {
        while let Some(frame) = xsk.completed() {
            xsk.release(frame);
        }
        xsk.rx_burst(&mut batch);
        let is_idle = batch.is_empty();
        for frame in batch.drain(..) {
            if let Some(mut out) = xsk.allocate() {
                let len = responder.answer(&frame, out.spare_mut());
                out.extend(len);
                let left = match len {
                    0 => Some(out),
                    _ => xsk.transmit(out).err(),
                };
                if let Some(out) = left {
                    xsk.release(out);
                }
            }
            xsk.recycle(frame);
        }
        xsk.flush();
        if spin {
            continue;
        }
        let now = clock.now();
        if !is_idle {
            last_active = now;
        } else if now.saturating_since(last_active) >= SPIN {
            let mut files = [PollFd::new(&bed, PollFlags::IN)];
            let _ = poll(&mut files, Some(&SLEEP));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if !core_affinity::set_for_current(CoreId { id: arguments.core }) {
        return Err(format!("cannot run on CPU {}", arguments.core).into());
    }
    let device = Device::open(&arguments.interface)?;
    let mut program = Program::load(&device, LoadOptions::default())?;
    program.attach(AttachMode::Native)?;
    let mut xsk = Xsk::open(&XskConfig::new(device.name(), 0, device.mtu()))?;
    program.set_socket(0, xsk.as_fd())?;
    #[expect(clippy::reversed_empty_ranges, reason = "no client port at all")]
    for &address in device.addresses().iter().filter(|it| it.is_ipv4()) {
        program.add_address(address.into(), 1..=0)?;
        program.add_service(address.into(), arguments.port)?;
    }
    println!("ready");
    serve(&mut xsk, &Responder::new(arguments.mode), arguments.spin)
}

#[cfg(test)]
mod tests {
    use corelane::wire::emit::{MAX_HEADERS, Route, segment_headers};
    use corelane::wire::tcp::{Header, Options, Segment, Timestamps};
    use corelane::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr, Packet, parse};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 198.18.0.1\r\n\r\n";

    /// The client's end.
    fn route() -> Route {
        Route {
            link: Link {
                local: MacAddr([2, 0, 0, 0, 0, 2]),
                remote: MacAddr([2, 0, 0, 0, 0, 1]),
                vlan: None,
            },
            key: FlowKey {
                local: Address::from_ipv4([198, 18, 0, 2]),
                remote: Address::from_ipv4([198, 18, 0, 1]),
                local_port: 61_234,
                remote_port: 80,
            },
            hop_limit: 64,
            traffic_class: 0,
            identification: 7,
        }
    }

    /// What a client sends.
    fn frame(seq: u32, ack: u32, flags: Flags, text: &[u8]) -> Vec<u8> {
        let header = Header {
            seq,
            ack,
            flags,
            window: 64_240,
            options: Options {
                timestamps: Some(Timestamps { tsval: 5, tsecr: 6 }),
                ..Options::default()
            },
            ..Header::default()
        };
        let mut headroom = [0; MAX_HEADERS];
        let len = segment_headers(
            &mut headroom,
            &route(),
            &header,
            (text.len(), Sum::of(text)),
        );
        [&headroom[MAX_HEADERS - len..], text].concat()
    }

    /// What is answered, checked as a peer does.
    fn answer(mode: Mode, frame: &[u8]) -> Option<(u32, u32, Flags, Vec<u8>)> {
        let mut out = [0xaa; 1_600];
        let len = Responder::new(mode).answer(frame, &mut out);
        let (
            Packet::Tcp {
                link, key, segment, ..
            },
            true,
        ) = (parse(out.get(..len)?, ChecksumPolicy::Full).ok()?, len > 0)
        else {
            return None;
        };
        assert_eq!((link, key), (route().link, route().key), "it goes back");
        let Segment { header, payload } = segment;
        let mss = header.flags.contains(Flags::SYN).then_some(1_460);
        assert_eq!(header.options.mss, mss);
        Some((header.seq, header.ack, header.flags, payload.to_vec()))
    }

    #[test]
    fn a_connection_from_its_syn_to_its_fin() {
        let ack = Flags::ACK;
        let syn = frame(u32::MAX, 0, Flags::SYN, b"");
        let syn_ack = (ISS, 0, Flags::SYN | ack, Vec::new());
        assert_eq!(answer(Mode::Http, &syn), Some(syn_ack));
        assert_eq!(answer(Mode::Http, &frame(0, 1, ack, b"")), None);

        let request = frame(0, 1, ack | Flags::PSH, REQUEST);
        let taken = REQUEST.len() as u32;
        let answered = (1, taken, ack | Flags::PSH, ANSWER.to_vec());
        assert_eq!(answer(Mode::Http, &request), Some(answered));

        let fin = frame(taken, 90, ack | Flags::FIN, b"");
        let ended = (90, taken + 1, ack | Flags::FIN, Vec::new());
        assert_eq!(answer(Mode::Http, &fin), Some(ended));
        assert_eq!(answer(Mode::Http, &frame(9, 9, Flags::RST, b"")), None);
    }

    #[test]
    fn it_may_close_first() {
        let (ack, fin) = (Flags::ACK, Flags::FIN);
        let request = frame(10, 1, ack | Flags::PSH, REQUEST);
        let taken = 10 + REQUEST.len() as u32;
        let last = (1, taken, ack | Flags::PSH | fin, LAST_ANSWER.to_vec());
        assert_eq!(answer(Mode::HttpClose, &request), Some(last));
        let end = (200, taken + 1, ack, Vec::new());
        assert_eq!(
            answer(Mode::HttpClose, &frame(taken, 200, ack | fin, b"")),
            Some(end)
        );
    }

    #[test]
    fn echo_gives_every_length_back() {
        let text: Vec<u8> = (0..1_448).map(|at| (at * 7) as u8).collect();
        for len in 1..=text.len() {
            let sent = frame(len as u32, 77, Flags::ACK, &text[..len]);
            let (seq, ack, _, echo) = answer(Mode::Echo, &sent).expect("an answer");
            assert_eq!((seq, ack), (77, 2 * len as u32));
            assert_eq!(echo, &text[..len]);
        }
    }

    #[test]
    fn what_is_no_segment_gets_no_answer() {
        let whole = frame(1, 1, Flags::ACK, REQUEST);
        let mut out = [0; 1_600];
        let responder = Responder::new(Mode::Http);
        for len in 0..whole.len() {
            assert_eq!(responder.answer(&whole[..len], &mut out), 0, "{len} octets");
        }
        for (at, value) in [(12, 0x86), (14, 0x46), (23, 17), (16, 0x40)] {
            let mut other = whole.clone();
            other[at] = value;
            let len = responder.answer(&other, &mut out);
            assert_eq!(len, 0, "octet {at}");
        }
        assert_eq!(responder.answer(&whole, &mut out[..60]), 0, "no room");
    }
}
