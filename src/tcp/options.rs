//! Socket options: what may differ from one connection to another.
//!
//! One struct serves the defaults of a core, those of a listener, an application's wishes for one
//! connection, the configuration file and `ss`. Most connections share a handful of sets, so a core
//! keeps each set once and connections name theirs by index.

use std::num::{NonZeroU8, NonZeroU32};
use std::ops::Index;

use arrayvec::ArrayVec;
use slab::Slab;

use super::arena_id::arena_id;
use super::congestion::Algorithm;
use super::context::{Context, Core};
use super::tcb::Tcb;
use super::timers::Timer;
use crate::time::Duration;

/// The largest window that can be said: 16 bits, shifted by 14 (RFC 7323 section 2.3).
pub const MAX_WINDOW: u32 = 0xffff << 14;
/// Where a window that is tuned begins; Linux's `tcp_rmem` has the same effect.
const INITIAL_WINDOW: u32 = 64 * 1024;
/// What IANA recommends for the TTL, and Linux's default.
const HOP_LIMIT: NonZeroU8 = NonZeroU8::new(64).unwrap();
/// The six bits of the Differentiated Services field (RFC 2474 section 3).
const DSCP: u8 = 0xfc;
/// Sets looked at for one that is equal. An application that gives every connection its own pays
/// with memory, not with time; neither then nor when those connections have gone.
const SETS_COMPARED: usize = 32;

/// Keepalive probes (RFC 9293 section 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe; at least two hours by default (MUST-28).
    pub idle: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes before the connection is given up.
    pub count: u8,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(7_200),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}

/// What becomes of text that is not acknowledged when the application closes (SO_LINGER).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linger {
    /// It is sent in the background.
    #[default]
    Background,
    /// It is sent in the background for at most so long, and no longer than the user timeout lets
    /// it; then the connection is reset.
    For(Duration),
    /// The connection is reset at once.
    Reset,
}

/// The limit of a connection's buffer, in octets of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferLimit {
    /// It follows the path, up to this.
    Auto(u32),
    /// It is this.
    Fixed(u32),
}

impl BufferLimit {
    /// What it never exceeds.
    pub const fn most(self) -> u32 {
        match self {
            Self::Auto(octets) | Self::Fixed(octets) => octets,
        }
    }
}

/// What may differ from one connection to another. Named after the options of Linux's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Small segments go out while others are in flight: Nagle's algorithm is off (RFC 9293
    /// section 3.7.4).
    pub nodelay: bool,
    /// Segments that are not full wait until this is switched off, or 200 ms.
    pub cork: bool,
    /// No acknowledgment waits for company.
    pub quickack: bool,
    /// Keepalive probes (RFC 9293 section 3.8.4: off by default).
    pub keepalive: Option<Keepalive>,
    /// How long what was written may wait for its acknowledgment before the connection is given up
    /// (RFC 5482 section 3; TCP_USER_TIMEOUT). It also ends keepalive and zero-window probes.
    pub user_timeout: Option<Duration>,
    /// What a close does with text that is not acknowledged.
    pub linger: Linger,
    /// Octets received and not consumed: the receive window.
    pub receive_buffer: BufferLimit,
    /// The receive window never exceeds this, whatever the buffer.
    pub window_clamp: Option<u32>,
    /// Octets written and not acknowledged.
    pub send_buffer: BufferLimit,
    /// Octets written and not sent yet.
    pub notsent_lowat: Option<u32>,
    /// Congestion control.
    pub congestion: Algorithm,
    /// The largest MSS to offer and to use; counts for connections that are still to open.
    pub max_segment: Option<u16>,
    /// How long a FIN-WAIT-2 lasts that the application has closed.
    pub fin_wait_2: Duration,
    /// Octets per second that segments never leave faster than, whatever the congestion control
    /// (SO_MAX_PACING_RATE).
    pub max_pacing_rate: Option<u64>,
    /// The Differentiated Services field of what is sent (RFC 9293 section 3.9.1.9, MUST-48;
    /// IP_TOS, IPV6_TCLASS). The two low bits are ECN's and count for nothing.
    pub traffic_class: u8,
    /// The TTL or hop limit of what is sent (RFC 9293 section 3.9.2, MUST-49; IP_TTL,
    /// IPV6_UNICAST_HOPS).
    pub hop_limit: NonZeroU8,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            nodelay: false,
            cork: false,
            quickack: false,
            keepalive: None,
            user_timeout: None,
            linger: Linger::Background,
            receive_buffer: BufferLimit::Auto(6 * 1024 * 1024),
            window_clamp: None,
            send_buffer: BufferLimit::Auto(4 * 1024 * 1024),
            notsent_lowat: None,
            congestion: Algorithm::default(),
            max_segment: None,
            fin_wait_2: Duration::from_secs(60),
            max_pacing_rate: None,
            traffic_class: 0,
            hop_limit: HOP_LIMIT,
        }
    }
}

