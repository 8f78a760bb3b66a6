//! The SACK blocks that we send (RFC 2018 section 4).

use arrayvec::ArrayVec;

use super::receive_queue::ReceivedRange;
use super::seq::Seq;
use crate::wire::tcp::SackBlock;

/// At most `room` blocks of what lies beyond RCV.NXT, the latest arrival first.
pub(super) fn blocks(
    ranges: &[ReceivedRange],
    rcv_nxt: Seq,
    room: usize,
) -> ArrayVec<SackBlock, 4> {
    let mut latest: ArrayVec<ReceivedRange, 4> = ArrayVec::new();
    for range in ranges.iter().filter(|range| range.start.after(rcv_nxt)) {
        let at = latest.partition_point(|other| other.stamp.wrapping_sub(range.stamp) < 1 << 31);
        if latest.is_full() && at < latest.len() {
            latest.pop();
        }
        if !latest.is_full() {
            latest.insert(at, *range);
        }
    }
    latest
        .into_iter()
        .take(room)
        .map(|range| SackBlock {
            left: range.start.0,
            right: range.end.0,
        })
        .collect()
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
        let lefts = |room| {
            blocks(&ranges, Seq(50), room)
                .iter()
                .map(|b| b.left)
                .collect::<Vec<_>>()
        };
        assert_eq!(lefts(4), [200, 400, 500, 100]);
        assert_eq!(lefts(3), [200, 400, 500]);
        assert_eq!(lefts(0), [0u32; 0]);
    }
}
