//! Which receive queue a device will choose for a segment, so that an active open can choose a port
//! whose answers arrive at its own worker.

use std::sync::Arc;

use crate::wire::FlowKey;

/// IPv6 addresses and ports, and the 32 bits of key that the last of their bits takes.
const LEAST_KEY: usize = 36 + 4;

/// Receive-side scaling as a device does it: a Toeplitz hash over addresses and ports, whose low
/// bits choose from a table of queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    key: Box<[u8]>,
    table: Box<[u32]>,
}

impl Rss {
    /// A device's hash key and indirection table; `None` if they are too short to choose by.
    pub fn new(key: &[u8], table: &[u32]) -> Option<Self> {
        (key.len() >= LEAST_KEY && !table.is_empty()).then(|| Self {
            key: key.into(),
            table: table.into(),
        })
    }

    /// The queue at which segments of this flow arrive.
    pub fn queue(&self, key: &FlowKey) -> u32 {
        self.choose(self.without_local_port(key) ^ self.of_local_port(key))
    }

    /// Whether any flow arrives at `queue`.
    pub fn uses(&self, queue: u32) -> bool {
        self.table.contains(&queue)
    }

    fn choose(&self, hash: u32) -> u32 {
        self.table[hash as usize % self.table.len()]
    }

    /// The hash is linear: what the local port adds can be had alone.
    fn without_local_port(&self, key: &FlowKey) -> u32 {
        // What arrives has the peer as its source.
        let (remote, local) = (key.remote.octets(), key.local.octets());
        let skip = if key.local.is_ipv4() { 12 } else { 0 };
        let ports = key.remote_port.to_be_bytes();
        let octets = remote[skip..].iter().chain(&local[skip..]).chain(&ports);
        self.hash(0, octets.copied())
    }

    fn of_local_port(&self, key: &FlowKey) -> u32 {
        let offset = if key.local.is_ipv4() { 10 } else { 34 };
        self.hash(offset, key.local_port.to_be_bytes())
    }

    /// The Toeplitz hash of octets that stand `offset` octets behind the start of the input: for
    /// each bit that is set, the 32 bits of the key that start at its place.
    fn hash(&self, offset: usize, octets: impl IntoIterator<Item = u8>) -> u32 {
        let mut hash = 0;
        for (at, octet) in octets.into_iter().enumerate() {
            // Five octets of key hold the windows of all eight bits.
            let Some(window) = self
                .key
                .get(offset + at..)
                .and_then(<[u8]>::first_chunk::<5>)
            else {
                // The last octet's last bit needs only what LEAST_KEY promises.
                return hash ^ self.last(offset + at, octet);
            };
            hash ^= fold(*window, octet);
        }
        hash
    }

    fn last(&self, at: usize, octet: u8) -> u32 {
        let mut window = [0; 5];
        for (to, from) in window.iter_mut().zip(&self.key[at..]) {
            *to = *from;
        }
        fold(window, octet)
    }
}

fn fold(window: [u8; 5], octet: u8) -> u32 {
    let [a, b, c, d, e] = window;
    let window = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
    (0..8)
        .filter(|bit| octet & (0x80 >> bit) != 0)
        .fold(0, |hash, bit| hash ^ (window >> (8 - bit)) as u32)
}

/// Which local ports are one worker's. No two workers have one in common, or both could open the
/// same connection.
#[derive(Clone, Debug)]
pub enum Steering {
    /// What the device will do is not known: worker `index` has every `of`-th port. Answers that
    /// arrive elsewhere are handed over.
    Dealt {
        /// The worker.
        index: u16,
        /// How many there are.
        of: u16,
    },
    /// Those whose answers arrive at one of the worker's queues.
    Hashed(Arc<Rss>),
}

impl Steering {
    /// Prepares to judge ports of one destination, by keys that differ in the local port alone.
    pub(super) fn towards(&self, key: &FlowKey) -> Towards<'_> {
        let base = match self {
            Self::Dealt { .. } => 0,
            Self::Hashed(rss) => rss.without_local_port(key),
        };
        Towards {
            steering: self,
            base,
        }
    }
}

/// See [`Steering::towards`].
pub(super) struct Towards<'a> {
    steering: &'a Steering,
    base: u32,
}

/// Where the answers to a port arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrives {
    /// Nobody knows.
    Somewhere,
    /// At the device's queue of this number.
    AtQueue(u32),
    /// The port is another worker's.
    NotOurs,
}

impl Towards<'_> {
    pub(super) fn arrival(&self, key: &FlowKey) -> Arrives {
        match self.steering {
            Steering::Dealt { index, of } if key.local_port % of.max(&1) == *index => {
                Arrives::Somewhere
            }
            Steering::Dealt { .. } => Arrives::NotOurs,
            Steering::Hashed(rss) => {
                Arrives::AtQueue(rss.choose(self.base ^ rss.of_local_port(key)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Address;

    /// The key of Microsoft's "Verifying the RSS Hash Calculation", whose vectors follow.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn key(remote: &str, local: &str) -> FlowKey {
        let remote: std::net::SocketAddr = remote.parse().unwrap();
        let local: std::net::SocketAddr = local.parse().unwrap();
        FlowKey {
            local: Address::from(local.ip()),
            remote: Address::from(remote.ip()),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }

    #[test]
    fn the_hash_is_that_of_the_published_vectors() {
        let rss = Rss::new(&KEY, &[0]).unwrap();
        for (remote, local, hash) in [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea),
            ("24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b_394a),
            ("38.27.205.30:48228", "209.142.163.6:2217", 0xafc7_327f),
            ("153.39.163.191:44251", "202.188.127.2:1303", 0x10e8_28a2),
            (
                "[3ffe:2501:200:1fff::7]:2794",
                "[3ffe:2501:200:3::1]:1766",
                0x4020_7d3d,
            ),
            (
                "[3ffe:501:8::260:97ff:fe40:efab]:14230",
                "[ff02::1]:4739",
                0xdde5_1bbf,
            ),
        ] {
            let key = key(remote, local);
            let got = rss.without_local_port(&key) ^ rss.of_local_port(&key);
            assert_eq!(got, hash, "{remote} -> {local}");
        }
    }

    #[test]
    fn the_low_bits_choose_from_the_table() {
        let table: Vec<u32> = (0..128).map(|at| at % 4 + 10).collect();
        let rss = Rss::new(&KEY, &table).unwrap();
        let key = key("66.9.149.187:2794", "161.142.100.80:1766");
        // 0x51ccc178 in a table of 128: entry 0x78.
        assert_eq!(rss.queue(&key), table[0x78]);
        assert!(rss.uses(13) && !rss.uses(14));
        assert_eq!(Rss::new(&KEY[..39], &table), None);
        assert_eq!(Rss::new(&KEY, &[]), None);
    }
}
