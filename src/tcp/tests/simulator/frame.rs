//! What the network carries: whole frames, as `wire` writes and reads them.

use super::super::{Chance, FlowKey, Header};
use super::network::Packet;
use crate::wire::checksum::Sum;
use crate::wire::ecn::{CE, NOT_ECT};
use crate::wire::emit::{MAX_HEADERS, Route, segment_headers};
use crate::wire::{self, ChecksumPolicy, Link, MacAddr};

const ETHERNET: usize = 14;
/// The first octet of an IPv4 header that is covered by a checksum, from the frame's start.
const IPV4_COVERED: usize = ETHERNET;
/// The same of IPv6: its addresses are, by the pseudo-header; what is before them is by nothing.
const IPV6_COVERED: usize = ETHERNET + 8;

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    octets: Vec<u8>,
    is_ipv4: bool,
    is_damaged: bool,
}

impl Frame {
    /// As the stack writes it. `key` is the sender's.
    pub(super) fn new(key: &FlowKey, ecn: u8, header: &Header, text: &[u8]) -> Self {
        let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
        let route = Route {
            link: Link {
                local: mac(1),
                remote: mac(2),
                vlan: None,
            },
            key: *key,
            hop_limit: 64,
            traffic_class: ecn,
            identification: 0,
        };
        let mut octets = vec![0; MAX_HEADERS];
        let len = segment_headers(&mut octets, &route, header, (text.len(), Sum::of(text)));
        octets.drain(..MAX_HEADERS - len);
        octets.extend_from_slice(text);
        Self {
            octets,
            is_ipv4: key.remote.is_ipv4(),
            is_damaged: false,
        }
    }

    /// As the stack reads it; `None` if it was damaged, which the checksums must find.
    pub(super) fn parse(&self) -> Option<wire::Packet<'_>> {
        let parsed = wire::parse(&self.octets, ChecksumPolicy::Full);
        assert_eq!(parsed.is_err(), self.is_damaged, "{parsed:?} {self:02x?}");
        parsed.ok()
    }
}

impl Packet for Frame {
    fn octets(&self) -> usize {
        self.octets.len()
    }

    /// An error burst of at most eight bits, or a frame that is cut short: what the Internet
    /// checksum always finds.
    fn corrupt(&mut self, chance: &mut Chance) {
        self.is_damaged = true;
        if chance.percent(20) {
            let len = chance.below(self.octets.len() as u64) as usize;
            self.octets.truncate(len);
            return;
        }
        let start = if self.is_ipv4 {
            IPV4_COVERED
        } else {
            IPV6_COVERED
        };
        let at = start + chance.below((self.octets.len() - start) as u64) as usize;
        self.octets[at] ^= 1 + chance.below(255) as u8;
    }

    /// As a router does it: with a new header checksum for IPv4.
    fn mark(&mut self) -> bool {
        if self.is_damaged {
            return false;
        }
        if self.is_ipv4 {
            let header = &mut self.octets[ETHERNET..ETHERNET + 20];
            if header[1] & CE == NOT_ECT {
                return false;
            }
            header[1] |= CE;
            header[10..12].fill(0);
            let checksum = Sum::of(header).finish();
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            // The traffic class begins in the first octet's low half (RFC 8200 section 3).
            let low = &mut self.octets[ETHERNET + 1];
            if *low >> 4 & CE == NOT_ECT {
                return false;
            }
            *low |= CE << 4;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Flags, Setup, octets};
    use super::*;

    fn frame(ipv6: bool, ecn: u8) -> Frame {
        let setup = Setup {
            ipv6,
            ..Setup::default()
        };
        let header = Header {
            seq: 1,
            flags: Flags::ACK,
            ..Header::default()
        };
        Frame::new(&setup.key(), ecn, &header, &octets(500))
    }

    #[test]
    fn damage_is_always_found() {
        for seed in 0..2_000 {
            let mut damaged = frame(seed % 2 == 0, 0);
            damaged.corrupt(&mut Chance::new(seed));
            assert!(damaged.parse().is_none());
        }
    }

    #[test]
    fn only_ecn_capable_packets_are_marked_and_they_stay_whole() {
        for ipv6 in [false, true] {
            for (ecn, marked) in [(0, 0), (1, 3), (2, 3), (3, 3)] {
                let mut frame = frame(ipv6, ecn);
                assert_eq!(frame.mark(), ecn != 0);
                let Some(wire::Packet::Tcp { ecn, segment, .. }) = frame.parse() else {
                    panic!("{frame:?}");
                };
                assert_eq!(ecn, marked);
                assert_eq!(segment.payload, octets(500));
            }
        }
    }
}
