//! One direction of a path: a bottleneck with a queue, and a wire that loses, doubles, damages,
//! delays and reorders, all by a seed.

use std::collections::{BTreeMap, VecDeque};

use super::super::{Chance, Duration, Instant};

/// All of the packets, as a share.
pub(super) const ALL: u32 = 1_000_000;
/// One packet in a hundred.
pub(super) const PERCENT: u32 = ALL / 100;

/// What a direction does to packets. Shares are in parts per million; the default is a perfect
/// wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Bits per second of the bottleneck; 0 is without limit.
    pub(super) rate: u64,
    /// Packets that may wait for the bottleneck; the tail is dropped.
    pub(super) queue: usize,
    /// Octets that may wait for it.
    pub(super) queue_octets: usize,
    /// Packets that wait when the bottleneck begins to mark those that it may (RFC 3168).
    pub(super) mark_at: usize,
    /// Octets of the largest packet that gets through; nobody is told of the others.
    pub(super) largest: usize,
    /// From the bottleneck to the other end.
    pub(super) delay: Duration,
    /// Added to `delay` at random at the most; packets stay in order.
    pub(super) jitter: Duration,
    /// Packets lost, each by itself.
    pub(super) loss: u32,
    /// Packets that find the channel good and turn it bad: all are lost until it is good again.
    /// Two states, as in Gilbert's model; but the bad one lasts for a time and not for a number of
    /// packets, since a lone retransmission would find it as it left it.
    pub(super) bursts: u32,
    /// How long the channel is bad, on average.
    pub(super) burst_length: Duration,
    /// Packets held back, so that later ones overtake them.
    pub(super) reordering: u32,
    /// How long they are held back at the most.
    pub(super) lateness: Duration,
    /// Packets sent twice.
    pub(super) duplication: u32,
    /// Packets damaged on the way.
    pub(super) corruption: u32,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            rate: 0,
            queue: usize::MAX,
            queue_octets: usize::MAX,
            mark_at: usize::MAX,
            largest: usize::MAX,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0,
            bursts: 0,
            burst_length: Duration::ZERO,
            reordering: 0,
            lateness: Duration::ZERO,
            duplication: 0,
            corruption: 0,
        }
    }
}

/// What a direction has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) lost_in_bursts: u64,
    pub(super) overflowed: u64,
    pub(super) marked: u64,
    pub(super) swallowed: u64,
    pub(super) reordered: u64,
    pub(super) duplicated: u64,
    pub(super) corrupted: u64,
}

/// What a direction carries.
pub(super) trait Packet: Clone {
    /// Its length on the wire.
    fn octets(&self) -> usize;
    /// Damages it.
    fn corrupt(&mut self, chance: &mut Chance);
    /// Sets Congestion Experienced, if its ends can hear of it (RFC 3168 section 5). Returns
    /// whether it did.
    fn mark(&mut self) -> bool;
}

/// A direction and what is on its way.
#[derive(Debug)]
pub(super) struct Link<P> {
    pub(super) path: Path,
    pub(super) counts: Counts,
    chance: Chance,
    /// By arrival, and in the order of sending where that is the same.
    in_flight: BTreeMap<(Instant, u64), P>,
    sequence: u64,
    /// When each packet in the queue will have left it, and its length.
    queue: VecDeque<(Instant, usize)>,
    queue_octets: usize,
    bad_until: Instant,
    /// When the last packet that keeps its place arrives.
    last_arrival: Instant,
}

impl<P: Packet> Link<P> {
    pub(super) fn new(path: Path, chance: Chance) -> Self {
        Self {
            path,
            counts: Counts::default(),
            chance,
            in_flight: BTreeMap::new(),
            sequence: 0,
            queue: VecDeque::new(),
            queue_octets: 0,
            bad_until: Instant::ZERO,
            last_arrival: Instant::ZERO,
        }
    }

    /// A packet enters.
    pub(super) fn send(&mut self, now: Instant, mut packet: P) {
        let path = self.path;
        self.counts.sent += 1;
        if packet.octets() > path.largest {
            self.counts.swallowed += 1;
            return;
        }
        if now >= self.bad_until && self.happens(path.bursts) {
            let length = self.chance.below(2 * path.burst_length.as_nanos());
            self.bad_until = now + Duration::from_nanos(length);
            self.counts.lost_in_bursts += 1;
            return;
        }
        if now < self.bad_until {
            self.counts.lost_in_bursts += 1;
            return;
        }
        if self.happens(path.loss) {
            self.counts.lost += 1;
            return;
        }
        if self.happens(path.corruption) {
            packet.corrupt(&mut self.chance);
            self.counts.corrupted += 1;
        }
        if self.happens(path.duplication) {
            self.counts.duplicated += 1;
            self.pass_bottleneck(now, packet.clone());
        }
        self.pass_bottleneck(now, packet);
    }

