//! Delivery rate: how fast the path takes what is sent (draft-ietf-ccwg-bbr section 4.1).
//!
//! Each segment takes with it what was delivered when it left ([`Departure`]); its acknowledgment
//! then tells how much was delivered in between, and over how long.

use crate::time::{Duration, Instant};

/// One measurement: the `RS` of the draft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// Octets delivered during `interval`.
    pub delivered: u32,
    /// Octets lost since the segment that it is about was sent.
    pub lost: u32,
    /// Over how long; zero if nothing reliable can be said.
    pub interval: Duration,
    /// Whether the application had less to send than the path would take.
    pub is_app_limited: bool,
    /// Octets in flight when the segment that it is about was sent, itself included.
    pub tx_in_flight: u32,
    /// All octets that had been delivered when that segment was sent.
    pub prior_delivered: u64,
    /// All octets that have been delivered by now.
    pub total_delivered: u64,
}

impl RateSample {
    /// Octets per second; 0 if nothing reliable can be said.
    pub fn octets_per_second(&self) -> u64 {
        if self.interval == Duration::ZERO {
            return 0;
        }
        let rate =
            u128::from(self.delivered) * 1_000_000_000 / u128::from(self.interval.as_nanos());
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

/// What a segment in flight remembers of its departure (the `P` of section 4.1.2.1.2): 20 octets.
/// Counts are modulo 2^32; times are in units of 1024 ns, modulo 2^32: 73 minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Departure {
    /// P.delivered.
    delivered: u32,
    /// P.lost.
    lost: u32,
    /// P.tx_in_flight, doubled, plus P.is_app_limited. 0: nothing was noted.
    in_flight: u32,
    /// P.delivered_time.
    delivered_at: u32,
    /// P.first_send_time.
    first_sent_at: u32,
}

/// The newest segment that an acknowledgment delivers: IsNewestPacket().
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Newest {
    departure: Departure,
    sent_at: Instant,
}

impl Newest {
    /// A segment that was last sent at `sent_at` has been delivered.
    pub(super) fn take(&mut self, departure: Departure, sent_at: Instant) {
        if departure.in_flight != 0 && sent_at >= self.sent_at {
            *self = Self { departure, sent_at };
        }
    }
}

/// What a connection remembers (the `C` of section 4.1.2.1.1).
#[derive(Clone, Debug, Default)]
pub(super) struct Delivery {
    /// C.delivered.
    delivered: u64,
    /// Of those: what acknowledgments with an echo of congestion have delivered.
    delivered_ce: u64,
    /// C.lost.
    lost: u64,
    /// C.delivered_time.
    delivered_at: Instant,
    /// C.first_send_time.
    first_sent_at: Instant,
    /// C.app_limited; 0: it is not.
    app_limited: u64,
    /// The last rate, in octets per second, and whether the application has limited it.
    last: (u64, bool),
}

impl Delivery {
    /// C.delivered.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// See [`on_marked`](Self::on_marked).
    pub(super) fn delivered_ce(&self) -> u64 {
        self.delivered_ce
    }

    /// An acknowledgment that echoes a mark (RFC 3168) has delivered so many octets. As in Linux, it
    /// does not say which of them were marked.
    pub(super) fn on_marked(&mut self, delivered: u32) {
        self.delivered_ce += u64::from(delivered);
    }

