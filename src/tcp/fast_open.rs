//! TCP Fast Open (RFC 7413): text on the SYN, for peers that have shown before that they receive at
//! the address that they send from.
//!
//! A SYN may be delivered twice by the network, and its text then reaches two connections. Nothing
//! in TCP can tell (section 2.1). So neither side does it unasked: a listener only with
//! [`Config::fast_open_queue`](super::Config::fast_open_queue), an active open only with text given
//! to [`Tcb::send_early`]. Within one connection no octet is delivered twice, as ever.

use std::collections::{HashMap, VecDeque};

use super::arena_id::arena_id;
use super::context::{Context, Core};
use super::isn::IsnGenerator;
use super::seq::Seq;
use super::state::State;
use super::tcb::Tcb;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{FastOpen, Header};
use crate::wire::{Address, FlowKey};

/// How long cookies are made with one key (section 4.1.2). One made with the key before is right,
/// too, and is replaced.
const KEY_LIFETIME: Duration = Duration::from_secs(3_600);
/// Peers whose cookies are remembered (section 4.1.3).
const MAX_COOKIES: usize = 1_024;
/// How long a path that has swallowed a SYN with the option is spared it (section 4.1.3.1).
const SILENCE: Duration = Duration::from_secs(600);
/// How long a peer that has not taken our text is spared it.
const REFUSAL: Duration = Duration::from_secs(60);
/// Section 5.1: a connection that the peer has reset counts as pending for so long, or whoever
/// forges SYNs from living hosts, which then reset, could have as much text delivered as they like.
/// As long as a SYN would be answered, and what Linux takes.
const RESET_COUNTS_FOR: Duration = Duration::from_secs(60);
/// All options that a SYN with a cookie has, at the most.
const SYN_OPTIONS: u16 = 40;

/// Whether a peer's cookie is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    Wrong,
    /// Made with the last key.
    Old,
    Right,
}

impl IsnGenerator {
    /// The cookie for the peer of `key`. All cores make the same.
    pub(super) fn fast_open_cookie(&self, key: &FlowKey, now: Instant) -> FastOpen {
        self.cookie_of(key, epoch(now))
    }

    pub(super) fn judge_cookie(&self, key: &FlowKey, now: Instant, cookie: &FastOpen) -> Cookie {
        let epoch = epoch(now);
        if *cookie == self.cookie_of(key, epoch) {
            Cookie::Right
        } else if *cookie == self.cookie_of(key, epoch.wrapping_sub(1)) {
            Cookie::Old
        } else {
            Cookie::Wrong
        }
    }

    fn cookie_of(&self, key: &FlowKey, epoch: u64) -> FastOpen {
        let mac = self.fast_open_mac(key, epoch);
        FastOpen::new(&mac.to_be_bytes()).unwrap_or_default()
    }
}

fn epoch(now: Instant) -> u64 {
    now.as_nanos() / KEY_LIFETIME.as_nanos()
}

/// What one listener has pending (PendingFastOpenRequests of section 4.2).
#[derive(Clone, Debug, Default)]
pub(super) struct FastOpenQueue {
    pending: usize,
    /// When those that were reset stop to count.
    reset: VecDeque<Instant>,
}

impl FastOpenQueue {
    pub(super) fn enter(&mut self, now: Instant, limit: usize) -> bool {
        while self.reset.pop_front_if(|until| *until <= now).is_some() {}
        let has_room = self.pending + self.reset.len() < limit;
        self.pending += usize::from(has_room);
        has_room
    }

    pub(super) fn leave(&mut self, now: Instant, was_reset: bool) {
        self.pending = self.pending.saturating_sub(1);
        if was_reset {
            // No more than were pending, so no more than the limit.
            self.reset.push_back(now + RESET_COUNTS_FOR);
        }
    }
}

/// A connection that sends or takes text before it is established.
#[derive(Clone, Copy, Debug)]
pub(super) struct Early {
    /// The option of the first SYN, or of the SYN-ACK.
    option: Option<FastOpen>,
    /// The peer, whose cookie is to be remembered.
    remote: Address,
    /// Our SYN had text.
    sent_text: bool,
}

arena_id! {
    /// Which [`Early`] of the core's arena a connection has, until it is established.
    pub(super) EarlyId
}

