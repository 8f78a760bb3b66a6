//! A range of ports.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::Deserialize;

use super::ConfigError;

/// Ports from one up to another, both included: `61000-65535`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports of active opens unless set otherwise: outside the kernel's range of 32768 to
    /// 60999, and all that is above it.
    pub const CLIENT: Self = Self {
        first: 61_000,
        last: 65_535,
    };

    /// The ports.
    pub const fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::PortRange(text.to_owned());
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let port = |text: &str| text.parse::<u16>().map_err(|_| bad());
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || last < first {
            return Err(bad());
        }
        Ok(Self { first, last })
    }
}

impl TryFrom<String> for PortRange {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_ports_in_order() {
        let range: PortRange = "61000-65535".parse().unwrap();
        assert_eq!(range, PortRange::CLIENT);
        assert_eq!(range.to_string(), "61000-65535");
        assert_eq!("7-7".parse::<PortRange>().unwrap().ports(), 7..=7);
        for text in ["", "80", "0-80", "81-80", "1-65536", "-", "1-2-3", "a-b"] {
            let message = text.parse::<PortRange>().unwrap_err().to_string();
            assert!(message.contains(&format!("\"{text}\"")), "{message}");
        }
    }
}
