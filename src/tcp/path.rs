//! What ICMP errors say of the path: Path MTU Discovery (RFC 1191, RFC 8201), guarded as RFC 5927
//! asks, and soft errors (RFC 1122 section 4.2.3.9, RFC 5461).

use super::context::Context;
use super::input::Events;
use super::path_cache::PathLimit;
use super::pmtud::Search;
use super::seq::Seq;
use super::state::{Event, State};
use super::tcb::{CloseReason, TIMESTAMPS_LEN, Tcb};
use crate::time::{Duration, Instant};
use crate::wire::icmp::IcmpError;
use crate::wire::{FlowKey, fixed_headers};

/// How long a lowered MTU is believed: RFC 1191 section 6.3 and RFC 8201 section 4 advise ten
/// minutes, and forbid less than five.
pub(super) const BELIEVED: Duration = Duration::from_secs(600);
/// RFC 1191 section 3: no IPv4 link has less. A lower claim is a lie.
const LEAST_CLAIM_IPV4: u32 = 68;
/// Lower claims count as this, as in Linux (`min_pmtu`): a forged one must not make headers of all
/// we send.
pub(super) const LEAST_MTU_IPV4: u16 = 552;
/// RFC 8200 section 5; a claim of less is to be discarded (RFC 8201 section 4).
pub(super) const LEAST_MTU_IPV6: u16 = 1280;
/// RFC 1191 section 7: what MTUs there are, for routers that do not say theirs.
const PLATEAUS: [u32; 9] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296];

/// What is known of a path that carries less than the interface.
#[derive(Debug)]
pub(super) struct Path {
    /// SMSS as it would be without a path's say, options included.
    pub(super) peer_mss: u16,
    /// What the path carries, fixed headers excluded and options included.
    pub(super) mss: u16,
    /// When `mss` is not believed any more.
    pub(super) until: Instant,
    /// A claim that waits for a sign that it is true: a segment behind it and its MSS.
    pub(super) pending: Option<(Seq, u16)>,
    /// Packetization layer path MTU discovery, after a black hole (RFC 4821).
    pub(super) search: Option<Search>,
}

impl Tcb {
    /// An ICMP error has come for this connection, that quotes a segment which starts at `seq`.
    pub fn handle_icmp(
        &mut self,
        cx: &mut Context<'_>,
        key: &FlowKey,
        seq: u32,
        error: IcmpError,
    ) -> Events {
        // RFC 5927 section 4.1: SND.UNA =< SEG.SEQ < SND.NXT. Nothing is in flight where there is
        // no connection any more.
        if !Seq(seq).in_window(self.snd.una, self.flight_size()) {
            cx.core.counters.icmp_out_of_window += 1;
            return Events::NONE;
        }
        match error {
            IcmpError::PacketTooBig { mtu, quoted } => {
                self.handle_packet_too_big(cx, key, Seq(seq), mtu, quoted);
                Events::NONE
            }
            // RFC 5461 section 2.2: hard only for an open that has not been answered.
            IcmpError::PortUnreachable if self.state == State::SynSent => {
                self.finish(cx, Event::Reset, CloseReason::Refused);
                Events::CLOSED
            }
            IcmpError::PortUnreachable | IcmpError::Unreachable | IcmpError::Other => {
                // The timers decide; but then the application learns why.
                cx.core.counters.soft_errors += 1;
                self.soft_error = true;
                Events::NONE
            }
        }
    }

    /// A connection that has waited in vain ends for this reason.
    pub(super) fn timeout_reason(&self) -> CloseReason {
        if self.soft_error {
            CloseReason::Unreachable
        } else {
            CloseReason::TimedOut
        }
    }

