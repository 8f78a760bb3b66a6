//! SYN and SYN-ACK of a connection (RFC 9293 section 3.5), with what they negotiate, and the text
//! that may go with a SYN (RFC 7413).

use super::output::{Payload, SegmentBuilder, Transmit};
use super::state::State;
use super::tcb::AckDue;
use super::timers::Timer;
use crate::time::Instant;
use crate::wire::ecn::NOT_ECT;
use crate::wire::tcp::{Flags, Header, Options, Timestamps};

impl SegmentBuilder<'_, '_> {
    pub(super) fn syn(&mut self) -> Option<Transmit> {
        if !std::mem::take(&mut self.tcb.pending.syn) {
            return (std::mem::take(&mut self.tcb.pending.duplicate_acks) > 0)
                .then(|| self.acknowledgment());
        }
        let answers = self.tcb.state == State::SynReceived;
        let tcb = &mut *self.tcb;
        let first = tcb.sent_at == Instant::ZERO;
        // The acknowledgment of a SYN that was sent twice tells no round trip (Karn).
        tcb.sent_at = if first {
            self.cx.now
        } else {
            Instant::FAR_FUTURE
        };
        if !first {
            self.cx.core.counters.retrans_segs += 1;
            self.cx.core.counters.syn_ack_retransmits += u64::from(answers);
        }
        tcb.snd.nxt = tcb.snd.nxt.max(tcb.snd.iss + 1);
        if answers {
            tcb.rcv.acked = tcb.rcv.nxt;
            tcb.pending.ack = AckDue::No;
            tcb.timers.stop(Timer::DelayedAck);
        }
        let window = if answers {
            let window = tcb.free_window(self.cx).min(0xffff);
            tcb.rcv.edge = tcb.rcv.edge.max(tcb.rcv.nxt + window);
            window
        } else {
            tcb.rcv_limit.min(0xffff)
        };
        let (fast_open, has_text) = tcb.early_option(self.cx, first);
        let payload = if has_text { self.text_on_syn() } else { None };
        let tcb = &mut *self.tcb;
        tcb.timers
            .set(Timer::Retransmission, self.cx.now + tcb.rtt.rto());
        let config = &self.cx.core.config;
        let timestamps = if answers {
            tcb.timestamps.is_some()
        } else {
            config.timestamps
        };
        let options = Options {
            mss: Some(tcb.opening.path_mss),
            window_scale: if answers {
                tcb.scales
            } else {
                config.window_scale
            }
            .then_some(tcb.rcv.shift),
            sack_permitted: if answers { tcb.sack } else { config.sack },
            timestamps: timestamps.then(|| Timestamps {
                tsval: (self.cx.now.as_millis() as u32).wrapping_add(tcb.opening.timestamp_offset),
                tsecr: tcb.timestamps.map_or(0, |state| state.recent),
            }),
            fast_open,
            ..Options::default()
        };
        self.cx.core.counters.out_segs += 1;
        let header = Header {
            seq: tcb.snd.iss.0,
            ack: if answers { tcb.rcv.nxt.0 } else { 0 },
            flags: tcb.ecn_setup(config)
                | if answers {
                    Flags::SYN | Flags::ACK
                } else {
                    Flags::SYN
                },
            window: window as u16,
            urgent: 0,
            options,
        };
        Some(Transmit {
            header,
            payload,
            ecn: NOT_ECT,
        })
    }

    /// The first segment of text, which goes with the SYN (RFC 7413 section 4.2.2).
    fn text_on_syn(&mut self) -> Option<Payload> {
        let tcb = &mut *self.tcb;
        let unsent = tcb.send.first_unsent(&self.cx.core.segments)?;
        let (buffer, len, end) = (unsent.buffer.id(), unsent.len, unsent.end());
        let departure = tcb.on_departure(self.cx.now, u32::from(len));
        tcb.send
            .mark_sent(&mut self.cx.core.segments, self.cx.now, departure);
        tcb.snd.nxt = tcb.snd.nxt.max(end);
        Some(Payload {
            buffer,
            skip: 0,
            len,
        })
    }
}
