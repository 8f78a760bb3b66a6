//! The tables `[deny]` and `[syn-limit]` of a configuration file: what the XDP program keeps out.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::ConfigError;
use super::value::number;
use crate::xdp::{LoadOptions, Prefix, SynLimit, SynTerms};

/// Of each family; a trie of as many takes some hundred MiB.
const MOST_PREFIXES: u64 = 1 << 22;
/// About 100 MiB.
const MOST_SOURCES: u64 = 1 << 20;
const MOST_SYNS: u64 = SynLimit::MOST as u64;

/// Sources that are not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DenySettings {
    /// The deny list at the start.
    pub prefixes: Vec<Prefix>,
    /// How many of each family there may be.
    #[serde(deserialize_with = "number::<_, 1, MOST_PREFIXES>")]
    pub max_prefixes: Option<u64>,
}

/// The limit on SYNs of each source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct SynLimitSettings {
    /// SYNs per second; none: no limit.
    #[serde(deserialize_with = "number::<_, 1, MOST_SYNS>")]
    pub rate: Option<u64>,
    /// SYNs at once; none: as many as in a second.
    #[serde(deserialize_with = "number::<_, 1, MOST_SYNS>")]
    pub burst: Option<u64>,
    /// The first bits of an IPv4 address that name its source.
    #[serde(deserialize_with = "number::<_, 0, 32>")]
    pub ipv4_prefix: Option<u64>,
    /// The same of an IPv6 address.
    #[serde(deserialize_with = "number::<_, 0, 128>")]
    pub ipv6_prefix: Option<u64>,
    /// How many sources are told apart.
    #[serde(deserialize_with = "number::<_, 64, MOST_SOURCES>")]
    pub max_sources: Option<u64>,
}

/// What the XDP program keeps out from the start, and how much of it there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Defence {
    /// Sources that are not served.
    pub denied: BTreeSet<Prefix>,
    /// How many of each family there may be.
    pub max_denied: u32,
    /// The limit on SYNs. None unless asked for: behind one address there may be a thousand honest
    /// clients (NAT), or a load balancer with all of them.
    pub syn_limit: Option<SynLimit>,
    /// How many sources of SYNs are told apart.
    pub max_syn_sources: u32,
}

impl Default for Defence {
    fn default() -> Self {
        let options = LoadOptions::default();
        Self {
            denied: BTreeSet::new(),
            max_denied: options.denied,
            syn_limit: None,
            max_syn_sources: options.syn_sources,
        }
    }
}

impl Defence {
    pub(super) fn new(deny: DenySettings, syn: &SynLimitSettings) -> Result<Self, ConfigError> {
        let mut denied = BTreeSet::new();
        for prefix in deny.prefixes {
            if !denied.insert(prefix) {
                return Err(ConfigError::PrefixTwice(prefix));
            }
        }
        let defaults = Self::default();
        // No legal value has more bits.
        let or = |value: Option<u64>, default: u32| value.map_or(default, |value| value as u32);
        Ok(Self {
            denied,
            max_denied: or(deny.max_prefixes, defaults.max_denied),
            syn_limit: syn_limit(syn)?,
            max_syn_sources: or(syn.max_sources, defaults.max_syn_sources),
        })
    }
}

fn syn_limit(settings: &SynLimitSettings) -> Result<Option<SynLimit>, ConfigError> {
    let Some(rate) = settings.rate else {
        let rest = [settings.burst, settings.ipv4_prefix, settings.ipv6_prefix];
        return match rest.iter().all(Option::is_none) {
            true => Ok(None),
            false => Err(ConfigError::SynLimitWithoutRate),
        };
    };
    let bits = |value: Option<u64>, default: u8| value.map_or(default, |value| value as u8);
    let terms = SynTerms {
        rate: rate as u32,
        burst: settings.burst.unwrap_or(rate) as u32,
        ipv4_prefix: bits(settings.ipv4_prefix, SynLimit::IPV4_PREFIX),
        ipv6_prefix: bits(settings.ipv6_prefix, SynLimit::IPV6_PREFIX),
    };
    Ok(SynLimit::try_from(terms).map(Some)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defence(text: &str) -> Result<Defence, ConfigError> {
        #[derive(Deserialize)]
        #[serde(default, rename_all = "kebab-case")]
        #[derive(Default)]
        struct Tables {
            deny: DenySettings,
            syn_limit: SynLimitSettings,
        }
        let tables: Tables = toml::from_str(text).unwrap();
        Defence::new(tables.deny, &tables.syn_limit)
    }

    #[test]
    fn nothing_is_kept_out_unless_asked_for() {
        let defence = defence("").unwrap();
        assert_eq!(defence, Defence::default());
        assert!(defence.denied.is_empty() && defence.syn_limit.is_none());
    }

    #[test]
    fn all_of_it_can_be_said() {
        let said = defence(
            "[deny]\nprefixes = [\"198.18.7.0/24\", \"fd00::7\"]\nmax-prefixes = 10\n\
             [syn-limit]\nrate = 100\nburst = 7\nipv4-prefix = 24\nipv6-prefix = 56\n\
             max-sources = 1000\n",
        );
        let said = said.unwrap();
        let prefixes: Vec<_> = said.denied.iter().map(ToString::to_string).collect();
        assert_eq!(prefixes, ["198.18.7.0/24", "fd00::7/128"]);
        assert_eq!((said.max_denied, said.max_syn_sources), (10, 1_000));
        let terms = SynTerms {
            rate: 100,
            burst: 7,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
        };
        assert_eq!(said.syn_limit.unwrap().terms(), terms);
        let short = defence("[syn-limit]\nrate = 100").unwrap();
        let terms = SynTerms {
            burst: 100,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            ..terms
        };
        assert_eq!(short.syn_limit.unwrap().terms(), terms);
    }

    #[test]
    fn each_refusal_names_what_is_wrong() {
        let message = |text: &str| defence(text).unwrap_err().to_string();
        let twice = message("[deny]\nprefixes = [\"fd00::7\", \"fd00::7/128\"]");
        assert!(twice.contains("fd00::7/128 is given twice"), "{twice}");
        let rateless = message("[syn-limit]\nburst = 10");
        assert!(rateless.contains("`rate`"), "{rateless}");
    }
}