    /// Something up to SND.UNA was acknowledged; the largest segment of it had `largest` octets.
    pub(super) fn on_path_progress(&mut self, cx: &mut Context<'_>, largest: u16) {
        self.soft_error = false;
        let size = largest + self.options_len();
        self.largest_acked = self.largest_acked.max(size);
        let una = self.snd.una;
        let Some(path) = &mut self.path else { return };
        // RFC 5927 section 7.2: what it is about has arrived.
        path.pending = path.pending.filter(|&(seq, _)| seq.at_or_after(una));
        self.on_probe_progress(cx);
    }

    /// What earlier connections have learned of the path.
    pub(super) fn recall_path(&mut self, cx: &Context<'_>, key: &FlowKey) {
        let known = cx.core.paths.lookup(&key.remote, cx.now);
        if let Some(limit) = known.filter(|limit| limit.mss < self.opening.path_mss) {
            self.path = Some(Box::new(Path {
                peer_mss: self.opening.path_mss,
                mss: limit.mss,
                until: limit.until,
                pending: None,
                search: None,
            }));
        }
    }

    /// SMSS is what both the peer and the path take. `peer_mss` is what the peer and the interface
    /// do.
    pub(super) fn set_peer_mss(&mut self, peer_mss: u16) {
        if let Some(path) = &mut self.path {
            path.peer_mss = peer_mss;
        }
        let mss = self.path.as_ref().map_or(peer_mss, |path| path.mss);
        self.smss = mss.min(peer_mss) - self.options_len();
        self.controller.on_smss(self.smss);
    }

    /// Before new text is sent: tries the interface's MTU again when a lower one is old.
    pub(super) fn tend_path(&mut self, now: Instant) {
        if let Some(path) = &self.path
            && path.until <= now
            && path.search.is_none()
        {
            let peer_mss = path.peer_mss;
            self.path = None;
            self.set_peer_mss(peer_mss);
        }
    }

    /// The retransmission timer has expired: a claim that waited for that is believed (RFC 5927
    /// section 7.2, with MAXSEGRTO of 1), and silence may mean a black hole (RFC 4821 section 7.7).
    pub(super) fn question_path(&mut self, cx: &mut Context<'_>) {
        if let Some(path) = &mut self.path
            && let Some((_, mss)) = path.pending.take()
        {
            self.lower_path(cx, mss);
        }
        self.detect_black_hole(cx);
    }

    /// The first lost segment is larger than the path carries. Cuts it, or returns `false` if there
    /// is no buffer for that now.
    pub(super) fn cut_lost(&mut self, cx: &mut Context<'_>) -> bool {
        self.forget_lost_probe(cx);
        let at = self.smss;
        self.send.split_lost(&mut cx.core.segments, cx.buffers, at)
    }

    /// The next segment with new text starts at `seq` and has `len` octets: as many of them as the
    /// path carries in one. `None` if there is no buffer for the rest.
    pub(super) fn cut_unsent(&mut self, cx: &mut Context<'_>, seq: Seq, len: u16) -> Option<u16> {
        if len <= self.smss || self.is_probe(seq, len) {
            return Some(len);
        }
        let at = self.smss;
        let is_cut = self
            .send
            .split_unsent(&mut cx.core.segments, cx.buffers, at);
        // Buffers come back without a word.
        self.pending.deferred |= !is_cut;
        is_cut.then_some(at)
    }

    /// Octets of the options of every segment.
    pub(super) fn options_len(&self) -> u16 {
        if self.timestamps.is_some() {
            TIMESTAMPS_LEN
        } else {
            0
        }
    }

    /// An MTU less fixed headers.
    pub(super) fn mss_of(&self, mtu: u16) -> u16 {
        mtu.saturating_sub(fixed_headers(self.opening.is_ipv4))
    }

