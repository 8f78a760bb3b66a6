//! Active opens of a server: the way to the peer is found on a thread of its own, then a worker
//! opens the connection.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use super::neighbour::{Neighbour, Route, Rtnetlink};
use crate::stack::{ConnectError, Destination, Opening, ServiceId};
use crate::time::{Clock, Duration, Instant};
use crate::wire::{Address, Link, MacAddr};
use crate::worker::{Filter, Mailbox};

/// Requests that may wait for the thread; and as many may wait for neighbours.
const REQUESTS: usize = 4096;
/// How long what the kernel's tables say is taken to be so.
const LIFETIME: Duration = Duration::from_secs(1);
/// Ways that are remembered.
const WAYS: usize = 1024;
/// How often to look whether a neighbour has answered, or a worker has room.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long to wait for a neighbour. Linux asks three times, a second apart, and then gives up
/// (`mcast_solicit`, `retrans_time_ms`).
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A service that [`Server::client`](super::Server::client) has added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(pub(super) ServiceId);

/// Opens connections on a running server, from any thread, a service's callback too.
#[derive(Clone)]
pub struct Opener {
    requests: Sender<Request>,
}

impl Opener {
    /// Opens a connection to `remote` for `client`, on one worker after the other. The service's
    /// [`on_open`](crate::stack::Service::on_open) follows, where
    /// [`Socket::token`](crate::stack::Socket::token) is `token`, or its
    /// [`on_connect_failed`](crate::stack::Service::on_connect_failed). Never blocks.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Busy`] if too many opens are under way, [`ConnectError::Draining`] if the
    /// server has ended.
    pub fn open(
        &self,
        client: ClientId,
        remote: SocketAddr,
        token: u64,
    ) -> Result<(), ConnectError> {
        self.open_with(client, remote, token, Arc::default())
    }

    /// As [`open`](Self::open), with text to send first:
    /// [`Stack::open_with`](crate::stack::Stack::open_with) says what to mind.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_with(
        &self,
        client: ClientId,
        remote: SocketAddr,
        token: u64,
        early: Arc<[u8]>,
    ) -> Result<(), ConnectError> {
        let request = Request {
            service: client.0,
            token,
            early,
            remote,
        };
        self.requests
            .try_send(request)
            .map_err(|error| match error.is_full() {
                true => ConnectError::Busy,
                false => ConnectError::Draining,
            })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
struct Request {
    service: ServiceId,
    token: u64,
    early: Arc<[u8]>,
    remote: SocketAddr,
}

/// What the thread has to know of the server.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) ifindex: u32,
    pub(super) mac: MacAddr,
    /// Addresses to open connections from.
    pub(super) addresses: Vec<IpAddr>,
    pub(super) workers: Vec<Arc<Mailbox>>,
    pub(super) clock: Clock,
    pub(super) filter: Option<Filter>,
}

/// The thread behind every [`Opener`]. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct OpenerThread {
    opener: Opener,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OpenerThread {
    /// Must be called in the network namespace of the interface.
    pub(super) fn start(terms: Terms) -> io::Result<Self> {
        let (requests, inbox) = bounded(REQUESTS);
        let (end, ended) = bounded(0);
        let pathfinder = Pathfinder {
            rtnetlink: Rtnetlink::new(terms.ifindex)?,
            terms,
            ways: HashMap::new(),
            waiting: VecDeque::new(),
            undelivered: VecDeque::new(),
            next_worker: 0,
            look_again_at: Instant::ZERO,
        };
        let thread = thread::Builder::new()
            .name("corelane-open".to_owned())
            .spawn(move || {
                let filter = pathfinder.terms.filter.as_ref();
                if filter.is_none_or(|filter| filter.apply().is_ok()) {
                    pathfinder.run(&inbox, &ended);
                }
            })?;
        Ok(Self {
            opener: Opener { requests },
            end: Some(end),
            thread: Some(thread),
        })
    }

    pub(super) fn opener(&self) -> &Opener {
        &self.opener
    }
}

impl Drop for OpenerThread {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has printed itself; there is nothing to mend any more.
            let _ = thread.join();
        }
    }
}

