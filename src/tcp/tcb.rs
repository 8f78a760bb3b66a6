//! One connection (the transmission control block of RFC 9293 section 3.3.1) and what an
//! application may do with it.

use std::num::NonZeroU32;

use super::config::Config;
use super::congestion::{Algorithm, AnyController};
use super::context::{Context, Core};
use super::delayed_ack::QUICK_ACKS;
use super::duplicate_acks::CausesId;
use super::ecn::Ecn;
use super::fast_open::EarlyId;
use super::liveness::millis;
use super::loss::Recovery;
use super::options::OptionsId;
use super::pacing::Bulk;
use super::path::Path;
use super::receive_queue::QueueId;
use super::receive_window::TuningId;
use super::rtt::RttEstimator;
use super::send_queue::SendQueue;
use super::seq::Seq;
use super::state::{Event, State};
use super::statistics::Statistics;
use super::timers::Timers;
use crate::time::Instant;
use crate::wire::tcp::Options;

/// RFC 9293 section 3.7.1: what to assume of a peer that sends no MSS option, over IPv4.
pub(super) const DEFAULT_MSS_IPV4: u16 = 536;
/// The same over IPv6.
pub(super) const DEFAULT_MSS_IPV6: u16 = 1220;
/// A peer that announces less would cost us a header per few octets; Linux's least is the same.
const MIN_MSS: u16 = 48;
/// Twelve octets of timestamps in every segment, padding included.
pub(super) const TIMESTAMPS_LEN: u16 = 12;
/// RFC 7323 section 2.3: a larger shift count counts as this.
const MAX_SHIFT: u8 = 14;

/// SND: the send sequence space.
#[derive(Debug, Default)]
pub(super) struct SendVariables {
    /// SND.UNA.
    pub(super) una: Seq,
    /// SND.NXT.
    pub(super) nxt: Seq,
    /// SND.WND, scaled.
    pub(super) wnd: u32,
    /// SND.WL1.
    pub(super) wl1: Seq,
    /// SND.WL2.
    pub(super) wl2: Seq,
    /// The largest SND.WND seen (RFC 5961 section 5.2, RFC 1122 section 4.2.3.4).
    pub(super) max_wnd: u32,
    /// Right behind the last octet that the application has written.
    pub(super) end: Seq,
    /// ISS.
    pub(super) iss: Seq,
    /// Snd.Wind.Shift.
    pub(super) shift: u8,
    /// Our FIN.
    pub(super) fin: FinState,
}

/// RCV: the receive sequence space.
#[derive(Debug, Default)]
pub(super) struct ReceiveVariables {
    /// RCV.NXT.
    pub(super) nxt: Seq,
    /// RCV.NXT + RCV.WND as last advertised; never moves left (RFC 9293 section 3.8.6, SHLD-14).
    pub(super) edge: Seq,
    /// Last.ACK.sent (RFC 7323 section 4.3).
    pub(super) acked: Seq,
    /// IRS.
    pub(super) irs: Seq,
    fin: Seq,
    has_fin: bool,
    /// Rcv.Wind.Shift.
    pub(super) shift: u8,
    /// The largest text received, an estimate of the peer's SMSS (RFC 5681 section 4.2's RMSS).
    pub(super) rmss: u16,
}

impl ReceiveVariables {
    /// The peer's FIN, wherever it is in the sequence space.
    pub(super) fn fin(&self) -> Option<Seq> {
        self.has_fin.then_some(self.fin)
    }

    pub(super) fn set_fin(&mut self, fin: Option<Seq>) {
        self.has_fin = fin.is_some();
        self.fin = fin.unwrap_or_default();
    }
}

/// Timestamps in use (RFC 7323).
#[derive(Clone, Copy, Debug)]
pub(super) struct TimestampState {
    /// Added to the clock in milliseconds.
    pub(super) offset: NonZeroU32,
    /// TS.Recent.
    pub(super) recent: u32,
    /// When TS.Recent was taken, in milliseconds.
    pub(super) recent_at: u32,
}

impl TimestampState {
    /// TSval at `now`.
    pub(super) fn tsval(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.offset.get())
    }
}

/// Our FIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FinState {
    /// The application may still send.
    #[default]
    None,
    /// To be sent, or sent again, behind the last octet of text.
    Due,
    /// Sent.
    Sent,
}

/// An acknowledgment that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AckDue {
    /// None.
    No,
    /// With the next segment, or when the delayed ACK timer expires.
    Delayed,
    /// In this turn.
    Now,
}

