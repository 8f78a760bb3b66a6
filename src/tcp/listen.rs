//! Passive opens: a listener and its half-open connections.
//!
//! A SYN costs one [`SynEntry`] and no memory else. The entry sends the SYN-ACK and its
//! retransmissions; any other segment builds a [`Tcb`] in SYN-RECEIVED from it, which does the
//! rest. If it is still there afterwards, it folds back into the entry.
//!
//! While there are too many of them, entries are not kept: their SYN-ACK is a cookie
//! ([`syn_cookie`](super::syn_cookie)), whose acknowledgment makes the entry again.

use super::config::Config;
use super::context::{Context, Core};
use super::ecn::{self, Ecn};
use super::fast_open::{Cookie, FastOpenQueue};
use super::liveness::millis;
use super::memory_pressure::MemoryPressure;
use super::options::{Marking, OptionsId};
use super::rtt::{INITIAL_RTO, MAX_RTO};
use super::seq::Seq;
use super::state::{Event, State};
use super::syn_cookie::{Offer, Pressure, SynCookies};
use super::tcb::{Opening, Tcb};
use super::timers::Timer;
use crate::time::{Duration, Instant};
use crate::wire::FlowKey;
use crate::wire::tcp::{FastOpen, Flags, Header, Options, Segment, Timestamps};

/// A local port that takes connections (LISTEN of RFC 9293 section 3.3.2).
#[derive(Clone, Debug, Default)]
pub struct Listener {
    pub(super) half_open: usize,
    fast_opens: FastOpenQueue,
    pub(super) pressure: Pressure,
    pub(super) options: OptionsId,
}

/// A half-open connection: what SYN-RECEIVED has to remember, in at most 64 bytes with what the
/// stack adds.
#[derive(Clone, Debug)]
pub struct SynEntry {
    /// When the SYN-ACK is due again.
    pub deadline: Instant,
    /// When its connection, for as long as it was one, last sent a challenge ACK, in milliseconds.
    challenged_at: u32,
    irs: Seq,
    iss: Seq,
    tsval: u32,
    mss: u16,
    window: u16,
    path_mss: u16,
    options: OptionsId,
    flags: u16,
    window_scale: u8,
    retransmissions: u8,
}

pub(super) const HAS_MSS: u16 = 1;
pub(super) const HAS_SCALE: u16 = 2;
pub(super) const HAS_SACK: u16 = 4;
pub(super) const HAS_TIMESTAMPS: u16 = 8;
/// Text on the SYN is to be taken: it had a right Fast Open cookie.
const TAKES_TEXT: u16 = 16;
/// The SYN-ACK gives a Fast Open cookie.
const GIVES_COOKIE: u16 = 32;
/// The SYN-ACK was sent again, so that its acknowledgment tells no round trip (Karn).
const SENT_AGAIN: u16 = 64;
pub(super) const HAS_ECN: u16 = 128;
/// The ISS is a SYN cookie.
pub(super) const IS_COOKIE: u16 = 256;

/// What a segment makes of a half-open connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once, into the arena")]
pub enum SynVerdict {
    /// It stays half open.
    Stays,
    /// It stays half open; send the SYN-ACK again.
    SynAckAgain,
    /// It is gone: reset by the peer.
    Gone,
    /// A connection in SYN-RECEIVED to which the segment is to be given.
    Opens(Tcb),
}

impl Listener {
    /// A listener whose connections begin with `options`.
    pub fn new(options: OptionsId) -> Self {
        Self {
            half_open: 0,
            fast_opens: FastOpenQueue::default(),
            pressure: Pressure::default(),
            options,
        }
    }

    /// The first segment of a peer (RFC 9293 section 3.10.7.2): a new half-open connection, or
    /// `None` when the queue is full. The segment [opens](SynEntry::opens); `beyond` is what a
    /// TIME-WAIT asks for. An entry that [is a cookie](SynEntry::is_cookie) is to be forgotten once
    /// its SYN-ACK is sent.
    pub fn handle_syn(
        &mut self,
        cx: &mut Context<'_>,
        key: &FlowKey,
        segment: &Segment<'_>,
        path_mss: u16,
        beyond: Option<Seq>,
    ) -> Option<SynEntry> {
        // One that reopens a TIME-WAIT is from a peer that has been here, needs no more room than
        // that did, and an ISS that a cookie cannot have: it gets an entry, as Linux has it.
        let has_room = !self.is_full(cx.core);
        let is_flooded = self.wants_cookie(cx);
        let cookie = beyond.is_none() && (is_flooded || saves_memory(cx.core));
        let fast_open = self.judge_fast_open(cx, key, segment, !cookie);
        let path_mss = cx.core.options[self.options].clamp_mss(path_mss);
        if fast_open & TAKES_TEXT == 0 && cookie {
            cx.core.counters.memory_syn_cookies += u64::from(!is_flooded);
            return Some(self.make_cookie(cx, key, &segment.header, path_mss));
        }
        if fast_open & TAKES_TEXT == 0 && !has_room {
            cx.core.counters.listen_overflows += 1;
            return None;
        }
        let iss = cx.core.isn.isn_beyond(key, cx.now, beyond);
        cx.core.counters.passive_opens += 1;
        self.half_open += usize::from(fast_open & TAKES_TEXT == 0);
        let flags = offered(&cx.core.config, &segment.header) | fast_open;
        Some(self.entry(cx.now, &segment.header, iss, path_mss, flags))
    }

