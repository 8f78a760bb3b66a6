//! ICMP and ICMPv6 errors that quote a segment of ours (RFC 792, RFC 4443).

use super::checksum::Sum;
use super::parse::Datagram;
use super::{Address, FlowKey, ICMPV6, Malformed, ipv4, ipv6};

/// Octets of the header of an error, before the quote.
const HEADER: usize = 8;

/// What an ICMP error says, as TCP cares (RFC 1122 section 4.2.3.9, RFC 5461).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Fragmentation needed, or packet too big: the next hop's MTU (0 from a router older than
    /// RFC 1191).
    PacketTooBig {
        /// The next hop's MTU.
        mtu: u32,
        /// How large the packet was that it is about (RFC 5927 section 7.2).
        quoted: u32,
    },
    /// Protocol or port unreachable: a hard error.
    PortUnreachable,
    /// Network or host unreachable and its kin: a soft error.
    Unreachable,
    /// Time exceeded or parameter problem: a soft error.
    Other,
}

/// The packet that an error quotes, as far as it does.
pub(super) struct Quote<'a> {
    pub(super) source: Address,
    pub(super) destination: Address,
    /// Octets that it had, its IP header included.
    pub(super) len: u32,
    /// What there is of its segment.
    pub(super) segment: &'a [u8],
}

/// The flow that an error quotes, the quoted SEG.SEQ, and what the error says. `message` is the
/// payload of `datagram`.
pub(super) fn parse(
    datagram: &Datagram<'_>,
    message: &[u8],
) -> Result<(FlowKey, u32, IcmpError), Malformed> {
    let (header, quote) = message
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::IcmpHeaderTruncated)?;
    let is_ipv4 = datagram.destination.is_ipv4();
    let pseudo_header = if is_ipv4 {
        Sum::default()
    } else {
        Sum::of_pseudo(
            &datagram.source,
            &datagram.destination,
            message.len() as u32,
            ICMPV6,
        )
    };
    if Sum::of(message).plus(pseudo_header).fold() != 0xffff {
        return Err(Malformed::IcmpChecksumWrong);
    }
    let mut error = if is_ipv4 {
        judge_v4(header)
    } else {
        judge_v6(header)
    }?;
    let quote = if is_ipv4 {
        ipv4::parse_quote(quote)
    } else {
        ipv6::parse_quote(quote)
    }?;
    // An error goes to the source of what it is about (RFC 1122 section 3.2.2).
    if quote.source != datagram.destination {
        return Err(Malformed::IcmpQuoteForeign);
    }
    if let IcmpError::PacketTooBig { quoted, .. } = &mut error {
        *quoted = quote.len;
    }
    let &[l0, l1, r0, r1, s0, s1, s2, s3, ..] = quote.segment else {
        return Err(Malformed::IcmpQuoteTruncated);
    };
    let key = FlowKey {
        local: quote.source,
        remote: quote.destination,
        local_port: u16::from_be_bytes([l0, l1]),
        remote_port: u16::from_be_bytes([r0, r1]),
    };
    Ok((key, u32::from_be_bytes([s0, s1, s2, s3]), error))
}

/// RFC 792; what is hard and what is soft: RFC 1122 section 4.2.3.9. Source quench is to be
/// ignored (RFC 6633), redirects are the kernel's, the rest is no error.
fn judge_v4(header: &[u8; HEADER]) -> Result<IcmpError, Malformed> {
    let [kind, code, _, _, _, _, m0, m1] = *header;
    match (kind, code) {
        (3, 4) => Ok(IcmpError::PacketTooBig {
            mtu: u16::from_be_bytes([m0, m1]).into(),
            quoted: 0,
        }),
        (3, 2 | 3) => Ok(IcmpError::PortUnreachable),
        (3, _) => Ok(IcmpError::Unreachable),
        (11 | 12, _) => Ok(IcmpError::Other),
        _ => Err(Malformed::IcmpTypeIgnored),
    }
}

/// RFC 4443. Parameter problem with code 1, an unrecognized next header, is how a host says that
/// it has no TCP (RFC 5461 section 2.2).
fn judge_v6(header: &[u8; HEADER]) -> Result<IcmpError, Malformed> {
    let [kind, code, _, _, mtu @ ..] = *header;
    match (kind, code) {
        (1, 4) | (4, 1) => Ok(IcmpError::PortUnreachable),
        (1, _) => Ok(IcmpError::Unreachable),
        (2, _) => Ok(IcmpError::PacketTooBig {
            mtu: u32::from_be_bytes(mtu),
            quoted: 0,
        }),
        (3 | 4, _) => Ok(IcmpError::Other),
        _ => Err(Malformed::IcmpTypeIgnored),
    }
}
