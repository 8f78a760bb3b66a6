//! The Internet checksum (RFC 1071).

use super::{Address, FlowKey};

/// Octets that one step of the loops below takes.
const STEP: usize = 32;

/// A one's complement sum in progress: not folded, not complemented. Associative, so a payload
/// can be summed when it is written and its header when it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u64);

impl Sum {
    /// The sum of `bytes` taken as big-endian 16-bit words, an odd last octet padded with zero.
    pub fn of(bytes: &[u8]) -> Self {
        let mut lanes = Lanes::default();
        let mut rest = bytes;
        while let Some((step, after)) = rest.split_first_chunk() {
            lanes.add(step);
            rest = after;
        }
        lanes.finish(rest)
    }

    /// Copies `source` to the start of `destination`, which is at least as long, and sums it on
    /// the way.
    ///
    /// # Panics
    ///
    /// If `destination` is shorter than `source`.
    pub fn of_copy(destination: &mut [u8], source: &[u8]) -> Self {
        let destination = &mut destination[..source.len()];
        let mut lanes = Lanes::default();
        let (to, to_rest) = destination.as_chunks_mut();
        let (from, from_rest) = source.as_chunks();
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
            lanes.add(from);
        }
        to_rest.copy_from_slice(from_rest);
        lanes.finish(from_rest)
    }

    /// The sum of a TCP pseudo-header, IPv4 or IPv6, in which we are the source. (It is the same
    /// if the peer is.)
    pub fn of_pseudo_header(source_is_local: &FlowKey, tcp_len: u32) -> Self {
        Self::of_pseudo(
            &source_is_local.local,
            &source_is_local.remote,
            tcp_len,
            super::TCP,
        )
    }

    /// The sum of the pseudo-header of any protocol (RFC 9293 section 3.1, RFC 8200 section 8.1).
    ///
    /// An IPv4 address is summed in its mapped form: the two 0xffff that this adds are zero in
    /// one's complement, and the protocol number keeps the sum from being zero altogether, so that
    /// it folds to the same 16 bits.
    pub(super) fn of_pseudo(a: &Address, b: &Address, len: u32, protocol: u8) -> Self {
        Self::of_address(a)
            .plus(Self::of_address(b))
            .plus(Self(u64::from(len)))
            .plus(Self(u64::from(protocol)))
    }

    fn of_address(address: &Address) -> Self {
        let octets = u128::from_be_bytes(*address.octets());
        let (high, low) = ((octets >> 64) as u64, octets as u64);
        Self((high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff))
    }

    /// Both sums. `other` must have started at an even offset; one that starts at an odd offset of
    /// the whole is [`shifted`](Self::shifted) first.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The sum of the same octets at an odd offset: they change places in each word (RFC 1071
    /// section 2, byte order independence).
    #[must_use]
    pub fn shifted(self) -> Self {
        Self(u64::from(self.fold().swap_bytes()))
    }

    /// Folded to 16 bits, not complemented. Zero only if every octet was zero.
    pub fn fold(self) -> u16 {
        // Halves that are added crosswise carry into each other: the upper one is then the sum of both.
        let sum = (self.0.wrapping_add(self.0.rotate_right(32)) >> 32) as u32;
        (sum.wrapping_add(sum.rotate_right(16)) >> 16) as u16
    }

    /// The checksum field: folded and complemented.
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

/// Four one's complement sums of 64-bit words in the machine's byte order, side by side: an addition
/// that carries waits for the one before it.
#[derive(Default)]
struct Lanes([u64; STEP / 8]);

impl Lanes {
    #[inline(always)]
    fn add(&mut self, step: &[u8; STEP]) {
        let (words, _) = step.as_chunks::<8>();
        for (lane, word) in words.iter().enumerate() {
            self.0[lane] = add(self.0[lane], u64::from_ne_bytes(*word));
        }
    }

