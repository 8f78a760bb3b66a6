//! When to wake the kernel up, as a policy that needs no kernel to be tested.
//!
//! With `XDP_USE_NEED_WAKEUP` the kernel says by a flag in the TX and the FILL ring that nobody
//! looks at the ring until it is told to. In copy mode a wakeup for TX also does the work: each call
//! sends a limited number of frames (32, or `XDP_MAX_TX_SKB_BUDGET` from Linux 6.17 on) and has to
//! be repeated until the ring is empty, but never without a bound.

use super::Mode;

/// The fewest frames that one copy-mode call sends if it can (`TX_BATCH_SIZE` in net/xdp/xsk.c).
const TX_BATCH_SIZE: u32 = 32;

/// What a wakeup call said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done what there was to do.
    Done,
    /// EAGAIN, EBUSY, ENOBUFS: did a part, or the driver is short of something. Normal.
    Again,
    /// Anything else, such as ENETDOWN.
    Failed,
}

/// The policy for one queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wakeup {
    copies: bool,
    max_calls: u32,
}

impl Wakeup {
    pub(super) fn new(mode: Mode, tx_ring: u32) -> Self {
        // Enough for a full ring at the least batch. A call without progress ends the loop anyway.
        Self {
            copies: mode != Mode::ZeroCopy,
            max_calls: tx_ring.div_ceil(TX_BATCH_SIZE),
        }
    }

    /// Whether to call for TX, of which `pending` frames wait, after `calls` calls in this turn.
    pub(super) fn tx(&self, pending: u32, need_wakeup: bool, calls: u32) -> bool {
        if pending == 0 {
            return false;
        }
        // In copy mode nobody but our call sends, whatever the flag says.
        if self.copies {
            calls < self.max_calls
        } else {
            need_wakeup && calls == 0
        }
    }

    /// Whether another call can help after one that said `outcome` and took `pending` frames from
    /// `before` to `after`.
    pub(super) fn tx_again(&self, outcome: Outcome, before: u32, after: u32) -> bool {
        outcome != Outcome::Failed && after < before
    }

    /// Whether to call for FILL.
    pub(super) fn rx(&self, need_wakeup: bool) -> bool {
        need_wakeup
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays one flush against a kernel that sends `batch` frames per call. Yields the calls made
    /// and the frames left.
    fn flush(mode: Mode, mut pending: u32, batch: u32, outcome: Outcome) -> (u32, u32) {
        let wakeup = Wakeup::new(mode, 2048);
        let mut calls = 0;
        while wakeup.tx(pending, true, calls) {
            calls += 1;
            let after = pending.saturating_sub(batch);
            let again = wakeup.tx_again(outcome, pending, after);
            pending = after;
            if !again {
                break;
            }
        }
        (calls, pending)
    }

    #[test]
    fn copy_mode_calls_until_the_ring_is_empty() {
        for mode in [Mode::Copy, Mode::Generic] {
            assert_eq!(flush(mode, 0, 32, Outcome::Done), (0, 0));
            assert_eq!(flush(mode, 1, 32, Outcome::Done), (1, 0));
            assert_eq!(flush(mode, 100, 32, Outcome::Again), (4, 0));
            assert_eq!(flush(mode, 2048, 32, Outcome::Again), (64, 0));
            assert_eq!(flush(mode, 2048, 256, Outcome::Again), (8, 0));
        }
    }

    #[test]
    fn stops_without_progress_and_at_the_bound() {
        assert_eq!(flush(Mode::Copy, 100, 0, Outcome::Again), (1, 100));
        assert_eq!(flush(Mode::Copy, 100, 0, Outcome::Done), (1, 100));
        assert_eq!(flush(Mode::Copy, 100, 1, Outcome::Again), (64, 36));
        assert_eq!(flush(Mode::Copy, 100, 32, Outcome::Failed), (1, 68));
    }

    #[test]
    fn zero_copy_calls_once_and_only_if_asked() {
        assert_eq!(flush(Mode::ZeroCopy, 100, 10, Outcome::Done), (1, 90));
        let wakeup = Wakeup::new(Mode::ZeroCopy, 2048);
        assert!(!wakeup.tx(100, false, 0));
        assert!(!wakeup.tx(0, true, 0));
        assert!(
            Wakeup::new(Mode::Copy, 2048).tx(1, false, 0),
            "copy mode ignores the flag"
        );
    }

    #[test]
    fn fill_follows_the_flag() {
        let wakeup = Wakeup::new(Mode::ZeroCopy, 2048);
        assert!(wakeup.rx(true));
        assert!(!wakeup.rx(false));
    }
}
