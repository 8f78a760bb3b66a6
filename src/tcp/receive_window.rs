//! The window that we advertise (RFC 9293 section 3.8.6) and its size, which follows the path:
//! twice of what the application consumes in a round trip, so that it is never the receiver that
//! holds up a sender whose window grows ("dynamic right-sizing", as Linux does it too).

use slab::Slab;

use super::arena_id::arena_id;
use super::context::{Context, Core};
use super::memory_pressure::MemoryPressure;
use super::options::{BufferLimit, MAX_WINDOW, SocketOptions};
use super::seq::Seq;
use super::tcb::{AckDue, Tcb};
use crate::time::{Duration, Instant};
use crate::wire::tcp::Header;

/// Text after which a connection is worth tuning for: most never send as much.
const WORTH_TUNING: u32 = 16 * 1024;
/// Segments that a window has in reserve beyond twice the consumption, for a sender in slow start.
const SPARE_SEGMENTS: u32 = 16;
/// Where memory is short, windows move on as if they had never grown.
const SHORT_WINDOW: u32 = 64 * 1024;

/// How fast text arrives and is consumed: kept per connection from [`WORTH_TUNING`] on.
#[derive(Debug)]
pub(super) struct ReceiveTuning {
    /// The most that was consumed in a round trip.
    space: u32,
    /// Where consumption was when this round trip began.
    seq: Seq,
    since: Instant,
    /// The round trip as a receiver can tell it; zero while it cannot.
    rtt: Duration,
    /// The echo that was measured by last.
    tsecr: u32,
    /// Where text will be when a window's worth has arrived, and since when it does.
    window_end: Seq,
    window_since: Instant,
}

arena_id! {
    /// Which [`ReceiveTuning`] of the core's arena a connection has.
    pub(super) TuningId
}

/// The arena of all connections of a core.
pub(super) type TuningArena = Slab<ReceiveTuning>;

/// The window for an application that has consumed `copied` octets in a round trip, and never more
/// than `space` before.
fn wanted_window(copied: u32, space: u32, rmss: u16) -> u32 {
    let spare = u64::from(SPARE_SEGMENTS * u32::from(rmss));
    // No round trip brings more than a window. A peer that hides how long one takes seems to.
    let copied = u64::from(copied.min(MAX_WINDOW));
    let space = u64::from(space.max(1)).min(copied);
    let window = 2 * copied + spare;
    // Consumption that has grown by so much will do so again in the next round trip, and the
    // window must be there first.
    let window = window + 2 * window * (copied - space) / space.max(1);
    u32::try_from(window).unwrap_or(u32::MAX)
}

impl Tcb {
    /// The application has read: tells the peer of the room, if it is worth a segment.
    pub(super) fn update_window(&mut self, cx: &Context<'_>) {
        let free = self.free_window(cx);
        if self.state.may_receive() && self.window_edge(cx, free).after(self.rcv.edge) {
            self.pending.ack = AckDue::Now;
        }
    }

    /// Octets for which the receive buffer has room.
    pub(super) fn free_window(&self, cx: &Context<'_>) -> u32 {
        self.window_limit(cx.core)
            .saturating_sub(self.unread(cx.core))
    }

    /// The largest window that the buffer allows, the core's memory allows and the header can say.
    pub(super) fn window_limit(&self, core: &Core) -> u32 {
        let limit = self.rcv_limit.min(0xffff << self.rcv.shift);
        if core.receive.pressure() >= MemoryPressure::Windows {
            limit.min(SHORT_WINDOW)
        } else {
            limit
        }
    }

    /// Where the window should end now: at most as far as there is a [`free`](Self::free_window)
    /// one, never left of where it ended, and further only by a step that is worth it (RFC 9293
    /// section 3.8.6.2.2).
    pub(super) fn window_edge(&self, cx: &Context<'_>, free: u32) -> Seq {
        let edge = self.rcv.nxt + free;
        let step = (self.window_limit(cx.core) / 2).min(u32::from(self.rcv.rmss));
        if edge.after(self.rcv.edge) && edge.since(self.rcv.edge) >= step {
            edge
        } else {
            self.rcv.edge
        }
    }

    /// New limits for a live connection. What was advertised stays (SHLD-14).
    pub(super) fn apply_window_options(&mut self, options: &SocketOptions) {
        self.rcv_limit = match options.receive_buffer {
            BufferLimit::Auto(_) => self
                .rcv_limit
                .max(options.initial_window())
                .min(options.most_window()),
            BufferLimit::Fixed(_) => options.most_window(),
        };
    }

