//! Fragments of our flows become datagrams again (RFC 791 section 3.2, RFC 8200 section 4.5).
//!
//! A datagram whose fragments overlap is given up with all that is still to come of it, in IPv4
//! as RFC 5722 has it for IPv6: nobody's network makes such fragments, but whoever wants to show a
//! filter one segment and us another does. Memory and time are bounded; what is oldest goes first.

use std::collections::{BTreeMap, HashMap};

use super::counters::{DropReason, Drops};
use crate::time::{Duration, Instant};
use crate::wire::ecn::{CE, NOT_ECT};
use crate::wire::emit::{self, Route};
use crate::wire::{DatagramKey, FlowKey, Fragment, Link};

/// From the first fragment that arrives: RFC 8200 section 4.5, and RFC 1122 section 3.3.2 has the
/// same as the least.
const LIFETIME: Duration = Duration::from_secs(60);
/// Datagrams of which fragments wait, given up ones included.
const MAX_DATAGRAMS: usize = 1024;
/// Octets of waiting fragments, as Linux has them by default (`ipfrag_high_thresh`), but per core.
const MAX_OCTETS: usize = 4 << 20;
/// What a fragment costs besides its octets.
const OVERHEAD: usize = 64;

/// The datagrams of which a core has some fragments.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    datagrams: HashMap<DatagramKey, Datagram>,
    /// By number: the oldest first.
    order: BTreeMap<u64, DatagramKey>,
    /// Datagrams ever begun.
    begun: u64,
    /// What all fragments cost.
    octets: usize,
}

/// Some fragments of a datagram.
#[derive(Debug)]
struct Datagram {
    number: u64,
    deadline: Instant,
    /// By offset.
    parts: BTreeMap<u16, Box<[u8]>>,
    /// Octets of all parts.
    received: usize,
    /// Octets of the whole, once its last fragment is here.
    len: Option<usize>,
    /// What only the first fragment tells: where it came from, and the octets before its segment.
    first: Option<(Link, u16)>,
    /// The ECN codepoints seen, a bit each.
    ecn: u8,
    /// Nothing of it is taken any more.
    given_up: bool,
}

impl Reassembly {
    /// Takes a fragment. Returns its datagram as a frame, if that is whole now: with the link of
    /// the first fragment, and without IP options and extension headers.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        link: &Link,
        fragment: &Fragment<'_>,
        drops: &mut Drops,
    ) -> Option<Box<[u8]>> {
        self.expire(now, drops);
        let key = fragment.datagram;
        if !self.datagrams.contains_key(&key) {
            self.begin(now, key, drops);
        }
        let datagram = self.datagrams.get_mut(&key)?;
        match datagram.add(link, fragment) {
            Ok(()) => self.octets += fragment.payload.len() + OVERHEAD,
            Err(reason) => {
                drops.count(reason);
                let gives_up = reason != DropReason::FragmentDuplicate && !datagram.given_up;
                if gives_up {
                    self.octets -= datagram.cost();
                    datagram.give_up();
                }
                return None;
            }
        }
        if datagram.is_whole() {
            let datagram = self.remove(&key)?;
            let frame = datagram.frame(&key);
            drops.count(if frame.is_some() {
                DropReason::FragmentsReassembled
            } else {
                DropReason::FragmentEcn
            });
            return frame;
        }
        while self.octets > MAX_OCTETS {
            self.evict_oldest(drops);
        }
        None
    }

    /// Gives up what has waited too long.
    pub(super) fn expire(&mut self, now: Instant, drops: &mut Drops) {
        while let Some((_, &key)) = self.order.first_key_value() {
            if self.datagrams.get(&key).is_some_and(|it| it.deadline > now) {
                return;
            }
            if self.remove(&key).is_some_and(|it| !it.given_up) {
                drops.count(DropReason::FragmentTimeout);
            }
        }
    }

    /// When the next datagram will have waited too long.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let (_, key) = self.order.first_key_value()?;
        self.datagrams.get(key).map(|datagram| datagram.deadline)
    }

    /// What all fragments cost.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    fn begin(&mut self, now: Instant, key: DatagramKey, drops: &mut Drops) {
        if self.datagrams.len() >= MAX_DATAGRAMS {
            self.evict_oldest(drops);
        }
        self.begun += 1;
        self.order.insert(self.begun, key);
        self.datagrams.insert(
            key,
            Datagram {
                number: self.begun,
                deadline: now + LIFETIME,
                parts: BTreeMap::new(),
                received: 0,
                len: None,
                first: None,
                ecn: 0,
                given_up: false,
            },
        );
    }

    fn evict_oldest(&mut self, drops: &mut Drops) {
        let Some((_, &key)) = self.order.first_key_value() else {
            return;
        };
        if self.remove(&key).is_some_and(|it| !it.given_up) {
            drops.count(DropReason::FragmentEvicted);
        }
    }

    fn remove(&mut self, key: &DatagramKey) -> Option<Datagram> {
        let datagram = self.datagrams.remove(key)?;
        self.order.remove(&datagram.number);
        self.octets -= datagram.cost();
        Some(datagram)
    }
}