    /// OnPacketSent(): `octets` leave while `pipe` are in the network.
    pub(super) fn on_sent(&mut self, now: Instant, octets: u32, pipe: u32) -> Departure {
        // Or it has not measured before.
        if pipe == 0 || self.delivered_at == Instant::ZERO {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        let in_flight = pipe.saturating_add(octets).clamp(1, u32::MAX / 2);
        Departure {
            delivered: self.delivered as u32,
            lost: self.lost as u32,
            in_flight: in_flight << 1 | u32::from(self.app_limited != 0),
            delivered_at: ticks(self.delivered_at),
            first_sent_at: ticks(self.first_sent_at),
        }
    }

    /// UpdateRateSample() and GenerateRateSample() for an acknowledgment that has delivered
    /// `delivered` octets, and shown `lost` to be lost.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        delivered: u32,
        lost: u32,
        newest: &Newest,
        min_rtt: Option<Duration>,
    ) -> Option<RateSample> {
        self.lost += u64::from(lost);
        if delivered == 0 {
            return None;
        }
        self.delivered += u64::from(delivered);
        self.delivered_at = now;
        if self.app_limited != 0 && self.delivered > self.app_limited {
            self.app_limited = 0;
        }
        let departure = &newest.departure;
        if departure.in_flight == 0 {
            return None;
        }
        self.first_sent_at = newest.sent_at;
        let since = (self.delivered as u32).wrapping_sub(departure.delivered);
        let send_elapsed = span(newest.sent_at, departure.first_sent_at);
        let ack_elapsed = span(now, departure.delivered_at);
        let interval = send_elapsed.max(ack_elapsed);
        // A segment that was sent again and acknowledged for the first time; to within a tick.
        let is_reliable = min_rtt.is_none_or(|least| interval + TICK >= least);
        let sample = RateSample {
            delivered: since,
            lost: (self.lost as u32).wrapping_sub(departure.lost),
            interval: if is_reliable {
                interval
            } else {
                Duration::ZERO
            },
            is_app_limited: departure.in_flight & 1 == 1,
            tx_in_flight: departure.in_flight >> 1,
            prior_delivered: self.delivered - u64::from(since),
            total_delivered: self.delivered,
        };
        let rate = sample.octets_per_second();
        // As Linux shows it: a rate that the application has limited only if it is greater.
        if rate > 0 && (!sample.is_app_limited || rate >= self.last.0) {
            self.last = (rate, sample.is_app_limited);
        }
        Some(sample)
    }

    /// MarkConnectionAppLimited(): there is nothing to send, and room for it.
    pub(super) fn mark_app_limited(&mut self, pipe: u32) {
        self.app_limited = (self.delivered + u64::from(pipe)).max(1);
    }

