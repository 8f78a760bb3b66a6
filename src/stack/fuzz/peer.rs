//! A peer: it remembers what an honest one would, and sends what it is told.

use super::{CLIENT_PORTS, Duration, Flags, FlowKey, Input, Instant, Link, MacAddr, PORT, v4, v6};
use crate::wire::checksum::Sum;
use crate::wire::emit::{MAX_HEADERS, Route, datagram_headers, segment_headers};
use crate::wire::tcp::{FastOpen, Header, Options, SackBlock, Segment, Timestamps};

pub(super) const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const ETHERNET: usize = 14;

/// The way to any peer, as the stack sees it.
pub(super) fn link() -> Link {
    Link {
        local: OUR_MAC,
        remote: PEER_MAC,
        vlan: None,
    }
}

/// One end of a connection, the far one.
#[derive(Debug)]
pub(super) struct Peer {
    /// As the stack names the connection.
    pub(super) key: FlowKey,
    /// What the stack expects next.
    seq: u32,
    /// Behind all that the stack has sent.
    ack: u32,
    /// Where the last segment with text began.
    text: u32,
    /// The stack's last timestamp, if it sends any.
    tsval: Option<u32>,
    cookie: Option<FastOpen>,
}

impl Peer {
    pub(super) fn new(number: u8) -> Self {
        let is_v6 = number % 3 == 2;
        let address = |last| if is_v6 { v6(last) } else { v4(last) };
        Self {
            key: FlowKey {
                local: address(1),
                remote: address(2 + number / 2),
                local_port: if number == 5 {
                    *CLIENT_PORTS.start()
                } else {
                    PORT
                },
                remote_port: 40_000 + u16::from(number),
            },
            // One of them wraps soon.
            seq: 0u32.wrapping_sub(u32::from(number) * 1_000),
            ack: 0,
            text: 0,
            tsval: None,
            cookie: None,
        }
    }

    /// The stack has sent this.
    pub(super) fn hear(&mut self, segment: &Segment<'_>) {
        let header = &segment.header;
        if header.flags.contains(Flags::RST) {
            return;
        }
        if header.flags.contains(Flags::ACK) {
            self.seq = header.ack;
        }
        let is_syn = header.flags.contains(Flags::SYN);
        let controls = u32::from(is_syn) + u32::from(header.flags.contains(Flags::FIN));
        let end = header
            .seq
            .wrapping_add(segment.payload.len() as u32)
            .wrapping_add(controls);
        if is_syn || end.wrapping_sub(self.ack) < 1 << 31 {
            self.ack = end;
        }
        if !segment.payload.is_empty() {
            self.text = header.seq;
        }
        self.tsval = header.options.timestamps.map(|it| it.tsval);
        self.cookie = header.options.fast_open.or(self.cookie);
    }

    /// A segment, honest more often than not.
    pub(super) fn segment(&mut self, input: &mut Input<'_>, now: Instant) -> Vec<u8> {
        let (header, len, ecn) = self.header(input, now);
        self.frame(&header, len, ecn)
    }

    /// A segment in two or three fragments, in whatever order.
    pub(super) fn fragments(&mut self, input: &mut Input<'_>, now: Instant) -> Vec<Vec<u8>> {
        let (header, len, ecn) = self.header(input, now);
        let whole = self.frame(&header, len, ecn);
        let how = input.octet();
        let at = (
            24 + usize::from(input.octet()) * 8,
            usize::from(how & 7) * 8,
        );
        let id = u32::from(how >> 6);
        let is_v4 = self.key.local.is_ipv4();
        let headers = ETHERNET + if is_v4 { 20 } else { 40 };
        let (link, segment) = whole.split_at(headers);
        let cut = at.0.min(segment.len());
        // The second begins where the first ends, or sooner or later.
        let next = match how & 0x30 {
            0x30 => cut + at.1,
            0x20 => cut.saturating_sub(at.1),
            _ => cut,
        };
        let first = (0, &segment[..cut], true);
        let second = (next, &segment[next.min(segment.len())..], false);
        let pieces = if how & 8 == 0 {
            [first, second]
        } else {
            [second, first]
        };
        let ecn = if is_v4 { link[ETHERNET + 1] & 3 } else { 0 };
        pieces
            .into_iter()
            .map(|(at, payload, more)| self.fragment(id, at, payload, more, ecn))
            .collect()
    }

