//! Character generator (RFC 864).

use super::cyclic;
use super::output::Output;
use crate::stack::{Service, Socket};

/// Sends lines of 72 characters, each one character further on, until the peer closes. What the
/// peer sends is thrown away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chargen;

/// What [`Chargen`] remembers of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position(u64);

impl Service for Chargen {
    type Connection = Position;

    fn on_open(&mut self, socket: &mut Socket<'_>) -> Position {
        let mut position = Position::default();
        position.generate(socket);
        position
    }

    fn on_data(&mut self, _: &mut Position, _: &mut Socket<'_>, data: &[u8]) -> usize {
        data.len()
    }

    fn on_writable(&mut self, position: &mut Position, socket: &mut Socket<'_>) {
        position.generate(socket);
    }
}

impl Position {
    /// Sends as much as there is room for.
    fn generate(&mut self, output: &mut impl Output) {
        let mut at = self.0;
        let sent = output.send_with(usize::MAX, |room| {
            cyclic::fill(&cyclic::LINES, at, room);
            at = at.wrapping_add(room.len() as u64);
            room.len()
        });
        // The stack says what it took. A wrap is 2^64 octets away.
        self.0 = self.0.wrapping_add(sent as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::output::Pipe;

    fn generate(rooms: impl IntoIterator<Item = usize>, piece: usize) -> Vec<u8> {
        let mut position = Position::default();
        let mut pipe = Pipe::new(0, piece);
        for room in rooms {
            pipe.room = room;
            position.generate(&mut pipe);
        }
        pipe.sent
    }

    #[test]
    fn the_first_lines_are_those_of_rfc_864() {
        let expected = concat!(
            " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n",
            "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh\r\n",
            "\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghi\r\n",
        );
        let text = generate([3 * 74], 1460);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn every_line_starts_one_character_further_on() {
        let text = generate([200 * 74], 1460);
        for (number, line) in text.chunks(74).enumerate() {
            let (text, end) = line.split_at(72);
            assert_eq!(end, b"\r\n");
            for (column, &octet) in text.iter().enumerate() {
                assert_eq!(usize::from(octet), 0x20 + (number + column) % 95);
            }
        }
    }

    #[test]
    fn room_and_pieces_do_not_show() {
        let whole = generate([20_000], 1460);
        let parts = generate([1, 73, 0, 7030, 2896, 10_000], 7);
        assert_eq!(whole, parts);
    }
}