    fn handle_packet_too_big(
        &mut self,
        cx: &mut Context<'_>,
        key: &FlowKey,
        seq: Seq,
        mtu: u32,
        quoted: u32,
    ) {
        let current = self.smss + self.options_len();
        let claim = self.judge_claim(mtu, quoted).map(|mtu| self.mss_of(mtu));
        // A probe may be larger than that.
        let Some(mss) = claim.filter(|&mss| mss < current || self.has_probe_at(seq)) else {
            cx.core.counters.packet_too_big_ignored += 1;
            return;
        };
        if mss < self.largest_acked {
            // RFC 5927 section 7.2: larger segments have arrived. If the path has changed, the timer
            // will tell.
            cx.core.counters.packet_too_big_deferred += 1;
            self.path_mut().pending = Some((seq, mss));
            return;
        }
        if mss >= current {
            // Only the probe was too big, and the router says what is not.
            return self.on_probe_too_big(mss);
        }
        let until = cx.now + BELIEVED;
        let limit = PathLimit { mss, until };
        let forgets = cx.core.paths.insert(key.remote, limit);
        cx.core.counters.paths_forgotten += u64::from(forgets);
        self.lower_path(cx, mss);
    }

    /// The MTU to believe in, if any.
    fn judge_claim(&self, mtu: u32, quoted: u32) -> Option<u16> {
        // RFC 5927 section 7.2: what is no larger than the hop carries is not too big for it.
        if mtu >= quoted {
            return None;
        }
        let mtu = if self.opening.is_ipv4 {
            let mtu = match mtu {
                0 => PLATEAUS.into_iter().find(|&plateau| plateau < quoted)?,
                1..LEAST_CLAIM_IPV4 => return None,
                _ => mtu,
            };
            mtu.max(LEAST_MTU_IPV4.into())
        } else {
            Some(mtu).filter(|&mtu| mtu >= LEAST_MTU_IPV6.into())?
        };
        u16::try_from(mtu).ok()
    }

    /// The path carries no more than `mss`. What is in flight and larger has not arrived: it is sent
    /// again at once. That is no congestion (RFC 1191 section 6.4).
    pub(super) fn lower_path(&mut self, cx: &mut Context<'_>, mss: u16) {
        if mss >= self.smss + self.options_len() {
            return;
        }
        cx.core.counters.path_mtu_lowered += 1;
        let path = self.path_mut();
        path.mss = mss;
        path.until = cx.now + BELIEVED;
        path.pending = None;
        if let Some(search) = &mut path.search {
            search.narrow(mss);
        }
        let peer_mss = path.peer_mss;
        self.largest_acked = self.largest_acked.min(mss);
        self.set_peer_mss(peer_mss);
        if self.send.mark_larger_lost(&mut cx.core.segments, self.smss) {
            // What the duplicate acknowledgments to come say is known.
            self.forgive();
        }
    }

    /// The interface carries no more than `mss`, fixed headers excluded and options included. Unlike a
    /// path's say, that is not tried again after a while.
    pub fn limit_mss(&mut self, cx: &mut Context<'_>, mss: u16) {
        let options_len = self.options_len();
        let peer_mss = match &self.path {
            Some(path) => path.peer_mss,
            None => self.smss + options_len,
        };
        if matches!(self.state, State::SynSent | State::SynReceived) {
            // What the handshake will come to.
            self.opening.path_mss = self.opening.path_mss.min(mss);
        }
        if self.state == State::Closed || mss >= peer_mss {
            return;
        }
        self.largest_acked = self.largest_acked.min(mss);
        if let Some(path) = &mut self.path {
            path.mss = path.mss.min(mss);
            path.pending = None;
            if let Some(search) = &mut path.search {
                search.narrow(mss);
            }
        }
        self.set_peer_mss(mss);
        if self.send.mark_larger_lost(&mut cx.core.segments, self.smss) {
            self.forgive();
        }
    }

    /// The path's state, from now on.
    pub(super) fn path_mut(&mut self) -> &mut Path {
        let peer_mss = self.smss + self.options_len();
        self.path.get_or_insert_with(|| {
            Box::new(Path {
                peer_mss,
                mss: peer_mss,
                until: Instant::FAR_FUTURE,
                pending: None,
                search: None,
            })
        })
    }
}
