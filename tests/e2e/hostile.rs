//! Frames that no honest peer sends. None may end the worker or stop its service.

use crate::require_root;
use crate::support::packet::PacketSocket;
use crate::support::relay::Random;
use crate::support::{
    CLIENT_IF, CLIENT_V4, CLIENT_V6, Lab, Link, SERVER_IF, SERVER_V4, SERVER_V6, Server,
};

const PORT: u16 = 80;
pub(crate) const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Builds frames from the client to the served port.
pub(crate) struct Forge {
    ethernet: [u8; 12],
}

impl Forge {
    pub(crate) fn new(lab: &Lab) -> Self {
        let mut ethernet = [0; 12];
        ethernet[..6].copy_from_slice(&mac(&lab.server, SERVER_IF));
        ethernet[6..].copy_from_slice(&mac(&lab.client, CLIENT_IF));
        Self { ethernet }
    }

    /// An Ethernet frame around `packet`.
    fn frame(&self, ether_type: u16, packet: &[u8]) -> Vec<u8> {
        [&self.ethernet[..], &ether_type.to_be_bytes(), packet].concat()
    }

    /// A whole, right IPv4 frame around `payload`.
    pub(crate) fn ipv4(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = [0u8; 20];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        header[8] = 64;
        header[9] = protocol;
        header[12..16].copy_from_slice(&octets_v4(CLIENT_V4));
        header[16..20].copy_from_slice(&octets_v4(SERVER_V4));
        let checksum = fold(sum(&header));
        header[10..12].copy_from_slice(&(!checksum).to_be_bytes());
        self.frame(0x0800, &[&header[..], payload].concat())
    }

    /// A whole, right IPv6 frame around `payload`.
    fn ipv6(&self, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut header = [0u8; 40];
        header[0] = 0x60;
        header[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        header[6] = next_header;
        header[7] = 64;
        header[8..24].copy_from_slice(&octets_v6(CLIENT_V6));
        header[24..40].copy_from_slice(&octets_v6(SERVER_V6));
        self.frame(0x86dd, &[&header[..], payload].concat())
    }
}

/// A TCP segment to the served port with a right checksum, whatever else is wrong with it.
pub(crate) fn segment(
    v6: bool,
    source_port: u16,
    flags: u8,
    header_words: u8,
    rest: &[u8],
) -> Vec<u8> {
    let mut tcp = vec![0u8; 20];
    tcp[0..2].copy_from_slice(&source_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&PORT.to_be_bytes());
    tcp[4..8].copy_from_slice(&0x1234_5678u32.to_be_bytes());
    tcp[12] = header_words << 4;
    tcp[13] = flags;
    tcp[14..16].copy_from_slice(&1_000u16.to_be_bytes());
    tcp.extend(rest);
    let mut pseudo = Vec::new();
    if v6 {
        pseudo.extend(octets_v6(CLIENT_V6));
        pseudo.extend(octets_v6(SERVER_V6));
    } else {
        pseudo.extend(octets_v4(CLIENT_V4));
        pseudo.extend(octets_v4(SERVER_V4));
    }
    let total = sum(&pseudo) + 6 + tcp.len() as u64 + sum(&tcp);
    tcp[16..18].copy_from_slice(&(!fold(total)).to_be_bytes());
    tcp
}

pub(super) fn mac(namespace: &crate::support::Namespace, interface: &str) -> [u8; 6] {
    let links: serde_json::Value =
        serde_json::from_str(&namespace.ip(&["-json", "link", "show", interface])).expect("JSON");
    let text = links[0]["address"].as_str().expect("an address").to_owned();
    let mut parts = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).expect("hex"));
    std::array::from_fn(|_| parts.next().expect("six octets"))
}

pub(super) fn octets_v4(text: &str) -> [u8; 4] {
    text.parse::<std::net::Ipv4Addr>()
        .expect("a literal")
        .octets()
}

pub(super) fn octets_v6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>()
        .expect("a literal")
        .octets()
}

pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum()
}

pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The server still serves, and ends when and as it is told.
fn assert_alive(lab: &Lab, mut server: Server) {
    assert!(server.is_running(), "{}", server.output());
    for host in [SERVER_V4.to_owned(), format!("[{SERVER_V6}]")] {
        let script = format!("curl -sS --max-time 8 http://{host}/");
        assert_eq!(lab.client.shell(10, &script), "hello, world\n");
    }
    assert!(!server.output().contains("panicked"), "{}", server.output());
    server.stop();
    lab.assert_clean();
}

