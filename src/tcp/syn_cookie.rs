//! SYN cookies (RFC 4987 sections 3.6 and 3.7): while the SYN queue is full, what a half-open
//! connection would remember goes out with the SYN-ACK and comes back with its acknowledgment.
//! Nothing is kept of it meanwhile.
//!
//! The ISS is a keyed hash of the flow, the peer's ISS and the time in steps, plus an index into a
//! table of segment sizes. What else the peer's SYN has offered goes into the low bits of our
//! TSval, as in Linux. A peer without timestamps is offered none of it: nothing could say
//! afterwards what was agreed.
//!
//! What is given up: the SYN-ACK is not sent again, and the ISS does not grow with time (RFC 9293
//! section 3.4.1), which is why a SYN that reopens a TIME-WAIT gets no cookie.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::context::{Context, Core};
use super::ecn::EcnMode;
use super::isn::IsnGenerator;
use super::listen::{
    HAS_ECN, HAS_MSS, HAS_SACK, HAS_SCALE, HAS_TIMESTAMPS, IS_COOKIE, Listener, SynEntry, offered,
};
use super::options::Marking;
use super::seq::Seq;
use super::tcb::{DEFAULT_MSS_IPV4, DEFAULT_MSS_IPV6};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, Header, Options};
use crate::wire::{COOKIE_SIZES, CookieSecrets, CookieTerms, FlowKey};

/// The time in a cookie. One is right in its own step and in the next: for 64 to 128 seconds, which
/// is about as long as a half-open connection lasts, and what Linux takes.
const STEP: Duration = Duration::from_secs(64);
const LIFETIME: Duration = Duration::from_secs(128);
/// Steps with one key: more than an hour, as with Fast Open's.
const STEPS_PER_KEY: u64 = 64;
/// Segment sizes that a cookie can say; the largest that does not exceed the peer's is said. What
/// is common according to Alcock and Nelson, "An Analysis of TCP Maximum Segment Sizes" (2011), by
/// way of Linux's comments, jumbo frames, and our own least. With two steps in force, sixteen numbers of
/// 2^32 are right: a blind guess hits once in 2^28.
const MSS_IPV4: [u16; COOKIE_SIZES] = [48, 536, 1_220, 1_300, 1_380, 1_440, 1_460, 8_960];
const MSS_IPV6: [u16; COOKIE_SIZES] = [48, 536, 1_220, 1_300, 1_380, 1_420, 1_440, 8_940];

/// Low bits of a TSval: the window scale, or [`NO_SCALE`]; SACK; ECN.
const TIMESTAMP_BITS: u32 = 0x3f;
const SCALE_BITS: u32 = 0x0f;
/// No legal scale: RFC 7323 section 2.3 ends at 14.
const NO_SCALE: u32 = 0x0f;
const MOST_SCALE: u8 = 14;
const SACK_BIT: u32 = 0x10;
const ECN_BIT: u32 = 0x20;

/// When SYNs are answered with cookies; as Linux's `tcp_syncookies` of 0, 1 and 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SynCookies {
    /// Never: SYNs that find the queue full are dropped.
    Off,
    /// While the queue is full, and until the flood has ended.
    #[default]
    Auto,
    /// To every SYN.
    Always,
}

impl IsnGenerator {
    /// What makes cookies from `now` on, for more than an hour.
    pub fn cookie_secrets(&self, now: Instant) -> CookieSecrets {
        let epoch = step(now) / STEPS_PER_KEY;
        CookieSecrets {
            keys: [epoch, epoch + 1].map(|epoch| (epoch, self.syn_cookie_key(epoch).keys().into())),
            timestamp_key: self.timestamp_key(),
            mss_ipv4: MSS_IPV4,
            mss_ipv6: MSS_IPV6,
        }
    }
}

/// The keys in force, so that they are made once: one of an even and one of an odd time.
#[derive(Clone, Debug, Default)]
pub(super) struct CookieKeys([Option<(u64, SipHasher24)>; 2]);

