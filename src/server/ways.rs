//! What a program needs whose services open connections by themselves: the ways to their peer, and
//! an end that leaves the peer no connections.

use std::net::{IpAddr, SocketAddr};

use super::neighbour::{Neighbour, Route, Rtnetlink};
use super::opener::{LOOK_AGAIN, PATIENCE, is_link_local};
use super::{ABORT_TIMEOUT, LOOK_AROUND, Running, ServeError, Signals};
use crate::stack::{ConnectError, Destination};
use crate::time::Duration;
use crate::wire::{Address, Link, MacAddr};
use crate::worker::timespec;

/// How long the reset of one connection may take among hundreds of thousands.
const RESET_TIME: Duration = Duration::from_micros(20);

impl Running {
    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The ways to `remote`: from each of `sources`, or without any from the address that the kernel
    /// would use. The kernel is asked for the route and has its neighbour answer, for which this waits
    /// up to five seconds. What it says holds for as long as nothing is plugged elsewhere.
    ///
    /// # Errors
    ///
    /// There is no way, or one of `sources` is not served or has no use there. Of the kernel's answers
    /// nothing is tried again.
    pub fn ways(
        &self,
        remote: SocketAddr,
        sources: &[IpAddr],
    ) -> Result<Vec<Destination>, ConnectError> {
        let ifindex = self.device.ifindex();
        let mut rtnetlink = Rtnetlink::new(ifindex).map_err(|_| ConnectError::NoRoute)?;
        let route = rtnetlink.route(remote.ip())?;
        let sources = match sources {
            [] => vec![self.usual_source(remote.ip(), &route)?],
            sources => sources.to_vec(),
        };
        let fits =
            |source: &IpAddr| self.addresses.contains(source) && reaches(source, remote.ip());
        if !sources.iter().all(fits) {
            return Err(ConnectError::NoSource);
        }
        let mac = self.neighbour(&mut rtnetlink, route.next_hop)?;
        let way = |source| Destination {
            local: Address::from(source),
            remote: Address::from(remote.ip()),
            port: remote.port(),
            link: Link {
                local: self.device.mac(),
                remote: mac,
                vlan: None,
            },
            mtu: route.mtu,
        };
        Ok(sources.into_iter().map(way).collect())
    }

    /// The address that the kernel would use, if it is served; else one of the same family and reach.
    fn usual_source(&self, remote: IpAddr, route: &Route) -> Result<IpAddr, ConnectError> {
        let own = &self.addresses;
        route
            .source
            .filter(|source| own.contains(source))
            .or_else(|| own.iter().find(|source| reaches(source, remote)).copied())
            .ok_or(ConnectError::NoSource)
    }

    fn neighbour(
        &self,
        rtnetlink: &mut Rtnetlink,
        next_hop: IpAddr,
    ) -> Result<MacAddr, ConnectError> {
        let deadline = self.clock.now() + PATIENCE;
        let mut solicited = false;
        loop {
            let known = rtnetlink.neighbour(next_hop);
            match known.map_err(|_| ConnectError::NeighbourSilent)? {
                Neighbour::Confirmed(mac) | Neighbour::Stale(mac) => return Ok(mac),
                Neighbour::Silent if solicited => return Err(ConnectError::NeighbourSilent),
                Neighbour::Unknown | Neighbour::Silent => {}
            }
            if self.clock.now() >= deadline {
                return Err(ConnectError::NeighbourSilent);
            }
            if !solicited {
                solicited = true;
                let asked = rtnetlink.solicit(next_hop);
                asked.map_err(|_| ConnectError::NeighbourSilent)?;
            }
            let _ = rustix::thread::nanosleep(&timespec(LOOK_AGAIN));
        }
    }

    /// Waits for a signal, `longest` at most. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// A worker has ended by itself, or the interface has gone or changed.
    pub fn watch(&mut self, signals: &mut Signals, longest: Duration) -> Result<bool, ServeError> {
        let signalled = self.wait(signals, longest);
        self.check_workers()?;
        let now = self.clock.now();
        if now >= self.look_around_at {
            self.look_around_at = now + LOOK_AROUND;
            self.look_around()?;
        }
        Ok(signalled)
    }

    /// Resets all connections, and ends. A second signal ends it at once.
    ///
    /// # Errors
    ///
    /// A worker has ended by itself.
    pub fn reset(mut self, signals: &mut Signals) -> Result<(), ServeError> {
        let live = self.live();
        self.abort(signals, live, ABORT_TIMEOUT + RESET_TIME * live as u64)?;
        self.shut_down();
        Ok(())
    }
}

/// Whether `source` can be used towards `remote`: of the same family, and link-local or not as it is.
fn reaches(source: &IpAddr, remote: IpAddr) -> bool {
    source.is_ipv4() == remote.is_ipv4() && is_link_local(*source) == is_link_local(remote)
}
