//! The TCP header and its options (RFC 9293 section 3.1).
//!
//! Sequence numbers are plain `u32` here; their arithmetic is `tcp::seq`'s.

use arrayvec::ArrayVec;

use super::{FlowKey, Malformed};

/// Octets of a header without options.
pub const HEADER: usize = 20;
/// The most octets of options that a header can have.
pub const MAX_OPTIONS: usize = 40;

/// Option kinds (IANA, TCP option kind numbers).
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
    pub(super) const TIMESTAMPS: u8 = 8;
    pub(super) const FAST_OPEN: u8 = 34;
}

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

impl Timestamps {
    fn read(value: [u8; 8]) -> Self {
        let (tsval, tsecr) = two_words(value);
        Self { tsval, tsecr }
    }
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

/// The value of a Fast Open option (RFC 7413 section 4.1.1): a cookie, or nothing, which asks for
/// one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastOpen {
    len: u8,
    octets: [u8; 16],
}

impl FastOpen {
    /// Asks for a cookie.
    pub const REQUEST: Self = Self {
        len: 0,
        octets: [0; 16],
    };

    /// A cookie of 4 to 16 octets, their number even, or a request; `None` for any other length.
    pub fn new(cookie: &[u8]) -> Option<Self> {
        let is_legal = matches!(cookie.len(), 0 | 4..=16) && cookie.len().is_multiple_of(2);
        is_legal.then(|| {
            let mut octets = [0; 16];
            octets[..cookie.len()].copy_from_slice(cookie);
            Self {
                len: cookie.len() as u8,
                octets,
            }
        })
    }

    /// The cookie; empty for a request.
    pub fn cookie(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }

    /// Whether it asks for a cookie.
    pub const fn is_request(&self) -> bool {
        self.len == 0
    }

    /// On the wire, padding included.
    const fn wire_len(&self) -> usize {
        (2 + self.len as usize).next_multiple_of(4)
    }
}

/// The options of one segment. Unknown options are skipped when parsed (RFC 9293 section 3.1,
/// MUST-6); one that occurs twice counts once, the first. Those that belong in a SYN are ignored in
/// any other segment.
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
    /// Fast Open; only in a SYN.
    pub fast_open: Option<FastOpen>,
}

impl Options {
    /// Octets on the wire, padding included: a multiple of 4. At most [`MAX_OPTIONS`] may be sent.
    pub fn len(&self) -> usize {
        let mss = if self.mss.is_some() { 4 } else { 0 };
        let window_scale = if self.window_scale.is_some() { 4 } else { 0 };
        // SACK-permitted takes the place of the padding before the timestamps.
        let timestamps = match (self.timestamps, self.sack_permitted) {
            (Some(_), _) => 12,
            (None, true) => 4,
            (None, false) => 0,
        };
        let sack = if self.sack.is_empty() {
            0
        } else {
            4 + 8 * self.sack.len()
        };
        let fast_open = self.fast_open.map_or(0, |fast_open| fast_open.wire_len());
        mss + window_scale + timestamps + sack + fast_open
    }

    /// Whether there is no option.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many more SACK blocks fit beside the other options.
    pub fn sack_room(&self) -> usize {
        let kind_and_len = if self.sack.is_empty() { 4 } else { 0 };
        let octets = MAX_OPTIONS.saturating_sub(self.len() + kind_and_len);
        (octets / 8).min(self.sack.remaining_capacity())
    }

    /// Reads the options of a segment. `syn` says whether it is a SYN.
    ///
    /// An illegal length costs the segment (RFC 9293 MUST-7): what stands behind it cannot be
    /// read, and a segment without its timestamps would slip past PAWS.
    fn read(&mut self, bytes: &[u8], syn: bool) -> Result<(), Malformed> {
        // What nearly every segment has, and nothing else: RFC 7323 appendix A.
        if let &[kind::NOP, kind::NOP, kind::TIMESTAMPS, 10, ref value @ ..] = bytes
            && let Ok(&value) = value.try_into()
        {
            self.timestamps = Some(Timestamps::read(value));
            return Ok(());
        }
        let mut rest = bytes;
        loop {
            let (&kind, len) = match rest {
                [] | [kind::END, ..] => return Ok(()),
                [kind::NOP, after @ ..] => {
                    rest = after;
                    continue;
                }
                [kind, len, ..] => (kind, usize::from(*len)),
                [_] => return Err(Malformed::TcpOptionsIllegal),
            };
            if len < 2 || len > rest.len() {
                return Err(Malformed::TcpOptionsIllegal);
            }
            let (option, after) = rest.split_at(len);
            self.take(kind, &option[2..], syn)?;
            rest = after;
        }
    }