impl Tcb {
    /// Sends text with the SYN if the peer has given us a cookie; else right behind the handshake,
    /// and asks for a cookie for the next time. To be called before the SYN has left. The text may
    /// reach the peer's application twice; to call this is to consent to that. Returns how many
    /// octets were queued.
    pub fn send_early(&mut self, cx: &mut Context<'_>, key: &FlowKey, text: &[u8]) -> usize {
        let option = match cx.core.cookies.get(&key.remote, cx.now) {
            Known::Nothing => Some(FastOpen::REQUEST),
            Known::Avoid => None,
            Known::Cookie { cookie, mss } => {
                let mss = mss.min(self.opening.path_mss);
                self.smss = mss.saturating_sub(SYN_OPTIONS).max(1);
                Some(cookie)
            }
        };
        self.become_early(cx.core, option, key.remote);
        self.send(cx, text)
    }

    /// Text on a SYN with a right cookie is to be taken; `option` goes on the SYN-ACK.
    pub(super) fn become_early(
        &mut self,
        core: &mut Core,
        option: Option<FastOpen>,
        remote: Address,
    ) {
        self.forget_early(core);
        let id = core.fast_opens.insert(Early {
            option,
            remote,
            sent_text: false,
        });
        self.early = Some(EarlyId::new(id));
    }

    /// Whether text may be queued, and of a server sent, before the handshake has ended.
    pub(super) fn may_send_early(&self) -> bool {
        self.early.is_some() && matches!(self.state, State::SynSent | State::SynReceived)
    }

    /// Whether text may follow the SYN-ACK (section 4.2.2). Not when that had to be sent again: the
    /// path, or the peer, may not be what it seems.
    pub(super) fn sends_behind_syn_ack(&self) -> bool {
        self.may_send_early()
            && self.passive
            && self.state == State::SynReceived
            && self.rtt.expirations() == 0
    }

    /// The option for the SYN or SYN-ACK that is about to be sent, and whether text goes with it. A
    /// SYN that is sent again has neither: something on the path may not like them (section 4.1.3.1).
    pub(super) fn early_option(
        &mut self,
        cx: &mut Context<'_>,
        first: bool,
    ) -> (Option<FastOpen>, bool) {
        let Some(early) = self
            .early
            .and_then(|id| cx.core.fast_opens.get_mut(id.index()))
        else {
            return (None, false);
        };
        if self.passive {
            return (early.option, false);
        }
        if !first || self.state != State::SynSent {
            if early.option.is_some() {
                let forgets = cx.core.cookies.avoid(early.remote, cx.now + SILENCE);
                cx.core.counters.fast_open_peers_forgotten += u64::from(forgets);
            }
            return (None, false);
        }
        let has_cookie = early.option.is_some_and(|option| !option.is_request());
        early.sent_text = has_cookie && !self.send.is_empty();
        if early.sent_text {
            cx.core.counters.fast_open_active += 1;
        }
        (early.option, early.sent_text)
    }

    /// Our SYN is acknowledged, SND.UNA right behind it: what became of the text on it, and the
    /// cookie for the next time. `sent_again` says that a SYN or SYN-ACK was.
    pub(super) fn end_early(&mut self, cx: &mut Context<'_>, header: &Header, sent_again: bool) {
        let Some(early) = self.forget_early(cx.core) else {
            return;
        };
        if self.passive {
            if sent_again {
                // What was sent behind the first SYN-ACK shares its fate.
                self.send.mark_all_lost(&mut cx.core.segments);
            }
            return;
        }
        let given = header.options.fast_open.filter(|it| !it.is_request());
        if let Some(cookie) = given {
            let mss = header.options.mss.unwrap_or(0).min(self.opening.path_mss);
            let forgets = cx
                .core
                .cookies
                .put(early.remote, cookie, mss.max(self.smss));
            cx.core.counters.fast_open_peers_forgotten += u64::from(forgets);
        }
        if !early.sent_text {
            return;
        }
        if Seq(header.ack) == self.snd.una {
            // Section 4.2.2: only the SYN was taken; the text goes again at once.
            cx.core.counters.fast_open_active_fails += 1;
            self.send
                .split_sent(&mut cx.core.segments, cx.buffers, self.smss);
            self.send.mark_all_lost(&mut cx.core.segments);
            if given.is_none() {
                let forgets = cx.core.cookies.avoid(early.remote, cx.now + REFUSAL);
                cx.core.counters.fast_open_peers_forgotten += u64::from(forgets);
            }
        }
    }

    pub(super) fn forget_early(&mut self, core: &mut Core) -> Option<Early> {
        let id = self.early.take()?;
        core.fast_opens.try_remove(id.index())
    }
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    Avoid,
    Cookie { cookie: FastOpen, mss: u16 },
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Cookie { cookie: FastOpen, mss: u16 },
    AvoidUntil(Instant),
}

