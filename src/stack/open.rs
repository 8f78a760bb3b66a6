//! Active opens: which local port, and the connection in SYN-SENT.

use std::fmt;
use std::hash::Hasher as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use super::conversation::Flow;
use super::counters::DropReason;
use super::demux::Handle;
use super::steering::{Arrives, Steering};
use super::{ConnectError, ServiceId, Stack, Wish};
use crate::ring::PacketIo;
use crate::tcp::{Context, Seq, Tcb};
use crate::time::Instant;
use crate::wire::{self, Address, FlowKey, Link};

/// Counters of RFC 6056 section 3.3.4's table.
const COUNTERS: usize = 256;
/// Connections that a service may open by itself in one turn: a turn takes in no more segments either.
const OPENS_PER_TURN: usize = 64;
/// RFC 9293 section 3.7.1: what every IPv4 host takes; a route's MTU below is not believed.
const LEAST_MTU: u16 = 576;

/// Where an active open goes and by what way: what routes and neighbours say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Our address.
    pub local: Address,
    /// The peer's address.
    pub remote: Address,
    /// The peer's port.
    pub port: u16,
    /// The next hop.
    pub link: Link,
    /// Octets of the largest IP packet, where the route allows less than the device.
    pub mtu: Option<u16>,
}

/// An active open on its way to the worker that does it, or word that there is no way.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Who wants the connection.
    pub service: ServiceId,
    /// What it wants to know the connection by.
    pub token: u64,
    /// Text for [`Stack::open_with`]; empty for [`Stack::open`].
    pub early: Arc<[u8]>,
    /// With whom.
    pub remote: SocketAddr,
    /// By what way.
    pub way: Result<Destination, ConnectError>,
}

/// The local ports of active opens, and in which order they are taken: RFC 6056's double hash,
/// which goes through all ports before one comes again, and tells nobody what others do.
pub struct ClientPorts {
    range: RangeInclusive<u16>,
    steering: Steering,
    offset: SipHasher13,
    index: SipHasher13,
    counters: Box<[u16; COUNTERS]>,
}

impl ClientPorts {
    /// The ports of `range` that `steering` makes this stack's. The secret may be the same on all
    /// cores.
    pub fn new(range: RangeInclusive<u16>, steering: Steering, secret: [u64; 2]) -> Self {
        let [a, b] = secret;
        Self {
            range,
            steering,
            offset: SipHasher13::new_with_keys(a, b),
            index: SipHasher13::new_with_keys(!a, b),
            counters: Box::new([0; COUNTERS]),
        }
    }

    /// Whether segments to this port may be answers to active opens.
    pub(super) fn contain(&self, port: u16) -> bool {
        self.range.contains(&port)
    }

    /// RFC 6056 section 3.3.4, algorithm 4: goes through the ports in their order for this
    /// destination until `usable` takes one.
    fn choose<T>(
        &mut self,
        mut key: FlowKey,
        mut usable: impl FnMut(&FlowKey, Arrives) -> Option<T>,
    ) -> Option<(FlowKey, T)> {
        let first = *self.range.start();
        let ports = u32::try_from(self.range.len()).unwrap_or(0);
        let offset = hash(self.offset, &key) as u32;
        let counter = &mut self.counters[hash(self.index, &key) as usize % COUNTERS];
        let towards = self.steering.towards(&key);
        for _ in 0..ports {
            let at = offset.wrapping_add(u32::from(*counter)) % ports;
            *counter = counter.wrapping_add(1);
            // Within the range, which holds `ports` of them.
            key.local_port = first + at as u16;
            let arrives = towards.arrival(&key);
            if arrives != Arrives::NotOurs
                && let Some(how) = usable(&key, arrives)
            {
                return Some((key, how));
            }
        }
        None
    }
}

impl fmt::Debug for ClientPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPorts")
            .field("range", &self.range)
            .field("steering", &self.steering)
            .finish_non_exhaustive()
    }
}

/// F and G of RFC 6056 section 3.3.4.
fn hash(mut hasher: SipHasher13, key: &FlowKey) -> u64 {
    hasher.write(key.local.octets());
    hasher.write(key.remote.octets());
    hasher.write_u16(key.remote_port);
    hasher.finish()
}