    /// Takes one option, unless it is unknown, a second one of its kind, or out of place.
    fn take(&mut self, kind: u8, value: &[u8], syn: bool) -> Result<(), Malformed> {
        let legal = match kind {
            kind::MSS => value.len() == 2,
            kind::WINDOW_SCALE => value.len() == 1,
            kind::SACK_PERMITTED => value.is_empty(),
            kind::SACK => !value.is_empty() && value.len().is_multiple_of(8),
            kind::TIMESTAMPS => value.len() == 8,
            // RFC 7413 section 4.1.1: one of illegal length is ignored.
            kind::FAST_OPEN => true,
            _ => return Ok(()),
        };
        if !legal {
            return Err(Malformed::TcpOptionsIllegal);
        }
        match (kind, value) {
            (kind::MSS, &[a, b]) if syn && self.mss.is_none() => {
                self.mss = Some(u16::from_be_bytes([a, b]));
            }
            (kind::WINDOW_SCALE, &[shift]) if syn && self.window_scale.is_none() => {
                self.window_scale = Some(shift);
            }
            (kind::SACK_PERMITTED, []) if syn => self.sack_permitted = true,
            (kind::SACK, blocks) if self.sack.is_empty() => {
                let (blocks, _) = blocks.as_chunks::<8>();
                self.sack.extend(blocks.iter().map(|&block| {
                    let (left, right) = two_words(block);
                    SackBlock { left, right }
                }));
            }
            (kind::TIMESTAMPS, value) if self.timestamps.is_none() => {
                self.timestamps = value.first_chunk().map(|&value| Timestamps::read(value));
            }
            (kind::FAST_OPEN, cookie) if syn && self.fast_open.is_none() => {
                self.fast_open = FastOpen::new(cookie);
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes the options into `buffer`, which is [`len`](Self::len) octets. NOPs come first, so
    /// that timestamps and blocks are at multiples of 4 (RFC 7323 appendix A).
    fn emit(&self, buffer: &mut [u8]) {
        // What nearly every segment has, and nothing else.
        if let Some(timestamps) = self.timestamps
            && let Ok(octets) = <&mut [u8; 12]>::try_from(&mut *buffer)
            && !self.sack_permitted
        {
            let [a, b, c, d] = timestamps.tsval.to_be_bytes();
            let [e, f, g, h] = timestamps.tsecr.to_be_bytes();
            *octets = [
                kind::NOP,
                kind::NOP,
                kind::TIMESTAMPS,
                10,
                a,
                b,
                c,
                d,
                e,
                f,
                g,
                h,
            ];
            return;
        }
        let mut rest = buffer;
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put(&mut rest, [kind::MSS, 4, a, b]);
        }
        match (self.timestamps, self.sack_permitted) {
            (Some(_), true) => put(&mut rest, [kind::SACK_PERMITTED, 2, kind::TIMESTAMPS, 10]),
            (Some(_), false) => put(&mut rest, [kind::NOP, kind::NOP, kind::TIMESTAMPS, 10]),
            (None, true) => put(&mut rest, [kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2]),
            (None, false) => {}
        }
        if let Some(timestamps) = self.timestamps {
            put(&mut rest, timestamps.tsval.to_be_bytes());
            put(&mut rest, timestamps.tsecr.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            put(&mut rest, [kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
        if let Some(fast_open) = self.fast_open {
            let mut words = [kind::NOP; 20];
            let len = 2 + usize::from(fast_open.len);
            // NOPs first, as before the other options.
            let padded = fast_open.wire_len();
            words[padded - len] = kind::FAST_OPEN;
            words[padded - len + 1] = len as u8;
            words[padded - len + 2..padded].copy_from_slice(fast_open.cookie());
            for word in words[..padded].as_chunks().0 {
                put(&mut rest, *word);
            }
        }
        if !self.sack.is_empty() {
            let len = 2 + 8 * self.sack.len() as u8;
            put(&mut rest, [kind::NOP, kind::NOP, kind::SACK, len]);
            for block in &self.sack {
                put(&mut rest, block.left.to_be_bytes());
                put(&mut rest, block.right.to_be_bytes());
            }
        }
    }
}

fn two_words(octets: [u8; 8]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = octets;
    (
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    )
}

/// Writes a word to the start of `buffer` and steps past it.
fn put(buffer: &mut &mut [u8], word: [u8; 4]) {
    let (start, rest) = std::mem::take(buffer).split_at_mut(4);
    start.copy_from_slice(&word);
    *buffer = rest;
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

impl Header {
    /// Octets on the wire, options included.
    pub fn wire_len(&self) -> usize {
        HEADER + self.options.len()
    }

    /// Writes the header into `buffer`, which is [`wire_len`](Self::wire_len) octets, its checksum zero. We
    /// are the source.
    pub(super) fn emit(&self, buffer: &mut [u8], key: &FlowKey) {
        let len = buffer.len();
        debug_assert!(
            len <= HEADER + MAX_OPTIONS,
            "the options do not fit: {:?}",
            self.options
        );
        let Some((fixed, options)) = buffer.split_first_chunk_mut::<HEADER>() else {
            return debug_assert!(false, "{len} octets are no header");
        };
        fixed[0..2].copy_from_slice(&key.local_port.to_be_bytes());
        fixed[2..4].copy_from_slice(&key.remote_port.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.to_be_bytes());
        fixed[12] = (len as u8 / 4) << 4;
        fixed[13] = self.flags.0;
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..18].fill(0);
        fixed[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        self.options.emit(options);
    }
}

/// A segment whose lengths are right, and nothing else yet.
pub(super) struct Unverified<'a> {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) checksum: u16,
    fixed: &'a [u8; HEADER],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Unverified<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (fixed, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(Malformed::TcpHeaderTruncated)?;
        let options = (usize::from(fixed[12] >> 4) * 4)
            .checked_sub(HEADER)
            .ok_or(Malformed::TcpDataOffsetTooSmall)?;
        let (options, payload) = rest
            .split_at_checked(options)
            .ok_or(Malformed::TcpDataOffsetBeyondSegment)?;
        Ok(Self {
            source_port: u16::from_be_bytes([fixed[0], fixed[1]]),
            destination_port: u16::from_be_bytes([fixed[2], fixed[3]]),
            checksum: u16::from_be_bytes([fixed[16], fixed[17]]),
            fixed,
            options,
            payload,
        })
    }

    /// Reads the rest, once the checksum has been found right.
    pub(super) fn into_segment(self) -> Result<Segment<'a>, Malformed> {
        let [
            _,
            _,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            a0,
            a1,
            a2,
            a3,
            _,
            flags,
            w0,
            w1,
            _,
            _,
            u0,
            u1,
        ] = *self.fixed;
        let flags = Flags(flags);
        let ack = u32::from_be_bytes([a0, a1, a2, a3]);
        let urgent = u16::from_be_bytes([u0, u1]);
        let mut segment = Segment {
            header: Header {
                seq: u32::from_be_bytes([s0, s1, s2, s3]),
                ack: if flags.contains(Flags::ACK) { ack } else { 0 },
                flags,
                window: u16::from_be_bytes([w0, w1]),
                urgent: if flags.contains(Flags::URG) {
                    urgent
                } else {
                    0
                },
                options: Options::default(),
            },
            payload: self.payload,
        };
        let options = &mut segment.header.options;
        options.read(self.options, flags.contains(Flags::SYN))?;
        Ok(segment)
    }
}

/// A received segment: its header and its payload, which is a part of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The header.
    pub header: Header,
    /// The octets of text.
    pub payload: &'a [u8],
}