    /// Adds the last octets, fewer than a step, and turns the sum to network byte order.
    #[inline(always)]
    fn finish(self, mut rest: &[u8]) -> Sum {
        let [a, b, c, d] = self.0;
        let mut sum = add(add(a, b), add(c, d));
        while let Some((&word, after)) = rest.split_first_chunk() {
            sum = add(sum, u64::from_ne_bytes(word));
            rest = after;
        }
        if let Some((&word, after)) = rest.split_first_chunk() {
            sum = add(sum, u32::from_ne_bytes(word).into());
            rest = after;
        }
        if let Some((&word, after)) = rest.split_first_chunk() {
            sum = add(sum, u16::from_ne_bytes(word).into());
            rest = after;
        }
        if let Some(&last) = rest.first() {
            sum = add(sum, u16::from_ne_bytes([last, 0]).into());
        }
        Sum(u64::from(u16::from_be(Sum(sum).fold())))
    }
}

/// One's complement addition.
#[inline(always)]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carries) = a.overflowing_add(b);
    sum + u64::from(carries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for word in bytes.chunks(2) {
            sum += u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low));
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(sum.finish(), !0xddf2);
    }

    #[test]
    fn carries_do_not_get_lost() {
        for len in [0, 1, 2, 31, 32, 33, 64, 1459, 1460, 65_535] {
            assert_eq!(
                Sum::of(&vec![0xff; len]).fold(),
                naive(&vec![0xff; len]),
                "{len}"
            );
            assert_eq!(Sum::of(&vec![0; len]).fold(), 0);
        }
        assert_eq!(Sum(u64::MAX).fold(), 0xffff);
        assert_eq!(Sum(0xffff_ffff_0000_0001).fold(), 1);
        assert_eq!(Sum(0xffff_fffe_ffff).fold(), 0xfffe);
    }

    #[test]
    fn the_ipv4_pseudo_header_is_that_of_rfc_9293() {
        let key = FlowKey {
            local: Address::from_ipv4([198, 18, 0, 1]),
            remote: Address::from_ipv4([198, 19, 255, 254]),
            local_port: 80,
            remote_port: 40_000,
        };
        let bytes = [198, 18, 0, 1, 198, 19, 255, 254, 0, 6, 0x05, 0xb4];
        assert_eq!(Sum::of_pseudo_header(&key, 0x05b4).fold(), naive(&bytes));
        assert_eq!(
            Sum::of_pseudo_header(&key.reversed(), 0x05b4).fold(),
            naive(&bytes)
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_sum(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Sum::of(&bytes).fold(), naive(&bytes));
        }

        #[test]
        fn a_copy_is_a_copy_and_its_sum(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            room in 0usize..40,
        ) {
            let mut copy = vec![0xa5; bytes.len() + room];
            prop_assert_eq!(Sum::of_copy(&mut copy, &bytes), Sum::of(&bytes));
            prop_assert_eq!(&copy[..bytes.len()], &bytes[..]);
            prop_assert!(copy[bytes.len()..].iter().all(|&octet| octet == 0xa5));
        }

        #[test]
        fn parts_add_up_wherever_they_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cuts in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        ) {
            let mut cuts = [cuts.0.index(bytes.len() + 1), cuts.1.index(bytes.len() + 1)];
            cuts.sort_unstable();
            let mut sum = Sum::default();
            for (from, to) in [(0, cuts[0]), (cuts[0], cuts[1]), (cuts[1], bytes.len())] {
                let part = Sum::of(&bytes[from..to]);
                sum = sum.plus(if from % 2 == 0 { part } else { part.shifted() });
            }
            prop_assert_eq!(sum.fold(), naive(&bytes));
        }

        #[test]
        fn the_ipv6_pseudo_header_is_that_of_rfc_8200(
            source in any::<[u8; 16]>(),
            destination in any::<[u8; 16]>(),
            len in any::<u32>(),
        ) {
            let mut bytes = [&source[..], &destination, &len.to_be_bytes()].concat();
            bytes.extend([0, 0, 0, 58]);
            let (a, b) = (Address::from_ipv6(source), Address::from_ipv6(destination));
            prop_assert_eq!(Sum::of_pseudo(&a, &b, len, 58).fold(), naive(&bytes));
        }
    }
}