/// How a port may be used.
enum Use {
    Free(u8),
    /// In the place of a TIME-WAIT, with sequence numbers beyond its own.
    Replaces(u8, Seq),
}

impl<P: PacketIo> Stack<P> {
    /// Allows active opens by [`open`](Self::open).
    pub fn set_client_ports(&mut self, ports: ClientPorts) {
        self.client_ports = Some(ports);
    }

    /// An active open for `service` from a port of the stack's choice, which the key in the answer
    /// tells. [`Service::on_open`](super::Service::on_open) or
    /// [`Service::on_connect_failed`](super::Service::on_connect_failed) follows.
    pub fn open(
        &mut self,
        now: Instant,
        destination: &Destination,
        service: ServiceId,
        token: u64,
    ) -> Result<FlowKey, ConnectError> {
        self.open_with(now, destination, service, token, &[])
    }

    /// As [`open`](Self::open), with text to send first: on the SYN, where the peer has given us a
    /// Fast Open cookie (RFC 7413), else behind the handshake. As much of it is sent as a new
    /// connection may queue. Since a SYN may be doubled on its way, and the text with it, only for
    /// text that the peer may get twice.
    pub fn open_with(
        &mut self,
        now: Instant,
        destination: &Destination,
        service: ServiceId,
        token: u64,
        early: &[u8],
    ) -> Result<FlowKey, ConnectError> {
        check_remote(destination.remote, destination.port)?;
        let mut ports = self
            .client_ports
            .take()
            .ok_or(ConnectError::NoClientPorts)?;
        let key = FlowKey {
            local: destination.local,
            remote: destination.remote,
            local_port: 0,
            remote_port: destination.port,
        };
        let chosen = ports.choose(key, |key, arrives| self.port_use(now, key, arrives));
        self.client_ports = Some(ports);
        let Some((key, how)) = chosen else {
            self.drops.count(DropReason::ClientPortsExhausted);
            return Err(ConnectError::PortsExhausted);
        };
        let (queue, beyond) = match how {
            Use::Free(queue) => (queue, None),
            Use::Replaces(queue, beyond) => (queue, Some(beyond)),
        };
        let by = By {
            link: destination.link,
            queue,
            mtu: destination.mtu,
            early,
        };
        self.open_flow(now, &key, &by, service, token, beyond)?;
        Ok(key)
    }

    /// An active open for `service`, from the stack's queue number `queue` by way of `link`, from
    /// the port that the caller has chosen.
    pub fn connect(
        &mut self,
        now: Instant,
        key: FlowKey,
        link: Link,
        queue: u8,
        service: ServiceId,
    ) -> Result<(), ConnectError> {
        check_remote(key.remote, key.remote_port)?;
        let beyond = match self.table.lookup(&key) {
            None => None,
            Some(_) => Some(self.replaceable(now, &key).ok_or(ConnectError::InUse)?),
        };
        let by = By {
            link,
            queue,
            mtu: None,
            early: &[],
        };
        self.open_flow(now, &key, &by, service, 0, beyond)
    }

    /// Does what `opening` says; its service is told if that fails.
    pub fn handle_opening(&mut self, now: Instant, opening: &Opening) {
        let Opening { service, token, .. } = *opening;
        let early = &opening.early;
        let opened = opening
            .way
            .and_then(|way| self.open_with(now, &way, service, token, early));
        if let Err(error) = opened
            && let Some(service) = self.services.get_mut(usize::from(service.0))
        {
            service.on_connect_failed(opening.remote, token, error);
        }
    }

    /// Has `service` open connections by itself: see
    /// [`Service::poll_open`](super::Service::poll_open).
    pub fn let_open(&mut self, service: ServiceId) {
        self.openers.push(service);
    }

    /// Services that open connections by themselves do so.
    pub(super) fn ask_openers(&mut self, now: Instant) {
        if self.openers.is_empty() {
            return;
        }
        let mut next = Instant::FAR_FUTURE;
        for opener in 0..self.openers.len() {
            next = next.min(self.ask_opener(now, self.openers[opener]));
        }
        self.openers_due = Some(next);
    }

