//! Sequence numbers and their arithmetic modulo 2^32 (RFC 9293 section 3.4).

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// A sequence number. Comparisons are methods, not operators: they only mean something for
/// numbers less than 2^31 apart.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u32);

impl Seq {
    /// `self < other`.
    pub const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// `self <= other`.
    pub const fn at_or_before(self, other: Self) -> bool {
        !other.before(self)
    }

    /// `self > other`.
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// `self >= other`.
    pub const fn at_or_after(self, other: Self) -> bool {
        !self.before(other)
    }

    /// The distance from `earlier` to `self`, modulo 2^32.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// The later of both.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of both.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }

    /// Whether `start <= self < start + len`.
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.since(start) < len
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    fn add(self, rhs: u32) -> Self {
        Self(self.0.wrapping_add(rhs))
    }
}

impl AddAssign<u32> for Seq {
    fn add_assign(&mut self, rhs: u32) {
        *self = *self + rhs;
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    fn sub(self, rhs: u32) -> Self {
        Self(self.0.wrapping_sub(rhs))
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let last = Seq(u32::MAX);
        let first = last + 1;
        assert_eq!(first, Seq(0));
        assert!(last.before(first) && first.after(last));
        assert!(last.at_or_before(last) && last.at_or_after(last) && !last.before(last));
        assert_eq!(first.since(last), 1);
        assert_eq!((last.max(first), last.min(first)), (first, last));
    }

    #[test]
    fn a_window_of_zero_holds_nothing() {
        assert!(!Seq(7).in_window(Seq(7), 0));
        assert!(Seq(3).in_window(Seq(u32::MAX), 5));
        assert!(!Seq(4).in_window(Seq(u32::MAX), 5));
    }

    proptest! {
        #[test]
        fn before_is_the_sign_of_the_distance(start: u32, distance in 1u32..1 << 31) {
            let a = Seq(start);
            let b = a + distance;
            prop_assert!(a.before(b) && !b.before(a) && b.after(a));
            prop_assert_eq!(b.since(a), distance);
            prop_assert_eq!(b - distance, a);
        }
    }
}