impl SocketOptions {
    /// The largest receive window that there will be.
    pub(super) fn most_window(&self) -> u32 {
        let clamp = self.window_clamp.unwrap_or(MAX_WINDOW).min(MAX_WINDOW);
        self.receive_buffer.most().min(clamp)
    }

    /// The receive window to begin with.
    pub(super) fn initial_window(&self) -> u32 {
        match self.receive_buffer {
            BufferLimit::Auto(_) => self.most_window().min(INITIAL_WINDOW),
            BufferLimit::Fixed(_) => self.most_window(),
        }
    }

    /// The window of a SYN, which is never scaled (RFC 7323 section 2.2).
    pub(super) fn syn_window(&self) -> u16 {
        self.initial_window().min(0xffff) as u16
    }

    /// The window scale to offer: the least shift that lets 16 bits say the largest window (RFC
    /// 7323 section 2.2).
    pub(super) fn window_shift(&self) -> u8 {
        let bits = u32::BITS - self.most_window().leading_zeros();
        (bits.saturating_sub(16) as u8).min(14)
    }

    /// What the IP headers of its segments say, but for ECN.
    pub fn marking(&self) -> Marking {
        Marking {
            traffic_class: self.traffic_class & DSCP,
            hop_limit: self.hop_limit.get(),
        }
    }

    /// What one segment may carry where the path would take `path_mss`.
    pub(super) fn clamp_mss(&self, path_mss: u16) -> u16 {
        self.max_segment.map_or(path_mss, |most| path_mss.min(most))
    }
}

/// What the IP headers of a connection's segments say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marking {
    /// The Differentiated Services field, in the upper six bits.
    pub traffic_class: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

arena_id! {
    /// Which of a core's sets of options a listener or a connection has.
    pub OptionsId
}

impl OptionsId {
    /// The core's defaults.
    pub const DEFAULT: Self = Self(NonZeroU32::MIN);
}

impl Default for OptionsId {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The sets of options of one core.
#[derive(Debug)]
pub(super) struct OptionSets {
    sets: Slab<OptionSet>,
    /// The latest of them, which alone are looked at for one that is equal. (The slab may have
    /// any number of empty places.)
    recent: ArrayVec<usize, SETS_COMPARED>,
}

#[derive(Debug)]
struct OptionSet {
    options: SocketOptions,
    /// Connections that have it.
    users: usize,
    /// A core's or a listener's: stays without users.
    pinned: bool,
}

impl OptionSets {
    /// With `defaults` as [`OptionsId::DEFAULT`].
    pub(super) fn new(defaults: SocketOptions) -> Self {
        let mut sets = Self {
            sets: Slab::new(),
            recent: ArrayVec::new(),
        };
        let id = sets.pin(defaults);
        debug_assert_eq!(id, OptionsId::DEFAULT);
        sets
    }

    /// A set that stays.
    pub(super) fn pin(&mut self, options: SocketOptions) -> OptionsId {
        let id = self.find_or_insert(options);
        self.sets[id.index()].pinned = true;
        id
    }

    /// One more connection has this set.
    pub(super) fn share(&mut self, id: OptionsId) -> OptionsId {
        self.sets[id.index()].users += 1;
        id
    }

    /// A connection has such a set from now on.
    fn acquire(&mut self, options: SocketOptions) -> OptionsId {
        let id = self.find_or_insert(options);
        self.share(id)
    }

    /// A connection does not need its set any more.
    fn release(&mut self, id: OptionsId) {
        let set = &mut self.sets[id.index()];
        set.users -= 1;
        if set.users == 0 && !set.pinned {
            self.sets.remove(id.index());
            self.recent.retain(|index| *index != id.index());
        }
    }

    fn find_or_insert(&mut self, options: SocketOptions) -> OptionsId {
        let is_equal = |index: &&usize| self.sets[**index].options == options;
        let index = match self.recent.iter().find(is_equal) {
            Some(&index) => index,
            None => self.insert(options),
        };
        OptionsId::new(index)
    }

    fn insert(&mut self, options: SocketOptions) -> usize {
        let index = self.sets.insert(OptionSet {
            options,
            users: 0,
            pinned: false,
        });
        if self.recent.is_full() {
            self.recent.remove(0);
        }
        self.recent.push(index);
        index
    }
}

impl Index<OptionsId> for OptionSets {
    type Output = SocketOptions;

    fn index(&self, id: OptionsId) -> &SocketOptions {
        &self.sets[id.index()].options
    }
}

#[cfg(test)]
impl Tcb {
    /// For tests that want small segments.
    pub(super) fn set_nodelay(&mut self, nodelay: bool) {
        self.nodelay = nodelay;
    }
}

#[cfg(any(test, fuzzing))]
impl OptionSets {
    /// How many connections have one.
    pub(super) fn users(&self) -> usize {
        self.sets.iter().map(|(_, set)| set.users).sum()
    }
}

#[cfg(test)]
impl OptionSets {
    /// Whether no connection has any.
    pub(super) fn is_idle(&self) -> bool {
        self.users() == 0
    }

    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    pub(super) fn defaults_mut(&mut self) -> &mut SocketOptions {
        &mut self.sets[0].options
    }
}

impl Core {
    /// What IP headers of segments say that are nobody's.
    pub fn marking(&self) -> Marking {
        self.options[OptionsId::DEFAULT].marking()
    }