    /// When to ask it again.
    fn ask_opener(&mut self, now: Instant, id: ServiceId) -> Instant {
        for _ in 0..OPENS_PER_TURN {
            let Some(service) = self.services.get_mut(usize::from(id.0)) else {
                return Instant::FAR_FUTURE;
            };
            let (way, token) = match service.poll_open(now, &self.core.counters) {
                Wish::Open(way, token) => (way, token),
                Wish::Until(next) => return next,
            };
            if let Err(error) = self.open(now, &way, id, token) {
                let remote = SocketAddr::new(way.remote.to_ip(), way.port);
                self.services[usize::from(id.0)].on_connect_failed(remote, token, error);
            }
        }
        now
    }

    fn open_flow(
        &mut self,
        now: Instant,
        key: &FlowKey,
        by: &By<'_>,
        service: ServiceId,
        token: u64,
        beyond: Option<Seq>,
    ) -> Result<(), ConnectError> {
        if self.draining {
            return Err(ConnectError::Draining);
        }
        if usize::from(service.0) >= self.services.len() {
            return Err(ConnectError::NoSuchService);
        }
        if usize::from(by.queue) >= self.ports.len() {
            return Err(ConnectError::NoSuchQueue);
        }
        if self.core.refuses_connection() {
            return Err(ConnectError::MemoryShort);
        }
        if let Some(id) = self.table.lookup(key)
            && let Some(&Handle::Waiting(index)) = self.table.get(id)
        {
            self.forget_waiting(id, index);
        }
        if self.table.len() == self.table.capacity() && !self.evict_waiting() {
            self.drops.count(DropReason::FlowTableFull);
            return Err(ConnectError::Full);
        }
        let path_mss = self.path_mss(usize::from(by.queue), key);
        let path_mss = match by.mtu {
            Some(mtu) => {
                path_mss.min(mtu.max(LEAST_MTU) - wire::fixed_headers(key.local.is_ipv4()))
            }
            None => path_mss,
        };
        let options = self.service_options[usize::from(service.0)];
        let mut cx = Context {
            now,
            buffers: &mut self.ports[usize::from(by.queue)],
            core: &mut self.core,
        };
        let mut tcb = match beyond {
            Some(beyond) => Tcb::reconnect(&mut cx, key, path_mss, options, beyond),
            None => Tcb::connect(&mut cx, key, path_mss, options),
        };
        if !by.early.is_empty() {
            tcb.send_early(&mut cx, key, by.early);
        }
        let index = self
            .flows
            .insert(Flow::opened_by(token, tcb, by.link, by.queue, service.0));
        match self.table.insert(*key, Handle::Flow(index)) {
            Ok(id) => {
                self.mark_dirty(id);
                Ok(())
            }
            Err(_) => {
                if let Some(mut conversation) = self.conversation(now, key, index) {
                    conversation.release();
                }
                self.flows.remove(index);
                Err(ConnectError::Full)
            }
        }
    }

    fn port_use(&self, now: Instant, key: &FlowKey, arrives: Arrives) -> Option<Use> {
        if self.listeners.contains_key(&(key.local, key.local_port)) {
            return None;
        }
        let queue = match arrives {
            // As good as any; its own for each port.
            Arrives::Somewhere => usize::from(key.local_port) % self.ports.len().max(1),
            Arrives::AtQueue(id) => self.ports.iter().position(|port| port.queue.id == id)?,
            Arrives::NotOurs => return None,
        };
        // At most 256 queues.
        let queue = queue as u8;
        if self.table.lookup(key).is_none() {
            return Some(Use::Free(queue));
        }
        Some(Use::Replaces(queue, self.replaceable(now, key)?))
    }

    /// Where a TIME-WAIT of these endpoints ended, if it may be replaced.
    fn replaceable(&self, now: Instant, key: &FlowKey) -> Option<Seq> {
        match *self.table.get(self.table.lookup(key)?)? {
            Handle::Waiting(index) => self.waiting.get(index)?.time_wait.gives_way(now),
            Handle::Flow(_) | Handle::HalfOpen(_) => None,
        }
    }
}

