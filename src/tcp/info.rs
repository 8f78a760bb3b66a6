//! A connection's state as `ss` shows it.

use super::context::Core;
use super::listen::SynEntry;
use super::liveness::elapsed;
use super::options::SocketOptions;
use super::state::State;
use super::tcb::Tcb;
use super::time_wait::TimeWait;
use super::timers::Timer;
use crate::time::{Duration, Instant};
use crate::wire::fixed_headers;

/// A snapshot of one connection: what `struct tcp_info` of Linux says, in octets and times where
/// that has segments and jiffies. What nobody measures is `None`.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// The state.
    pub state: State,
    /// Its options, where there is a connection.
    pub options: Option<Box<SocketOptions>>,
    /// Octets received in order and not consumed.
    pub receive_queue: u32,
    /// Octets written and not acknowledged.
    pub send_queue: u32,
    /// Octets written and not sent.
    pub unsent: u32,
    /// The next timer and the time until it is due.
    pub timer: Option<(&'static str, Duration)>,

    /// Retransmission timeouts in a row.
    pub timeouts: u8,
    /// Zero-window or keepalive probes in a row without an answer.
    pub probes: u8,

    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Its variation.
    pub rttvar: Duration,
    /// The least round trip of late.
    pub min_rtt: Option<Duration>,
    /// The round trip as a receiver can tell it.
    pub receive_rtt: Option<Duration>,
    /// The retransmission timeout in force.
    pub rto: Duration,
    /// How long an acknowledgment may wait for company; zero while they are quick.
    pub ato: Duration,

    /// Where loss recovery is: open, disorder, recovery or loss.
    pub ca_state: Option<&'static str>,
    /// The congestion control's name.
    pub congestion: &'static str,
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold; `None` while it has never been set.
    pub ssthresh: Option<u32>,
    /// Octets per second at which segments leave.
    pub pacing_rate: Option<u64>,
    /// Octets per second at which they arrive.
    pub delivery_rate: Option<u64>,
    /// Octets that have arrived, selectively acknowledged ones included.
    pub delivered: Option<u64>,

    /// Of those: what acknowledgments with an echo of congestion have delivered (RFC 3168).
    pub delivered_ce: Option<u64>,

    /// Time with something written that was not acknowledged, to the millisecond; the next two are
    /// part of it.
    pub busy: Duration,
    /// Of that: kept by the peer's window.
    pub rwnd_limited: Duration,
    /// Of that: kept by a send buffer that was full, all of it sent.
    pub sndbuf_limited: Duration,

    /// Octets of text in a full segment.
    pub mss: u16,
    /// The largest text received, an estimate of the same for the peer.
    pub receive_mss: u16,
    /// The MSS that we have offered.
    pub advertised_mss: u16,
    /// The path's MTU, as far as we know it.
    pub path_mtu: u16,

    /// Octets in flight.
    pub flight_size: u32,
    /// Of those: what the peer says it has.
    pub sacked: u32,
    /// Of those: what is taken for lost and not sent again.
    pub lost: u32,
    /// Acknowledgments that have shown segments to arrive out of order.
    pub reorderings_seen: Option<u32>,
    /// How many segments out of order they have arrived at the most; three at the least.
    pub reordering: Option<u32>,
    /// Duplicates that the peer has reported (RFC 2883).
    pub dsacks: Option<u32>,

    /// The peer's window.
    pub snd_wnd: u32,
    /// Our window.
    pub rcv_wnd: u32,
    /// What our window may be now.
    pub receive_limit: u32,
    /// The most that the application has consumed in a round trip.
    pub receive_space: Option<u32>,
    /// Shift counts of the peer and of ours.
    pub window_scale: (u8, u8),

    /// Time since text was last sent.
    pub last_data_sent: Option<Duration>,
    /// Time since text last arrived.
    pub last_data_received: Option<Duration>,
    /// Time since the peer was last heard.
    pub last_heard: Option<Duration>,

    /// Segments retransmitted.
    pub retransmissions: u32,
    /// Octets retransmitted, modulo 2^32.
    pub octets_retransmitted: u32,
    /// Octets of text sent, retransmitted ones included.
    pub octets_sent: u64,
    /// Octets of text acknowledged by the peer.
    pub octets_acked: u64,
    /// Octets of text received in order.
    pub octets_received: u64,
    /// Segments received, modulo 2^32.
    pub segs_in: u32,
    /// Segments sent, SYNs excepted, modulo 2^32.
    pub segs_out: u32,
    /// Segments with text received, modulo 2^32.
    pub data_segs_in: u32,
    /// Segments with text sent, modulo 2^32.
    pub data_segs_out: u32,
    /// Segments received out of order, modulo 2^32.
    pub out_of_order: u32,

    /// Whether SACK, timestamps and window scale are in use.
    pub sack: bool,
    /// See [`sack`](Self::sack).
    pub timestamps: bool,
    /// Whether ECN is in use (RFC 3168).
    pub ecn: bool,
}

