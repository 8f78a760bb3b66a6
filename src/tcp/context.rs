//! What the connections of one core share: settings, memory, counters, secrets.

use slab::Slab;

use super::buffers::Buffers;
use super::config::Config;
use super::duplicate_acks::CausesArena;
use super::fast_open::{CookieCache, Early};
use super::isn::IsnGenerator;
use super::memory_pressure::MemoryPressure;
use super::options::OptionSets;
use super::path_cache::PathCache;
use super::receive_queue::ReceiveMemory;
use super::receive_window::TuningArena;
use super::send_queue::SendSegment;
use super::statistics::LedgerArena;
use super::syn_cookie::CookieKeys;
use crate::time::{Duration, Instant};

/// One core's shared part of TCP. Connections refer to what is theirs in it by index.
#[derive(Debug)]
pub struct Core {
    /// Settings.
    pub config: Config,
    /// What has been counted.
    pub counters: Counters,
    pub(super) isn: IsnGenerator,
    pub(super) segments: Slab<SendSegment>,
    pub(super) receive: ReceiveMemory,
    pub(super) fast_opens: Slab<Early>,
    pub(super) cookies: CookieCache,
    pub(super) causes: CausesArena,
    pub(super) paths: PathCache,
    pub(super) tuning: TuningArena,
    pub(super) ledgers: LedgerArena,
    pub(super) options: OptionSets,
    pub(super) syn_cookies: CookieKeys,
    challenges: ChallengeLimit,
    resets: TokenBucket,
}

impl Core {
    /// An empty core.
    pub fn new(config: Config, isn: IsnGenerator) -> Self {
        Self {
            counters: Counters::default(),
            isn,
            segments: Slab::new(),
            receive: ReceiveMemory::new(config.receive_memory),
            fast_opens: Slab::new(),
            cookies: CookieCache::default(),
            causes: CausesArena::new(),
            paths: PathCache::default(),
            tuning: TuningArena::new(),
            ledgers: LedgerArena::new(),
            options: OptionSets::new(config.options.clone()),
            syn_cookies: CookieKeys::default(),
            challenges: ChallengeLimit::default(),
            resets: TokenBucket::new(config.resets_per_second),
            config,
        }
    }

    /// Whether nothing is held for any connection.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
            && self.receive.is_empty()
            && self.causes.is_empty()
            && self.fast_opens.is_empty()
            && self.tuning.is_empty()
            && self.ledgers.is_empty()
    }

    /// Octets held for applications, in whole pages.
    pub fn receive_bytes(&self) -> usize {
        self.receive.bytes()
    }

    /// What that may come to.
    pub fn receive_limit(&self) -> usize {
        self.receive.limit()
    }

    /// What a shortage of receive memory asks for.
    pub fn memory_pressure(&self) -> MemoryPressure {
        self.receive.pressure()
    }

    /// Whether there is too little memory for one more connection. Counts it.
    pub fn refuses_connection(&mut self) -> bool {
        let refuses = self.memory_pressure() >= MemoryPressure::Connections;
        self.counters.memory_connections_refused += u64::from(refuses);
        refuses
    }

    /// Whether one more answer to a segment that may be forged is within RFC 5961 section 7's
    /// limit.
    pub(super) fn may_challenge(&mut self, now: Instant) -> bool {
        let limit = self.config.challenge_acks_per_second;
        let granted = self.challenges.take(now, limit, &self.isn);
        if granted {
            self.counters.challenge_acks += 1;
        } else {
            self.counters.challenge_acks_suppressed += 1;
        }
        granted
    }

    /// Whether one more reset may be sent to somebody who has no connection. Counts it.
    pub fn may_reset(&mut self, now: Instant) -> bool {
        let granted = self.resets.take(now);
        if granted {
            self.counters.out_rsts += 1;
            self.counters.out_segs += 1;
        } else {
            self.counters.resets_suppressed += 1;
        }
        granted
    }
}