    /// What there is to remember of the peer's SYN.
    pub(super) fn entry(
        &self,
        now: Instant,
        syn: &Header,
        iss: Seq,
        path_mss: u16,
        flags: u16,
    ) -> SynEntry {
        let options = &syn.options;
        SynEntry {
            deadline: now + INITIAL_RTO,
            // Long ago, as in a new connection.
            challenged_at: millis(now).wrapping_sub(1 << 31),
            irs: Seq(syn.seq),
            iss,
            tsval: options.timestamps.map_or(0, |timestamps| timestamps.tsval),
            mss: options.mss.unwrap_or(0),
            window: syn.window,
            path_mss,
            options: self.options,
            flags,
            window_scale: options.window_scale.unwrap_or(0),
            retransmissions: 0,
        }
    }

    fn wants_cookie(&mut self, cx: &Context<'_>) -> bool {
        let config = &cx.core.config;
        let (mode, limit) = (config.syn_cookies, config.syn_queue);
        self.pressure
            .wants_cookie(cx.now, mode, self.half_open, limit)
    }

    /// RFC 7413 section 4.2.2, the server's steps 1 to 4; `gives` says whether the SYN-ACK may have
    /// a cookie.
    fn judge_fast_open(
        &mut self,
        cx: &mut Context<'_>,
        key: &FlowKey,
        segment: &Segment<'_>,
        gives: bool,
    ) -> u16 {
        let limit = cx.core.config.fast_open_queue;
        let Some(option) = segment.header.options.fast_open.filter(|_| limit > 0) else {
            return 0;
        };
        let judgement = cx.core.isn.judge_cookie(key, cx.now, &option);
        let cookie = match judgement {
            Cookie::Old | Cookie::Wrong if gives => {
                cx.core.counters.fast_open_cookies += 1;
                GIVES_COOKIE
            }
            _ => 0,
        };
        if judgement == Cookie::Wrong {
            cx.core.counters.fast_open_rejected += u64::from(!option.is_request());
            return cookie;
        }
        if segment.payload.is_empty() {
            return cookie;
        }
        if !self.fast_opens.enter(cx.now, limit) {
            cx.core.counters.fast_open_overflows += 1;
            return cookie;
        }
        cx.core.counters.fast_open_passive += 1;
        cookie | TAKES_TEXT
    }

    /// A connection that took text on its SYN is established or gone.
    pub fn fast_open_ended(&mut self, now: Instant, was_reset: bool) {
        self.fast_opens.leave(now, was_reset);
    }

    /// A half-open connection of this listener has ended, well or badly.
    pub fn forget(&mut self) {
        self.half_open = self.half_open.saturating_sub(1);
    }

    /// Whether a SYN would be refused for want of room, unless it brings a Fast Open cookie.
    pub fn is_full(&self, core: &Core) -> bool {
        let config = &core.config;
        config.syn_cookies == SynCookies::Off && self.half_open >= config.syn_queue
    }

    /// Half-open connections.
    pub fn half_open(&self) -> usize {
        self.half_open
    }
}

/// Whether new peers get cookies whatever the queue: who cannot be reached is to get no connection, nor
/// what it may hold.
fn saves_memory(core: &Core) -> bool {
    core.config.syn_cookies != SynCookies::Off && core.memory_pressure() >= MemoryPressure::Cookies
}

/// What a SYN offers of what we go along with.
pub(super) fn offered(config: &Config, syn: &Header) -> u16 {
    let options = &syn.options;
    let flag = |set: bool, flag: u16| if set { flag } else { 0 };
    flag(options.mss.is_some(), HAS_MSS)
        | flag(
            options.window_scale.is_some() && config.window_scale,
            HAS_SCALE,
        )
        | flag(options.sack_permitted && config.sack, HAS_SACK)
        | flag(
            options.timestamps.is_some() && config.timestamps,
            HAS_TIMESTAMPS,
        )
        | flag(ecn::accepts(config, syn), HAS_ECN)
}

