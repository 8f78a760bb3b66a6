//! Values of a configuration file with units and legal ranges.

use std::fmt;

use serde::{Deserializer, de};

use crate::time::Duration;

/// A whole number from `LEAST` to `MOST`.
pub(super) fn number<'de, D: Deserializer<'de>, const LEAST: u64, const MOST: u64>(
    from: D,
) -> Result<Option<u64>, D::Error> {
    from.deserialize_any(Ranged {
        least: LEAST,
        most: MOST,
        unit: Unit::None,
    })
    .map(Some)
}

/// Octets from `LEAST` to `MOST`: a whole number, or one with a unit, as in `"6 MiB"`.
pub(super) fn octets<'de, D: Deserializer<'de>, const LEAST: u64, const MOST: u64>(
    from: D,
) -> Result<Option<u64>, D::Error> {
    from.deserialize_any(Ranged {
        least: LEAST,
        most: MOST,
        unit: Unit::Octets,
    })
    .map(Some)
}

/// A time from `LEAST` to `MOST` milliseconds: numbers with units, as in `"1m 30s"`.
pub(super) fn duration<'de, D: Deserializer<'de>, const LEAST: u64, const MOST: u64>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    let millis = from.deserialize_any(Ranged {
        least: LEAST,
        most: MOST,
        unit: Unit::Time,
    })?;
    Ok(Some(Duration::from_millis(millis)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    None,
    Octets,
    /// Milliseconds.
    Time,
}

struct Ranged {
    least: u64,
    most: u64,
    unit: Unit,
}

impl Ranged {
    fn check<E: de::Error>(&self, value: u64) -> Result<u64, E> {
        if (self.least..=self.most).contains(&value) {
            Ok(value)
        } else {
            let said = self.unit.show(value);
            Err(E::custom(format_args!("{said} is not {self}")))
        }
    }
}

impl fmt::Display for Ranged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = (self.unit.show(self.least), self.unit.show(self.most));
        write!(f, "from {least} to {most}")
    }
}

impl Unit {
    fn show(self, value: u64) -> String {
        match self {
            Self::None => value.to_string(),
            Self::Octets => show_octets(value),
            Self::Time => {
                humantime::format_duration(std::time::Duration::from_millis(value)).to_string()
            }
        }
    }
}

const OCTETS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];

fn show_octets(value: u64) -> String {
    let whole = |&&(_, shift): &&(&str, u32)| value != 0 && value.trailing_zeros() >= shift;
    match OCTETS.iter().find(whole) {
        Some((unit, shift)) => format!("{} {unit}", value >> shift),
        None => value.to_string(),
    }
}

fn parse_octets(text: &str) -> Option<u64> {
    let unit = OCTETS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, shift) = unit.map_or((text, 0), |(unit, shift)| {
        (&text[..text.len() - unit.len()], *shift)
    });
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl de::Visitor<'_> for Ranged {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::None => write!(f, "a whole number {self}"),
            Unit::Octets => write!(f, "octets {self}, as in 65536 or \"6 MiB\""),
            Unit::Time => write!(f, "a time {self}, as in \"500ms\" or \"1m 30s\""),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
        match u64::try_from(value) {
            Ok(value) if self.unit != Unit::Time => self.check(value),
            _ => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        let value = match self.unit {
            Unit::None => None,
            Unit::Octets => parse_octets(text),
            Unit::Time => humantime::parse_duration(text)
                .ok()
                .filter(|time| time.subsec_nanos() % 1_000_000 == 0)
                .and_then(|time| u64::try_from(time.as_millis()).ok()),
        };
        match value {
            Some(value) => self.check(value),
            None => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_read_as_they_are_shown() {
        for (text, value) in [
            ("0", 0),
            ("1000", 1_000),
            ("4 KiB", 4_096),
            ("6 MiB", 6 << 20),
            ("1 TiB", 1 << 40),
        ] {
            assert_eq!(parse_octets(text), Some(value));
            assert_eq!(show_octets(value), text);
        }
        assert_eq!(parse_octets("6MiB"), Some(6 << 20));
        for text in ["", "MiB", "-1", "6 MB", "1.5 MiB", "99999999999 TiB"] {
            assert_eq!(parse_octets(text), None, "{text}");
        }
    }
}