/// What a call into TCP needs besides the connection.
#[expect(missing_debug_implementations, reason = "a bundle of borrows")]
pub struct Context<'a> {
    /// The time of this turn.
    pub now: Instant,
    /// The memory of the connection's queue.
    pub buffers: &'a mut dyn Buffers,
    /// The core's shared part.
    pub core: &'a mut Core,
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What one core's TCP has counted; the names follow RFC 4022 and Linux's TcpExt.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Names and values, in order of declaration.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// SYNs sent to open a connection.
    active_opens,
    /// Connections that entered SYN-RECEIVED from LISTEN.
    passive_opens,
    /// Connections that became established.
    established,
    /// Opens that failed.
    attempt_fails,
    /// Established connections that were reset or timed out.
    established_resets,
    /// Segments received, of no connection too; not those that are malformed.
    in_segs,
    /// Segments sent, retransmissions included.
    out_segs,
    /// Segments retransmitted, SYNs and SYN-ACKs too.
    retrans_segs,
    /// Resets sent.
    out_rsts,
    /// Resets not sent to segments of no connection because of their limit.
    resets_suppressed,
    /// SYNs dropped because the SYN queue was full.
    listen_overflows,
    /// SYN-ACKs that were SYN cookies (RFC 4987 section 3.6).
    syn_cookies_sent,
    /// SYN cookies that came back and were right.
    syn_cookies_recv,
    /// Acknowledgments that came while cookies were out and were none.
    syn_cookies_failed,
    /// SYN-ACKs sent again.
    syn_ack_retransmits,
    /// Retransmission timers expired.
    timeouts,
    /// Fast retransmits.
    fast_retransmits,
    /// Retransmissions that waited because the kernel had not yet given the frame back.
    retransmits_deferred,
    /// Segments dropped by PAWS (RFC 7323 section 5).
    paws_rejected,
    /// Segments without the timestamps that were negotiated (RFC 7323 section 3.2).
    timestamps_missing,
    /// Segments outside the window.
    out_of_window,
    /// Resets in the window that were not exactly at RCV.NXT (RFC 5961 section 3.2).
    rst_challenged,
    /// SYNs on a synchronized connection (RFC 5961 section 4.2).
    syn_challenged,
    /// Acknowledgments outside the acceptable range (RFC 5961 section 5.2).
    ack_rejected,
    /// Challenge ACKs sent.
    challenge_acks,
    /// Challenge ACKs not sent because of their limit.
    challenge_acks_suppressed,
    /// Segments stored out of order.
    out_of_order_queued,
    /// Out-of-order segments dropped because of a limit.
    out_of_order_dropped,
    /// SYN cookies sent because 3/8 of the receive memory were used.
    memory_syn_cookies,
    /// Out-of-order segments of which something was not kept because 3/4 of it were used.
    memory_out_of_order_refused,
    /// SYNs and acknowledgments of SYN cookies dropped, and active opens that failed, because 7/8 of it
    /// were used.
    memory_connections_refused,
    /// Texts moved from frames to the heap because frames ran short.
    texts_compacted,
    /// Turns in which frames ran short and the heap's share of their text was used up.
    compact_memory_exhausted,
    /// Connections reset because their text had waited longest when that had happened.
    stalled_resets,
    /// Octets of text out of order thrown away to make room for text in order.
    out_of_order_pruned,
    /// Octets of text refused because the core's receive memory was used up.
    receive_memory_exhausted,
    /// Duplicate segments.
    duplicates,
    /// Zero-window probes sent.
    window_probes,
    /// Keepalive probes sent.
    keepalive_probes,
    /// Connections given up: no acknowledgment, no answer to probes, or an orphan in FIN-WAIT-2.
    timed_out,
    /// Connections reset because text arrived after the application had closed.
    aborts_on_data,
    /// Connections that entered TIME-WAIT.
    time_wait,
    /// TIME-WAITs ended early by a new SYN.
    time_wait_recycled,
    /// ICMP errors that quote nothing in flight (RFC 5927 section 4.1).
    icmp_out_of_window,
    /// ICMP errors remembered in case that the connection times out (RFC 5461).
    soft_errors,
    /// Packets said to be too big that are not, or for an MTU that no link has.
    packet_too_big_ignored,
    /// Packets said to be too big although larger ones have arrived (RFC 5927 section 7.2).
    packet_too_big_deferred,
    /// Path MTUs lowered because a router said so.
    path_mtu_lowered,
    /// Path MTUs lowered because nothing got through (RFC 4821 section 7.7).
    black_holes,
    /// Larger segments begun to see whether they arrive (RFC 4821).
    mtu_probes,
    /// Those that arrived.
    mtu_probes_acked,
    /// Those that did not.
    mtu_probes_lost,
    /// Paths forgotten before their time because too many are narrow.
    paths_forgotten,
    /// Segments with text that a router has marked (RFC 3168).
    ecn_ce_packets,
    /// Octets of their text.
    ecn_ce_octets,
    /// Windows reduced because the peer has seen a mark.
    ecn_reductions,
    /// Fast Open cookies given to peers that asked for one, or had an old one (RFC 7413).
    fast_open_cookies,
    /// Connections whose SYN brought text and a right cookie, and was believed.
    fast_open_passive,
    /// SYNs with a wrong cookie; the handshake went on without their text.
    fast_open_rejected,
    /// SYNs with a right cookie while too many such connections were not yet established.
    fast_open_overflows,
    /// Peers whose Fast Open cookies were forgotten because there are too many.
    fast_open_peers_forgotten,
    /// SYNs sent with text and a cookie.
    fast_open_active,
    /// Of those, the ones whose text was not acknowledged with them, and was sent again.
    fast_open_active_fails,
    /// Tail loss probes sent (RFC 8985 section 7).
    loss_probes,
    /// Losses that a tail loss probe has repaired.
    loss_probe_recoveries,
    /// Retransmissions found lost before the retransmission timer expired.
    lost_retransmits,
    /// Acknowledgments that have shown segments to arrive out of order.
    sack_reordering,
    /// SACK blocks not remembered because a connection has too many ranges, or because no whole
    /// segment is in them.
    sack_ranges_refused,
    /// Peers that have thrown away what they had selectively acknowledged (RFC 2018 section 8).
    sack_reneging,
    /// Duplicates reported by the peer (RFC 2883).
    dsack_received,
    /// Reports of more duplicates than there were retransmissions.
    dsack_ignored,
    /// Duplicates that count for no undo because an episode knows too many ranges of them.
    dsack_ranges_refused,
    /// Duplicates reported to the peer.
    dsack_sent,
    /// Duplicate ACKs that do not begin with what has caused them: too many were owed at once.
    duplicate_ack_causes_forgotten,
    /// Retransmission timeouts found spurious.
    spurious_rtos,
    /// Recoveries undone because of the echo of an old timestamp (RFC 3522).
    eifel_undos,
    /// Recoveries undone because all that was sent again was reported as duplicate.
    dsack_undos,
    /// Recoveries undone by F-RTO (RFC 5682).
    frto_undos,
    /// Receive windows that grew with what the application consumes.
    receive_windows_grown,
    /// Receive windows that would have grown but for the core's memory.
    receive_windows_held,
    /// Connections reset because what was written before the application closed was not acknowledged
    /// in time.
    orphans_given_up,
}

