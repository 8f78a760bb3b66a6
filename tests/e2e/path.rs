//! Fragments, Path MTU Discovery and ECN, with the kernel as router and as peer.

use std::time::Duration;

use corelane::wire::checksum::Sum;
use corelane::wire::emit::{self, Route};
use corelane::wire::tcp::{Flags, Header, Segment};
use corelane::wire::{ChecksumPolicy, FlowKey, Link as LinkLayer, MacAddr, Packet, parse};

use crate::require_root;
use crate::support::fragment::fragments;
use crate::support::packet::PacketSocket;
use crate::support::{
    CLIENT_IF, Lab, Link, Namespace, SERVER_IF, SERVER_V4, SERVER_V6, Server, wait_until,
};

fn mac(namespace: &Namespace, interface: &str) -> MacAddr {
    let links: serde_json::Value =
        serde_json::from_str(&namespace.ip(&["-json", "link", "show", interface])).expect("JSON");
    let text = links[0]["address"].as_str().expect("an address").to_owned();
    let mut parts = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).expect("hex"));
    MacAddr(std::array::from_fn(|_| parts.next().expect("six octets")))
}

/// A peer made by hand: a host of which the client's kernel knows nothing.
struct Peer {
    socket: PacketSocket,
    link: LinkLayer,
    key: FlowKey,
    /// The number of the next datagram that is sent in fragments.
    datagram: u32,
}

impl Peer {
    fn new(lab: &Lab, local: &str, remote: &str) -> Self {
        let address = |text: &str| text.parse::<std::net::IpAddr>().expect("a literal").into();
        Self {
            socket: lab
                .client
                .run(|| PacketSocket::open(CLIENT_IF).expect("a packet socket")),
            link: LinkLayer {
                local: mac(&lab.client, CLIENT_IF),
                remote: mac(&lab.server, SERVER_IF),
                vlan: None,
            },
            key: FlowKey {
                local: address(local),
                remote: address(remote),
                local_port: 40_000,
                remote_port: 7,
            },
            datagram: 7,
        }
    }

    fn frame(&self, seq: u32, ack: u32, flags: Flags, text: &[u8]) -> Vec<u8> {
        let route = Route {
            link: self.link,
            key: self.key,
            hop_limit: 64,
            traffic_class: 0,
            identification: 0,
        };
        let header = Header {
            seq,
            ack,
            flags,
            window: 60_000,
            ..Header::default()
        };
        let mut headroom = [0; emit::MAX_HEADERS];
        let sum = (text.len(), Sum::of(text));
        let len = emit::segment_headers(&mut headroom, &route, &header, sum);
        [&headroom[headroom.len() - len..], text].concat()
    }

    fn send(&self, frame: &[u8]) {
        assert!(self.socket.send(frame).expect("a packet socket"));
    }

    /// Waits for a segment of this connection for which `wish` holds.
    #[track_caller]
    fn expect<T>(&self, mut wish: impl FnMut(&Segment<'_>) -> Option<T>) -> T {
        let mut buffer = [0; 2_048];
        let mut found = None;
        let came = wait_until(Duration::from_secs(10), || {
            while let Some(len) = self.socket.receive(&mut buffer).expect("a packet socket") {
                let frame = &buffer[..len.min(2_048)];
                if let Ok(Packet::Tcp { key, segment, .. }) = parse(frame, ChecksumPolicy::Full)
                    && key == self.key
                {
                    found = found.take().or_else(|| wish(&segment));
                }
            }
            found.is_some()
        });
        assert!(came, "no answer");
        found.expect("it came")
    }
}

#[test]
fn a_segment_in_fragments_is_acknowledged_and_echoed() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7"]);
    for (local, remote) in [("198.18.0.77", SERVER_V4), ("fd00::77", SERVER_V6)] {
        let mut peer = Peer::new(&lab, local, remote);
        peer.send(&peer.frame(999, 0, Flags::SYN, &[]));
        let iss = peer.expect(|segment| {
            let is_syn = segment.header.flags.contains(Flags::SYN | Flags::ACK);
            is_syn.then_some(segment.header.seq)
        });
        peer.send(&peer.frame(1_000, iss + 1, Flags::ACK, &[]));
        let text: Vec<u8> = (0..1_200).map(|i| (i * 7 + i / 251) as u8).collect();
        for (turn, backwards) in [false, true].into_iter().enumerate() {
            let done = (turn * text.len()) as u32;
            let frame = peer.frame(1_000 + done, iss + 1 + done, Flags::ACK, &text);
            peer.datagram += 1;
            let mut pieces = fragments(&frame, 256, peer.datagram);
            assert_eq!(pieces.len(), 5);
            if backwards {
                pieces.reverse();
            }
            for piece in &pieces {
                peer.send(piece);
            }
            let mut echoed: Vec<u8> = Vec::new();
            peer.expect(|segment| {
                let at = segment.header.seq.wrapping_sub(iss + 1 + done) as usize;
                if at == echoed.len() {
                    echoed.extend(segment.payload);
                }
                let acknowledged = segment.header.ack == 1_000 + done + 1_200;
                (acknowledged && echoed.len() == text.len()).then_some(())
            });
            assert_eq!(echoed, text);
        }
        peer.send(&peer.frame(3_400, iss + 2_401, Flags::RST | Flags::ACK, &[]));
    }
    assert_eq!(server.count("fragments_reassembled"), 4);
    server.stop();
    lab.assert_clean();
}