/// One of each kind of broken frame.
fn malformed(forge: &Forge) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for v6 in [false, true] {
        let wrap = |payload: &[u8]| {
            if v6 {
                forge.ipv6(6, payload)
            } else {
                forge.ipv4(6, payload)
            }
        };
        let right = wrap(&segment(v6, 1_000, SYN, 5, &[]));
        // Cut at every length.
        frames.extend((14..right.len()).map(|length| right[..length].to_vec()));
        // Every octet of the headers turned over, one at a time.
        frames.extend((12..right.len()).map(|at| {
            let mut frame = right.clone();
            frame[at] ^= 0xff;
            frame
        }));
        // Data offsets too small and too large.
        frames.extend((0..16).map(|words| wrap(&segment(v6, 1_001, SYN, words, &[]))));
        // All flags.
        frames.extend((0..=255).map(|flags| wrap(&segment(v6, 1_002, flags, 5, b"data"))));
        // Options: no length, length 0 and 1, past the end, wrong for the kind, never ending.
        for options in [
            [2, 0, 0, 0],
            [2, 1, 0, 0],
            [2, 200, 0, 0],
            [8, 10, 0, 0],
            [1, 1, 1, 2],
            [5, 3, 0, 0],
            [3, 2, 3, 2],
            [254, 0, 254, 0],
            [2, 4, 0, 0],
        ] {
            for flags in [SYN, ACK] {
                frames.push(wrap(&segment(v6, 1_003, flags, 6, &options)));
                frames.push(wrap(&segment(v6, 1_003, flags, 15, &options.repeat(10))));
            }
        }
        // From port 0; with a wrong checksum.
        frames.push(wrap(&segment(v6, 0, SYN, 5, &[])));
        let mut wrong = segment(v6, 1_004, SYN, 5, &[]);
        wrong[16] ^= 1;
        frames.push(wrap(&wrong));
    }
    frames.extend(fragments(forge));
    frames.extend(extension_headers(forge));
    frames.extend(tags(forge));
    frames
}

fn fragments(forge: &Forge) -> Vec<Vec<u8>> {
    let tcp = segment(false, 1_005, SYN, 5, &[]);
    // Flags and offset: first, tiny first, later, overlapping, last, past 64 KiB.
    [0x2000u16, 0x2001, 0x0001, 0x0002, 0x1fff, 0x3fff]
        .into_iter()
        .map(|fragment| {
            let mut frame = forge.ipv4(6, &tcp);
            frame[20..22].copy_from_slice(&fragment.to_be_bytes());
            frame[24..26].fill(0);
            let checksum = !fold(sum(&frame[14..34]));
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
            frame
        })
        .collect()
}

fn extension_headers(forge: &Forge) -> Vec<Vec<u8>> {
    let tcp = segment(true, 1_006, SYN, 5, &[]);
    let mut frames = Vec::new();
    for kind in [0u8, 43, 44, 60, 51, 59, 135] {
        // One that is right, one longer than the packet, a chain of forty.
        frames.push(forge.ipv6(kind, &[&[6, 0, 0, 0, 0, 0, 0, 0], &tcp[..]].concat()));
        frames.push(forge.ipv6(kind, &[&[6, 255, 0, 0, 0, 0, 0, 0], &tcp[..]].concat()));
        let chain = [kind, 0, 0, 0, 0, 0, 0, 0].repeat(40);
        frames.push(forge.ipv6(kind, &[&chain, &tcp[..]].concat()));
        frames.push(forge.ipv6(kind, &[6]));
    }
    frames
}

fn tags(forge: &Forge) -> Vec<Vec<u8>> {
    let tag = [0u8, 5, 0x81, 0];
    let right = forge.ipv4(6, &segment(false, 1_007, SYN, 5, &[]));
    let packet = &right[14..];
    (0..8)
        .flat_map(|depth| {
            let tagged = [&tag.repeat(depth), &[0u8, 5, 8, 0][..], packet].concat();
            let cut = tag.repeat(depth + 1)[..depth * 4 + 2].to_vec();
            [
                forge.frame(0x8100, &tagged),
                forge.frame(0x8100, &cut),
                forge.frame(0x88a8, &tagged),
            ]
        })
        .collect()
}

#[test]
fn malformed_frames_do_not_end_the_server() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    let socket = lab
        .client
        .run(|| PacketSocket::open(CLIENT_IF).expect("a packet socket"));
    let frames = malformed(&Forge::new(&lab));
    assert!(frames.len() > 800, "{}", frames.len());
    for _ in 0..5 {
        for frame in &frames {
            socket.send(frame).expect("the interface takes it");
        }
    }
    assert_alive(&lab, server);
}

#[test]
fn random_frames_do_not_end_the_server() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["http:80"]);
    let socket = lab
        .client
        .run(|| PacketSocket::open(CLIENT_IF).expect("a packet socket"));
    let forge = Forge::new(&lab);
    let mut random = Random::new(4);
    for round in 0..20_000u32 {
        let v6 = round % 2 == 0;
        let wrap = |payload: &[u8]| {
            if v6 {
                forge.ipv6(6, payload)
            } else {
                forge.ipv4(6, payload)
            }
        };
        let length = (random.next() % 1_400) as usize;
        let noise: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let frame = match random.next() % 4 {
            0 => forge.frame(if v6 { 0x86dd } else { 0x0800 }, &noise),
            1 => wrap(&noise),
            // Reaches the listener, with random flags, options and payload.
            2 => {
                let bits = random.next();
                wrap(&segment(
                    v6,
                    bits as u16,
                    (bits >> 16) as u8,
                    (bits >> 24) as u8 & 15,
                    &noise,
                ))
            }
            // A right frame with a few octets changed.
            _ => {
                let mut frame = wrap(&segment(v6, round as u16, SYN, 5, &[]));
                for _ in 0..3 {
                    let at = 12 + random.next() as usize % (frame.len() - 12);
                    frame[at] = random.next() as u8;
                }
                frame
            }
        };
        socket.send(&frame).expect("the interface takes it");
    }
    assert_alive(&lab, server);
}
