use super::*;
use crate::wire::{Address, MacAddr};

const NOW: Instant = Instant::from_millis(1_000);
const LINK: Link = Link {
    local: MacAddr([2, 0, 0, 0, 0, 1]),
    remote: MacAddr([2, 0, 0, 0, 0, 2]),
    vlan: Some(5),
};

/// A reassembly and what it has counted.
struct Fixture {
    now: Instant,
    reassembly: Reassembly,
    drops: Drops,
}

fn fixture() -> Fixture {
    Fixture {
        now: NOW,
        reassembly: Reassembly::default(),
        drops: Drops::new(),
    }
}

fn key(identification: u32) -> DatagramKey {
    DatagramKey {
        source: Address::from_ipv4([198, 18, 0, 2]),
        destination: Address::from_ipv4([198, 18, 0, 1]),
        identification,
    }
}

/// Octets `range` of datagram `id`, which has `len`.
fn part(id: u32, octets: &[u8], range: std::ops::Range<usize>) -> Fragment<'_> {
    Fragment {
        datagram: key(id),
        ecn: 0,
        offset: range.start as u16,
        more: range.end < octets.len(),
        headers: 0,
        payload: &octets[range],
    }
}

impl Fixture {
    fn insert(&mut self, fragment: &Fragment<'_>) -> Option<Box<[u8]>> {
        let Self {
            now,
            reassembly,
            drops,
        } = self;
        let whole = reassembly.insert(*now, &LINK, fragment, drops);
        self.check();
        whole
    }

    /// That the books are right.
    fn check(&self) {
        let reassembly = &self.reassembly;
        let cost: usize = reassembly.datagrams.values().map(Datagram::cost).sum();
        assert_eq!(reassembly.octets, cost);
        assert!(cost <= MAX_OCTETS + 65_535 + OVERHEAD);
        assert_eq!(reassembly.order.len(), reassembly.datagrams.len());
        assert!(reassembly.order.len() <= MAX_DATAGRAMS);
    }

    fn count(&self, reason: DropReason) -> u64 {
        let mut named = self.drops.named();
        named.find(|(name, _)| *name == reason.name()).unwrap().1
    }
}

fn octets(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Ethernet with a tag and IPv4 go before.
fn segment_of(frame: &[u8]) -> &[u8] {
    &frame[18 + 20..]
}

#[test]
fn a_datagram_is_whole_in_whatever_order_its_fragments_come() {
    let octets = octets(61);
    let parts = [0..24, 24..32, 32..56, 56..61];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        let mut t = fixture();
        for &at in &order[..3] {
            assert_eq!(t.insert(&part(7, &octets, parts[at].clone())), None);
        }
        let frame = t.insert(&part(7, &octets, parts[order[3]].clone()));
        assert_eq!(segment_of(&frame.unwrap()), octets, "{order:?}");
        assert_eq!(t.count(DropReason::FragmentsReassembled), 1);
        assert_eq!(t.reassembly.next_deadline(), None);
    }
}

#[test]
fn the_frame_is_one_that_the_parser_takes() {
    use crate::wire::checksum::Sum;
    use crate::wire::{ChecksumPolicy, Packet, parse};
    for is_ipv4 in [true, false] {
        let mut datagram = key(7);
        if !is_ipv4 {
            datagram.source = Address::from_ipv6([0xfd; 16]);
            datagram.destination = Address::from_ipv6([0xfc; 16]);
        }
        let flow = FlowKey {
            local: datagram.destination,
            remote: datagram.source,
            local_port: 80,
            remote_port: 40_000,
        };
        let mut segment = octets(1_000);
        segment[..2].copy_from_slice(&flow.remote_port.to_be_bytes());
        segment[2..4].copy_from_slice(&flow.local_port.to_be_bytes());
        segment[12] = 5 << 4;
        segment[16..18].fill(0);
        let sum = Sum::of(&segment).plus(Sum::of_pseudo_header(&flow, 1_000));
        segment[16..18].copy_from_slice(&sum.finish().to_be_bytes());
        // With an extension header of 8 octets before it.
        let headers = if is_ipv4 { 0 } else { 8 };
        let whole = [&[0; 8][..headers], &segment].concat();
        let mut t = fixture();
        let mut first = part(7, &whole, 0..504);
        first.datagram = datagram;
        first.ecn = 2;
        first.headers = headers as u16;
        let mut last = part(7, &whole, 504..whole.len());
        last.datagram = datagram;
        last.ecn = 3;
        assert_eq!(t.insert(&first), None);
        let frame = t.insert(&last).unwrap();
        let Ok(Packet::Tcp {
            link,
            key,
            ecn,
            segment: parsed,
        }) = parse(&frame, ChecksumPolicy::Full)
        else {
            panic!("{frame:?}");
        };
        // One mark marks the whole (RFC 3168 section 5.3).
        assert_eq!((link, key, ecn), (LINK, flow, 3));
        assert_eq!(parsed.payload, &segment[20..]);
    }
}

#[test]
fn a_mark_on_a_datagram_that_is_not_capable_costs_it() {
    let octets = octets(48);
    let mut t = fixture();
    t.insert(&part(7, &octets, 0..24));
    let mut marked = part(7, &octets, 24..48);
    marked.ecn = 3;
    assert_eq!(t.insert(&marked), None);
    assert_eq!(t.count(DropReason::FragmentEcn), 1);
}

