//! IPv6 and its extension headers (RFC 8200).

use super::emit::Route;
use super::fragment::Part;
use super::icmp::Quote;
use super::parse::{Datagram, Upper};
use super::{Address, ICMPV6, Malformed, TCP};

/// Octets of the fixed header.
pub(super) const HEADER: usize = 40;

/// The most extension headers that are followed. RFC 8200 section 4.1 has one of each kind, the
/// destination options twice: 7; the upper-layer header is not one of them.
const MAX_EXTENSIONS: usize = 7;

/// Next-header values of extension headers.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

/// The fragment offset, in octets: the flags take the low bits.
const OFFSET: u16 = 0xfff8;
/// The flag "more fragments".
const MORE: u16 = 1;

/// The option that is one octet of padding.
const PAD1: u8 = 0;

/// Judges a packet and cuts off the link layer's padding.
pub(super) fn parse(packet: &[u8]) -> Result<Datagram<'_>, Malformed> {
    let (fixed, rest) = packet
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::Ipv6HeaderTruncated)?;
    if fixed[0] >> 4 != 6 {
        return Err(Malformed::Ipv6VersionWrong);
    }
    let payload = rest
        .get(..usize::from(u16::from_be_bytes([fixed[4], fixed[5]])))
        .ok_or(Malformed::Ipv6PayloadLengthBeyondFrame)?;
    let (source, destination) = addresses(fixed);
    if source.is_ipv4() {
        return Err(Malformed::Ipv6SourceMapped);
    }
    if destination.is_ipv4() {
        return Err(Malformed::Ipv6DestinationMapped);
    }
    let upper = follow_extensions(fixed[6], payload, false)?;
    Datagram::judged(source, destination, fixed[1] >> 4 & 3, upper)
}

/// Follows the chain of headers to TCP's or ICMP's. `in_fragment` says that it is behind a fragment
/// header; there is no second one behind that, nor a hop-by-hop header.
fn follow_extensions(first: u8, payload: &[u8], in_fragment: bool) -> Result<Upper<'_>, Malformed> {
    let mut next = first;
    let mut rest = payload;
    for position in 0..=MAX_EXTENSIONS {
        let (extension, after) = match next {
            TCP => return Ok(Upper::Tcp(rest)),
            ICMPV6 => return Ok(Upper::Icmp(rest)),
            HOP_BY_HOP if position > 0 || in_fragment => {
                return Err(Malformed::Ipv6HopByHopMisplaced);
            }
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                let (extension, after) = split_extension(rest)?;
                check_options(&extension[2..])?;
                (extension, after)
            }
            ROUTING => {
                let (extension, after) = split_extension(rest)?;
                // We are no router: segments that are left are an error for every type (RFC 8200
                // section 4.4, RFC 5095).
                if extension[3] != 0 {
                    return Err(Malformed::Ipv6RoutingSegmentsLeft);
                }
                (extension, after)
            }
            FRAGMENT if in_fragment => return Err(Malformed::Ipv6ExtensionsTooMany),
            FRAGMENT => {
                let (extension, after) = rest
                    .split_at_checked(8)
                    .ok_or(Malformed::Ipv6ExtensionTruncated)?;
                // An atomic fragment is a whole datagram (RFC 6946).
                if u16::from_be_bytes([extension[2], extension[3]]) & (OFFSET | MORE) != 0 {
                    return fragment(extension, after).map(Upper::Fragment);
                }
                (extension, after)
            }
            _ => return Err(Malformed::ProtocolUnknown),
        };
        next = extension[0];
        rest = after;
    }
    Err(Malformed::Ipv6ExtensionsTooMany)
}

/// A fragment header that makes a fragment, and what follows it. The first fragment shows the rest
/// of the header chain up to TCP's header; what the others say of it does not count (RFC 8200
/// section 4.5).
fn fragment<'a>(extension: &[u8], payload: &'a [u8]) -> Result<Part<'a>, Malformed> {
    let field = u16::from_be_bytes([extension[2], extension[3]]);
    let offset = field & OFFSET;
    let headers = if offset == 0 {
        match follow_extensions(extension[0], payload, true) {
            Ok(Upper::Tcp(segment)) => payload.len() - segment.len(),
            Ok(_) => return Err(Malformed::ProtocolUnknown),
            Err(Malformed::Ipv6ExtensionTruncated) => return Err(Malformed::FragmentTiny),
            Err(reason) => return Err(reason),
        }
    } else {
        0
    };
    Ok(Part {
        identification: u32::from_be_bytes([
            extension[4],
            extension[5],
            extension[6],
            extension[7],
        ]),
        offset,
        more: field & MORE != 0,
        headers,
        payload,
    })
}

/// Splits off an extension header, whose second octet is its length in units of 8 octets, less one.
fn split_extension(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let &[_, len, ..] = bytes else {
        return Err(Malformed::Ipv6ExtensionTruncated);
    };
    bytes
        .split_at_checked(8 + 8 * usize::from(len))
        .ok_or(Malformed::Ipv6ExtensionTruncated)
}

/// We know no option but padding; the two high bits of a type say what to do with one that is not
/// known, and only 00 says to go on (RFC 8200 section 4.2).
fn check_options(options: &[u8]) -> Result<(), Malformed> {
    let mut rest = options;
    loop {
        rest = match *rest {
            [] => return Ok(()),
            [PAD1, ref after @ ..] => after,
            [kind, len, ref after @ ..] => {
                if kind >> 6 != 0 {
                    return Err(Malformed::Ipv6OptionUnknown);
                }
                after
                    .get(usize::from(len)..)
                    .ok_or(Malformed::Ipv6OptionsIllegal)?
            }
            [_] => return Err(Malformed::Ipv6OptionsIllegal),
        };
    }
}

/// The packet that an ICMPv6 error quotes. We send no extension headers, so that a quote with one is
/// not of ours.
pub(super) fn parse_quote(quote: &[u8]) -> Result<Quote<'_>, Malformed> {
    let (fixed, segment) = quote
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::IcmpQuoteTruncated)?;
    if fixed[0] >> 4 != 6 {
        return Err(Malformed::IcmpQuoteIllegal);
    }
    if fixed[6] != TCP {
        return Err(Malformed::IcmpQuoteNotTcp);
    }
    let (source, destination) = addresses(fixed);
    Ok(Quote {
        source,
        destination,
        len: HEADER as u32 + u32::from(u16::from_be_bytes([fixed[4], fixed[5]])),
        segment,
    })
}

/// Source and destination.
fn addresses(fixed: &[u8; HEADER]) -> (Address, Address) {
    let mut addresses = [[0; 16]; 2];
    addresses[0].copy_from_slice(&fixed[8..24]);
    addresses[1].copy_from_slice(&fixed[24..]);
    (
        Address::from_ipv6(addresses[0]),
        Address::from_ipv6(addresses[1]),
    )
}

/// Writes a header from us to the peer for a segment of `segment_len` octets.
pub(super) fn emit(header: &mut [u8], route: &Route, segment_len: usize) {
    debug_assert!(segment_len <= usize::from(u16::MAX));
    header[0] = 6 << 4 | route.traffic_class >> 4;
    header[1] = route.traffic_class << 4;
    header[2..4].fill(0);
    header[4..6].copy_from_slice(&(segment_len as u16).to_be_bytes());
    header[6] = TCP;
    header[7] = route.hop_limit;
    header[8..24].copy_from_slice(route.key.local.octets());
    header[24..40].copy_from_slice(route.key.remote.octets());
}
