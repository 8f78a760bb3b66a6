//! The protocol against an engine reduced to its contract: text that is not consumed is offered
//! again, together with what follows it, when more arrives and after each `on_writable`. For tests
//! and the fuzz target.

use super::connection::Connection;
use super::limits::Limits;
use super::request::MAX_HEAD;
use crate::services::output::Pipe;
use crate::time::Instant;

/// Octets that the fuzz target lets a server send: what is asked for may be a tebioctet.
#[cfg(fuzzing)]
const CEILING: usize = 1 << 16;

/// How a conversation went.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) sent: String,
    /// Our side was closed before the peer closed its own.
    pub(super) shut_first: bool,
    pub(super) closed: bool,
    pub(super) aborted: bool,
}

/// What both ends have between them.
struct Exchange {
    connection: Connection,
    pipe: Pipe,
    unread: Vec<u8>,
    /// Octets of room that there will ever be.
    left: usize,
}

/// Panics unless the octets of `stream` are answered alike whole and in pieces, cut at `cuts`
/// (fractions of 2^16), with room that comes as `rooms` says and in pieces of `piece`.
#[cfg(fuzzing)]
pub fn check_cuts(stream: &[u8], cuts: &[u16], rooms: &[usize], piece: usize) {
    let at_once = converse_within(CEILING, &[stream], &[CEILING], 1460);
    let bit_by_bit = converse_within(CEILING, &cut(stream, cuts), rooms, piece);
    assert_eq!(at_once.map(seen), bit_by_bit.map(seen));
}

/// Feeds `pieces` and then the peer's FIN. `rooms` says, in turn and again from the start, how
/// much room there is whenever there was too little.
#[cfg(test)]
pub(super) fn converse(pieces: &[&[u8]], rooms: &[usize], piece: usize) -> Outcome {
    converse_within(usize::MAX, pieces, rooms, piece).expect("there is always more room")
}

/// As `converse`, but with no more room than `left` octets in all: as much was sent if the error
/// says so.
fn converse_within(
    left: usize,
    pieces: &[&[u8]],
    rooms: &[usize],
    piece: usize,
) -> Result<Outcome, String> {
    let mut rooms = rooms.iter().copied().cycle();
    let mut room = || rooms.next().expect("there is some room");
    let mut it = Exchange {
        connection: Connection::new(&Limits::default(), Instant::ZERO),
        pipe: Pipe::new(0, piece),
        unread: Vec::new(),
        left,
    };
    it.grant(room());
    for piece in pieces {
        it.unread.extend_from_slice(piece);
        it.offer();
        // Room comes late: only some of it before the next piece.
        if it.pipe.short {
            it.make_room(room());
            it.offer();
        }
    }
    while it.pipe.short && it.left > 0 {
        it.make_room(room());
        it.offer();
    }
    let shut_first = it.pipe.shut;
    if !it.pipe.short {
        assert!(
            it.unread.is_empty(),
            "stalls with {} octets unread",
            it.unread.len()
        );
        it.connection.handle_peer_close(&mut it.pipe);
        while it.pipe.short && it.left > 0 {
            it.make_room(room());
        }
    }
    let sent = String::from_utf8(it.pipe.sent).expect("all that is sent is ASCII");
    if it.pipe.short {
        return Err(sent);
    }
    Ok(Outcome {
        sent,
        shut_first,
        closed: it.pipe.closed,
        aborted: it.pipe.aborted,
    })
}

impl Exchange {
    fn offer(&mut self) {
        let consumed = self.connection.handle_data(&mut self.pipe, &self.unread);
        assert!(consumed == self.unread.len() || self.pipe.short);
        self.unread.drain(..consumed);
        assert!(self.connection.partial_capacity() <= 2 * MAX_HEAD);
    }

    fn make_room(&mut self, room: usize) {
        self.pipe.short = false;
        self.grant(room);
        self.connection.handle_writable(&mut self.pipe);
    }

    fn grant(&mut self, room: usize) {
        let room = room.min(self.left);
        self.left -= room;
        self.pipe.room += room;
    }
}

/// What the peer sees of it. When an error is noticed, and so who closes first, depends on what
/// arrives together.
pub(super) fn seen(outcome: Outcome) -> (String, bool, bool) {
    (outcome.sent, outcome.closed, outcome.aborted)
}

#[cfg(test)]
pub(super) fn whole(stream: &[u8]) -> Outcome {
    converse(&[stream], &[usize::MAX >> 1], 1460)
}

/// Cuts `stream` at `cuts`, each a fraction of 2^16.
pub(super) fn cut<'a>(stream: &'a [u8], cuts: &[u16]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts
        .iter()
        .map(|&cut| (usize::from(cut) * stream.len()) >> 16)
        .collect();
    at.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in at.into_iter().chain([stream.len()]) {
        if end > start {
            pieces.push(&stream[start..end]);
        }
        start = end;
    }
    pieces
}
