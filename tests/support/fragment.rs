//! Fragments made by hand: the kernel makes none of TCP segments.

use corelane::wire::checksum::Sum;

/// Octets of headers without tags, options and extensions.
pub(crate) const ETHERNET: usize = 14;
pub(crate) const IPV4: usize = 20;
const IPV6: usize = 40;

/// Whether a frame carries IPv4.
pub(crate) fn is_v4(frame: &[u8]) -> bool {
    frame[12] == 0x08
}

/// Sets an IPv4 header's checksum.
pub(crate) fn checksum_v4(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = Sum::of(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Cuts what a frame carries into pieces of `size` octets, a multiple of 8. The datagram's number is
/// `id`.
pub(crate) fn fragments(frame: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
    let v4 = is_v4(frame);
    let headers = ETHERNET + if v4 { IPV4 } else { IPV6 };
    let payload = &frame[headers..];
    if payload.len() <= size {
        return vec![frame.to_vec()];
    }
    let mut at = 0;
    let pieces = payload.chunks(size).map(|piece| {
        let more = at + piece.len() < payload.len();
        let mut fragment = frame[..headers].to_vec();
        if v4 {
            let ip = &mut fragment[ETHERNET..];
            ip[2..4].copy_from_slice(&((IPV4 + piece.len()) as u16).to_be_bytes());
            ip[4..6].copy_from_slice(&(id as u16).to_be_bytes());
            let field = (at / 8) as u16 | if more { 0x2000 } else { 0 };
            ip[6..8].copy_from_slice(&field.to_be_bytes());
            checksum_v4(ip);
        } else {
            let ip = &mut fragment[ETHERNET..];
            ip[4..6].copy_from_slice(&((8 + piece.len()) as u16).to_be_bytes());
            let next = std::mem::replace(&mut ip[6], 44);
            fragment.extend([next, 0]);
            fragment.extend((at as u16 | u16::from(more)).to_be_bytes());
            fragment.extend(id.to_be_bytes());
        }
        at += piece.len();
        fragment.extend(piece);
        fragment
    });
    pieces.collect()
}