#[test]
fn a_fragment_that_comes_twice_changes_nothing() {
    let octets = octets(72);
    let mut t = fixture();
    for range in [0..24, 0..24, 48..72, 48..72] {
        assert_eq!(t.insert(&part(7, &octets, range)), None);
    }
    assert_eq!(t.count(DropReason::FragmentDuplicate), 2);
    assert!(t.insert(&part(7, &octets, 24..48)).is_some());
}

/// RFC 5722 section 4: nor what comes later.
#[test]
fn an_overlap_costs_the_datagram_and_all_that_is_to_come_of_it() {
    let others = octets(97);
    let octets = octets(96);
    let overlaps = [
        part(7, &octets, 16..40),
        part(7, &octets, 24..32),
        part(7, &octets, 40..56),
        part(7, &octets, 16..56),
        part(7, &octets, 24..56),
        // The same place, but other octets.
        part(7, &others[1..], 24..48),
        part(7, &octets, 24..56),
    ];
    for overlap in overlaps {
        let mut t = fixture();
        t.insert(&part(7, &octets, 24..48));
        assert_eq!(t.insert(&overlap), None);
        assert_eq!(t.count(DropReason::FragmentOverlap), 1, "{overlap:?}");
        for range in [0..24, 24..48, 48..96] {
            assert_eq!(t.insert(&part(7, &octets, range)), None);
        }
        assert_eq!(t.count(DropReason::FragmentOfGivenUp), 3);
        assert_eq!(t.reassembly.octets, 0);
    }
}

#[test]
fn a_datagram_has_one_end() {
    let (long, short) = (octets(96), octets(72));
    for (first, second) in [
        (part(7, &long, 72..96), part(7, &short, 48..72)),
        (part(7, &short, 48..72), part(7, &long, 72..96)),
        (part(7, &short, 48..72), part(7, &long, 72..88)),
        (part(7, &long, 72..88), part(7, &short, 48..72)),
        // Up to the end, but with more to come.
        (part(7, &short, 64..72), part(7, &long, 56..72)),
    ] {
        let mut t = fixture();
        t.insert(&first);
        t.insert(&second);
        assert_eq!(t.count(DropReason::FragmentOverlap), 1, "{second:?}");
    }
}

#[test]
fn datagrams_do_not_mix() {
    let octets = octets(48);
    let mut t = fixture();
    let mut other = part(7, &octets, 24..48);
    other.datagram.source = Address::from_ipv4([198, 18, 0, 3]);
    t.insert(&part(7, &octets, 0..24));
    assert_eq!(t.insert(&part(8, &octets, 24..48)), None);
    assert_eq!(t.insert(&other), None);
    assert_eq!(t.reassembly.datagrams.len(), 3);
}

#[test]
fn what_is_not_whole_after_a_minute_is_given_up() {
    let octets = octets(48);
    let mut t = fixture();
    t.insert(&part(7, &octets, 0..24));
    let due = NOW + LIFETIME;
    assert_eq!(t.reassembly.next_deadline(), Some(due));
    t.now = NOW + Duration::from_millis(59_999);
    t.insert(&part(8, &octets, 0..24));
    t.reassembly.expire(t.now, &mut t.drops);
    assert_eq!(t.count(DropReason::FragmentTimeout), 0);
    t.now = due;
    assert_eq!(t.insert(&part(7, &octets, 24..48)), None);
    assert_eq!(t.count(DropReason::FragmentTimeout), 1);
    t.reassembly.expire(due + LIFETIME, &mut t.drops);
    assert!(t.reassembly.datagrams.is_empty());
    assert_eq!(t.reassembly.octets, 0);
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let octets = octets(65_000);
    let mut t = fixture();
    let each = 64_000 + OVERHEAD;
    let fit = MAX_OCTETS / each;
    for id in 0..=fit as u32 {
        t.insert(&part(id, &octets, 0..64_000));
    }
    assert_eq!(t.count(DropReason::FragmentEvicted), 1);
    assert!(t.reassembly.octets <= MAX_OCTETS);
    assert_eq!(t.insert(&part(0, &octets, 64_000..65_000)), None);
    assert!(t.insert(&part(1, &octets, 64_000..65_000)).is_some());
}

#[test]
fn the_number_of_datagrams_is_bounded_also_of_those_that_were_given_up() {
    let octets = octets(48);
    let mut t = fixture();
    for id in 0..2 * MAX_DATAGRAMS as u32 {
        t.insert(&part(id, &octets, 0..24));
        if id % 2 == 0 {
            t.insert(&part(id, &octets, 16..32));
        }
    }
    assert_eq!(t.reassembly.datagrams.len(), MAX_DATAGRAMS);
    let evicted = t.count(DropReason::FragmentEvicted);
    assert_eq!(evicted, MAX_DATAGRAMS as u64 / 2);
}

/// Eight octets each, as small as they get: no more work than for large ones.
#[test]
fn the_smallest_fragments_make_the_largest_datagram() {
    let octets = octets(65_504);
    let mut t = fixture();
    let mut whole = None;
    for at in (0..octets.len()).step_by(8).rev() {
        let part = part(7, &octets, at..at + 8);
        whole = t.reassembly.insert(NOW, &LINK, &part, &mut t.drops);
    }
    assert_eq!(segment_of(&whole.unwrap()), octets);
}
