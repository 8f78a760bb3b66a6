//! What TCP and the XDP program agree on, so that both answer a SYN with the same cookie (RFC 4987
//! section 3.6).

use std::fmt;

/// Segment sizes that a cookie can say.
pub const SIZES: usize = 8;

/// What the SYN-ACKs of a listener say while they are cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieTerms {
    /// The MSS option.
    pub mss: u16,
    /// The window, which is not scaled.
    pub window: u16,
    /// The shift to offer to peers that offer one; none if scaling is off.
    pub window_scale: Option<u8>,
    /// Whether SACK is gone along with.
    pub sack: bool,
    /// Whether timestamps are.
    pub timestamps: bool,
    /// Whether ECN is.
    pub ecn: bool,
    /// The Differentiated Services field, in the upper six bits.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

/// What nobody else knows, and what the cookies of all listeners have in common.
#[derive(Clone, Copy)]
pub struct CookieSecrets {
    /// The keys of a time and of the next, with the numbers of those times.
    pub keys: [(u64, [u64; 2]); 2],
    /// The key of timestamp offsets.
    pub timestamp_key: [u64; 2],
    /// The segment sizes that a cookie can say over IPv4, ascending.
    pub mss_ipv4: [u16; SIZES],
    /// And over IPv6.
    pub mss_ipv6: [u16; SIZES],
}

impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecrets")
    }
}
