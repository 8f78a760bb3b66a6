//! The TCP header and its options (RFC 9293 section 3.1).
//!
//! Sequence numbers are plain `u32` here; their arithmetic is `tcp::seq`'s.

use arrayvec::ArrayVec;

/// The control bits, as in octet 13 of the header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer field is significant.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        self.union(rhs)
    }
}

/// The timestamps option (RFC 7323 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub tsval: u32,
    /// The echo of a timestamp that we sent.
    pub tsecr: u32,
}

/// One block of a SACK option: `left` is its first sequence number, `right` the one after its
/// last (RFC 2018 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlock {
    /// First sequence number of the block.
    pub left: u32,
    /// Sequence number right after the block.
    pub right: u32,
}

/// The options of one segment. Unknown options are skipped when parsed (RFC 9293 section 3.1,
/// MUST-6); one that occurs twice counts once, the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size; only in a SYN.
    pub mss: Option<u16>,
    /// Window scale shift count as sent, up to 255; the receiver of the value caps it at 14
    /// (RFC 7323 section 2.3). Only in a SYN.
    pub window_scale: Option<u8>,
    /// SACK permitted; only in a SYN.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks, at most four.
    pub sack: ArrayVec<SackBlock, 4>,
}

/// The header of a segment without its ports, which are the flow key's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// SEG.SEQ.
    pub seq: u32,
    /// SEG.ACK; 0 without the ACK bit.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as on the wire, unscaled.
    pub window: u16,
    /// The urgent pointer; 0 without the URG bit.
    pub urgent: u16,
    /// Options.
    pub options: Options,
}

/// A received segment: its header and its payload, which is a part of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The header.
    pub header: Header,
    /// The octets of text.
    pub payload: &'a [u8],
}
