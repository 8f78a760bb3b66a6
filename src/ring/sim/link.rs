//! What is between two devices: delay, loss, duplication, reordering, corruption, a bottleneck.
//! All chance comes from a seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::SimDevice;
use crate::time::{Duration, Instant};

/// The most frames that one link holds, whatever its queue limit says.
const MAX_IN_FLIGHT: usize = 1 << 16;

/// One in this many is what probabilities are given in.
const PPM: u64 = 1_000_000;

/// What a link does to frames. The default is a perfect wire: no delay and no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impairment {
    /// How long each frame takes.
    pub delay: Duration,
    /// Up to this much more, evenly distributed. Does not change the order.
    pub jitter: Duration,
    /// Frames lost, in parts per million.
    pub loss: u32,
    /// Frames that arrive twice, in parts per million.
    pub duplicate: u32,
    /// Frames that arrive `reorder_by` late and let others pass, in parts per million.
    pub reorder: u32,
    /// How late a reordered frame is.
    pub reorder_by: Duration,
    /// Frames with one bit changed, in parts per million.
    pub corrupt: u32,
    /// Octets leave at this rate, in bit/s. 0: no bottleneck.
    pub bandwidth: u64,
    /// Frames that may wait before the bottleneck; more are lost. 0: no limit.
    pub queue: usize,
}

/// What a link has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames that came in.
    pub offered: u64,
    /// Frames that were handed to the receiver, which may have dropped them.
    pub delivered: u64,
    /// Frames lost by chance.
    pub lost: u64,
    /// Frames doubled.
    pub duplicated: u64,
    /// Frames delivered late.
    pub reordered: u64,
    /// Frames with a bit changed.
    pub corrupted: u64,
    /// Frames lost because the queue was full.
    pub queue_full: u64,
}

/// A frame under way. Ordered by when it arrives, then by when it was sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    due: Instant,
    number: u64,
    bytes: Vec<u8>,
}

/// One direction of a wire.
#[derive(Debug)]
pub struct Link {
    impairment: Impairment,
    random: Random,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    /// When the frames that wait before the bottleneck leave it.
    departures: VecDeque<Instant>,
    /// The last arrival of a frame that was in order.
    last_due: Instant,
    next_number: u64,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    counters: LinkCounters,
}

