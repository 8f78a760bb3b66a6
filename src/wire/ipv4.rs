//! IPv4 (RFC 791).

use super::checksum::Sum;
use super::emit::Route;
use super::fragment::Part;
use super::icmp::Quote;
use super::parse::{Datagram, Upper};
use super::{Address, ICMP, Malformed, TCP};

/// Octets of a header without options.
pub(super) const HEADER: usize = 20;

const DONT_FRAGMENT: u8 = 0x40;
/// The flag "more fragments".
const MORE: u16 = 0x2000;
/// The fragment offset, in units of 8 octets.
const OFFSET: u16 = 0x1fff;
/// Either of them makes a fragment.
const FRAGMENT: u16 = MORE | OFFSET;

/// Option types (RFC 791 section 3.1).
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

/// Judges a packet and cuts off the link layer's padding.
pub(super) fn parse(packet: &[u8]) -> Result<Datagram<'_>, Malformed> {
    let (fixed, _) = packet
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::Ipv4HeaderTruncated)?;
    if fixed[0] >> 4 != 4 {
        return Err(Malformed::Ipv4VersionWrong);
    }
    let header_len = usize::from(fixed[0] & 0xf) * 4;
    if header_len < HEADER {
        return Err(Malformed::Ipv4HeaderLengthTooSmall);
    }
    let header = packet
        .get(..header_len)
        .ok_or(Malformed::Ipv4HeaderTruncated)?;
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if total_len < header_len {
        return Err(Malformed::Ipv4TotalLengthTooSmall);
    }
    let payload = packet
        .get(header_len..total_len)
        .ok_or(Malformed::Ipv4TotalLengthBeyondFrame)?;
    if Sum::of(header).fold() != 0xffff {
        return Err(Malformed::Ipv4ChecksumWrong);
    }
    check_options(&header[HEADER..])?;
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
    let upper = match fixed[9] {
        TCP if fragment & FRAGMENT != 0 => Upper::Fragment(Part {
            identification: u16::from_be_bytes([fixed[4], fixed[5]]).into(),
            offset: (fragment & OFFSET) * 8,
            more: fragment & MORE != 0,
            headers: 0,
            payload,
        }),
        TCP => Upper::Tcp(payload),
        ICMP if fragment & FRAGMENT == 0 => Upper::Icmp(payload),
        _ => return Err(Malformed::ProtocolUnknown),
    };
    Datagram::judged(source(fixed), destination(fixed), fixed[1] & 3, upper)
}

/// No option matters to us, but a source route would make a spoofed address reachable: RFC 7126
/// sections 4.3 and 4.4 advise to drop it.
fn check_options(options: &[u8]) -> Result<(), Malformed> {
    let mut rest = options;
    loop {
        rest = match *rest {
            [] | [END_OF_OPTIONS, ..] => return Ok(()),
            [NO_OPERATION, ref after @ ..] => after,
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => {
                return Err(Malformed::Ipv4SourceRoute);
            }
            [_, len, ..] if len >= 2 => rest
                .get(usize::from(len)..)
                .ok_or(Malformed::Ipv4OptionsIllegal)?,
            _ => return Err(Malformed::Ipv4OptionsIllegal),
        };
    }
}

/// The packet that an ICMP error quotes.
pub(super) fn parse_quote(quote: &[u8]) -> Result<Quote<'_>, Malformed> {
    let (fixed, _) = quote
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::IcmpQuoteTruncated)?;
    let header_len = usize::from(fixed[0] & 0xf) * 4;
    if fixed[0] >> 4 != 4 || header_len < HEADER {
        return Err(Malformed::IcmpQuoteIllegal);
    }
    if fixed[9] != TCP {
        return Err(Malformed::IcmpQuoteNotTcp);
    }
    if u16::from_be_bytes([fixed[6], fixed[7]]) & FRAGMENT != 0 {
        return Err(Malformed::IcmpQuoteFragment);
    }
    let segment = quote
        .get(header_len..)
        .ok_or(Malformed::IcmpQuoteTruncated)?;
    Ok(Quote {
        source: source(fixed),
        destination: destination(fixed),
        len: u16::from_be_bytes([fixed[2], fixed[3]]).into(),
        segment,
    })
}

fn source(fixed: &[u8; HEADER]) -> Address {
    Address::from_ipv4([fixed[12], fixed[13], fixed[14], fixed[15]])
}

fn destination(fixed: &[u8; HEADER]) -> Address {
    Address::from_ipv4([fixed[16], fixed[17], fixed[18], fixed[19]])
}

/// Writes a header from us to the peer, without options, for a segment of `segment_len` octets.
pub(super) fn emit(header: &mut [u8], route: &Route, segment_len: usize) {
    debug_assert!(HEADER + segment_len <= usize::from(u16::MAX));
    let Ok(header) = <&mut [u8; HEADER]>::try_from(header) else {
        return debug_assert!(false, "this is no header");
    };
    let total_len = (HEADER + segment_len) as u16;
    header[0] = 4 << 4 | (HEADER / 4) as u8;
    header[1] = route.traffic_class;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[4..6].copy_from_slice(&route.identification.to_be_bytes());
    header[6] = DONT_FRAGMENT;
    header[7] = 0;
    header[8] = route.hop_limit;
    header[9] = TCP;
    header[10..12].fill(0);
    header[12..16].copy_from_slice(&route.key.local.ipv4_octets());
    header[16..20].copy_from_slice(&route.key.remote.ipv4_octets());
    let checksum = Sum::of(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}