/// What input and timers have decided to send; [`super::output`] sends it.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ack: AckDue,
    /// Acknowledgments that must each be a segment of their own: one for each out-of-order or
    /// duplicate segment (RFC 5681 section 4.2).
    pub(super) duplicate_acks: u8,
    /// SYN or SYN-ACK.
    pub(super) syn: bool,
    pub(super) reset: bool,
    /// A zero-window or keepalive probe.
    pub(super) probe: bool,
    /// A tail loss probe (RFC 8985 section 7.3).
    pub(super) loss_probe: bool,
    /// The persist timer overrides the sender's SWS avoidance.
    pub(super) sws_override: bool,
    /// A retransmission waits for its buffer.
    pub(super) deferred: bool,
    /// A round trip is to be measured before a tail loss probe, the first or another (RFC 8985 section
    /// 7.3).
    pub(super) rtt_after_probe: bool,
}

/// Why a connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Both sides have closed.
    Finished,
    /// The peer has reset it.
    Reset,
    /// The peer has refused it: a reset in answer to our SYN.
    Refused,
    /// The peer did not answer for too long.
    TimedOut,
    /// The peer did not answer for too long, and the network has said why: there was no way to it.
    Unreachable,
    /// We have reset it.
    Aborted,
}

/// What the path and the handshake say about a new connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) timestamp_offset: u32,
    /// What one segment may carry to or from this peer, options included: MTU less fixed headers.
    pub(super) path_mss: u16,
    pub(super) is_ipv4: bool,
}

/// A connection.
///
/// The order of fields puts what every segment touches first; a test holds it.
#[derive(Debug)]
#[repr(C)]
pub struct Tcb {
    pub(super) snd: SendVariables,
    pub(super) rcv: ReceiveVariables,
    pub(super) state: State,
    pub(super) pending: Pending,
    pub(super) sack: bool,
    /// Both sides have sent a window scale option.
    pub(super) scales: bool,
    pub(super) nodelay: bool,
    pub(super) cork: bool,
    /// The application wants to hear when it may send again.
    pub(super) wants_send: bool,
    /// The application will not read any more.
    pub(super) closed: bool,
    /// SMSS less the options of every segment: octets of text in a full segment.
    pub(super) smss: u16,
    /// The largest segment that was acknowledged, options included (RFC 5927 section 7.2's
    /// maxsizeacked).
    pub(super) largest_acked: u16,
    pub(super) send: SendQueue,
    pub(super) receive: Option<QueueId>,
    /// The largest window that we advertise now.
    pub(super) rcv_limit: u32,
    pub(super) timestamps: Option<TimestampState>,
    /// `None` is the core's default.
    pub(super) options: Option<OptionsId>,
    pub(super) timers: Timers,
    pub(super) rtt: RttEstimator,
    /// Segments sent again.
    pub(super) retransmits: u32,
    pub(super) recovery: Recovery,
    pub(super) controller: AnyController,
    /// Made when a window is first filled.
    pub(super) bulk: Option<Box<Bulk>>,
    /// What is known of a path that carries less than the interface.
    pub(super) path: Option<Box<Path>>,
    /// When text was last sent, for the restart after idle.
    pub(super) sent_at: Instant,
    /// When it last sent a challenge ACK, in milliseconds.
    pub(super) challenged_at: u32,
    /// What the duplicate acknowledgments that are owed speak of.
    pub(super) causes: Option<CausesId>,
    /// It may have text on or behind its SYN: Fast Open.
    pub(super) early: Option<EarlyId>,
    pub(super) tuning: Option<TuningId>,
    /// Since when something waits for its acknowledgment, or when something was last acknowledged,
    /// in milliseconds.
    pub(super) waiting_since: u32,
    /// When the peer was last heard, in milliseconds.
    pub(super) heard_at: u32,
    /// When text last arrived, in milliseconds.
    pub(super) text_at: u32,
    /// Acknowledgments that are not delayed.
    pub(super) quick_acks: u8,
    /// What we send answers what the peer sends, and takes acknowledgments along (Linux's
    /// "pingpong").
    pub(super) answers: bool,
    pub(super) keepalive_probes: u8,
    /// Zero-window probes since the window closed: their back-off.
    pub(super) window_probes: u8,
    /// Zero-window probes since the peer was last heard.
    pub(super) unanswered_probes: u8,
    pub(super) passive: bool,
    pub(super) reason: CloseReason,
    /// An ICMP error has come since something was last acknowledged.
    pub(super) soft_error: bool,
    pub(super) ecn: Ecn,
    pub(super) statistics: Statistics,
    pub(super) opening: Opening,
}

