//! A bad network between two interfaces: every frame that arrives at one leaves at the other,
//! late, twice, out of order or not at all.
//!
//! It stands in for netem on machines without it, and for AF_XDP senders that pass netem by. Each
//! direction has its own [`Impairment`], and all chance comes from one seed, so that the same
//! frames meet the same fate. (Real senders do not send the same frames twice, so a run is only
//! nearly repeatable.)
//!
//! The kernel's ends of both links need `tx`, `tso`, `gso` and `gro` off: otherwise frames arrive
//! here larger than the MTU and with checksums that were left for hardware. Frames too large to
//! send are dropped and counted as `oversized`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use corelane::time::{Clock, Duration, Instant};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::packet::PacketSocket;

/// Frames taken from one side before the other gets its turn.
const BURST: usize = 64;

/// The largest frame that is relayed: a jumbo frame with two VLAN tags.
const MAX_FRAME: usize = 9_000 + 22;

/// What one direction does to frames. Shares are in parts per million of the frames; the default
/// is a perfect wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Impairment {
    /// Bits per second of payload and headers; 0 is without limit.
    pub(crate) bandwidth: u64,
    /// Added to every frame.
    pub(crate) delay: Duration,
    /// Frames lost, each by itself.
    pub(crate) loss: u32,
    /// Frames that begin a burst of losses.
    pub(crate) burst: u32,
    /// How many frames in a row a burst takes.
    pub(crate) burst_length: u32,
    /// Frames held back for `reorder_delay`, so that later ones overtake them.
    pub(crate) reorder: u32,
    /// How long a reordered frame is held back beyond `delay`.
    pub(crate) reorder_delay: Duration,
    /// Frames sent twice.
    pub(crate) duplicate: u32,
    /// Frames in flight at most; more are dropped, as a router's queue would.
    pub(crate) queue_limit: usize,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            bandwidth: 0,
            delay: Duration::ZERO,
            loss: 0,
            burst: 0,
            burst_length: 8,
            reorder: 0,
            reorder_delay: Duration::from_micros(500),
            duplicate: 0,
            queue_limit: 10_000,
        }
    }
}

/// What happened to the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Frames that arrived.
    pub(crate) received: u64,
    /// Frames that left, duplicates included.
    pub(crate) sent: u64,
    /// Lost by chance, alone or in a burst.
    pub(crate) lost: u64,
    /// Held back so that others overtook them.
    pub(crate) reordered: u64,
    /// Sent a second time.
    pub(crate) duplicated: u64,
    /// Dropped because `queue_limit` frames were in flight, or the interface took no more.
    pub(crate) overflowed: u64,
    /// Dropped because they were too large: an offload is on somewhere.
    pub(crate) oversized: u64,
}