impl CookieKeys {
    fn of(&mut self, isn: &IsnGenerator, step: u64) -> SipHasher24 {
        let epoch = step / STEPS_PER_KEY;
        let slot = &mut self.0[(epoch % 2) as usize];
        match *slot {
            Some((made_for, key)) if made_for == epoch => key,
            _ => slot.insert((epoch, isn.syn_cookie_key(epoch))).1,
        }
    }

    /// The ISS for a peer whose ISS is `irs` and that takes segments of `mss`.
    pub(super) fn make(
        &mut self,
        isn: &IsnGenerator,
        now: Instant,
        key: &FlowKey,
        irs: Seq,
        mss: u16,
    ) -> Seq {
        let fits = |size: &u16| *size <= mss;
        let index = sizes(key).iter().rposition(fits).unwrap_or(0);
        self.base(isn, step(now), key, irs) + index as u32
    }

    /// The MSS that `iss` says, if it is a cookie of ours for this peer, and not too old.
    pub(super) fn judge(
        &mut self,
        isn: &IsnGenerator,
        now: Instant,
        key: &FlowKey,
        irs: Seq,
        iss: Seq,
    ) -> Option<u16> {
        let now = step(now);
        // The same work for right ones and wrong ones.
        let said = [Some(now), now.checked_sub(1)].map(|step| {
            let index = iss.since(self.base(isn, step?, key, irs));
            sizes(key).get(index as usize).copied()
        });
        said.into_iter().flatten().next()
    }

    fn base(&mut self, isn: &IsnGenerator, step: u64, key: &FlowKey, irs: Seq) -> Seq {
        let mut hasher = self.of(isn, step);
        hasher.write(key.local.octets());
        hasher.write(key.remote.octets());
        hasher.write_u32(u32::from(key.local_port) << 16 | u32::from(key.remote_port));
        hasher.write_u32(irs.0);
        hasher.write_u64(step);
        Seq(hasher.finish() as u32)
    }
}

fn step(now: Instant) -> u64 {
    now.as_nanos() / STEP.as_nanos()
}

fn sizes(key: &FlowKey) -> &'static [u16; COOKIE_SIZES] {
    if key.local.is_ipv4() {
        &MSS_IPV4
    } else {
        &MSS_IPV6
    }
}

/// What a SYN has offered, as the timestamp of a cookie can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) window_scale: Option<u8>,
    pub(super) sack: bool,
    pub(super) ecn: bool,
}

impl Offer {
    /// A reading of the clock that says it: at most 63 ms old, never ahead, so that timestamps
    /// that follow are newer, and never older than one of a cookie before.
    pub(super) fn into_clock(self, clock: u32) -> u32 {
        let scale = self.window_scale.map(|shift| shift.min(MOST_SCALE).into());
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let bits = scale.unwrap_or(NO_SCALE) | flag(self.sack, SACK_BIT) | flag(self.ecn, ECN_BIT);
        let told = clock & !TIMESTAMP_BITS | bits;
        if bits > clock & TIMESTAMP_BITS {
            told.wrapping_sub(TIMESTAMP_BITS + 1)
        } else {
            told
        }
    }

    /// What such a reading says; `None` for one that no cookie in force has had.
    pub(super) fn from_clock(told: u32, clock: u32) -> Option<Self> {
        let age = clock.wrapping_sub(told);
        let oldest = LIFETIME.as_millis() as u32 + TIMESTAMP_BITS;
        let scale = told & SCALE_BITS;
        (age <= oldest).then(|| Self {
            window_scale: (scale != NO_SCALE).then_some(scale as u8),
            sack: told & SACK_BIT != 0,
            ecn: told & ECN_BIT != 0,
        })
    }
}

impl Listener {
    /// A half-open connection of which nothing is kept.
    pub(super) fn make_cookie(
        &mut self,
        cx: &mut Context<'_>,
        key: &FlowKey,
        syn: &Header,
        path_mss: u16,
    ) -> SynEntry {
        cx.core.counters.syn_cookies_sent += 1;
        self.pressure.on_sent(cx.now, 1);
        let offered = offered(&cx.core.config, syn);
        let flags = match offered & HAS_TIMESTAMPS {
            0 => offered & HAS_MSS,
            _ => offered,
        };
        let default = if key.local.is_ipv4() {
            DEFAULT_MSS_IPV4
        } else {
            DEFAULT_MSS_IPV6
        };
        let (irs, mss) = (Seq(syn.seq), syn.options.mss.unwrap_or(default));
        let Core {
            syn_cookies, isn, ..
        } = &mut *cx.core;
        let iss = syn_cookies.make(isn, cx.now, key, irs, mss);
        self.entry(cx.now, syn, iss, path_mss, flags | IS_COOKIE)
    }