/// RFC 5961 section 7's limit. It differs from second to second by up to a half, so that nobody can
/// tell from how many of the answers are left to him whether others have got some (CVE-2016-5696).
#[derive(Debug, Default)]
struct ChallengeLimit {
    /// The second that `left` is of.
    second: Option<u64>,
    left: u32,
}

impl ChallengeLimit {
    /// `limit` is that of the average second.
    fn take(&mut self, now: Instant, limit: u32, isn: &IsnGenerator) -> bool {
        let second = now.as_millis() / 1_000;
        if self.second != Some(second) {
            self.second = Some(second);
            let half = limit / 2;
            let more = isn.chance(now) % (u64::from(half) * 2 + 1);
            // At most one and a half times the limit.
            self.left = (limit - half).saturating_add(more as u32);
        }
        let granted = self.left > 0;
        self.left -= u32::from(granted);
        granted
    }
}

/// A limit of events per second.
#[derive(Debug)]
struct TokenBucket {
    interval: Duration,
    /// The time at which the bucket was, or will be, full; late enough means empty.
    full_at: Instant,
    depth: Duration,
}

impl TokenBucket {
    fn new(per_second: u32) -> Self {
        let second = Duration::from_secs(1);
        Self {
            interval: second / u64::from(per_second.max(1)),
            full_at: Instant::ZERO,
            depth: second,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let full_at = if self.full_at < now {
            now
        } else {
            self.full_at
        } + self.interval;
        let granted = full_at.saturating_since(now) <= self.depth;
        if granted {
            self.full_at = full_at;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_grants_its_rate_and_no_more() {
        let mut bucket = TokenBucket::new(10);
        let start = Instant::from_millis(7_000);
        assert_eq!((0..100).filter(|_| bucket.take(start)).count(), 10);
        let later = start + Duration::from_millis(300);
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), 3);
    }

    /// CVE-2016-5696: how many there are in a second cannot be known before.
    #[test]
    fn the_limit_of_challenges_differs_from_second_to_second() {
        let seconds = |secret, offset: u64| -> Vec<usize> {
            let isn = IsnGenerator::new([secret; 32]);
            let mut limit = ChallengeLimit::default();
            (1..=500u64)
                .map(|second| {
                    let now = Instant::from_nanos(second * 1_000_000_000 + offset);
                    (0..2_000).filter(|_| limit.take(now, 100, &isn)).count()
                })
                .collect()
        };
        let granted = seconds(7, 0);
        assert!(granted.iter().all(|count| (50..=150).contains(count)));
        let mut distinct = granted.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 60, "{distinct:?}");
        let sum: usize = granted.iter().sum();
        assert!((47_000..53_000).contains(&sum), "{sum}");
        // Nor does another core, which reads its clock at another time, tell.
        assert_ne!(seconds(7, 1), granted);
        assert_ne!(seconds(8, 0), granted);
    }

    /// As with Linux's limit of 1 or 0: nothing is left to vary, and nothing overflows.
    #[test]
    fn the_least_and_the_largest_limit_are_kept() {
        let isn = IsnGenerator::new([7; 32]);
        let now = Instant::from_millis(7_000);
        let mut one = ChallengeLimit::default();
        assert_eq!((0..9).filter(|_| one.take(now, 1, &isn)).count(), 1);
        let mut most = ChallengeLimit::default();
        assert!(most.take(now, u32::MAX, &isn) && most.left >= u32::MAX / 2);
    }
}
