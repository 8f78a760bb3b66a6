//! What must hold after every step, whatever has arrived: for tests and fuzz targets.

use super::context::Core;
use super::options::MAX_WINDOW;
use super::output::Payload;
use super::seq::Seq;
use super::state::State;
use super::tcb::Tcb;
use super::timers::Timer;
use crate::time::Instant;

impl Tcb {
    /// That sequence numbers are in order and lists are those of the segments.
    pub(crate) fn check(&self, core: &Core) {
        assert!(self.snd.iss.at_or_before(self.snd.una), "iss <= una");
        assert!(self.snd.una.at_or_before(self.snd.nxt), "una <= nxt");
        assert!(
            self.snd.nxt.at_or_before(self.snd.end + 1),
            "nxt <= end + FIN"
        );
        assert!(
            self.send.lost() + self.send.sacked() <= self.flight_size(),
            "lost and sacked are in flight"
        );
        self.send.check(&core.segments);
        if self.state().is_synchronized() {
            assert!(self.rcv.nxt.at_or_before(self.rcv.edge), "nxt <= edge");
            // Rounded up to the unit of the scale.
            let most = MAX_WINDOW + (1 << self.rcv.shift);
            assert!(self.rcv.edge.since(self.rcv.nxt) <= most, "window");
            assert!(self.rcv.acked.at_or_before(self.rcv.nxt), "acked <= nxt");
        }
        if let Some(id) = self.receive {
            assert!(core.receive.ranges(id).len() <= 66, "ranges");
        }
        if self.state() == State::Closed {
            assert_eq!(self.next_deadline(), None, "{self:?}");
            assert_eq!(self.send.segments(), 0, "{self:?}");
            assert!(
                self.receive.is_none() || self.unread(core) > 0,
                "nothing is held for nobody: {self:?}"
            );
        }
    }

    /// After all that may be sent has been: the books are right, and something is going to happen.
    pub(crate) fn check_progress(&self, core: &Core) {
        self.send.check(&core.segments);
        assert!(self.pipe() <= self.flight_size(), "{self:?}");
        assert!((1..1 << 30).contains(&self.controller.cwnd()), "{self:?}");
        if self.state() == State::Closed {
            return;
        }
        if self.flight_size() > 0 {
            assert!(self.timers.is_set(Timer::Retransmission), "{self:?}");
        } else if self.state().is_synchronized() && self.has_unacknowledged() {
            let waits = self.waits_for_buffer() || self.next_deadline().is_some();
            assert!(waits, "{self:?}");
        }
        if let Some(release) = self.pacing_release() {
            assert!(release < Instant::FAR_FUTURE, "{self:?}");
        }
    }

    /// The buffers of its segments, and what of them is not acknowledged.
    pub(crate) fn payloads<'a>(&self, core: &'a Core) -> impl Iterator<Item = Payload> + 'a {
        self.send.payloads(&core.segments)
    }

    /// RCV.NXT + RCV.WND as last advertised: it never moves left.
    pub(crate) fn edge(&self) -> Seq {
        self.rcv.edge
    }
}

impl Core {
    /// That what is held is held for `connections`, which are all there are. Returns the buffers of
    /// their segments.
    pub(crate) fn check<'a>(&self, connections: impl Iterator<Item = &'a Tcb>) -> usize {
        let mut held = [0; 7];
        for tcb in connections {
            tcb.check(self);
            let holds = [
                usize::from(tcb.send.segments()),
                usize::from(tcb.receive.is_some()),
                usize::from(tcb.causes.is_some()),
                usize::from(tcb.early.is_some()),
                usize::from(tcb.tuning.is_some()),
                usize::from(tcb.options.is_some()),
                usize::from(tcb.ledger(self).is_some()),
            ];
            for (sum, one) in held.iter_mut().zip(holds) {
                *sum += one;
            }
        }
        let kept = [
            self.segments.len(),
            self.receive.queues(),
            self.causes.len(),
            self.fast_opens.len(),
            self.tuning.len(),
            self.options.users(),
            self.ledgers.len(),
        ];
        assert_eq!(kept, held, "what is kept is what connections hold");
        self.receive.check();
        self.segments.len()
    }
}
