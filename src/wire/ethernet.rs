//! Ethernet II and 802.1Q.

use std::fmt;

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The link layer of one frame, as the receiver sees it; an answer goes back the same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Our address: the destination of a received frame.
    pub local: MacAddr,
    /// The neighbour's address: the source of a received frame.
    pub remote: MacAddr,
    /// The 802.1Q tag control information (priority, DEI and VLAN id), if the frame has a tag.
    pub vlan: Option<u16>,
}