    /// A segment that no connection knows: if it acknowledges a cookie of ours, the half-open
    /// connection that the SYN stood for, which it [opens](SynEntry::open).
    pub fn handle_cookie(
        &mut self,
        cx: &mut Context<'_>,
        key: &FlowKey,
        header: &Header,
        path_mss: u16,
    ) -> Option<SynEntry> {
        if !self.may_be_cookie(cx, header) {
            return None;
        }
        let Some((mss, offer)) = judge_cookie(cx, key, header) else {
            cx.core.counters.syn_cookies_failed += 1;
            return None;
        };
        cx.core.counters.syn_cookies_recv += 1;
        cx.core.counters.passive_opens += 1;
        self.pressure.on_answered(cx.now);
        let has_ecn = cx.core.config.ecn != EcnMode::Off;
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        // The peer may have changed it; nobody gets what is switched off.
        let flags = offer.map_or(0, |offer| {
            HAS_TIMESTAMPS
                | flag(offer.window_scale.is_some(), HAS_SCALE)
                | flag(offer.sack, HAS_SACK)
                | flag(offer.ecn && has_ecn, HAS_ECN)
        });
        let path_mss = cx.core.options[self.options].clamp_mss(path_mss);
        // The SYN, as far as it is known again.
        let syn = Header {
            seq: header.seq.wrapping_sub(1),
            window: header.window,
            options: Options {
                mss: Some(mss),
                window_scale: offer.and_then(|offer| offer.window_scale),
                timestamps: header.options.timestamps,
                ..Options::default()
            },
            ..Header::default()
        };
        let iss = Seq(header.ack) - 1;
        Some(self.entry(cx.now, &syn, iss, path_mss, flags | HAS_MSS | IS_COOKIE))
    }

    /// What its cookies say, where the path takes `path_mss`.
    pub fn cookie_terms(&self, core: &Core, path_mss: u16) -> CookieTerms {
        let (config, options) = (&core.config, &core.options[self.options]);
        let Marking {
            traffic_class,
            hop_limit,
        } = options.marking();
        CookieTerms {
            mss: options.clamp_mss(path_mss),
            window: options.syn_window(),
            window_scale: config.window_scale.then(|| options.window_shift()),
            sack: config.sack,
            timestamps: config.timestamps,
            ecn: config.ecn != EcnMode::Off,
            traffic_class,
            hop_limit,
        }
    }

    /// So many cookies were sent in its stead since the last call; their acknowledgments come here.
    pub fn note_cookies(&mut self, now: Instant, sent: usize) {
        self.pressure.on_sent(now, sent);
    }

    /// Whether a segment acknowledges a cookie of this listener's.
    pub fn is_cookie(&self, cx: &mut Context<'_>, key: &FlowKey, header: &Header) -> bool {
        self.may_be_cookie(cx, header) && judge_cookie(cx, key, header).is_some()
    }

    fn may_be_cookie(&self, cx: &Context<'_>, header: &Header) -> bool {
        header.flags.contains(Flags::ACK)
            && !header.flags.intersects(Flags::SYN | Flags::RST)
            && self
                .pressure
                .expects_cookie(cx.now, cx.core.config.syn_cookies)
    }

    /// Whether SYNs are answered with cookies because the queue is, or was, too full.
    pub fn is_flooded(&self) -> bool {
        self.pressure.is_on()
    }

    /// Has the next [`take_flood`](Self::take_flood) tell of a flood although it has told of it.
    pub fn tell_flood_again(&mut self) {
        self.pressure.tells_again = true;
    }

    /// Whether it has become [flooded](Self::is_flooded) (true) or is no more (false) since the last
    /// call.
    pub fn take_flood(&mut self, now: Instant, core: &Core) -> Option<bool> {
        self.pressure
            .take_change(now, self.half_open, core.config.syn_queue)
    }
}

