//! Initial sequence numbers and timestamp offsets (RFC 6528, RFC 7323 section 5.4), and what else
//! only we can know.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use super::seq::Seq;
use crate::time::Instant;
use crate::wire::FlowKey;

/// How far behind a TIME-WAIT's last sequence number its successor starts: about a window without
/// scale, as BSD has it.
const BEYOND: u32 = 64_000;

/// `ISN = M + F(localip, localport, remoteip, remoteport, secretkey)`: unpredictable from outside,
/// and growing with time for one pair of endpoints.
#[derive(Clone)]
pub struct IsnGenerator {
    isn: SipHasher24,
    timestamp: SipHasher24,
    fast_open: SipHasher24,
    syn_cookie: SipHasher24,
    chance: SipHasher24,
}

impl IsnGenerator {
    /// A generator with its secret; the same on every core, since a flow may be answered by any.
    pub fn new(secret: [u8; 32]) -> Self {
        let half = |range: std::ops::Range<usize>| {
            let mut key = [0; 16];
            key.copy_from_slice(&secret[range]);
            SipHasher24::new_with_key(&key)
        };
        let (isn, timestamp) = (half(0..16), half(16..32));
        // More keys out of the two, by messages that no flow key is.
        let derived = |purpose: &[u8]| {
            let half = |mut hasher: SipHasher24| {
                hasher.write(purpose);
                hasher.finish()
            };
            SipHasher24::new_with_keys(half(isn), half(timestamp))
        };
        Self {
            isn,
            timestamp,
            fast_open: derived(b"fast open"),
            syn_cookie: derived(b"syn cookie"),
            chance: derived(b"chance"),
        }
    }

    /// The key of the SYN cookies of one time, the same on every core.
    pub(super) fn syn_cookie_key(&self, epoch: u64) -> SipHasher24 {
        let half = |number: u8| {
            let mut hasher = self.syn_cookie;
            hasher.write_u8(number);
            hasher.write_u64(epoch);
            hasher.finish()
        };
        SipHasher24::new_with_keys(half(0), half(1))
    }

    /// The key of timestamp offsets.
    pub(super) fn timestamp_key(&self) -> [u64; 2] {
        self.timestamp.keys().into()
    }

    /// A number that nobody else can know, of an instant: another one on each core, unless they
    /// read the clock in the same nanosecond.
    pub(super) fn chance(&self, now: Instant) -> u64 {
        let mut hasher = self.chance;
        hasher.write_u64(now.as_nanos());
        hasher.finish()
    }

    /// What only we can know of two addresses and a number.
    pub(super) fn fast_open_mac(&self, key: &FlowKey, epoch: u64) -> u64 {
        let mut hasher = self.fast_open;
        hasher.write_u64(epoch);
        hasher.write(key.local.octets());
        hasher.write(key.remote.octets());
        hasher.finish()
    }

    /// The ISN for `key` at `now`. M is the four-microsecond timer of RFC 9293 section 3.4.1.
    pub fn isn(&self, key: &FlowKey, now: Instant) -> Seq {
        let m = (now.as_nanos() / 4_000) as u32;
        Seq(m.wrapping_add(hash(self.isn, key) as u32))
    }

    /// The ISN of a connection that follows on a TIME-WAIT: behind all that was sent before
    /// (RFC 9293 section 3.6.1, MAY-2).
    pub(super) fn isn_beyond(&self, key: &FlowKey, now: Instant, beyond: Option<Seq>) -> Seq {
        let isn = self.isn(key, now);
        beyond
            .filter(|&beyond| isn.at_or_before(beyond))
            .map_or(isn, |beyond| beyond + BEYOND)
    }

    /// What is added to the clock in the timestamps of `key`, so that they tell nothing about
    /// other connections or our uptime.
    pub fn timestamp_offset(&self, key: &FlowKey) -> u32 {
        // Not zero, which leaves room to say that there are no timestamps.
        (hash(self.timestamp, key) as u32).max(1)
    }
}

impl std::fmt::Debug for IsnGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IsnGenerator { secret }")
    }
}

fn hash(mut hasher: SipHasher24, key: &FlowKey) -> u64 {
    hasher.write(key.local.octets());
    hasher.write(key.remote.octets());
    hasher.write_u32(u32::from(key.local_port) << 16 | u32::from(key.remote_port));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use crate::wire::Address;

    fn key(remote_port: u16) -> FlowKey {
        FlowKey {
            local: Address::from_ipv4([198, 18, 0, 1]),
            remote: Address::from_ipv4([198, 18, 0, 2]),
            local_port: 80,
            remote_port,
        }
    }

    #[test]
    fn one_pair_of_endpoints_sees_a_clock_of_four_microseconds() {
        let isn = IsnGenerator::new([7; 32]);
        let now = Instant::from_millis(5_000);
        let first = isn.isn(&key(1000), now);
        let later = isn.isn(&key(1000), now + Duration::from_micros(400));
        assert_eq!(later.since(first), 100);
    }

    #[test]
    fn other_endpoints_and_other_secrets_tell_nothing() {
        let now = Instant::from_millis(5_000);
        let isn = IsnGenerator::new([7; 32]);
        let other = IsnGenerator::new([8; 32]);
        assert_ne!(isn.isn(&key(1000), now), isn.isn(&key(1001), now));
        assert_ne!(isn.isn(&key(1000), now), other.isn(&key(1000), now));
        assert_ne!(
            isn.timestamp_offset(&key(1000)),
            isn.timestamp_offset(&key(1001))
        );
    }
}
