//! Texts without end that repeat themselves: a position says all that there is to remember.

/// The first of ASCII's printing characters and their number.
const FIRST: u8 = b' ';
const PRINTING: usize = 95;

/// The printing characters in order, 32 times: so long that an ordinary frame needs at most two
/// copies.
pub(crate) static PRINTABLE: [u8; 32 * PRINTING] = printable();

/// Characters on a line of [`LINES`] (RFC 864), and octets with its CRLF.
const LINE_TEXT: usize = 72;
const LINE: usize = LINE_TEXT + 2;

/// RFC 864's pattern: lines of 72 printing characters, each one character further on.
pub(crate) static LINES: [u8; PRINTING * LINE] = lines();

/// Fills `out` with the endless repetition of `pattern`, from its octet `position` on.
pub(crate) fn fill(pattern: &[u8], position: u64, mut out: &mut [u8]) {
    let mut start = (position % pattern.len() as u64) as usize;
    while !out.is_empty() {
        let len = out.len().min(pattern.len() - start);
        let (now, later) = out.split_at_mut(len);
        now.copy_from_slice(&pattern[start..start + len]);
        out = later;
        start = 0;
    }
}

/// Whether `text` is the endless repetition of `pattern`, from its octet `position` on.
pub(crate) fn matches(pattern: &[u8], position: u64, mut text: &[u8]) -> bool {
    let mut start = (position % pattern.len() as u64) as usize;
    while !text.is_empty() {
        let len = text.len().min(pattern.len() - start);
        let (now, later) = text.split_at(len);
        if now != &pattern[start..start + len] {
            return false;
        }
        text = later;
        start = 0;
    }
    true
}

const fn printing(number: usize) -> u8 {
    FIRST + (number % PRINTING) as u8
}

const fn printable() -> [u8; 32 * PRINTING] {
    let mut table = [0; 32 * PRINTING];
    let mut i = 0;
    while i < table.len() {
        table[i] = printing(i);
        i += 1;
    }
    table
}

const fn lines() -> [u8; PRINTING * LINE] {
    let mut table = [0; PRINTING * LINE];
    let mut line = 0;
    while line < PRINTING {
        let mut column = 0;
        while column < LINE_TEXT {
            table[line * LINE + column] = printing(line + column);
            column += 1;
        }
        table[line * LINE + LINE_TEXT] = b'\r';
        table[line * LINE + LINE_TEXT + 1] = b'\n';
        line += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_window_is_the_repetition(position: u64, len in 0usize..10_000) {
            let mut out = vec![0; len];
            fill(&PRINTABLE, position, &mut out);
            for (i, octet) in out.into_iter().enumerate() {
                let number = (u128::from(position) + i as u128) % 95;
                prop_assert_eq!(u128::from(octet), 0x20 + number);
            }
        }

        #[test]
        fn what_was_filled_matches_and_nothing_else_does(
            position: u64,
            len in 1usize..10_000,
            at: prop::sample::Index,
        ) {
            for pattern in [&PRINTABLE[..], &LINES] {
                let mut text = vec![0; len];
                fill(pattern, position, &mut text);
                prop_assert!(matches(pattern, position, &text));
                text[at.index(len)] ^= 1;
                prop_assert!(!matches(pattern, position, &text));
            }
        }
    }
}