/// What a right cookie says: the MSS, and the rest if the peer has timestamps.
fn judge_cookie(
    cx: &mut Context<'_>,
    key: &FlowKey,
    header: &Header,
) -> Option<(u16, Option<Offer>)> {
    let (irs, iss) = (Seq(header.seq) - 1, Seq(header.ack) - 1);
    let Core {
        syn_cookies, isn, ..
    } = &mut *cx.core;
    let mss = syn_cookies.judge(isn, cx.now, key, irs, iss)?;
    let echo = header
        .options
        .timestamps
        .filter(|_| cx.core.config.timestamps);
    let Some(echo) = echo else {
        return Some((mss, None));
    };
    let told = echo.tsecr.wrapping_sub(cx.core.isn.timestamp_offset(key));
    let offer = Offer::from_clock(told, cx.now.as_millis() as u32)?;
    Some((mss, Some(offer)))
}

/// Whether a listener's SYN queue is under pressure.
///
/// Cookies begin when the queue is full. They end when it would be no more than half full had
/// there been none: half-open connections, and cookies that nobody has answered for as long as
/// these would have lasted. So a flood does not fill the queue again and again.
#[derive(Clone, Debug, Default)]
pub(super) struct Pressure {
    is_on: bool,
    /// What the last call of [`take_change`](Self::take_change) has told.
    told: bool,
    /// Whether it is to tell of what goes on, too.
    tells_again: bool,
    sent_at: Option<Instant>,
    /// Cookies that nobody has answered: of this step, and of the one before.
    unanswered: [usize; 2],
    step: u64,
}

impl Pressure {
    /// Whether the next SYN is to be answered with a cookie.
    pub(super) fn wants_cookie(
        &mut self,
        now: Instant,
        mode: SynCookies,
        half_open: usize,
        limit: usize,
    ) -> bool {
        match mode {
            SynCookies::Off => false,
            SynCookies::Auto => {
                self.is_on |= half_open >= limit;
                self.relax(now, half_open, limit);
                self.is_on
            }
            SynCookies::Always => true,
        }
    }

    /// Cookies are sent.
    pub(super) fn on_sent(&mut self, now: Instant, count: usize) {
        self.pass(now);
        self.sent_at = Some(now);
        self.unanswered[0] = self.unanswered[0].saturating_add(count);
    }

    /// A right one has come back.
    pub(super) fn on_answered(&mut self, now: Instant) {
        self.pass(now);
        let from = usize::from(self.unanswered[0] == 0);
        self.unanswered[from] = self.unanswered[from].saturating_sub(1);
    }

    /// Whether an acknowledgment may be that of a cookie. When none was sent for so long that it
    /// would not count any more, there is nothing to guess.
    pub(super) fn expects_cookie(&self, now: Instant, mode: SynCookies) -> bool {
        match mode {
            SynCookies::Off => false,
            SynCookies::Auto => self
                .sent_at
                .is_some_and(|sent_at| now.saturating_since(sent_at) < LIFETIME),
            SynCookies::Always => true,
        }
    }

    /// Whether cookies have begun (true) or ended (false) since the last call.
    pub(super) fn take_change(
        &mut self,
        now: Instant,
        half_open: usize,
        limit: usize,
    ) -> Option<bool> {
        self.relax(now, half_open, limit);
        let is_news = std::mem::replace(&mut self.told, self.is_on) != self.is_on;
        let again = std::mem::take(&mut self.tells_again) && self.is_on;
        (is_news || again).then_some(self.is_on)
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    fn relax(&mut self, now: Instant, half_open: usize, limit: usize) {
        if self.is_on {
            self.pass(now);
            let unanswered = self.unanswered[0].saturating_add(self.unanswered[1]);
            self.is_on = half_open.saturating_add(unanswered) > limit / 2;
        }
    }

    /// Time passes.
    fn pass(&mut self, now: Instant) {
        let step = step(now);
        match step.saturating_sub(self.step) {
            0 => return,
            1 => self.unanswered = [0, self.unanswered[0]],
            _ => self.unanswered = [0, 0],
        }
        self.step = step;
    }
}