impl Tcb {
    /// A snapshot.
    pub fn info(&self, core: &Core, now: Instant) -> Info {
        let ssthresh = self.controller.ssthresh();
        let statistics = &self.statistics;
        let tuning = self.receive_tuning(core);
        let has_received = self.octets_received(core) > 0;
        let headers = fixed_headers(self.opening.is_ipv4);
        let ledger = self.ledger(core);
        let spent = ledger.map(|ledger| ledger.chrono.spent(now));
        let spent = spent.unwrap_or_default();
        Info {
            state: self.state,
            options: Some(Box::new(self.options(core).clone())),
            receive_queue: self.unread(core),
            send_queue: self
                .snd
                .end
                .since(self.snd.una.max(self.snd.iss + 1).min(self.snd.end)),
            unsent: self.unsent(),
            timer: self.next_timer(now),
            timeouts: self.rtt.expirations(),
            probes: self.unanswered_probes.max(self.keepalive_probes),
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            min_rtt: self.min_rtt(),
            receive_rtt: tuning.map(|(rtt, _)| rtt),
            rto: self.rtt.rto(),
            ato: if self.is_quick(core) {
                Duration::ZERO
            } else {
                core.config.delayed_ack
            },
            congestion: self.controller.algorithm().name(),
            ca_state: Some(self.ca_state()),
            cwnd: self.controller.cwnd(),
            ssthresh: (ssthresh != u32::MAX).then_some(ssthresh),
            pacing_rate: self.pacing_rate(),
            delivery_rate: self.delivery_rate().map(|(rate, _)| rate),
            delivered: self.delivered(),
            delivered_ce: self.delivered_ce(),
            busy: spent.busy,
            rwnd_limited: spent.rwnd_limited,
            sndbuf_limited: spent.sndbuf_limited,
            mss: self.smss,
            receive_mss: self.rcv.rmss,
            advertised_mss: self.opening.path_mss,
            path_mtu: self.opening.path_mss.saturating_add(headers),
            flight_size: self.flight_size(),
            sacked: self.send.sacked(),
            lost: self.send.lost(),
            reorderings_seen: Some(u32::from(self.reord_seen())),
            reordering: Some(self.reordering(core)),
            dsacks: Some(u32::from(self.dsack_dups())),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.edge.since(self.rcv.nxt),
            receive_limit: self.window_limit(core),
            receive_space: tuning.map(|(_, space)| space),
            window_scale: (self.snd.shift, self.rcv.shift),
            last_data_sent: (statistics.data_segs_out > 0)
                .then(|| now.saturating_since(self.sent_at)),
            last_data_received: has_received.then(|| elapsed(now, self.text_at)),
            last_heard: self
                .state
                .is_synchronized()
                .then(|| elapsed(now, self.heard_at)),
            retransmissions: self.retransmits,
            octets_retransmitted: statistics.octets_retransmitted,
            octets_sent: self.octets_sent(core),
            octets_acked: self.octets_acked(core),
            octets_received: self.octets_received(core),
            segs_in: statistics.segs_in,
            segs_out: statistics.segs_out,
            data_segs_in: statistics.data_segs_in,
            data_segs_out: statistics.data_segs_out,
            out_of_order: statistics.out_of_order,
            sack: self.sack,
            timestamps: self.timestamps.is_some(),
            ecn: self.ecn.is_capable(),
        }
    }

    fn next_timer(&self, now: Instant) -> Option<(&'static str, Duration)> {
        let (timer, deadline) = self.timers.next()?;
        let name = match timer {
            Timer::GiveUp if self.state == State::FinWait2 => "fin-wait-2",
            _ => timer.name(),
        };
        Some((name, deadline.saturating_since(now)))
    }
}

impl SynEntry {
    /// A snapshot.
    pub fn info(&self, now: Instant) -> Info {
        Info {
            state: State::SynReceived,
            timer: Some(("retransmission", self.deadline.saturating_since(now))),
            retransmissions: u32::from(self.retransmissions()),
            ..Info::default()
        }
    }
}

impl TimeWait {
    /// A snapshot.
    pub fn info(&self, now: Instant) -> Info {
        Info {
            state: State::TimeWait,
            timer: Some(("time-wait", self.deadline.saturating_since(now))),
            ..Info::default()
        }
    }
}