impl Tcb {
    pub(super) fn new(
        cx: &mut Context<'_>,
        iss: Seq,
        opening: Opening,
        options: OptionsId,
    ) -> Self {
        let options_id = cx.core.options.share(options);
        let options = &cx.core.options[options_id];
        let default = if opening.is_ipv4 {
            DEFAULT_MSS_IPV4
        } else {
            DEFAULT_MSS_IPV6
        };
        let smss = default.min(opening.path_mss);
        let max_pacing_rate = options.max_pacing_rate;
        let mut tcb = Self {
            snd: SendVariables {
                una: iss,
                nxt: iss,
                end: iss + 1,
                iss,
                ..Default::default()
            },
            rcv: ReceiveVariables {
                shift: options.window_shift(),
                rmss: smss,
                ..Default::default()
            },
            state: State::Closed,
            pending: Pending {
                ack: AckDue::No,
                duplicate_acks: 0,
                syn: false,
                reset: false,
                probe: false,
                loss_probe: false,
                sws_override: false,
                deferred: false,
                rtt_after_probe: true,
            },
            sack: false,
            scales: false,
            nodelay: options.nodelay,
            cork: options.cork,
            wants_send: false,
            closed: false,
            smss,
            largest_acked: 0,
            receive: None,
            rcv_limit: options.initial_window(),
            send: SendQueue::default(),
            timestamps: None,
            options: Some(options_id),
            timers: Timers::default(),
            rtt: RttEstimator::default(),
            retransmits: 0,
            recovery: Recovery::new(iss),
            controller: AnyController::new(options.congestion, smss, iss.0),
            bulk: None,
            path: None,
            sent_at: Instant::ZERO,
            challenged_at: millis(cx.now).wrapping_sub(1 << 31),
            causes: None,
            early: None,
            tuning: None,
            waiting_since: millis(cx.now),
            heard_at: millis(cx.now),
            text_at: millis(cx.now),
            quick_acks: QUICK_ACKS,
            answers: false,
            keepalive_probes: 0,
            window_probes: 0,
            unanswered_probes: 0,
            passive: false,
            soft_error: false,
            ecn: Ecn::default(),
            reason: CloseReason::Finished,
            statistics: Statistics::default(),
            opening,
        };
        tcb.limit_pacing(max_pacing_rate);
        tcb
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it is [`State::Closed`].
    pub fn close_reason(&self) -> CloseReason {
        self.reason
    }

    /// Whether nothing is left to do: closed, and a reset, if one was due, sent. What the peer sent
    /// before both sides finished may still be [`unread`](Self::unread).
    pub fn is_done(&self) -> bool {
        self.state == State::Closed && !self.pending.reset
    }

    /// Whether the peer has no more to send and all that it sent is in order.
    pub fn is_peer_closed(&self) -> bool {
        self.rcv.fin().is_some_and(|fin| self.rcv.nxt.after(fin))
    }

    /// Whether a retransmission waits for a buffer that the kernel is still reading.
    pub fn waits_for_buffer(&self) -> bool {
        self.pending.deferred
    }

    /// Whether something that the application has written is not acknowledged.
    pub fn has_unacknowledged(&self) -> bool {
        !self.send.is_empty()
    }

    /// Whether the application waits for room that no acknowledgment will bring, because nothing
    /// of this connection is queued: other connections hold the buffers.
    pub fn is_starved(&self) -> bool {
        self.wants_send && self.send.is_empty() && self.may_send()
    }

    /// The least deadline, for the wheel.
    pub fn next_deadline(&self) -> Option<Instant> {
        let pacing = self.pacing_release().unwrap_or(Instant::FAR_FUTURE);
        let least = self.timers.least().min(pacing);
        (least != Instant::FAR_FUTURE).then_some(least)
    }

    /// No deadline is left, nor what paces text that will not come.
    pub(super) fn stop_timers(&mut self) {
        self.timers.stop_all();
        self.bulk = None;
    }

    /// Octets received in order that the application has not consumed.
    pub fn unread(&self, core: &Core) -> u32 {
        self.receive.map_or(0, |id| core.receive.contiguous(id))
    }

    /// Gives back all that the connection holds in `cx`. Must be called before it is dropped.
    pub fn release(&mut self, cx: &mut Context<'_>) {
        self.forget_early(cx.core);
        self.send.clear(&mut cx.core.segments, cx.buffers);
        if let Some(id) = self.receive.take() {
            cx.core.receive.close(id);
        }
        self.forget_causes(cx.core);
        self.forget_tuning(cx.core);
        self.forget_ledger(cx.core);
        self.forget_options(cx.core);
    }

    pub(super) fn transition(&mut self, event: Event) {
        debug_assert!(
            self.state.after(event).is_some(),
            "{} {event:?}",
            self.state
        );
        if let Some(next) = self.state.after(event) {
            self.state = next;
        }
    }

    /// Ends the connection at once. Text that the peer has sent before it finished in good order
    /// may still be read.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>, event: Event, reason: CloseReason) {
        match self.state {
            State::SynSent | State::SynReceived => cx.core.counters.attempt_fails += 1,
            State::Established | State::CloseWait if event == Event::Reset => {
                cx.core.counters.established_resets += 1;
            }
            _ => {}
        }
        self.transition(event);
        self.reason = reason;
        self.stop_timers();
        self.send.clear(&mut cx.core.segments, cx.buffers);
        self.note_acknowledged(cx);
        let may_read = reason == CloseReason::Finished && !self.closed;
        if !may_read || self.unread(cx.core) == 0 {
            self.release(cx);
        }
    }