/// Carries frames between `a` and `b` until the other end of `stop` is closed. Returns the counts
/// of a -> b and b -> a.
pub(crate) fn run(
    a: &PacketSocket,
    b: &PacketSocket,
    impairments: [Impairment; 2],
    seed: u64,
    stop: &OwnedFd,
) -> io::Result<[Counts; 2]> {
    let clock = Clock::start();
    let mut a_to_b = Direction::new(impairments[0], Random::new(seed));
    let mut b_to_a = Direction::new(impairments[1], Random::new(seed ^ 0x5851_f42d_4c95_7f2d));
    let mut pool = Vec::new();

    loop {
        let now = clock.now();
        let mut busy = a_to_b.take_from(a, now, &mut pool)?;
        a_to_b.deliver(b, now, &mut pool)?;
        busy |= b_to_a.take_from(b, now, &mut pool)?;
        b_to_a.deliver(a, now, &mut pool)?;
        if busy {
            continue;
        }

        let due = [a_to_b.next_due(), b_to_a.next_due()]
            .into_iter()
            .flatten()
            .min();
        let timeout = due.map(|due| timespec(due.saturating_since(clock.now())));
        let mut fds = [
            PollFd::from_borrowed_fd(a.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(b.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[2].revents().is_empty() {
            return Ok([a_to_b.counts, b_to_a.counts]);
        }
    }
}

/// One direction of the wire.
struct Direction {
    impairment: Impairment,
    random: Random,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    /// Breaks ties in `in_flight`: equal due times leave in the order of arrival.
    sequence: u64,
    /// When the last bit of the frame before has left the sender.
    line_free: Instant,
    /// Frames that the current burst has still to take.
    burst_left: u32,
    counts: Counts,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    due: Instant,
    sequence: u64,
    frame: Vec<u8>,
}

impl Direction {
    fn new(impairment: Impairment, random: Random) -> Self {
        Self {
            impairment,
            random,
            in_flight: BinaryHeap::new(),
            sequence: 0,
            line_free: Instant::ZERO,
            burst_left: 0,
            counts: Counts::default(),
        }
    }

    /// Takes up to a burst of frames off `socket`; true if there may be more.
    fn take_from(
        &mut self,
        socket: &PacketSocket,
        now: Instant,
        pool: &mut Vec<Vec<u8>>,
    ) -> io::Result<bool> {
        for _ in 0..BURST {
            let mut frame = pool.pop().unwrap_or_default();
            frame.resize(MAX_FRAME, 0);
            let Some(length) = socket.receive(&mut frame)? else {
                pool.push(frame);
                return Ok(false);
            };
            self.counts.received += 1;
            if length > MAX_FRAME {
                self.counts.oversized += 1;
                pool.push(frame);
                continue;
            }
            frame.truncate(length);
            if let Some(rejected) = self.accept(frame, now) {
                pool.push(rejected);
            }
        }
        Ok(true)
    }

    /// Decides what becomes of one frame; gives back the buffer of one that is lost.
    fn accept(&mut self, frame: Vec<u8>, now: Instant) -> Option<Vec<u8>> {
        let it = self.impairment;
        // Every frame draws the same number of chances, so that one frame's fate does not shift
        // the others'.
        let [loss, burst, reorder, duplicate] = std::array::from_fn(|_| self.random.chance());
        if self.burst_left == 0 && burst < it.burst {
            self.burst_left = it.burst_length;
        }
        let in_burst = self.burst_left > 0;
        self.burst_left = self.burst_left.saturating_sub(1);
        if in_burst || loss < it.loss {
            self.counts.lost += 1;
            return Some(frame);
        }
        if self.in_flight.len() >= it.queue_limit {
            self.counts.overflowed += 1;
            return Some(frame);
        }

        let mut due = now;
        if let Some(nanos) = (frame.len() as u64 * 8 * 1_000_000_000).checked_div(it.bandwidth) {
            self.line_free = self.line_free.max(now) + Duration::from_nanos(nanos);
            due = self.line_free;
        }
        due += it.delay;
        if reorder < it.reorder {
            self.counts.reordered += 1;
            due += it.reorder_delay;
        }
        if duplicate < it.duplicate {
            self.counts.duplicated += 1;
            self.launch(frame.clone(), due);
        }
        self.launch(frame, due);
        None
    }

    fn launch(&mut self, frame: Vec<u8>, due: Instant) {
        self.sequence += 1;
        self.in_flight.push(Reverse(InFlight {
            due,
            sequence: self.sequence,
            frame,
        }));
    }

    /// Sends what is due.
    fn deliver(
        &mut self,
        socket: &PacketSocket,
        now: Instant,
        pool: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        while self
            .in_flight
            .peek()
            .is_some_and(|Reverse(next)| next.due <= now)
        {
            let Some(Reverse(next)) = self.in_flight.pop() else {
                break;
            };
            match socket.send(&next.frame) {
                Ok(true) => self.counts.sent += 1,
                Ok(false) => self.counts.overflowed += 1,
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    self.counts.oversized += 1;
                }
                Err(error) => return Err(error),
            }
            pool.push(next.frame);
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(next)| next.due)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough for chance.
pub(crate) struct Random(u64);

impl Random {
    /// A generator whose whole sequence follows from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1_000_000, to be compared with parts per million.
    fn chance(&mut self) -> u32 {
        (self.next() % 1_000_000) as u32
    }
}

fn timespec(duration: Duration) -> Timespec {
    let nanos = duration.as_nanos();
    Timespec {
        tv_sec: (nanos / 1_000_000_000) as i64,
        tv_nsec: (nanos % 1_000_000_000) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames 0..count through `impairment`, as (index, due) in the order of leaving.
    fn leave(impairment: Impairment, count: u32, seed: u64) -> (Vec<(u32, Instant)>, Counts) {
        let mut direction = Direction::new(impairment, Random::new(seed));
        for index in 0..count {
            let now = Instant::from_nanos(u64::from(index) * 1_000);
            direction.accept(index.to_be_bytes().to_vec(), now);
        }
        let mut left = Vec::new();
        while let Some(Reverse(next)) = direction.in_flight.pop() {
            let index = u32::from_be_bytes(next.frame.try_into().expect("four bytes"));
            left.push((index, next.due));
        }
        (left, direction.counts)
    }

    #[test]
    fn a_perfect_wire_keeps_order_and_time() {
        let (left, _) = leave(Impairment::default(), 1_000, 1);
        assert!(left.iter().enumerate().all(|(at, (index, due))| {
            at as u32 == *index && due.as_nanos() == u64::from(*index) * 1_000
        }));
        assert_eq!(left.len(), 1_000);
    }

    #[test]
    fn loss_is_near_its_share_and_seeded() {
        let impairment = Impairment {
            loss: 10_000,
            ..Impairment::default()
        };
        let (left, counts) = leave(impairment, 9_000, 7);
        assert_eq!(left.len() as u64 + counts.lost, 9_000);
        // Binomial(9000, 0.01): mean 90, standard deviation 9.4.
        assert!((45..=135).contains(&counts.lost), "{counts:?}");
        assert_eq!(leave(impairment, 9_000, 7).0, left);
        assert_ne!(leave(impairment, 9_000, 8).0, left);
    }

    #[test]
    fn a_burst_takes_neighbours() {
        let impairment = Impairment {
            burst: 1_000,
            burst_length: 5,
            ..Impairment::default()
        };
        let (left, counts) = leave(impairment, 9_000, 3);
        let mut run = 0;
        let mut runs = Vec::new();
        let mut here = left.iter().map(|(index, _)| *index).peekable();
        for index in 0..9_000 {
            if here.next_if_eq(&index).is_some() {
                if run > 0 {
                    runs.push(run);
                }
                run = 0;
            } else {
                run += 1;
            }
        }
        assert!(
            !runs.is_empty() && runs.iter().all(|run| run % 5 == 0),
            "{runs:?} {counts:?}"
        );
    }

    #[test]
    fn reordered_frames_are_overtaken() {
        let impairment = Impairment {
            reorder: 10_000,
            reorder_delay: Duration::from_nanos(5_500),
            ..Impairment::default()
        };
        let (left, counts) = leave(impairment, 9_000, 5);
        let late = left.windows(2).filter(|pair| pair[0].0 > pair[1].0).count() as u64;
        assert_eq!(left.len(), 9_000);
        assert!(
            counts.reordered > 40 && late > counts.reordered / 2,
            "{late} {counts:?}"
        );
    }

    #[test]
    fn bandwidth_spaces_frames_and_the_queue_is_bounded() {
        // Four bytes at 1 Mbit/s take 32 us; they arrive every 1 us.
        let impairment = Impairment {
            bandwidth: 1_000_000,
            queue_limit: 100,
            ..Impairment::default()
        };
        let (left, counts) = leave(impairment, 1_000, 5);
        assert_eq!((left.len(), counts.overflowed), (100, 900));
        assert!(
            left.windows(2)
                .all(|pair| { pair[1].1.saturating_since(pair[0].1) == Duration::from_micros(32) })
        );
    }

    #[test]
    fn duplicates_follow_their_frame() {
        let impairment = Impairment {
            duplicate: 10_000,
            ..Impairment::default()
        };
        let (left, counts) = leave(impairment, 9_000, 5);
        assert_eq!(left.len() as u64, 9_000 + counts.duplicated);
        assert!((45..=135).contains(&counts.duplicated), "{counts:?}");
    }
}
