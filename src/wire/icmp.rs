//! ICMP and ICMPv6 errors that quote a segment of ours (RFC 792, RFC 4443).

/// What an ICMP error says, as TCP cares (RFC 1122 section 4.2.3.9, RFC 5461).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Fragmentation needed, or packet too big: the next hop's MTU (0 from a router older than
    /// RFC 1191).
    PacketTooBig {
        /// The next hop's MTU.
        mtu: u32,
    },
    /// Protocol or port unreachable: a hard error.
    PortUnreachable,
    /// Network or host unreachable and its kin: a soft error.
    Unreachable,
    /// Time exceeded or parameter problem: a soft error.
    Other,
}