    /// SND.NXT - SND.UNA, less what is taken for lost and what the peer says it has, or as good as
    /// says without SACK: what is believed to be in the network (RFC 6675 section 4).
    pub(super) fn pipe(&self) -> u32 {
        let fin_is_lost = self.snd.fin == FinState::Due && self.snd.nxt.after(self.snd.end);
        self.flight_size()
            .saturating_sub(self.send.lost())
            .saturating_sub(self.send.sacked())
            .saturating_sub(self.recovery.departed())
            .saturating_sub(u32::from(fin_is_lost))
    }

    /// FlightSize (RFC 5681 section 2).
    pub(super) fn flight_size(&self) -> u32 {
        self.snd.nxt.since(self.snd.una)
    }

    /// Takes from the peer's SYN what both sides will use.
    pub(super) fn negotiate(&mut self, config: &Config, options: &Options, now: Instant) {
        let opening = self.opening;
        let default = if opening.is_ipv4 {
            DEFAULT_MSS_IPV4
        } else {
            DEFAULT_MSS_IPV6
        };
        let peer_mss = options
            .mss
            .unwrap_or(default)
            .max(MIN_MSS)
            .min(opening.path_mss);
        self.timestamps = options
            .timestamps
            .filter(|_| config.timestamps)
            .map(|timestamps| TimestampState {
                // As `IsnGenerator` makes it, it is not zero.
                offset: NonZeroU32::new(opening.timestamp_offset).unwrap_or(NonZeroU32::MIN),
                recent: timestamps.tsval,
                recent_at: now.as_millis() as u32,
            });
        self.sack = config.sack && options.sack_permitted;
        let shift = options.window_scale.filter(|_| config.window_scale);
        self.scales = shift.is_some();
        match shift {
            Some(shift) => self.snd.shift = shift.min(MAX_SHIFT),
            None => (self.snd.shift, self.rcv.shift) = (0, 0),
        }
        self.set_peer_mss(peer_mss);
        self.rcv.rmss = self.smss.min(DEFAULT_MSS_IPV4);
    }

    /// Another congestion control goes on with the window of the one before.
    pub(super) fn switch_controller(&mut self, algorithm: Algorithm) {
        self.controller.change(algorithm, self.snd.iss.0);
    }

    pub(super) fn drop_empty_receive_queue(&mut self, core: &mut Core) {
        if let Some(id) = self.receive
            && core.receive.holds_nothing(id)
        {
            core.receive.close(id);
            self.receive = None;
        }
    }

    pub(super) fn may_send(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait) || self.may_send_early()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// Contract 8 of the design: with a table slot and a wheel entry at most 512 octets.
    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Tcb>() <= 384, "{}", size_of::<Tcb>());
    }

    /// Contract 9: what every segment touches is in the first two cache lines.
    #[test]
    fn hot_fields_come_first() {
        for (name, end) in [
            ("snd", offset_of!(Tcb, snd) + size_of::<SendVariables>()),
            ("rcv", offset_of!(Tcb, rcv) + size_of::<ReceiveVariables>()),
            ("state", offset_of!(Tcb, state) + size_of::<State>()),
            ("pending", offset_of!(Tcb, pending) + size_of::<Pending>()),
            ("smss", offset_of!(Tcb, smss) + 2),
            ("send", offset_of!(Tcb, send) + size_of::<SendQueue>()),
        ] {
            assert!(end <= 128, "{name} ends at {end}");
        }
    }
}