    /// Octets per second as last measured, and whether the application has limited that.
    pub(super) fn rate(&self) -> Option<(u64, bool)> {
        (self.last.0 > 0).then_some(self.last)
    }
}

const TICK: Duration = Duration::from_nanos(1 << 10);

fn ticks(instant: Instant) -> u32 {
    (instant.as_nanos() >> 10) as u32
}

fn span(later: Instant, earlier: u32) -> Duration {
    Duration::from_nanos(u64::from(ticks(later).wrapping_sub(earlier)) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn newest(departure: Departure, sent_at: Instant) -> Newest {
        let mut newest = Newest::default();
        newest.take(departure, sent_at);
        newest
    }

    /// In parts per thousand, since times are in ticks.
    fn assert_rate(sample: RateSample, expected: u64) {
        let rate = sample.octets_per_second();
        assert!(rate.abs_diff(expected) <= expected / 100, "{rate}");
    }

    #[test]
    fn a_rate_is_octets_over_time() {
        let sample = RateSample {
            delivered: 125_000,
            interval: Duration::from_millis(10),
            ..RateSample::default()
        };
        assert_eq!(sample.octets_per_second(), 12_500_000);
        assert_eq!(RateSample::default().octets_per_second(), 0);
    }

    #[test]
    fn a_departure_takes_twenty_octets() {
        assert_eq!(size_of::<Departure>(), 20);
    }

    #[test]
    fn a_flight_is_measured_from_the_acknowledgment_before_it() {
        let mut delivery = Delivery::default();
        // Ten segments leave at once and are acknowledged a millisecond apart, after 50.
        let departures: Vec<_> = (0..10)
            .map(|i| delivery.on_sent(at(1_000), 1_000, i * 1_000))
            .collect();
        for (i, &departure) in departures.iter().enumerate() {
            let now = at(1_050 + i as u64);
            let sample = delivery.on_ack(now, 1_000, 0, &newest(departure, at(1_000)), None);
            let sample = sample.unwrap();
            assert_eq!(sample.prior_delivered, 0);
            assert_eq!(sample.tx_in_flight, 1_000 * (i as u32 + 1));
            assert_rate(sample, (i as u64 + 1) * 1_000_000 / (50 + i as u64));
        }
        // The next flight starts from the ACK clock: the path delivers a segment a millisecond.
        let mut flight = Vec::new();
        for i in 0..50u32 {
            flight.push((delivery.on_sent(at(1_060), 1_000, i * 1_000), at(1_060)));
        }
        let mut last = RateSample::default();
        for (i, (departure, sent_at)) in flight.into_iter().enumerate() {
            let now = at(1_110 + i as u64);
            last = delivery
                .on_ack(now, 1_000, 0, &newest(departure, sent_at), None)
                .unwrap();
        }
        assert_eq!(last.total_delivered, 60_000);
        // pipe == 0 restarted the clock at 1060.
        assert_rate(last, 50_000 * 1_000 / 99);
        assert_eq!(delivery.rate(), Some((last.octets_per_second(), false)));
    }

    #[test]
    fn a_compressed_burst_of_acknowledgments_is_capped_by_the_send_rate() {
        let mut delivery = Delivery::default();
        let mut flight = Vec::new();
        for i in 0..100u64 {
            let now = at(1_000 + i);
            flight.push((delivery.on_sent(now, 1_000, i as u32 * 1_000), now));
        }
        let first = flight[0];
        delivery.on_ack(at(1_200), 1_000, 0, &newest(first.0, first.1), None);
        let (departure, sent_at) = flight[99];
        let sample = delivery
            .on_ack(at(1_200), 99_000, 0, &newest(departure, sent_at), None)
            .unwrap();
        assert_rate(sample, 500_000);
        // One segment of the middle, acknowledged at once afterwards: 99 ms of sending, no less.
        assert!(sample.interval >= Duration::from_millis(99));
    }

    #[test]
    fn less_than_a_round_trip_is_not_reliable() {
        let mut delivery = Delivery::default();
        let departure = delivery.on_sent(at(1_000), 1_000, 0);
        let least = Some(Duration::from_millis(40));
        let sample = delivery.on_ack(at(1_030), 1_000, 0, &newest(departure, at(1_000)), least);
        assert_eq!(sample.unwrap().octets_per_second(), 0);
        assert_eq!(delivery.rate(), None);
    }

    #[test]
    fn a_bubble_marks_the_round_trip_behind_it() {
        let mut delivery = Delivery::default();
        let first = delivery.on_sent(at(1_000), 1_000, 0);
        delivery.mark_app_limited(1_000);
        let second = delivery.on_sent(at(1_010), 1_000, 1_000);
        let mut limited = |departure, now| {
            let sample = delivery.on_ack(at(now), 1_000, 0, &newest(departure, at(1_000)), None);
            sample.unwrap().is_app_limited
        };
        assert!(!limited(first, 1_050));
        assert!(limited(second, 1_060));
        let third = delivery.on_sent(at(1_060), 1_000, 0);
        let sample = delivery.on_ack(at(1_110), 1_000, 0, &newest(third, at(1_060)), None);
        assert!(!sample.unwrap().is_app_limited, "the bubble has left");
    }

    #[test]
    fn losses_count_since_the_segment_left() {
        let mut delivery = Delivery::default();
        let before = delivery.on_sent(at(1_000), 1_000, 9_000);
        let nothing = Newest::default();
        assert_eq!(delivery.on_ack(at(1_040), 0, 3_000, &nothing, None), None);
        let after = delivery.on_sent(at(1_045), 1_000, 9_000);
        let sample = delivery.on_ack(at(1_050), 1_000, 500, &newest(before, at(1_000)), None);
        assert_eq!(sample.unwrap().lost, 3_500);
        let sample = delivery.on_ack(at(1_090), 1_000, 0, &newest(after, at(1_045)), None);
        assert_eq!(sample.unwrap().lost, 500);
    }

    #[test]
    fn segments_that_left_before_measuring_began_tell_nothing() {
        let mut delivery = Delivery::default();
        let unknown = newest(Departure::default(), at(1_000));
        assert_eq!(delivery.on_ack(at(1_050), 1_000, 0, &unknown, None), None);
        assert_eq!(delivery.delivered, 1_000);
    }

    #[test]
    fn the_newest_of_several_counts() {
        let mut delivery = Delivery::default();
        let old = delivery.on_sent(at(1_000), 1_000, 0);
        let new = delivery.on_sent(at(1_001), 1_000, 1_000);
        let mut newest = Newest::default();
        newest.take(new, at(1_001));
        newest.take(old, at(1_000));
        let sample = delivery.on_ack(at(1_050), 2_000, 0, &newest, None).unwrap();
        assert_eq!(sample.tx_in_flight, 2_000);
    }
}
