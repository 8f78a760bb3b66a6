//! One frame in, one [`Packet`] or the reason why not out.

use super::tcp::Segment;
use super::{Address, FlowKey, Link};

/// How a received TCP checksum is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// The whole sum must be right: a real wire.
    Full,
    /// The whole sum, or exactly what a kernel leaves in the field of a segment whose checksum it
    /// has put off (the folded, uncomplemented sum of the pseudo-header, compared modulo 0xffff):
    /// veth, and any device in generic mode.
    FullOrPartial,
}

/// A frame that the XDP program gave us, judged.
#[derive(Clone, Debug)]
pub enum Packet<'a> {
    /// A TCP segment, whole and with a right checksum.
    Tcp {
        /// Where an answer goes.
        link: Link,
        /// The connection it names.
        key: FlowKey,
        /// The two ECN bits of the IP header (RFC 3168 section 5).
        ecn: u8,
        /// The segment.
        segment: Segment<'a>,
    },
    /// An ICMP or ICMPv6 error that quotes a segment which we sent.
    IcmpError {
        /// The flow that it quotes, as we name it.
        key: FlowKey,
        /// SEG.SEQ of the quoted segment (RFC 5927 section 4.1 checks it).
        seq: u32,
        /// What it says.
        error: super::icmp::IcmpError,
    },
    /// A fragment of a datagram to one of our addresses.
    Fragment {
        /// The address of ours that it is for.
        local: Address,
    },
}

/// Why a frame is no [`Packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// Placeholder: the wire author lists the reasons.
    Truncated,
}

/// Judges one frame. Never panics, whatever the bytes.
pub fn parse(frame: &[u8], checksums: ChecksumPolicy) -> Result<Packet<'_>, Malformed> {
    let _ = (frame, checksums);
    Err(Malformed::Truncated)
}