/// A third namespace behind the client's, over a link that carries 1300 octets towards it. Its own
/// interface takes 1500, so that it announces a large MSS.
pub(crate) fn far_behind(lab: &Lab) -> Namespace {
    let far = Namespace::new("far");
    let client = &lab.client;
    let ends = [
        ["link", "add", "rtr0", "mtu", "1300", "type", "veth"].as_slice(),
        &["peer", "name", "far0", "mtu", "1500", "netns", far.name()],
    ];
    client.ip(&ends.concat());
    for (namespace, interface, number) in [(client, "rtr0", 1), (&far, "far0", 2)] {
        let v4 = format!("198.18.1.{number}/24");
        let v6 = format!("fd00:1::{number}/64");
        namespace.ip(&["addr", "add", &v4, "dev", interface]);
        namespace.ip(&["addr", "add", &v6, "dev", interface, "nodad"]);
        namespace.ip(&["link", "set", interface, "up"]);
    }
    client.shell(
        5,
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    );
    far.ip(&["route", "add", "default", "via", "198.18.1.1"]);
    far.ip(&["-6", "route", "add", "default", "via", "fd00:1::1"]);
    far
}

#[test]
fn a_router_that_cannot_forward_makes_segments_smaller() {
    require_root!();
    let lab = Lab::new(Link::default());
    let far = far_behind(&lab);
    let server = Server::start(&lab.server, &["chargen:19"]);
    for (number, address) in [SERVER_V4, SERVER_V6].into_iter().enumerate() {
        let script = format!("nc {address} 19 < /dev/null | head -c 3000000 | wc -c");
        assert_eq!(
            far.shell(20, &script).trim(),
            "3000000",
            "{}",
            server.ss(&[])
        );
        assert_eq!(server.count("path_mtu_lowered"), number as u64 + 1);
        assert_eq!(server.count("black_holes"), 0);
        // The next one starts right.
        far.shell(20, &script);
        assert_eq!(server.count("path_mtu_lowered"), number as u64 + 1);
    }
    server.stop();
    lab.assert_clean();
}

#[test]
fn linux_agrees_on_ecn_with_us_when_it_asks() {
    require_root!();
    let lab = Lab::new(Link::default());
    let server = Server::start(&lab.server, &["echo:7"]);
    let socket = lab
        .client
        .run(|| PacketSocket::open(CLIENT_IF).expect("a packet socket"));
    for address in [SERVER_V4, SERVER_V6] {
        for (asks, codepoint) in [(1, 2), (0, 0)] {
            let script = format!(
                "sysctl -qw net.ipv4.tcp_ecn={asks}; exec 3<>/dev/tcp/{address}/7; \
                 echo hello >&3; read -r line <&3; echo $line"
            );
            assert_eq!(lab.client.shell(10, &script), "hello\n");
            let mut buffer = [0; 2_048];
            let mut codepoints = Vec::new();
            while let Some(len) = socket.receive(&mut buffer).expect("a packet socket") {
                if let Ok(Packet::Tcp { ecn, segment, .. }) =
                    parse(&buffer[..len], ChecksumPolicy::Full)
                    && !segment.payload.is_empty()
                {
                    codepoints.push(ecn);
                }
            }
            assert_eq!(codepoints, [codepoint], "{address}");
        }
    }
    server.stop();
    lab.assert_clean();
}