    fn pass_bottleneck(&mut self, now: Instant, mut packet: P) {
        let path = self.path;
        let octets = packet.octets();
        let mut leaves = now;
        // Nanoseconds per octet are not whole; per packet the error is below one.
        if let Some(nanos) = (octets as u64 * 8_000_000_000).checked_div(path.rate) {
            while self.queue.front().is_some_and(|&(left, _)| left <= now) {
                let (_, octets) = self.queue.pop_front().expect("there is a front");
                self.queue_octets -= octets;
            }
            if self.queue.len() >= path.queue || self.queue_octets + octets > path.queue_octets {
                self.counts.overflowed += 1;
                return;
            }
            if self.queue.len() >= path.mark_at && packet.mark() {
                self.counts.marked += 1;
            }
            let free = self.queue.back().map_or(now, |&(left, _)| left);
            leaves = free + Duration::from_nanos(nanos);
            self.queue.push_back((leaves, octets));
            self.queue_octets += octets;
        }
        let jitter = Duration::from_nanos(self.chance.below(path.jitter.as_nanos()));
        let mut arrives = self.last_arrival.max(leaves + path.delay + jitter);
        if self.happens(path.reordering) {
            self.counts.reordered += 1;
            arrives += Duration::from_nanos(self.chance.below(path.lateness.as_nanos()));
        } else {
            self.last_arrival = arrives;
        }
        self.sequence += 1;
        self.in_flight.insert((arrives, self.sequence), packet);
    }

    /// When the next packet arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.in_flight.first_key_value().map(|(&(at, _), _)| at)
    }

    /// The next packet that has arrived.
    pub(super) fn receive(&mut self, now: Instant) -> Option<P> {
        let entry = self.in_flight.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn happens(&mut self, share: u32) -> bool {
        share > 0 && self.chance.below(u64::from(ALL)) < u64::from(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Packet for u32 {
        fn octets(&self) -> usize {
            1_000
        }

        fn corrupt(&mut self, _chance: &mut Chance) {
            *self = Self::MAX;
        }

        fn mark(&mut self) -> bool {
            true
        }
    }

    /// Packets 0..count, one each microsecond: what arrives, in order, and when.
    fn through(path: Path, count: u32) -> (Vec<(u32, u64)>, Counts) {
        let mut link = Link::new(path, Chance::new(7));
        for packet in 0..count {
            link.send(Instant::from_nanos(u64::from(packet) * 1_000), packet);
        }
        let mut arrived = Vec::new();
        while let Some(at) = link.next() {
            let packet = link.receive(at).expect("it is due");
            arrived.push((packet, at.as_nanos()));
        }
        (arrived, link.counts)
    }

    #[test]
    fn a_perfect_path_keeps_order_and_time() {
        let path = Path {
            delay: Duration::from_nanos(5),
            ..Path::default()
        };
        let (arrived, _) = through(path, 100);
        let expected: Vec<_> = (0..100).map(|i| (i, u64::from(i) * 1_000 + 5)).collect();
        assert_eq!(arrived, expected);
    }

    #[test]
    fn a_bottleneck_spaces_packets_drops_the_tail_and_marks_what_waits() {
        // 1000 octets at 800 Mbit/s take 10 us.
        let path = Path {
            rate: 800_000_000,
            queue: 20,
            mark_at: 15,
            ..Path::default()
        };
        let (arrived, counts) = through(path, 200);
        assert!(arrived.windows(2).all(|two| two[1].1 - two[0].1 == 10_000));
        // One in ten gets through while they come, and the queue afterwards.
        assert_eq!(arrived.len(), 19 + 20);
        assert_eq!(counts.overflowed, 200 - 39);
        // One of the first sixteen had left when the sixteenth came.
        assert_eq!(counts.marked, 39 - 16);
        let short = Path {
            queue_octets: 10_000,
            ..path
        };
        assert_eq!(through(short, 200).0.len(), 19 + 10);
    }

    #[test]
    fn shares_are_what_was_asked_for() {
        let path = Path {
            loss: PERCENT,
            duplication: PERCENT,
            reordering: PERCENT,
            corruption: PERCENT,
            lateness: Duration::from_micros(10),
            ..Path::default()
        };
        let (arrived, counts) = through(path, 10_000);
        let damaged = arrived.iter().filter(|(packet, _)| *packet == u32::MAX);
        assert!(damaged.count() as u64 >= counts.corrupted);
        assert_eq!(
            arrived.len() as u64,
            10_000 + counts.duplicated - counts.lost
        );
        // Binomial(10000, 0.01): mean 100, standard deviation 10.
        for count in [
            counts.lost,
            counts.duplicated,
            counts.reordered,
            counts.corrupted,
        ] {
            assert!((50..150).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn a_burst_takes_neighbours() {
        let path = Path {
            bursts: PERCENT / 10,
            burst_length: Duration::from_micros(10),
            ..Path::default()
        };
        let (arrived, counts) = through(path, 10_000);
        let gaps = arrived.windows(2).filter(|two| two[1].0 - two[0].0 > 1);
        let gaps = gaps.count() as u64;
        // Some ten bursts of some ten packets.
        assert!((3..30).contains(&gaps), "{gaps} {counts:?}");
        assert!(counts.lost_in_bursts > 4 * gaps, "{gaps} {counts:?}");
    }
}