impl SynEntry {
    /// A segment for this half-open connection.
    pub fn handle_segment(
        &mut self,
        cx: &mut Context<'_>,
        key: &FlowKey,
        segment: &Segment<'_>,
    ) -> SynVerdict {
        let flags = segment.header.flags;
        if flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK | Flags::RST) {
            if Seq(segment.header.seq) == self.irs {
                // The peer has not seen our SYN-ACK. If it now does without ECN, so do we (RFC 3168
                // section 6.1.1).
                if !ecn::accepts(&cx.core.config, &segment.header) {
                    self.flags &= !HAS_ECN;
                }
                return self.syn_ack_again(cx);
            }
            // A SYN with another number is another attempt, which must wait for this one to end
            // (RFC 5961 section 4.2). A peer that has forgotten the first resets it when it sees
            // our SYN-ACK.
            cx.core.counters.syn_challenged += 1;
            return match cx.core.may_challenge(cx.now) {
                true => self.syn_ack_again(cx),
                false => SynVerdict::Stays,
            };
        }
        if flags.contains(Flags::RST) && Seq(segment.header.seq) == self.irs + 1 {
            cx.core.counters.attempt_fails += 1;
            return SynVerdict::Gone;
        }
        SynVerdict::Opens(self.to_tcb(cx, key))
    }

    fn syn_ack_again(&mut self, cx: &mut Context<'_>) -> SynVerdict {
        self.flags |= SENT_AGAIN;
        cx.core.counters.syn_ack_retransmits += 1;
        cx.core.counters.retrans_segs += 1;
        SynVerdict::SynAckAgain
    }

    /// Whether this does not acknowledge its SYN-ACK, though perhaps another one: that of a SYN cookie
    /// which the XDP program has sent.
    pub fn gives_way_to_cookie(&self, acknowledgment: &Header) -> bool {
        Seq(acknowledgment.ack) != self.iss + 1
    }

    /// Its path carries no more than this in one segment.
    pub fn limit_mss(&mut self, path_mss: u16) {
        self.path_mss = self.path_mss.min(path_mss);
    }

    /// Its connection is still in SYN-RECEIVED and is given up for the entry again.
    pub fn fold_back(&mut self, tcb: &Tcb) {
        self.challenged_at = tcb.challenged_at;
    }

    /// The SYN-ACK.
    pub fn syn_ack(&self, cx: &mut Context<'_>, key: &FlowKey) -> Header {
        cx.core.counters.out_segs += 1;
        let options = &cx.core.options[self.options];
        let clock = cx.now.as_millis() as u32;
        let clock = match self.is_cookie() {
            true => self.offer().into_clock(clock),
            false => clock,
        };
        let tsval = clock.wrapping_add(cx.core.isn.timestamp_offset(key));
        Header {
            seq: self.iss.0,
            ack: (self.irs + 1).0,
            flags: if self.has(HAS_ECN) {
                Flags::SYN | Flags::ACK | Flags::ECE
            } else {
                Flags::SYN | Flags::ACK
            },
            window: options.syn_window(),
            urgent: 0,
            options: Options {
                mss: Some(self.path_mss),
                window_scale: self.has(HAS_SCALE).then(|| options.window_shift()),
                sack_permitted: self.has(HAS_SACK),
                timestamps: self.has(HAS_TIMESTAMPS).then_some(Timestamps {
                    tsval,
                    tsecr: self.tsval,
                }),
                fast_open: self.cookie(cx, key),
                ..Options::default()
            },
        }
    }

    /// What the timestamp of a cookie says.
    fn offer(&self) -> Offer {
        Offer {
            window_scale: self.has(HAS_SCALE).then_some(self.window_scale),
            sack: self.has(HAS_SACK),
            ecn: self.has(HAS_ECN),
        }
    }

    /// Whether it is not to be kept: its SYN-ACK is a SYN cookie.
    pub fn is_cookie(&self) -> bool {
        self.has(IS_COOKIE)
    }

    /// The connection in SYN-RECEIVED that takes the acknowledgment of a
    /// [cookie](Listener::handle_cookie).
    pub fn open(&self, cx: &mut Context<'_>, key: &FlowKey) -> Tcb {
        let mut tcb = self.to_tcb(cx, key);
        // Should it stay there, against all expectation, it will not do so for ever.
        tcb.timers
            .set(Timer::Retransmission, cx.now + tcb.rtt.rto());
        tcb
    }

    /// What the IP header of its SYN-ACK says.
    pub fn marking(&self, core: &Core) -> Marking {
        core.options[self.options].marking()
    }

    fn cookie(&self, cx: &Context<'_>, key: &FlowKey) -> Option<FastOpen> {
        self.has(GIVES_COOKIE)
            .then(|| cx.core.isn.fast_open_cookie(key, cx.now))
    }

    /// Whether text on the SYN is to be taken at once, by [`fast_open`](Self::fast_open).
    pub fn takes_text(&self) -> bool {
        self.has(TAKES_TEXT)
    }

    /// The connection in SYN-RECEIVED that takes the text on the SYN, by
    /// [`Tcb::handle_text_on_syn`], and owes the SYN-ACK (RFC 7413 section 4.2.2).
    pub fn fast_open(&self, cx: &mut Context<'_>, key: &FlowKey) -> Tcb {
        let mut tcb = self.to_tcb(cx, key);
        tcb.become_early(cx.core, self.cookie(cx, key), key.remote);
        tcb.pending.syn = true;
        tcb.sent_at = Instant::ZERO;
        tcb
    }

    /// Its timer is due: the SYN-ACK is to be sent again, or `false` when it was sent often enough.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) -> bool {
        if self.retransmissions >= cx.core.config.syn_ack_retransmissions {
            cx.core.counters.attempt_fails += 1;
            return false;
        }
        self.retransmissions += 1;
        cx.core.counters.syn_ack_retransmits += 1;
        cx.core.counters.retrans_segs += 1;
        let backoff = INITIAL_RTO.as_millis() << self.retransmissions.min(16);
        self.deadline = cx.now + Duration::from_millis(backoff.min(MAX_RTO.as_millis()));
        true
    }

    /// How often the SYN-ACK was sent again.
    pub(super) fn retransmissions(&self) -> u8 {
        self.retransmissions
    }

    fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The connection in SYN-RECEIVED that this entry stands for.
    fn to_tcb(&self, cx: &mut Context<'_>, key: &FlowKey) -> Tcb {
        let opening = Opening {
            timestamp_offset: cx.core.isn.timestamp_offset(key),
            path_mss: self.path_mss,
            is_ipv4: key.local.is_ipv4(),
        };
        let mut tcb = Tcb::new(cx, self.iss, opening, self.options);
        tcb.state = State::Listen;
        tcb.passive = true;
        tcb.transition(Event::Syn);
        let options = Options {
            mss: self.has(HAS_MSS).then_some(self.mss),
            window_scale: self.has(HAS_SCALE).then_some(self.window_scale),
            sack_permitted: self.has(HAS_SACK),
            timestamps: self.has(HAS_TIMESTAMPS).then_some(Timestamps {
                tsval: self.tsval,
                tsecr: 0,
            }),
            ..Options::default()
        };
        tcb.recall_path(cx, key);
        tcb.challenged_at = self.challenged_at;
        tcb.negotiate(&cx.core.config, &options, cx.now);
        if self.has(HAS_ECN) {
            tcb.ecn = Ecn::capable(self.iss);
        }
        tcb.start_receiving(self.irs);
        tcb.snd.nxt = self.iss + 1;
        tcb.snd.wnd = u32::from(self.window);
        tcb.snd.max_wnd = tcb.snd.wnd;
        // RFC 6298 rule 5.7.
        for _ in 0..self.retransmissions {
            tcb.rtt.on_timeout();
        }
        if self.is_cookie() {
            // Nobody knows when; and its timestamp is up to 63 ms older than it was.
            tcb.sent_at = Instant::ZERO;
        } else if self.has(SENT_AGAIN) || self.retransmissions > 0 {
            tcb.sent_at = Instant::FAR_FUTURE;
        } else {
            tcb.sent_at = Instant::from_nanos(
                self.deadline
                    .as_nanos()
                    .saturating_sub(INITIAL_RTO.as_nanos()),
            );
        }
        tcb
    }
}

impl SynEntry {
    /// Whether a segment may open a connection (RFC 9293 section 3.10.7.2): a SYN, no RST, no ACK;
    /// and no FIN, which no honest peer sends with it.
    pub fn opens(header: &Header) -> bool {
        header.flags.contains(Flags::SYN)
            && !header
                .flags
                .intersects(Flags::RST | Flags::ACK | Flags::FIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 8 of the design, with the 16 bytes that the stack adds for the way back.
    #[test]
    fn a_half_open_connection_is_small() {
        assert!(size_of::<SynEntry>() <= 48, "{}", size_of::<SynEntry>());
    }
}
