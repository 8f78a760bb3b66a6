//! Source prefixes, as people write them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::wire::Address;

/// The IPv6 prefix that has the IPv4 addresses in [`Address`]'s form.
const MAPPED: u128 = 0xffff << 32;

/// All addresses that begin alike: `198.18.0.0/15`, `fd00::/8`, or a single one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNet);

impl Prefix {
    pub(super) const fn net(self) -> IpNet {
        self.0
    }

    pub(super) const fn of(net: IpNet) -> Self {
        Self(net)
    }

    /// The first and last address of each of its ranges: of `::/0` and the like those before and
    /// behind the IPv4 addresses, which are none of it.
    pub fn ranges(self) -> impl Iterator<Item = (Address, Address)> {
        let number = |ip: IpAddr| u128::from_be_bytes(*Address::from(ip).octets());
        let (first, last) = (number(self.0.network()), number(self.0.broadcast()));
        let before = (first, last.min(MAPPED - 1));
        let behind = (first.max(MAPPED + (1 << 32)), last);
        let ranges = match self.0 {
            IpNet::V6(_) => [before, behind],
            // The second is none.
            IpNet::V4(_) => [(first, last), (1, 0)],
        };
        let ranges = ranges.into_iter().filter(|(first, last)| first <= last);
        ranges.map(|(first, last)| {
            let address = |number: u128| Address::from_ipv6(number.to_be_bytes());
            (address(first), address(last))
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let net = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse().map_err(|_| BadPrefix::No(text.to_owned()))?,
        };
        if net.trunc() != net {
            return Err(BadPrefix::Longer {
                text: text.to_owned(),
                whole: Self(net.trunc()),
                single: net.addr(),
            });
        }
        if let IpNet::V6(v6) = net
            && let Some(v4) = v6.addr().to_ipv4_mapped()
        {
            return Err(BadPrefix::Mapped(text.to_owned(), v4.into()));
        }
        Ok(Self(net))
    }
}

impl TryFrom<String> for Prefix {
    type Error = BadPrefix;

    fn try_from(text: String) -> Result<Self, BadPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BadPrefix {
    #[error(
        "\"{0}\" is no prefix: it takes an address, and a slash and a length if it is not just that \
         address, for example 198.18.0.0/15 or fd00::1"
    )]
    No(String),
    #[error("\"{text}\" has bits behind its length: write {whole} for all of them, or {single}")]
    Longer {
        text: String,
        whole: Prefix,
        single: IpAddr,
    },
    #[error("\"{0}\" is an IPv4 address within IPv6: write it as IPv4, {1} with its own length")]
    Mapped(String, IpAddr),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_are_shown_with_their_length() {
        for (text, shown) in [
            ("198.18.0.1", "198.18.0.1/32"),
            ("198.18.0.0/15", "198.18.0.0/15"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::1", "fd00::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(prefix(text).to_string(), shown);
            assert_eq!(prefix(shown), prefix(text));
        }
    }

    #[test]
    fn what_is_no_prefix_is_quoted() {
        for text in [
            "",
            "/8",
            "198.18.0.0/33",
            "198.18.0.0/",
            "198.18.0/24",
            "fd00::/129",
            "fd00::/-1",
            "host",
            "198.18.0.1:80",
        ] {
            let message = text.parse::<Prefix>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("\"{text}\" is no prefix")));
        }
        let message = |text: &str| text.parse::<Prefix>().unwrap_err().to_string();
        assert_eq!(
            message("198.18.0.5/24"),
            "\"198.18.0.5/24\" has bits behind its length: write 198.18.0.0/24 for all of them, or \
             198.18.0.5"
        );
        assert!(message("::ffff:198.18.0.1").contains("198.18.0.1 with its own length"));
        assert!(message("::ffff:0:0/96").contains("IPv4"));
    }

    #[test]
    fn ranges_keep_the_families_apart() {
        let ranges = |text: &str| -> Vec<[IpAddr; 2]> {
            let ranges = prefix(text).ranges();
            ranges.map(|(a, b)| [a.to_ip(), b.to_ip()]).collect()
        };
        let pair = |a: &str, b: &str| [a, b].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(
            ranges("198.18.0.0/15"),
            [pair("198.18.0.0", "198.19.255.255")]
        );
        assert_eq!(ranges("0.0.0.0/0"), [pair("0.0.0.0", "255.255.255.255")]);
        assert_eq!(ranges("fd00::1"), [pair("fd00::1", "fd00::1")]);
        assert_eq!(
            ranges("::/0"),
            [
                pair("::", "::fffe:ffff:ffff"),
                pair("::1:0:0:0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
            ]
        );
    }
}