/// Cookies that peers have given us, and peers that are better spared (section 4.1.3). A core's; when
/// it is full, the oldest goes.
#[derive(Debug, Default)]
pub(super) struct CookieCache {
    entries: HashMap<Address, Entry>,
    order: VecDeque<Address>,
}

impl CookieCache {
    fn get(&self, remote: &Address, now: Instant) -> Known {
        match self.entries.get(remote) {
            Some(&Entry::Cookie { cookie, mss }) => Known::Cookie { cookie, mss },
            Some(&Entry::AvoidUntil(until)) if now < until => Known::Avoid,
            Some(Entry::AvoidUntil(_)) | None => Known::Nothing,
        }
    }

    pub(super) fn put(&mut self, remote: Address, cookie: FastOpen, mss: u16) -> bool {
        self.insert(remote, Entry::Cookie { cookie, mss })
    }

    fn avoid(&mut self, remote: Address, until: Instant) -> bool {
        self.insert(remote, Entry::AvoidUntil(until))
    }

    /// Returns whether another peer was forgotten for it.
    fn insert(&mut self, remote: Address, entry: Entry) -> bool {
        if self.entries.insert(remote, entry).is_some() {
            return false;
        }
        self.order.push_back(remote);
        if self.order.len() <= MAX_COOKIES {
            return false;
        }
        let oldest = self.order.pop_front();
        oldest.is_some_and(|oldest| self.entries.remove(&oldest).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> FlowKey {
        FlowKey {
            local: Address::from_ipv4([198, 18, 0, 1]),
            remote: Address::from_ipv4([198, 18, 0, last]),
            local_port: 80,
            remote_port: u16::from(last),
        }
    }

    #[test]
    fn a_cookie_is_right_for_its_address_until_the_key_after_next() {
        let isn = IsnGenerator::new([7; 32]);
        let made = Instant::from_millis(3_600_000 * 5 + 1);
        let cookie = isn.fast_open_cookie(&key(2), made);
        let judge = |key, hours: u64| {
            isn.judge_cookie(&key, made + Duration::from_secs(3_600 * hours), &cookie)
        };
        assert_eq!(judge(key(2), 0), Cookie::Right);
        let other_port = FlowKey {
            remote_port: 999,
            ..key(2)
        };
        assert_eq!(judge(other_port, 0), Cookie::Right);
        assert_eq!(judge(key(2), 1), Cookie::Old);
        assert_eq!(judge(key(2), 2), Cookie::Wrong);
        assert_eq!(judge(key(3), 0), Cookie::Wrong);
        let other = IsnGenerator::new([8; 32]);
        assert_eq!(other.judge_cookie(&key(2), made, &cookie), Cookie::Wrong);
        let empty = FastOpen::REQUEST;
        assert_eq!(isn.judge_cookie(&key(2), made, &empty), Cookie::Wrong);
    }

    #[test]
    fn what_was_reset_counts_for_a_minute() {
        let mut queue = FastOpenQueue::default();
        let now = Instant::from_millis(5_000);
        assert!(queue.enter(now, 2) && queue.enter(now, 2));
        assert!(!queue.enter(now, 2));
        queue.leave(now, false);
        assert!(queue.enter(now, 2));
        queue.leave(now, true);
        assert!(!queue.enter(now + Duration::from_secs(59), 2));
        assert!(queue.enter(now + Duration::from_secs(60), 2));
    }

    #[test]
    fn the_cache_is_bounded_and_forgets_the_oldest() {
        let mut cache = CookieCache::default();
        let now = Instant::from_millis(5_000);
        let cookie = FastOpen::new(&[1; 8]).unwrap();
        let address = |n: u32| Address::from_ipv4(n.to_be_bytes());
        for n in 0..=MAX_COOKIES as u32 {
            assert_eq!(
                cache.put(address(n), cookie, 1_460),
                n == MAX_COOKIES as u32
            );
            assert!(!cache.put(address(n), cookie, 1_400));
        }
        assert_eq!(cache.entries.len(), MAX_COOKIES);
        assert_eq!(cache.get(&address(0), now), Known::Nothing);
        assert_eq!(
            cache.get(&address(1), now),
            Known::Cookie { cookie, mss: 1_400 }
        );
        cache.avoid(address(1), now + SILENCE);
        assert_eq!(cache.get(&address(1), now), Known::Avoid);
        assert_eq!(cache.get(&address(1), now + SILENCE), Known::Nothing);
    }
}
