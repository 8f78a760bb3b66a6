//! The deadlines of a connection. The wheel holds only the least of them, and lazily: a deadline
//! that moves later is just stored here.

use crate::time::Instant;

const OFF: Instant = Instant::FAR_FUTURE;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Timer {
    /// RFC 6298: the first segment in flight is overdue.
    Retransmission,
    /// RFC 9293 section 3.8.6.1: the peer's window is closed.
    Persist,
    /// RFC 9293 section 3.8.6.3: an acknowledgment has waited long enough.
    DelayedAck,
    /// RFC 9293 section 3.8.4: the peer is silent.
    Keepalive,
    /// What waits has waited long enough: the user timeout, linger, an orphan, FIN-WAIT-2.
    GiveUp,
    /// RFC 8985: the reordering window has passed, or the PTO; they exclude each other (section 8).
    LossDetection,
}

impl Timer {
    const ALL: [Self; 6] = [
        Self::Retransmission,
        Self::Persist,
        Self::DelayedAck,
        Self::Keepalive,
        Self::GiveUp,
        Self::LossDetection,
    ];

    /// Its name in `ss`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Retransmission => "retransmission",
            Self::Persist => "persist",
            Self::DelayedAck => "delayed-ack",
            Self::Keepalive => "keepalive",
            Self::GiveUp => "give-up",
            Self::LossDetection => "loss-detection",
        }
    }
}

/// The deadlines that are set.
#[derive(Debug)]
pub(super) struct Timers {
    deadlines: [Instant; 6],
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            deadlines: [OFF; 6],
        }
    }
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, deadline: Instant) {
        self.deadlines[timer as usize] = deadline;
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = OFF;
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.deadlines[timer as usize] != OFF
    }

    /// When `timer` is due; the far future if it is not set.
    pub(super) fn deadline(&self, timer: Timer) -> Instant {
        self.deadlines[timer as usize]
    }

    /// Whether `timer` is due at `now`; stops it if so.
    pub(super) fn expired(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.deadlines[timer as usize] <= now;
        if due {
            self.stop(timer);
        }
        due
    }

    /// The least deadline; the far future if none is set.
    pub(super) fn least(&self) -> Instant {
        self.deadlines.iter().copied().fold(OFF, Instant::min)
    }

    /// The least deadline and what it is for.
    pub(super) fn next(&self) -> Option<(Timer, Instant)> {
        Timer::ALL
            .into_iter()
            .map(|timer| (timer, self.deadlines[timer as usize]))
            .min_by_key(|&(_, deadline)| deadline)
            .filter(|&(_, deadline)| deadline != OFF)
    }

    pub(super) fn stop_all(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_deadline_is_next_and_expires_once() {
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Keepalive, Instant::from_millis(90));
        timers.set(Timer::DelayedAck, Instant::from_millis(40));
        assert_eq!(
            timers.next(),
            Some((Timer::DelayedAck, Instant::from_millis(40)))
        );
        assert!(!timers.expired(Timer::DelayedAck, Instant::from_millis(39)));
        assert!(timers.expired(Timer::DelayedAck, Instant::from_millis(40)));
        assert!(!timers.expired(Timer::DelayedAck, Instant::from_millis(41)));
        assert_eq!(
            timers.next(),
            Some((Timer::Keepalive, Instant::from_millis(90)))
        );
    }
}
