//! Fragments of IPv4 (RFC 791 section 3.2) and IPv6 (RFC 8200 section 4.5) datagrams.

use super::parse::Datagram;
use super::{Address, Malformed, ipv4, tcp};

/// The most octets behind the IP header of a whole datagram; IPv4 counts its header as well.
const MAX_PAYLOAD: usize = u16::MAX as usize;

/// What the fragments of one datagram have in common. The protocol is not part of it: we are given
/// fragments of TCP only, and IPv6 looks at the first fragment's alone (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatagramKey {
    /// The sender.
    pub source: Address,
    /// The address of ours that it is for.
    pub destination: Address,
    /// The identification; of IPv4 16 bits.
    pub identification: u32,
}

/// A fragment of a datagram, legal by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The datagram.
    pub datagram: DatagramKey,
    /// The two ECN bits of its IP header.
    pub ecn: u8,
    /// Where its payload belongs in that of the datagram.
    pub offset: u16,
    /// Whether there are fragments behind it.
    pub more: bool,
    /// Of a first fragment, the octets of IPv6 extension headers before TCP's.
    pub headers: u16,
    /// Its part of the datagram.
    pub payload: &'a [u8],
}

/// What an IP header says of a fragment, not yet judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) identification: u32,
    /// In octets.
    pub(super) offset: u16,
    pub(super) more: bool,
    pub(super) headers: usize,
    pub(super) payload: &'a [u8],
}

impl<'a> Fragment<'a> {
    pub(super) fn new(datagram: &Datagram<'_>, part: Part<'a>) -> Result<Self, Malformed> {
        let len = part.payload.len();
        if len == 0 || (part.more && !len.is_multiple_of(8)) {
            return Err(Malformed::FragmentLengthIllegal);
        }
        let is_ipv4 = datagram.source.is_ipv4();
        let limit = MAX_PAYLOAD - if is_ipv4 { ipv4::HEADER } else { 0 };
        if usize::from(part.offset) + len > limit {
            return Err(Malformed::FragmentBeyondDatagram);
        }
        if part.offset == 0 && !has_all_headers(is_ipv4, part.payload.get(part.headers..)) {
            return Err(Malformed::FragmentTiny);
        }
        Ok(Self {
            datagram: DatagramKey {
                source: datagram.source,
                destination: datagram.destination,
                identification: part.identification,
            },
            ecn: datagram.ecn,
            offset: part.offset,
            more: part.more,
            // Less than the frame, and that is at most a datagram.
            headers: part.headers as u16,
            payload: part.payload,
        })
    }
}

/// Whether the first fragment has TCP's header: of IPv6 with its options (RFC 8200 section 4.5, RFC
/// 7112 section 5), of IPv4, whose links may be as narrow as 68 octets, what a filter looks at (RFC
/// 3128). Nobody's path cuts shorter; whoever does wants to hide something.
fn has_all_headers(is_ipv4: bool, segment: Option<&[u8]>) -> bool {
    let Some(fixed) = segment.and_then(|octets| octets.first_chunk::<{ tcp::HEADER }>()) else {
        return false;
    };
    let header_len = usize::from(fixed[12] >> 4) * 4;
    is_ipv4 || segment.is_some_and(|octets| octets.len() >= header_len)
}
