//! TIME-WAIT in 64 bytes (RFC 9293 section 3.6.1). They expire in the order in which they began,
//! so a FIFO serves for their timer.

use super::context::{Context, Core};
use super::input::segment_length;
use super::seq::Seq;
use super::tcb::{Tcb, TimestampState};
use crate::time::Instant;
use crate::wire::tcp::{Flags, Header, Options, Segment, Timestamps};

/// The coarsest timestamp clock ticks once a second (RFC 7323 section 5.4).
const GIVES_WAY_AFTER_MS: u32 = 1_000;

/// What is left of a connection that has closed first.
#[derive(Clone, Debug)]
pub struct TimeWait {
    /// When 2MSL have passed. Moves later when the peer's FIN comes again.
    pub deadline: Instant,
    snd_nxt: Seq,
    rcv_nxt: Seq,
    timestamps: Option<TimestampState>,
    window: u16,
}

/// What to do with a segment that meets a [`TimeWait`].
#[derive(Debug)]
pub enum TimeWaitVerdict {
    /// Nothing.
    Drop,
    /// Answer with this ACK.
    Acknowledge(Header),
    /// A new SYN that cannot be an old duplicate: forget the TIME-WAIT and take it as one for the
    /// listener, with an ISS beyond this.
    Reopen {
        /// The new connection's ISS must be after this.
        beyond: Seq,
    },
}

impl Tcb {
    /// What must be kept of a connection in [`State::TimeWait`](super::State::TimeWait).
    pub fn time_wait(&self, core: &Core, now: Instant) -> TimeWait {
        TimeWait {
            deadline: now + core.config.time_wait,
            snd_nxt: self.snd.nxt,
            rcv_nxt: self.rcv.nxt,
            timestamps: self.timestamps,
            window: (self.rcv.edge.since(self.rcv.nxt) >> self.rcv.shift).min(0xffff) as u16,
        }
    }
}

impl TimeWait {
    /// A segment for it.
    pub fn handle_segment(
        &mut self,
        cx: &mut Context<'_>,
        segment: &Segment<'_>,
    ) -> TimeWaitVerdict {
        let header = &segment.header;
        if header.flags.contains(Flags::RST) {
            // RFC 1337: a reset must not end TIME-WAIT early.
            return TimeWaitVerdict::Drop;
        }
        if header.flags.contains(Flags::SYN) {
            return self.handle_syn(cx, header);
        }
        let end = Seq(header.seq) + segment_length(segment);
        if header.flags.contains(Flags::FIN) && end == self.rcv_nxt {
            // The peer's own FIN once more: it has not seen our ACK.
            self.deadline = cx.now + cx.core.config.time_wait;
        } else if segment_length(segment) == 0 {
            // A bare ACK wants no answer; two TIME-WAITs would never stop.
            return TimeWaitVerdict::Drop;
        }
        self.acknowledge(cx)
    }

    /// Nobody takes the SYN that could have reopened it: it goes on, and answers as to any other
    /// (RFC 5961 section 4.2).
    pub fn decline(&self, cx: &mut Context<'_>) -> TimeWaitVerdict {
        if cx.core.may_challenge(cx.now) {
            self.acknowledge(cx)
        } else {
            TimeWaitVerdict::Drop
        }
    }

    /// Whether an active open of ours may take its place, and where its sequence numbers must be
    /// beyond. Only if the old connection used timestamps and has been silent for more than a
    /// second: then all that we send is newer to the peer's PAWS than what is still under way, as
    /// RFC 6191 section 2 argues for the passive side.
    pub fn gives_way(&self, now: Instant) -> Option<Seq> {
        let silent_ms = (now.as_millis() as u32).wrapping_sub(self.timestamps?.recent_at);
        (silent_ms > GIVES_WAY_AFTER_MS).then_some(self.snd_nxt)
    }

    /// Whether the acknowledgment of a SYN cookie may take its place, whose SYN the XDP program has
    /// answered without knowing of it: if that was none of the old connection's by its timestamp (RFC
    /// 6191 section 2). Without, nothing would keep the old one's segments from the new one, whose
    /// numbers need not be beyond.
    pub fn gives_way_to_cookie(&self, acknowledgment: &Header) -> bool {
        let offered = acknowledgment.options.timestamps;
        let (Some(state), Some(timestamps)) = (self.timestamps, offered) else {
            return false;
        };
        let is_newer = timestamps.tsval.wrapping_sub(state.recent).cast_signed() > 0;
        is_newer && Seq(acknowledgment.ack) != self.snd_nxt
    }

    /// RFC 6191 section 2, and RFC 9293 section 3.6.1 (MAY-2) for peers without timestamps.
    fn handle_syn(&self, cx: &mut Context<'_>, header: &Header) -> TimeWaitVerdict {
        let is_beyond = Seq(header.seq).after(self.rcv_nxt);
        let offered = header.options.timestamps;
        let is_new = match (
            self.timestamps,
            offered.filter(|_| cx.core.config.timestamps),
        ) {
            (Some(state), Some(timestamps)) => {
                match timestamps.tsval.wrapping_sub(state.recent) as i32 {
                    0 => is_beyond,
                    distance => distance > 0,
                }
            }
            // No segment of the old connection can pass for one of the new, which will have
            // timestamps.
            (None, Some(_)) => true,
            (_, None) => is_beyond,
        };
        if is_new && !header.flags.contains(Flags::ACK) {
            return TimeWaitVerdict::Reopen {
                beyond: self.snd_nxt,
            };
        }
        self.decline(cx)
    }

    fn acknowledge(&self, cx: &mut Context<'_>) -> TimeWaitVerdict {
        cx.core.counters.out_segs += 1;
        let timestamps = self.timestamps.map(|state| Timestamps {
            tsval: state.tsval(cx.now),
            tsecr: state.recent,
        });
        TimeWaitVerdict::Acknowledge(Header {
            seq: self.snd_nxt.0,
            ack: self.rcv_nxt.0,
            flags: Flags::ACK,
            window: self.window,
            urgent: 0,
            options: Options {
                timestamps,
                ..Options::default()
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 8 of the design, with the 16 bytes that the stack adds for the way back.
    #[test]
    fn time_wait_is_small() {
        assert!(size_of::<TimeWait>() <= 40, "{}", size_of::<TimeWait>());
    }
}
