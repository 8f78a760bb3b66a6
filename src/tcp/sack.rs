//! The SACK blocks that we send (RFC 2018 section 4).

use arrayvec::ArrayVec;

use super::duplicate_acks::Cause;
use super::receive_queue::ReceivedRange;
use super::seq::Seq;
use crate::wire::tcp::SackBlock;

/// At most `room` blocks of what lies beyond RCV.NXT: that of the segment which has caused the
/// acknowledgment first, then the latest arrivals.
pub(super) fn blocks(
    ranges: &[ReceivedRange],
    rcv_nxt: Seq,
    room: usize,
    cause: Option<Cause>,
) -> ArrayVec<SackBlock, 4> {
    let is_cause = |range: &ReceivedRange| match cause {
        Some(Cause::OutOfOrder(start)) => {
            range.start.at_or_before(start) && start.before(range.end)
        }
        Some(Cause::Duplicate(start, end)) => {
            // RFC 2883 section 4.2: the block that the duplicate is inside of follows it.
            range.start.at_or_before(start) && end.at_or_before(range.end)
        }
        None => false,
    };
    let duplicate = match cause {
        Some(Cause::Duplicate(start, end)) => Some(SackBlock {
            left: start.0,
            right: end.0,
        }),
        _ => None,
    };
    let mut latest: ArrayVec<ReceivedRange, 4> = ArrayVec::new();
    for range in ranges.iter().filter(|range| range.start.after(rcv_nxt)) {
        let goes_before = |other: &ReceivedRange| {
            is_cause(other) || !is_cause(range) && other.stamp.wrapping_sub(range.stamp) < 1 << 31
        };
        let at = latest.partition_point(goes_before);
        if latest.is_full() && at < latest.len() {
            latest.pop();
        }
        if !latest.is_full() {
            latest.insert(at, *range);
        }
    }
    let ranges = latest.into_iter().map(|range| SackBlock {
        left: range.start.0,
        right: range.end.0,
    });
    duplicate.into_iter().chain(ranges).take(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u32, stamp: u32) -> ReceivedRange {
        ReceivedRange {
            start: Seq(start),
            end: Seq(start + 10),
            stamp,
        }
    }

    #[test]
    fn the_latest_arrival_comes_first() {
        let ranges = [
            range(0, 9),
            range(100, 2),
            range(200, 7),
            range(300, 1),
            range(400, 5),
            range(500, 3),
        ];
        let lefts_for = |room, cause| {
            blocks(&ranges, Seq(50), room, cause)
                .iter()
                .map(|b| b.left)
                .collect::<Vec<_>>()
        };
        let lefts = |room| lefts_for(room, None);
        assert_eq!(lefts(4), [200, 400, 500, 100]);
        assert_eq!(lefts(3), [200, 400, 500]);
        assert_eq!(lefts(0), [0u32; 0]);
        let lefts = |seq| lefts_for(3, Some(Cause::OutOfOrder(Seq(seq))));
        assert_eq!(lefts(305), [300, 200, 400], "that of the cause first");
        assert_eq!(lefts(400), [400, 200, 500]);
        assert_eq!(lefts(310), [200, 400, 500], "a cause that was not kept");
    }
}