    fn fragment(&self, id: u32, at: usize, payload: &[u8], more: bool, ecn: u8) -> Vec<u8> {
        let is_v4 = self.key.local.is_ipv4();
        let extension = if is_v4 { 0 } else { 8 };
        let mut frame = self.datagram(payload.len() + extension, ecn);
        if is_v4 {
            let ip = &mut frame[ETHERNET..];
            ip[4..6].copy_from_slice(&(id as u16).to_be_bytes());
            let field = (at / 8) as u16 | if more { 0x2000 } else { 0 };
            ip[6..8].copy_from_slice(&field.to_be_bytes());
            ip[10..12].fill(0);
            let checksum = Sum::of(ip).finish();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            let next = std::mem::replace(&mut frame[ETHERNET + 6], 44);
            frame.extend([next, 0]);
            frame.extend((at as u16 & !7 | u16::from(more)).to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        frame.extend(payload);
        frame
    }

    /// An ICMP error that quotes a segment of ours, in flight or not.
    pub(super) fn icmp(&self, input: &mut Input<'_>) -> Vec<u8> {
        let (kind, mtu) = (input.octet(), u32::from(input.word()));
        let seq = match input.octet() {
            0..0x80 => self.text,
            0x80..0xc0 => self.ack,
            _ => self.text.wrapping_add(input.distance()),
        };
        let is_v4 = self.key.local.is_ipv4();
        let (kind, code) = match (is_v4, kind % 5) {
            (true, 0..3) => (3, 4),
            (true, 3) => (3, kind >> 4),
            (true, _) => (11, 0),
            (false, 0..3) => (2, 0),
            (false, 3) => (1, kind >> 4),
            (false, _) => (3, 0),
        };
        let mut message = vec![kind, code, 0, 0];
        message.extend(mtu.to_be_bytes());
        let quoted = Header {
            seq,
            ..Header::default()
        };
        message.extend(&segment_frame(&self.key, &quoted, &[0; 1_400], 0)[ETHERNET..][..68]);
        let mut frame = self.datagram(message.len(), 0);
        let protocol = if is_v4 { 1 } else { 58 };
        let ip = &mut frame[ETHERNET..];
        ip[if is_v4 { 9 } else { 6 }] = protocol;
        let mut sum = Sum::of(&message);
        if is_v4 {
            ip[10..12].fill(0);
            let checksum = Sum::of(ip).finish();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            let pseudo = [0, 0, 0, message.len() as u8, 0, 0, 0, protocol];
            sum = sum.plus(Sum::of(&ip[8..40])).plus(Sum::of(&pseudo));
        }
        message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
        frame.extend(message);
        frame
    }

    /// Ethernet and IP.
    fn datagram(&self, payload: usize, ecn: u8) -> Vec<u8> {
        let mut frame = vec![0; MAX_HEADERS];
        let len = datagram_headers(&mut frame, &route(&self.key.reversed(), ecn), payload);
        frame.drain(..MAX_HEADERS - len);
        frame
    }

    fn frame(&self, header: &Header, len: usize, ecn: u8) -> Vec<u8> {
        segment_frame(&self.key.reversed(), header, &[b't'; 1_460][..len], ecn)
    }

    fn header(&mut self, input: &mut Input<'_>, now: Instant) -> (Header, usize, u8) {
        let (kind, bend) = (input.octet(), input.octet());
        let flags = match kind {
            0..0x60 => Flags::ACK,
            0x60..0x80 => Flags::ACK | Flags::PSH,
            0x80..0xb0 => Flags::SYN,
            0xb0..0xc0 => Flags::SYN | Flags::ACK,
            0xc0..0xd8 => Flags::FIN | Flags::ACK,
            0xd8..0xe0 => Flags::RST,
            0xe0..0xe4 => Flags::RST | Flags::ACK,
            0xe4..0xea => Flags::ACK | Flags::ECE,
            0xea..0xf0 => Flags::ACK | Flags::CWR,
            0xf0..0xf4 => Flags::SYN | Flags::ECE | Flags::CWR,
            _ => Flags(input.octet()),
        };
        let is_syn = flags.contains(Flags::SYN);
        let len = match bend & 0x0f {
            0..6 => 0,
            6..9 => 1_400,
            9 => 1,
            _ => usize::from(input.octet()) * 5,
        };
        let seq = match bend >> 4 {
            0..10 => self.seq,
            10 => self.seq.wrapping_sub(1),
            11 => self.seq.wrapping_add(1_400),
            _ => self.seq.wrapping_add(input.distance()),
        };
        let choices = input.octet();
        let ack = match choices & 0x0f {
            0..11 => self.ack,
            11 => self.text,
            _ => self.ack.wrapping_add(input.distance()),
        };
        let window = match choices >> 4 {
            0..8 => 0xffff,
            8 => 0,
            9 => 1,
            10 => 1_000,
            _ => input.word(),
        };
        let header = Header {
            seq,
            ack: if flags.contains(Flags::ACK) { ack } else { 0 },
            flags,
            window,
            urgent: 0,
            options: if is_syn {
                self.syn_options(input, now)
            } else {
                self.options(input, now)
            },
        };
        let room = 1_460 - header.options.len();
        (header, len.min(room), input.octet() & 3)
    }

    fn syn_options(&mut self, input: &mut Input<'_>, now: Instant) -> Options {
        let bits = input.octet();
        let has_timestamps = bits & 1 == 0;
        Options {
            mss: match bits >> 6 {
                0 => Some(1_460),
                1 => Some(input.word()),
                2 => Some(100),
                _ => None,
            },
            window_scale: (bits & 2 == 0).then(|| input.octet() % 16),
            sack_permitted: bits & 4 == 0,
            timestamps: has_timestamps.then(|| self.timestamps(input, now)),
            fast_open: match bits >> 3 & 3 {
                0 | 1 => None,
                2 => Some(FastOpen::REQUEST),
                _ => self.cookie,
            },
            ..Options::default()
        }
    }

    fn options(&self, input: &mut Input<'_>, now: Instant) -> Options {
        let bits = input.octet();
        let mut options = Options {
            timestamps: (self.tsval.is_some() && bits & 0xe0 != 0xe0)
                .then(|| self.timestamps(input, now)),
            ..Options::default()
        };
        for _ in 0..(bits & 7).saturating_sub(4) {
            let left = self.text.wrapping_add(input.distance());
            let len = input.distance();
            let _ = options.sack.try_push(SackBlock {
                left,
                right: left.wrapping_add(len),
            });
        }
        options
    }

    fn timestamps(&self, input: &mut Input<'_>, now: Instant) -> Timestamps {
        let octet = input.octet();
        let back = Duration::from_millis(u64::from(octet & 0x0f)).as_millis() as u32;
        Timestamps {
            tsval: (now.as_millis() as u32).wrapping_sub(back),
            tsecr: match octet >> 4 {
                0..14 => self.tsval.unwrap_or(0),
                _ => self.tsval.unwrap_or(0).wrapping_add(input.distance()),
            },
        }
    }
}

/// As the sender of `key` writes it.
fn segment_frame(key: &FlowKey, header: &Header, text: &[u8], ecn: u8) -> Vec<u8> {
    let mut frame = vec![0; MAX_HEADERS];
    let payload = (text.len(), Sum::of(text));
    let len = segment_headers(&mut frame, &route(key, ecn), header, payload);
    frame.drain(..MAX_HEADERS - len);
    frame.extend_from_slice(text);
    frame
}

fn route(key: &FlowKey, ecn: u8) -> Route {
    let link = link();
    Route {
        link: Link {
            local: link.remote,
            remote: link.local,
            ..link
        },
        key: *key,
        hop_limit: 64,
        traffic_class: ecn,
        identification: 0,
    }
}
