//! The limit on SYNs in the program.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::error::XdpError;
use super::program::Program;
use super::settings::Setting;
use crate::wire::Address;

/// How many SYNs a source may send to the services: a token bucket for each source, which is all
/// addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SynTerms", into = "SynTerms")]
pub struct SynLimit(SynTerms);

/// What a limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynTerms {
    /// SYNs per second, from 1 to [`SynLimit::MOST`].
    pub rate: u32,
    /// SYNs at once, from 1 to [`SynLimit::MOST`].
    pub burst: u32,
    /// The first bits of an IPv4 address that name its source; 0: all are one.
    pub ipv4_prefix: u8,
    /// The same of an IPv6 address.
    pub ipv6_prefix: u8,
}

impl SynLimit {
    /// The most of rate and burst.
    pub const MOST: u32 = 1_000_000;
    /// The usual source: an address, since neighbours in IPv4 are strangers.
    pub const IPV4_PREFIX: u8 = 32;
    /// The usual source: what one network gets at least (RFC 4291 section 2.5.1), so that nobody has
    /// a bucket for each of 2^64 addresses of his own.
    pub const IPV6_PREFIX: u8 = 64;

    /// What it says.
    pub const fn terms(self) -> SynTerms {
        self.0
    }
}

impl TryFrom<SynTerms> for SynLimit {
    type Error = BadSynLimit;

    fn try_from(terms: SynTerms) -> Result<Self, BadSynLimit> {
        for (what, value) in [("rate", terms.rate), ("burst", terms.burst)] {
            if !(1..=Self::MOST).contains(&value) {
                return Err(BadSynLimit::Number { what, value });
            }
        }
        if terms.ipv4_prefix > 32 || terms.ipv6_prefix > 128 {
            return Err(BadSynLimit::Prefix);
        }
        Ok(Self(terms))
    }
}

impl From<SynLimit> for SynTerms {
    fn from(limit: SynLimit) -> Self {
        limit.0
    }
}

/// Why there is no such limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadSynLimit {
    #[error("a {what} of {value} is not from 1 to {most}", most = SynLimit::MOST)]
    Number { what: &'static str, value: u32 },
    #[error("an IPv4 prefix has 0 to 32 bits, an IPv6 prefix 0 to 128")]
    Prefix,
}

impl Program {
    /// Limits the SYNs of each source from the next frame on, or stops to.
    pub fn set_syn_limit(&self, limit: Option<SynLimit>) -> Result<(), XdpError> {
        self.set(Setting::SynLimit, &octets(limit))
    }
}

/// The fields of `struct corelane_settings` from `syn_interval` on.
fn octets(limit: Option<SynLimit>) -> [u8; 48] {
    let mut octets = [0; 48];
    let Some(SynLimit(terms)) = limit else {
        return octets;
    };
    let interval = 1_000_000_000 / u64::from(terms.rate);
    let ipv4 = Ipv4Net::new(Ipv4Addr::UNSPECIFIED, terms.ipv4_prefix);
    let ipv4 = ipv4.map_or(Ipv4Addr::BROADCAST, |net| net.netmask());
    let ipv6 = Ipv6Net::new(Ipv6Addr::UNSPECIFIED, terms.ipv6_prefix);
    let ipv6 = ipv6.map_or(Ipv6Addr::from([0xff; 16]), |net| net.netmask());
    octets[..8].copy_from_slice(&interval.to_ne_bytes());
    octets[8..16].copy_from_slice(&(interval * u64::from(terms.burst)).to_ne_bytes());
    // Of the mapped form, so that no IPv6 source has the bucket of an IPv4 one.
    octets[16..32].copy_from_slice(Address::from_ipv4(ipv4.octets()).octets());
    octets[32..].copy_from_slice(&ipv6.octets());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(rate: u32, burst: u32, ipv4_prefix: u8, ipv6_prefix: u8) -> Result<SynLimit, String> {
        let terms = SynTerms {
            rate,
            burst,
            ipv4_prefix,
            ipv6_prefix,
        };
        SynLimit::try_from(terms).map_err(|error| error.to_string())
    }

    #[test]
    fn limits_are_in_range() {
        assert!(limit(1, 1, 0, 0).is_ok());
        assert!(limit(1_000_000, 1_000_000, 32, 128).is_ok());
        assert_eq!(
            limit(0, 1, 32, 64).unwrap_err(),
            "a rate of 0 is not from 1 to 1000000"
        );
        assert!(limit(1, 1_000_001, 32, 64).unwrap_err().contains("burst"));
        assert!(limit(1, 1, 33, 64).is_err());
        assert!(limit(1, 1, 32, 129).is_err());
    }

    #[test]
    fn the_program_is_given_times_and_masks() {
        assert_eq!(octets(None), [0; 48]);
        let octets = octets(limit(100, 20, 24, 56).ok());
        assert_eq!(octets[..8], 10_000_000_u64.to_ne_bytes());
        assert_eq!(octets[8..16], 200_000_000_u64.to_ne_bytes());
        assert_eq!(octets[16..26], [0; 10]);
        assert_eq!(octets[26..32], [0xff, 0xff, 0xff, 0xff, 0xff, 0]);
        assert_eq!(octets[32..39], [0xff; 7]);
        assert_eq!(octets[39..], [0; 9]);
    }
}