impl Link {
    /// A link that does to frames what `impairment` says, in the same way for the same `seed`.
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            random: Random(seed),
            in_flight: BinaryHeap::new(),
            departures: VecDeque::new(),
            last_due: Instant::ZERO,
            next_number: 0,
            spare: Vec::new(),
            counters: LinkCounters::default(),
        }
    }

    /// Changes what happens to frames from now on.
    pub fn set_impairment(&mut self, impairment: Impairment) {
        self.impairment = impairment;
    }

    /// What the link has done.
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// Frames under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When the next frame arrives.
    pub fn next_event(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(frame)| frame.due)
    }

    /// Takes a frame at `now`.
    pub fn offer(&mut self, now: Instant, bytes: &[u8]) {
        self.counters.offered += 1;
        let Some(departure) = self.departure(now, bytes.len()) else {
            self.counters.queue_full += 1;
            return;
        };
        // After the bottleneck: a frame that is lost has used its time there.
        if self.random.chance(self.impairment.loss) {
            self.counters.lost += 1;
            return;
        }
        self.launch(departure, bytes);
        if self.random.chance(self.impairment.duplicate) && self.in_flight.len() < MAX_IN_FLIGHT {
            self.counters.duplicated += 1;
            self.launch(departure, bytes);
        }
    }

    /// Hands the frames that have arrived by `now` to `receiver`, in order of arrival.
    pub fn deliver(&mut self, now: Instant, receiver: &mut SimDevice) {
        self.deliver_with(now, |bytes| _ = receiver.receive(bytes));
    }

    /// Hands the frames that have arrived by `now` to a function, in order of arrival.
    pub fn deliver_with(&mut self, now: Instant, mut receiver: impl FnMut(&[u8])) {
        while self.next_event().is_some_and(|due| due <= now) {
            let Some(Reverse(frame)) = self.in_flight.pop() else {
                break;
            };
            self.counters.delivered += 1;
            receiver(&frame.bytes);
            self.spare.push(frame.bytes);
        }
    }

    /// When a frame that comes at `now` has left the bottleneck; `None` if the queue is full.
    fn departure(&mut self, now: Instant, len: usize) -> Option<Instant> {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        let Impairment {
            bandwidth, queue, ..
        } = self.impairment;
        if bandwidth == 0 {
            return Some(now);
        }
        while self
            .departures
            .front()
            .is_some_and(|departure| *departure <= now)
        {
            self.departures.pop_front();
        }
        let limit = if queue == 0 { MAX_IN_FLIGHT } else { queue };
        if self.departures.len() >= limit {
            return None;
        }
        let start = self.departures.back().copied().unwrap_or(now);
        let nanos = len as u128 * 8 * 1_000_000_000 / u128::from(bandwidth);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        let departure = start + Duration::from_nanos(nanos);
        self.departures.push_back(departure);
        Some(departure)
    }

    /// Puts a copy of a frame on its way.
    fn launch(&mut self, departure: Instant, bytes: &[u8]) {
        let Impairment {
            delay,
            jitter,
            reorder,
            reorder_by,
            corrupt,
            ..
        } = self.impairment;
        let jitter = Duration::from_nanos(self.random.below(jitter.as_nanos().saturating_add(1)));
        let mut due = departure + delay + jitter;
        if self.random.chance(reorder) {
            self.counters.reordered += 1;
            due += reorder_by;
        } else {
            due = due.max(self.last_due);
            self.last_due = due;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        if !buffer.is_empty() && self.random.chance(corrupt) {
            self.counters.corrupted += 1;
            let bit = self.random.below(buffer.len() as u64 * 8);
            buffer[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        let number = self.next_number;
        self.next_number += 1;
        self.in_flight.push(Reverse(InFlight {
            due,
            number,
            bytes: buffer,
        }));
    }
}

/// A wire between two devices, `a` and `b`: a link each way.
#[derive(Debug)]
pub struct Wire {
    /// From `a` to `b`.
    pub forward: Link,
    /// From `b` to `a`.
    pub backward: Link,
}

impl Wire {
    /// A wire with the same impairment both ways (but not the same luck).
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self::asymmetric(impairment, impairment, seed)
    }

    /// A wire with its own impairment each way.
    pub fn asymmetric(forward: Impairment, backward: Impairment, seed: u64) -> Self {
        Self {
            forward: Link::new(forward, seed),
            backward: Link::new(backward, !seed),
        }
    }

    /// Takes what both devices have flushed and hands over what has arrived by `now`.
    pub fn step(&mut self, now: Instant, a: &mut SimDevice, b: &mut SimDevice) {
        a.take_sent(|bytes| self.forward.offer(now, bytes));
        b.take_sent(|bytes| self.backward.offer(now, bytes));
        self.forward.deliver(now, b);
        self.backward.deliver(now, a);
    }

    /// When the next frame arrives, at either end.
    pub fn next_event(&self) -> Option<Instant> {
        self.forward
            .next_event()
            .into_iter()
            .chain(self.backward.next_event())
            .min()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): 64 bits of state, any seed will do.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number less than `bound`, 0 if that is 0.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True `ppm` times in a million. Always uses one number, so that a change of one probability
    /// does not change what happens to other frames.
    fn chance(&mut self, ppm: u32) -> bool {
        self.below(PPM) < u64::from(ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::sim::SimConfig;
    use crate::ring::{PacketIo, RxBatch};

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Offers `count` numbered frames of 100 octets, one each ms, and yields what arrives: when,
    /// and the frame.
    fn run(impairment: Impairment, seed: u64, count: u32) -> (Vec<(Instant, Vec<u8>)>, Link) {
        let mut link = Link::new(impairment, seed);
        let mut arrived = Vec::new();
        for number in 0..count {
            let mut bytes = vec![0; 100];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            link.offer(at(number.into()), &bytes);
        }
        while let Some(due) = link.next_event() {
            link.deliver_with(due, |bytes| arrived.push((due, bytes.to_vec())));
        }
        (arrived, link)
    }

    fn numbers(arrived: &[(Instant, Vec<u8>)]) -> Vec<u32> {
        arrived
            .iter()
            .map(|(_, bytes)| u32::from_be_bytes(bytes[..4].try_into().unwrap()))
            .collect()
    }

    #[test]
    fn a_perfect_wire_delivers_at_once_and_in_order() {
        let (arrived, link) = run(Impairment::default(), 1, 50);
        assert_eq!(numbers(&arrived), (0..50).collect::<Vec<_>>());
        assert!(
            arrived
                .iter()
                .zip(0..)
                .all(|((due, _), number)| *due == at(number))
        );
        let counters = LinkCounters {
            offered: 50,
            delivered: 50,
            ..Default::default()
        };
        assert_eq!(link.counters(), counters);
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let impairment = Impairment {
            delay: MS * 10,
            jitter: MS * 5,
            ..Default::default()
        };
        let (arrived, _) = run(impairment, 7, 500);
        assert_eq!(numbers(&arrived), (0..500).collect::<Vec<_>>());
        let late: Vec<_> = (0..)
            .zip(&arrived)
            .map(|(number, (due, _))| due.saturating_since(at(number)))
            .collect();
        assert!(
            late.iter().all(|late| (MS * 10..=MS * 15).contains(late)),
            "{late:?}"
        );
        assert!(late.iter().any(|late| *late > MS * 14));
    }

    #[test]
    fn chance_is_as_often_as_asked_and_counted() {
        let impairment = Impairment {
            delay: MS,
            loss: 100_000,
            duplicate: 50_000,
            reorder: 20_000,
            reorder_by: MS * 3,
            corrupt: 10_000,
            ..Default::default()
        };
        let (arrived, link) = run(impairment, 3, 20_000);
        let counters = link.counters();
        assert!((1_700..2_300).contains(&counters.lost), "{counters:?}");
        assert!((800..1_000).contains(&counters.duplicated), "{counters:?}");
        assert!((300..450).contains(&counters.reordered), "{counters:?}");
        assert!((130..250).contains(&counters.corrupted), "{counters:?}");
        assert_eq!(
            counters.offered - counters.lost + counters.duplicated,
            counters.delivered
        );
        assert_eq!(arrived.len() as u64, counters.delivered);
        assert!(!numbers(&arrived).is_sorted());
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let impairment = Impairment {
            loss: 300_000,
            jitter: MS,
            ..Default::default()
        };
        assert_eq!(run(impairment, 9, 200).0, run(impairment, 9, 200).0);
        assert_ne!(run(impairment, 9, 200).0, run(impairment, 10, 200).0);
    }

    #[test]
    fn corruption_changes_one_bit() {
        let (arrived, _) = run(
            Impairment {
                corrupt: 1_000_000,
                ..Default::default()
            },
            5,
            100,
        );
        for ((_, bytes), number) in arrived.iter().zip(0u32..) {
            let mut sent = [0; 100];
            sent[..4].copy_from_slice(&number.to_be_bytes());
            let bits: u32 = sent
                .iter()
                .zip(bytes)
                .map(|(x, y)| (x ^ y).count_ones())
                .sum();
            assert_eq!(bits, 1, "frame {number}");
        }
    }

    #[test]
    fn the_bottleneck_spaces_frames_and_its_queue_is_bounded() {
        // 100 octets at 100 kbit/s take 8 ms.
        let impairment = Impairment {
            bandwidth: 100_000,
            queue: 4,
            ..Default::default()
        };
        let mut link = Link::new(impairment, 1);
        for _ in 0..6 {
            link.offer(at(0), &[0; 100]);
        }
        assert_eq!((link.counters().queue_full, link.in_flight()), (2, 4));
        let mut times = Vec::new();
        while let Some(due) = link.next_event() {
            link.deliver_with(due, |_| times.push(due.as_millis()));
        }
        assert_eq!(times, [8, 16, 24, 32]);
        link.offer(at(32), &[0; 100]);
        assert_eq!(link.next_event(), Some(at(40)));
    }

    #[test]
    fn frames_under_way_are_bounded() {
        let mut link = Link::new(
            Impairment {
                duplicate: 1_000_000,
                ..Default::default()
            },
            1,
        );
        for _ in 0..MAX_IN_FLIGHT {
            link.offer(at(0), &[0; 60]);
        }
        assert_eq!(link.in_flight(), MAX_IN_FLIGHT);
        assert!(link.counters().queue_full > 0);
    }

    #[test]
    fn a_wire_connects_two_devices() {
        let config = SimConfig::default();
        let (mut a, mut b) = (
            SimDevice::new(&config).unwrap(),
            SimDevice::new(&config).unwrap(),
        );
        let mut wire = Wire::new(
            Impairment {
                delay: MS,
                ..Default::default()
            },
            1,
        );
        let mut frame = a.allocate().unwrap();
        frame.spare_mut()[..4].copy_from_slice(b"ping");
        frame.extend(4);
        a.transmit(frame).unwrap();
        a.flush();
        wire.step(at(5), &mut a, &mut b);
        let done = a.completed().unwrap();
        a.release(done);
        assert_eq!((b.rx_pending(), wire.next_event()), (0, Some(at(6))));
        wire.step(at(6), &mut a, &mut b);
        let mut batch = RxBatch::new();
        b.rx_burst(&mut batch);
        let [received] = &batch[..] else {
            panic!("{batch:?}")
        };
        assert_eq!(&received[..], b"ping");
        assert_eq!((b.rx_outstanding(), wire.next_event()), (1, None));
        batch.drain(..).for_each(|frame| b.recycle(frame));
        b.flush();
        assert_eq!((a.tx_outstanding(), b.rx_outstanding()), (0, 0));
    }
}
