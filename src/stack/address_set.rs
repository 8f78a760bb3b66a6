//! Many addresses, as ranges.

use crate::wire::Address;

/// A set of addresses that is asked quickly, however many ranges it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// First and last of each range, in order; none touches the next one.
    ranges: Vec<(Address, Address)>,
}

impl AddressSet {
    /// Whether an address is one of them.
    pub fn contains(&self, address: Address) -> bool {
        let behind = self.ranges.partition_point(|(first, _)| *first <= address);
        behind > 0 && address <= self.ranges[behind - 1].1
    }
}

impl FromIterator<(Address, Address)> for AddressSet {
    /// From the first and last address of each range; they may overlap.
    fn from_iter<I: IntoIterator<Item = (Address, Address)>>(ranges: I) -> Self {
        let mut sorted: Vec<_> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(Address, Address)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match ranges.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Address {
        Address::from_ipv4([198, 18, 0, last])
    }

    #[test]
    fn ranges_are_merged_and_asked() {
        let ranges = [(20, 29), (1, 1), (10, 39), (25, 50), (60, 60)];
        let set: AddressSet = ranges
            .iter()
            .map(|&(first, last)| (address(first), address(last)))
            .collect();
        assert_eq!(set.ranges.len(), 3);
        for octet in 0..=255 {
            let within = ranges.iter().any(|(a, b)| (*a..=*b).contains(&octet));
            assert_eq!(set.contains(address(octet)), within, "{octet}");
        }
        assert!(!AddressSet::default().contains(address(1)));
    }
}