    /// A segment with so much text has arrived, of which nothing is received yet: the round trip
    /// as a receiver can tell it. With timestamps, from our segment that made the peer send this
    /// one; else from a window's worth of text, which takes at least as long.
    pub(super) fn measure_receive_rtt(
        &mut self,
        core: &mut Core,
        now: Instant,
        header: &Header,
        text: usize,
    ) {
        let Some(id) = self.tuning else { return };
        let tuning = &mut core.tuning[id.index()];
        match (self.timestamps, header.options.timestamps) {
            (Some(state), Some(echoed)) => {
                let is_new = echoed.tsecr != 0 && echoed.tsecr != tuning.tsecr;
                let elapsed = state.tsval(now).wrapping_sub(echoed.tsecr);
                // A segment that is not full may have waited for its application.
                if is_new && text >= usize::from(self.rcv.rmss) && elapsed < 1 << 24 {
                    tuning.tsecr = echoed.tsecr;
                    // The clock of timestamps ticks in milliseconds.
                    let sample = Duration::from_millis(u64::from(elapsed.max(1)));
                    tuning.rtt = match tuning.rtt {
                        Duration::ZERO => sample,
                        rtt => Duration::from_micros(
                            (7 * rtt.as_micros() + sample.as_micros()).div_ceil(8),
                        ),
                    };
                }
            }
            _ if self.rcv.nxt.at_or_after(tuning.window_end) => {
                let sample = now.saturating_since(tuning.window_since);
                if tuning.rtt == Duration::ZERO || sample < tuning.rtt {
                    tuning.rtt = sample.max(Duration::from_micros(1));
                }
                tuning.window_end = self.rcv.edge.max(self.rcv.nxt + 1);
                tuning.window_since = now;
            }
            _ => {}
        }
    }

    /// The application has consumed text: once per round trip, the window grows to what that
    /// asks for.
    pub(super) fn tune_window(&mut self, core: &mut Core, now: Instant) {
        let options = &core.options[self.options.unwrap_or_default()];
        let most = options.most_window().min(0xffff << self.rcv.shift);
        if self.rcv_limit >= most || matches!(options.receive_buffer, BufferLimit::Fixed(_)) {
            return;
        }
        let consumed = self.rcv.nxt - self.unread(core);
        let Some(id) = self.tuning else {
            return self.start_tuning(core, now, consumed);
        };
        let is_short = core.receive.pressure() >= MemoryPressure::Windows;
        let tuning = &mut core.tuning[id.index()];
        let elapsed = now.saturating_since(tuning.since);
        if tuning.rtt == Duration::ZERO || elapsed < tuning.rtt {
            return;
        }
        let copied = consumed.since(tuning.seq);
        if copied > tuning.space {
            if !is_short {
                let window = wanted_window(copied, tuning.space, self.rcv.rmss);
                self.rcv_limit = self.rcv_limit.max(window.min(most));
                core.counters.receive_windows_grown += 1;
            } else {
                core.counters.receive_windows_held += 1;
            }
            tuning.space = copied;
        }
        tuning.seq = consumed;
        tuning.since = now;
    }

    fn start_tuning(&mut self, core: &mut Core, now: Instant, consumed: Seq) {
        if self.rcv.nxt.since(self.rcv.irs) < WORTH_TUNING {
            return;
        }
        let index = core.tuning.insert(ReceiveTuning {
            space: WORTH_TUNING,
            seq: consumed,
            since: now,
            rtt: Duration::ZERO,
            tsecr: 0,
            window_end: self.rcv.edge,
            window_since: now,
        });
        self.tuning = Some(TuningId::new(index));
    }

    pub(super) fn forget_tuning(&mut self, core: &mut Core) {
        if let Some(id) = self.tuning.take() {
            core.tuning.remove(id.index());
        }
    }

    /// The round trip as a receiver can tell it, and the most that was consumed in one.
    pub(super) fn receive_tuning(&self, core: &Core) -> Option<(Duration, u32)> {
        let tuning = &core.tuning[self.tuning?.index()];
        (tuning.rtt != Duration::ZERO).then_some((tuning.rtt, tuning.space))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_twice_what_was_consumed_and_more_while_that_grows() {
        assert_eq!(wanted_window(100_000, 100_000, 1_000), 216_000);
        assert_eq!(wanted_window(200_000, 100_000, 1_000), 3 * 416_000);
    }

    /// Without a round trip there is no end to what seems to be one's.
    #[test]
    fn no_consumption_is_too_much_to_reckon_with() {
        for copied in [0, 1, MAX_WINDOW, 1 << 31, u32::MAX] {
            for space in [0, 1, WORTH_TUNING, u32::MAX] {
                let window = wanted_window(copied, space, u16::MAX);
                assert!(u64::from(window) >= u64::from(copied.min(MAX_WINDOW)));
            }
        }
        assert_eq!(wanted_window(u32::MAX, WORTH_TUNING, 1_460), u32::MAX);
    }
}