    /// A set of options for a listener; stays for as long as the core.
    pub fn add_options(&mut self, options: SocketOptions) -> OptionsId {
        self.options.pin(options)
    }
}

impl Tcb {
    /// Its options.
    pub fn options<'a>(&self, core: &'a Core) -> &'a SocketOptions {
        &core.options[self.options.unwrap_or_default()]
    }

    /// Changes its options, as far as they can still count.
    pub fn set_options(&mut self, cx: &mut Context<'_>, options: SocketOptions) {
        let before = self.options(cx.core).clone();
        if before == options {
            return;
        }
        let new = cx.core.options.acquire(options);
        if let Some(old) = self.options.replace(new) {
            cx.core.options.release(old);
        }
        self.apply_options(cx, &before);
    }

    /// Changes some of its options.
    pub fn update_options(
        &mut self,
        cx: &mut Context<'_>,
        change: impl FnOnce(&mut SocketOptions),
    ) {
        let mut options = self.options(cx.core).clone();
        change(&mut options);
        self.set_options(cx, options);
    }

    /// What has changed since `before` takes effect.
    fn apply_options(&mut self, cx: &mut Context<'_>, before: &SocketOptions) {
        let options = self.options(cx.core).clone();
        self.nodelay = options.nodelay;
        self.cork = options.cork;
        if options.quickack && self.rcv.nxt != self.rcv.acked {
            self.pending.ack = super::tcb::AckDue::Now;
        }
        if options.keepalive != before.keepalive {
            self.timers.stop(Timer::Keepalive);
            self.restart_keepalive(cx.core, cx.now);
        }
        if options.user_timeout != before.user_timeout {
            self.arm_give_up(cx);
        }
        if options.receive_buffer != before.receive_buffer
            || options.window_clamp != before.window_clamp
        {
            self.apply_window_options(&options);
        }
        if options.max_pacing_rate != before.max_pacing_rate {
            self.limit_pacing(options.max_pacing_rate);
        }
        if options.congestion != before.congestion {
            self.switch_controller(options.congestion);
        }
    }

    /// Its options are not needed any more.
    pub(super) fn forget_options(&mut self, core: &mut Core) {
        if let Some(id) = self.options.take() {
            core.options.release(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_shift_just_reaches_the_buffer() {
        for (buffer, shift) in [
            (1, 0),
            (65_535, 0),
            (65_536, 1),
            (512 * 1024, 4),
            (6 * 1024 * 1024, 7),
            (u32::MAX, 14),
        ] {
            let options = SocketOptions {
                receive_buffer: BufferLimit::Auto(buffer),
                ..SocketOptions::default()
            };
            assert_eq!(options.window_shift(), shift, "{buffer}");
        }
    }

    #[test]
    fn equal_sets_are_one_and_what_nobody_has_is_gone() {
        let mut sets = OptionSets::new(SocketOptions::default());
        let nodelay = SocketOptions {
            nodelay: true,
            ..SocketOptions::default()
        };
        let first = sets.acquire(nodelay.clone());
        assert_eq!(sets.acquire(nodelay.clone()), first);
        assert_ne!(first, OptionsId::DEFAULT);
        assert!(sets[first].nodelay && !sets[OptionsId::DEFAULT].nodelay);
        sets.release(first);
        assert!(!sets.is_idle());
        sets.release(first);
        assert!(sets.is_idle());
        assert_eq!(sets.len(), 1);
        let pinned = sets.pin(nodelay);
        sets.share(pinned);
        sets.release(pinned);
        assert_eq!(sets.len(), 2, "a listener's stays");
    }

    #[test]
    fn sets_without_end_cost_no_search_without_end() {
        let mut sets = OptionSets::new(SocketOptions::default());
        for lowat in 0..1_000 {
            sets.acquire(SocketOptions {
                notsent_lowat: Some(lowat),
                ..SocketOptions::default()
            });
        }
        assert_eq!(sets.len(), 1_001);
        // Nor when they have gone: those that follow are shared as ever.
        for index in 1..=1_000 {
            sets.release(OptionsId::new(index as usize));
        }
        let nodelay = SocketOptions {
            nodelay: true,
            ..SocketOptions::default()
        };
        let first = sets.acquire(nodelay.clone());
        assert_eq!(sets.acquire(nodelay), first);
        assert!(
            sets.recent.len() <= 2,
            "of what is gone nothing is compared"
        );
    }
}