/// A request whose next hop has not answered yet.
#[derive(Debug)]
struct Waiting {
    request: Request,
    route: Route,
    deadline: Instant,
}

struct Pathfinder {
    terms: Terms,
    rtnetlink: Rtnetlink,
    ways: HashMap<IpAddr, (Instant, Destination)>,
    waiting: VecDeque<Waiting>,
    /// Found, but no worker has room.
    undelivered: VecDeque<Opening>,
    next_worker: usize,
    look_again_at: Instant,
}

impl Pathfinder {
    fn run(mut self, inbox: &Receiver<Request>, ended: &Receiver<()>) {
        while !matches!(ended.try_recv(), Err(TryRecvError::Disconnected)) {
            let is_idle = self.waiting.is_empty() && self.undelivered.is_empty();
            let received = match is_idle {
                true => crossbeam::select! {
                    recv(inbox) -> request => request.map_err(|_| RecvTimeoutError::Disconnected),
                    recv(ended) -> _ => return,
                },
                // Without room for more, requests wait where they are.
                false if self.waiting.len() + self.undelivered.len() >= REQUESTS => {
                    let _ = ended.recv_timeout(LOOK_AGAIN.into());
                    Err(RecvTimeoutError::Timeout)
                }
                false => inbox.recv_timeout(LOOK_AGAIN.into()),
            };
            let request = match received {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.step(self.terms.clock.now(), request);
        }
    }

    /// A request has come, or none for a while. Those that wait have their turn in any case, however
    /// fast requests come.
    fn step(&mut self, now: Instant, request: Option<Request>) {
        if let Some(request) = request {
            self.find_way(now, request);
        }
        if now >= self.look_again_at {
            self.look_again_at = now + LOOK_AGAIN;
            self.look_again(now);
        }
        self.deliver();
    }

    fn find_way(&mut self, now: Instant, request: Request) {
        let known = self.ways.get(&request.remote.ip());
        if let Some(&(until, way)) = known
            && now < until
        {
            return self.found(request, Ok(way));
        }
        let route = match self.rtnetlink.route(request.remote.ip()) {
            Ok(route) => route,
            Err(error) => return self.found(request, Err(error)),
        };
        match self.rtnetlink.neighbour(route.next_hop) {
            Ok(Neighbour::Confirmed(mac)) => self.arrived(now, request, route, mac),
            Ok(Neighbour::Stale(mac)) => {
                // It will do; the kernel finds out whether it still holds.
                let _ = self.rtnetlink.solicit(route.next_hop);
                self.arrived(now, request, route, mac);
            }
            Ok(Neighbour::Unknown | Neighbour::Silent) => {
                let asked = self
                    .waiting
                    .iter()
                    .any(|other| other.route.next_hop == route.next_hop);
                if !asked && self.rtnetlink.solicit(route.next_hop).is_err() {
                    return self.found(request, Err(ConnectError::NeighbourSilent));
                }
                self.waiting.push_back(Waiting {
                    request,
                    route,
                    deadline: now + PATIENCE,
                });
            }
            Err(_) => self.found(request, Err(ConnectError::NeighbourSilent)),
        }
    }

    /// Whether neighbours have answered by now: asks once for each.
    fn look_again(&mut self, now: Instant) {
        let mut known: HashMap<IpAddr, Neighbour> = HashMap::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let next_hop = waiting.route.next_hop;
            let neighbour = *known.entry(next_hop).or_insert_with(|| {
                let answer = self.rtnetlink.neighbour(next_hop);
                answer.unwrap_or(Neighbour::Unknown)
            });
            match neighbour {
                Neighbour::Confirmed(mac) | Neighbour::Stale(mac) => {
                    self.arrived(now, waiting.request, waiting.route, mac);
                }
                Neighbour::Silent => {
                    self.found(waiting.request, Err(ConnectError::NeighbourSilent));
                }
                Neighbour::Unknown if now >= waiting.deadline => {
                    self.found(waiting.request, Err(ConnectError::NeighbourSilent));
                }
                Neighbour::Unknown => self.waiting.push_back(waiting),
            }
        }
    }

