//! What the XDP program keeps out, as it goes over the control socket and into `--json`, and as text.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::xdp::{Prefix, SynLimit};

/// A denied prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// Who is not served.
    pub prefix: Prefix,
    /// Frames dropped since it was added. A frame counts for the longest of the prefixes that it
    /// comes from.
    pub dropped: u64,
}

/// The limit on SYNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SynLimitState {
    /// What it is, if there is one.
    pub limit: Option<SynLimit>,
    /// SYNs that it has dropped since the server's start.
    pub dropped: u64,
}

/// A line for each prefix.
pub fn denied_table(denied: &[Denied]) -> String {
    let prefixes: Vec<String> = denied.iter().map(|it| it.prefix.to_string()).collect();
    let width = prefixes.iter().map(String::len).max().unwrap_or(0).max(6);
    let mut out = format!("{:<width$} Dropped\n", "Prefix");
    for (prefix, Denied { dropped, .. }) in prefixes.iter().zip(denied) {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{prefix:<width$} {dropped}");
    }
    out
}

/// The limit in a sentence.
pub fn syn_limit_line(state: &SynLimitState) -> String {
    let limit = match state.limit.map(SynLimit::terms) {
        None => "no limit on SYNs".to_owned(),
        Some(terms) => format!(
            "{} SYNs per second and {} at once from each IPv4 /{} and IPv6 /{}",
            terms.rate, terms.burst, terms.ipv4_prefix, terms.ipv6_prefix
        ),
    };
    format!("{limit}; dropped since the start: {}\n", state.dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdp::SynTerms;

    #[test]
    fn the_deny_list_is_a_table() {
        let denied = [("198.18.7.0/24", 3), ("fd00:1234:5678::/48", 12_000)];
        let denied = denied.map(|(prefix, dropped)| Denied {
            prefix: prefix.parse().unwrap(),
            dropped,
        });
        insta::assert_snapshot!(denied_table(&denied), @"
        Prefix              Dropped
        198.18.7.0/24       3
        fd00:1234:5678::/48 12000
        ");
        insta::assert_snapshot!(denied_table(&[]), @"Prefix Dropped");
    }

    #[test]
    fn the_limit_is_a_sentence() {
        let terms = SynTerms {
            rate: 100,
            burst: 200,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
        };
        let on = SynLimitState {
            limit: SynLimit::try_from(terms).ok(),
            dropped: 7,
        };
        let off = SynLimitState { limit: None, ..on };
        insta::assert_snapshot!(syn_limit_line(&on) + &syn_limit_line(&off), @"
        100 SYNs per second and 200 at once from each IPv4 /32 and IPv6 /64; dropped since the start: 7
        no limit on SYNs; dropped since the start: 7
        ");
    }
}
