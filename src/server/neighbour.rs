//! The kernel's route and neighbour tables, asked by rtnetlink: ARP and NDP are the kernel's.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::stack::ConnectError;
use crate::wire::MacAddr;

/// The kernel answers at once; this is for one that does not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What a route says of a destination on our interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Whose Ethernet address to send to: the destination's, or its gateway's.
    pub(super) next_hop: IpAddr,
    /// The address that the kernel would send from.
    pub(super) source: Option<IpAddr>,
    /// Octets of the largest packet, where the route or the kernel's path MTU discovery says so.
    pub(super) mtu: Option<u16>,
}

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// Nothing yet, or nothing any more.
    Unknown,
    /// It was asked for, and did not answer.
    Silent,
    /// Its address, which is known to be right.
    Confirmed(MacAddr),
    /// Its address, which was right some time ago.
    Stale(MacAddr),
}

/// A socket to ask by. Questions concern the network namespace in which it was made.
#[derive(Debug)]
pub(super) struct Rtnetlink {
    socket: OwnedFd,
    ifindex: u32,
    sequence: u32,
}

impl Rtnetlink {
    /// For the interface with this index.
    pub(super) fn new(ifindex: u32) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is 0.
            None,
        )?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            ifindex,
            sequence: 0,
        })
    }

    /// The route that the kernel would take to `destination`.
    pub(super) fn route(&mut self, destination: IpAddr) -> Result<Route, ConnectError> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(destination);
        question.header.destination_prefix_length = if destination.is_ipv4() { 32 } else { 128 };
        let to = RouteAttribute::Destination(RouteAddress::from(destination));
        question.attributes.push(to);
        if is_link_local(destination) {
            // Such an address means something only together with an interface.
            question.attributes.push(RouteAttribute::Oif(self.ifindex));
        }
        match self.ask(RouteNetlinkMessage::GetRoute(question), 0) {
            Ok(RouteNetlinkMessage::NewRoute(answer)) => self.read_route(destination, &answer),
            // ENETUNREACH, EHOSTUNREACH, EACCES (prohibit), EINVAL (blackhole).
            Ok(_) | Err(_) => Err(ConnectError::NoRoute),
        }
    }

    fn read_route(
        &self,
        destination: IpAddr,
        answer: &RouteMessage,
    ) -> Result<Route, ConnectError> {
        match answer.header.kind {
            RouteType::Unicast => {}
            RouteType::Local => return Err(ConnectError::OtherInterface),
            RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast => {
                return Err(ConnectError::NoPeer);
            }
            _ => return Err(ConnectError::NoRoute),
        }
        let mut route = Route {
            next_hop: destination,
            source: None,
            mtu: None,
        };
        let mut interface = None;
        for attribute in &answer.attributes {
            match attribute {
                RouteAttribute::Oif(index) => interface = Some(*index),
                RouteAttribute::Gateway(at) => route.next_hop = ip(at).unwrap_or(destination),
                RouteAttribute::Via(RouteVia::Inet(at)) => route.next_hop = (*at).into(),
                RouteAttribute::Via(RouteVia::Inet6(at)) => route.next_hop = (*at).into(),
                RouteAttribute::PrefSource(source) => route.source = ip(source),
                RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
                _ => {}
            }
        }
        match interface == Some(self.ifindex) {
            true => Ok(route),
            false => Err(ConnectError::OtherInterface),
        }
    }

    /// What the kernel knows of `address` on the interface.
    pub(super) fn neighbour(&mut self, address: IpAddr) -> io::Result<Neighbour> {
        let question = self.neighbour_message(address);
        let answer = match self.ask(RouteNetlinkMessage::GetNeighbour(question), 0) {
            Ok(RouteNetlinkMessage::NewNeighbour(answer)) => answer,
            Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(Neighbour::Unknown);
            }
            Err(error) => return Err(error),
        };
        let mac = answer
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NeighbourAttribute::LinkLayerAddress(octets) => {
                    octets.as_slice().try_into().ok().map(MacAddr)
                }
                _ => None,
            });
        Ok(match (answer.header.state, mac) {
            (NeighbourState::Failed, _) => Neighbour::Silent,
            (
                NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp,
                Some(mac),
            ) => Neighbour::Confirmed(mac),
            (NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe, Some(mac)) => {
                Neighbour::Stale(mac)
            }
            _ => Neighbour::Unknown,
        })
    }

    /// Has the kernel find the neighbour, or find out whether it is still there, as if it had
    /// something to send to it.
    pub(super) fn solicit(&mut self, address: IpAddr) -> io::Result<()> {
        let mut message = self.neighbour_message(address);
        message.header.flags = NeighbourFlags::Use;
        let flags = NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
        match self.ask(RouteNetlinkMessage::NewNeighbour(message), flags) {
            // The acknowledgment has no message in it.
            Err(error) if error.kind() == io::ErrorKind::Other => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    fn neighbour_message(&self, address: IpAddr) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = self.ifindex;
        message
            .attributes
            .push(NeighbourAttribute::Destination(address.into()));
        message
    }

    /// One question and its answer; an acknowledgment is `ErrorKind::Other`.
    fn ask(
        &mut self,
        question: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<RouteNetlinkMessage> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut buffer = vec![0; message.buffer_len().max(8192)];
        message.serialize(&mut buffer);
        rustix::net::send(
            &self.socket,
            &buffer[..message.buffer_len()],
            SendFlags::empty(),
        )?;
        loop {
            let (len, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&buffer[..len])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                // To a question that timed out.
                continue;
            }
            return match answer.payload {
                NetlinkPayload::InnerMessage(message) => Ok(message),
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                _ => Err(io::Error::other("acknowledged")),
            };
        }
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn mtu(metrics: &[RouteMetric]) -> Option<u16> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(u16::try_from(*mtu).unwrap_or(u16::MAX)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tests stay on the loopback interface; its index is 1 in every namespace.
    const LOOPBACK: u32 = 1;

    #[test]
    fn our_own_addresses_are_no_peers() {
        let mut rtnetlink = Rtnetlink::new(LOOPBACK).unwrap();
        for own in ["127.0.0.1", "::1"] {
            let route = rtnetlink.route(own.parse().unwrap());
            assert_eq!(route, Err(ConnectError::OtherInterface), "{own}");
        }
    }

    #[test]
    fn nobody_is_known_where_nobody_is() {
        let mut rtnetlink = Rtnetlink::new(LOOPBACK).unwrap();
        let known = rtnetlink
            .neighbour("198.18.255.1".parse().unwrap())
            .unwrap();
        assert_eq!(known, Neighbour::Unknown);
    }
}