    /// The next hop's Ethernet address is known.
    fn arrived(&mut self, now: Instant, request: Request, route: Route, mac: MacAddr) {
        let remote = request.remote;
        let Some(local) = self.source(remote.ip(), route.source) else {
            return self.found(request, Err(ConnectError::NoSource));
        };
        let way = Destination {
            local: Address::from(local),
            remote: Address::from(remote.ip()),
            port: remote.port(),
            link: Link {
                local: self.terms.mac,
                remote: mac,
                vlan: None,
            },
            mtu: route.mtu,
        };
        if self.ways.len() >= WAYS {
            self.ways.clear();
        }
        self.ways.insert(remote.ip(), (now + LIFETIME, way));
        self.found(request, Ok(way));
    }

    /// The address that the kernel would use, if it is served; else one of the same family and
    /// reach.
    fn source(&self, remote: IpAddr, preferred: Option<IpAddr>) -> Option<IpAddr> {
        let addresses = &self.terms.addresses;
        preferred
            .filter(|source| addresses.contains(source))
            .or_else(|| {
                let fits = |&&own: &&IpAddr| {
                    own.is_ipv4() == remote.is_ipv4() && is_link_local(own) == is_link_local(remote)
                };
                addresses.iter().find(fits).copied()
            })
    }

    fn found(&mut self, request: Request, way: Result<Destination, ConnectError>) {
        let port = request.remote.port();
        self.undelivered.push_back(Opening {
            service: request.service,
            token: request.token,
            early: request.early,
            remote: request.remote,
            way: way.map(|way| Destination { port, ..way }),
        });
    }

    /// To the workers in turn; one that has no room is passed over.
    fn deliver(&mut self) {
        while let Some(opening) = self.undelivered.pop_front() {
            let workers = self.terms.workers.len();
            let mut left = Some(opening);
            for _ in 0..workers {
                let Some(opening) = left.take() else { break };
                let worker = self.next_worker % workers;
                self.next_worker = worker + 1;
                left = self.terms.workers[worker].open(opening).err();
            }
            if let Some(opening) = left {
                return self.undelivered.push_front(opening);
            }
        }
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 2));
    const UNKNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 255, 1));

    fn request(remote: IpAddr, token: u64) -> Request {
        Request {
            service: ServiceId::default(),
            token,
            early: Arc::default(),
            remote: SocketAddr::new(remote, 80),
        }
    }

    /// On the loopback interface, where nobody is found; one destination is known for ever.
    fn pathfinder() -> Pathfinder {
        let terms = Terms {
            ifindex: 1,
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            addresses: Vec::new(),
            workers: Vec::new(),
            clock: Clock::start(),
            filter: None,
        };
        let way = Destination {
            local: Address::from_ipv4([198, 18, 0, 1]),
            remote: Address::from(KNOWN),
            port: 80,
            link: Link {
                local: terms.mac,
                remote: terms.mac,
                vlan: None,
            },
            mtu: None,
        };
        Pathfinder {
            rtnetlink: Rtnetlink::new(terms.ifindex).unwrap(),
            terms,
            ways: HashMap::from([(KNOWN, (Instant::FAR_FUTURE, way))]),
            waiting: VecDeque::new(),
            undelivered: VecDeque::new(),
            next_worker: 0,
            look_again_at: Instant::ZERO,
        }
    }

    #[test]
    fn requests_without_end_do_not_keep_one_that_waits_for_its_neighbour() {
        let mut finder = pathfinder();
        let start = Instant::from_millis(1_000);
        finder.waiting.push_back(Waiting {
            request: request(UNKNOWN, 0),
            route: Route {
                next_hop: UNKNOWN,
                source: None,
                mtu: None,
            },
            deadline: start + PATIENCE,
        });
        let every = Duration::from_millis(1);
        let mut now = start;
        for token in 1..=PATIENCE.as_millis() {
            finder.step(now, Some(request(KNOWN, token)));
            assert_eq!(finder.waiting.len(), 1);
            now += every;
        }
        for token in 0..=LOOK_AGAIN.as_millis() {
            finder.step(now, Some(request(KNOWN, token)));
            now += every;
        }
        assert!(finder.waiting.is_empty());
        let failed = finder.undelivered.iter().filter(|it| it.way.is_err());
        assert_eq!(failed.count(), 1);
    }
}