impl Datagram {
    fn add(&mut self, link: &Link, fragment: &Fragment<'_>) -> Result<(), DropReason> {
        if self.given_up {
            return Err(DropReason::FragmentOfGivenUp);
        }
        let start = usize::from(fragment.offset);
        let end = start + fragment.payload.len();
        self.check_end(end, fragment.more)?;
        if let Some((&at, part)) = self.parts.range(..=fragment.offset).next_back()
            && usize::from(at) + part.len() > start
        {
            let is_same = usize::from(at) == start && **part == *fragment.payload;
            // RFC 8200 section 4.5: the network may double a fragment.
            return Err(if is_same {
                DropReason::FragmentDuplicate
            } else {
                DropReason::FragmentOverlap
            });
        }
        if let Some((&at, _)) = self.parts.range(fragment.offset..).next()
            && usize::from(at) < end
        {
            return Err(DropReason::FragmentOverlap);
        }
        if !fragment.more {
            self.len = Some(end);
        }
        if start == 0 {
            self.first = Some((*link, fragment.headers));
        }
        self.ecn |= 1 << fragment.ecn;
        self.received += fragment.payload.len();
        self.parts.insert(fragment.offset, fragment.payload.into());
        Ok(())
    }

    /// A datagram has one end, and nothing lies behind it.
    fn check_end(&self, end: usize, more: bool) -> Result<(), DropReason> {
        let farthest = self
            .parts
            .last_key_value()
            .map_or(0, |(&at, part)| usize::from(at) + part.len());
        let agrees = match (self.len, more) {
            (None, true) => true,
            (None, false) => farthest <= end,
            (Some(len), true) => end < len,
            (Some(len), false) => end == len,
        };
        agrees.then_some(()).ok_or(DropReason::FragmentOverlap)
    }

    fn is_whole(&self) -> bool {
        self.len == Some(self.received)
    }

    fn cost(&self) -> usize {
        self.received + OVERHEAD * self.parts.len()
    }

    fn give_up(&mut self) {
        self.given_up = true;
        self.parts.clear();
        self.received = 0;
    }

    /// The whole datagram as a frame; `None` if one part is marked and another says that its
    /// transport has no ECN (RFC 3168 section 5.3).
    fn frame(&self, key: &DatagramKey) -> Option<Box<[u8]>> {
        let (link, headers) = self.first?;
        let has = |codepoint: u8| self.ecn & 1 << codepoint != 0;
        if has(CE) && has(NOT_ECT) {
            return None;
        }
        let ecn = if has(CE) {
            CE
        } else {
            self.ecn.trailing_zeros() as u8
        };
        let route = Route {
            link: Link {
                local: link.remote,
                remote: link.local,
                vlan: link.vlan,
            },
            key: FlowKey {
                local: key.source,
                remote: key.destination,
                local_port: 0,
                remote_port: 0,
            },
            hop_limit: 1,
            traffic_class: ecn,
            identification: 0,
        };
        let mut headroom = [0; emit::MAX_HEADERS];
        let segment_len = self.received - usize::from(headers);
        let len = emit::datagram_headers(&mut headroom, &route, segment_len);
        let mut frame = Vec::with_capacity(len + segment_len);
        frame.extend(&headroom[headroom.len() - len..]);
        for (&at, part) in &self.parts {
            // All of them are in the first part, or it would not have been taken.
            let skip = if at == 0 { usize::from(headers) } else { 0 };
            frame.extend(&part[skip..]);
        }
        Some(frame.into())
    }
}

#[cfg(any(test, fuzzing))]
impl Reassembly {
    /// That what is counted is what waits.
    pub(super) fn check(&self) {
        let cost = |datagram: &Datagram| {
            let parts = datagram.parts.values();
            parts.map(|part| part.len() + OVERHEAD).sum::<usize>()
        };
        assert_eq!(
            self.datagrams.values().map(cost).sum::<usize>(),
            self.octets
        );
        assert!(self.octets <= MAX_OCTETS && self.datagrams.len() <= MAX_DATAGRAMS);
        assert_eq!(self.order.len(), self.datagrams.len());
    }
}

#[cfg(test)]
mod tests;