/// The way out, and what to send first.
#[derive(Clone, Copy)]
struct By<'a> {
    link: Link,
    queue: u8,
    mtu: Option<u16>,
    early: &'a [u8],
}

/// RFC 9293 section 3.9.2.3, MUST-46: no open to an address that cannot be a peer's.
fn check_remote(remote: Address, port: u16) -> Result<(), ConnectError> {
    let is_broadcast = remote.is_ipv4() && remote.ipv4_octets() == [255; 4];
    let ip = remote.to_ip();
    match ip.is_unspecified() || ip.is_multicast() || is_broadcast || port == 0 {
        true => Err(ConnectError::NoPeer),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(range: RangeInclusive<u16>, steering: Steering) -> ClientPorts {
        ClientPorts::new(range, steering, [1, 2])
    }

    fn alone() -> Steering {
        Steering::Dealt { index: 0, of: 1 }
    }

    fn towards(last: u8) -> FlowKey {
        FlowKey {
            local: Address::from_ipv4([198, 18, 0, 1]),
            remote: Address::from_ipv4([198, 18, 0, last]),
            local_port: 0,
            remote_port: 80,
        }
    }

    fn take(ports: &mut ClientPorts, key: FlowKey) -> Option<u16> {
        let chosen = ports.choose(key, |_, _| Some(()));
        chosen.map(|(key, ())| key.local_port)
    }

    #[test]
    fn all_ports_are_taken_before_one_comes_again() {
        let mut ports = ports(61_000..=61_099, alone());
        let mut taken: Vec<u16> = (0..100)
            .filter_map(|_| take(&mut ports, towards(2)))
            .collect();
        taken.sort_unstable();
        assert_eq!(taken, (61_000..=61_099).collect::<Vec<u16>>());
    }

    #[test]
    fn where_it_starts_depends_on_the_destination_and_the_secret() {
        let first = |secret, last| {
            let mut ports = ClientPorts::new(1..=u16::MAX, alone(), secret);
            take(&mut ports, towards(last)).unwrap()
        };
        assert_eq!(first([1, 2], 2), first([1, 2], 2));
        assert_ne!(first([1, 2], 2), first([1, 2], 3));
        assert_ne!(first([1, 2], 2), first([1, 3], 2));
    }

    #[test]
    fn a_range_with_nothing_usable_comes_to_an_end() {
        let mut ports = ports(0..=u16::MAX, alone());
        let mut asked = 0;
        let chosen = ports.choose(towards(2), |_, _| {
            asked += 1;
            None::<()>
        });
        assert!(chosen.is_none());
        assert_eq!(asked, 65_536);
        #[expect(clippy::reversed_empty_ranges, reason = "no port at all")]
        let none = 2..=1;
        assert_eq!(take(&mut self::ports(none, alone()), towards(2)), None);
    }

    #[test]
    fn workers_have_no_port_in_common_and_leave_none_out() {
        let mut all: Vec<u16> = (0..3)
            .flat_map(|index| {
                let mut ports = ports(61_000..=61_010, Steering::Dealt { index, of: 3 });
                let mut mine: Vec<u16> = (0..11)
                    .filter_map(|_| take(&mut ports, towards(2)))
                    .collect();
                mine.sort_unstable();
                mine.dedup();
                mine
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, (61_000..=61_010).collect::<Vec<u16>>());
    }

    #[test]
    fn what_cannot_be_a_peer_is_refused() {
        let v6 = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
        for remote in [
            Address::from_ipv4([0; 4]),
            Address::from_ipv4([255; 4]),
            Address::from_ipv4([224, 0, 0, 1]),
            v6("::"),
            v6("ff02::1"),
        ] {
            assert_eq!(check_remote(remote, 80), Err(ConnectError::NoPeer));
        }
        assert_eq!(check_remote(v6("fd00::2"), 0), Err(ConnectError::NoPeer));
        assert_eq!(check_remote(v6("fd00::2"), 80), Ok(()));
    }
}
