//! Answers to segments that belong to no connection.

use super::input::segment_length;
use crate::wire::tcp::{Flags, Header, Segment};

/// The reset for a segment that has no connection (RFC 9293 section 3.10.7.1); `None` for one that
/// is a reset itself.
pub fn reset_for(segment: &Segment<'_>) -> Option<Header> {
    let header = &segment.header;
    if header.flags.contains(Flags::RST) {
        return None;
    }
    Some(if header.flags.contains(Flags::ACK) {
        Header {
            seq: header.ack,
            flags: Flags::RST,
            ..Header::default()
        }
    } else {
        Header {
            seq: 0,
            ack: header.seq.wrapping_add(segment_length(segment)),
            flags: Flags::RST | Flags::ACK,
            ..Header::default()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(flags: Flags, payload: &[u8]) -> Segment<'_> {
        Segment {
            header: Header {
                seq: 100,
                ack: 200,
                flags,
                ..Header::default()
            },
            payload,
        }
    }

    #[test]
    fn a_reset_answers_but_is_never_answered() {
        assert_eq!(reset_for(&segment(Flags::RST, b"")), None);
        assert_eq!(reset_for(&segment(Flags::RST | Flags::ACK, b"")), None);
    }

    #[test]
    fn with_an_ack_the_reset_takes_its_place() {
        let reset = reset_for(&segment(Flags::ACK, b"abc")).unwrap();
        assert_eq!((reset.seq, reset.flags), (200, Flags::RST));
    }

    #[test]
    fn without_one_it_acknowledges_all_of_the_segment() {
        let reset = reset_for(&segment(Flags::SYN | Flags::FIN, b"abc")).unwrap();
        assert_eq!(
            (reset.seq, reset.ack, reset.flags),
            (0, 105, Flags::RST | Flags::ACK)
        );
    }
}
