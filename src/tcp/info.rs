//! A connection's state as `ss` shows it.

use super::context::Core;
use super::listen::SynEntry;
use super::loss::LossInfo;
use super::state::State;
use super::tcb::Tcb;
use super::time_wait::TimeWait;
use crate::time::{Duration, Instant};

/// A snapshot of one connection. Octets and times, not segments and jiffies.
#[derive(Clone, Debug)]
pub struct Info {
    /// The state.
    pub state: State,
    /// Octets received in order and not consumed.
    pub receive_queue: u32,
    /// Octets written and not acknowledged.
    pub send_queue: u32,
    /// The next timer and the time until it is due.
    pub timer: Option<(&'static str, Duration)>,
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Its variation.
    pub rttvar: Duration,
    /// The retransmission timeout in force.
    pub rto: Duration,
    /// The congestion control's name.
    pub congestion: &'static str,
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold; `None` while it has never been set.
    pub ssthresh: Option<u32>,
    /// Octets of text in a full segment.
    pub mss: u16,
    /// Octets in flight.
    pub flight_size: u32,
    /// The peer's window.
    pub snd_wnd: u32,
    /// Our window.
    pub rcv_wnd: u32,
    /// Segments retransmitted.
    pub retransmissions: u32,
    /// Whether SACK, timestamps and window scale are in use.
    pub sack: bool,
    /// See [`sack`](Self::sack).
    pub timestamps: bool,
    /// Shift counts of the peer and of ours.
    pub window_scale: (u8, u8),
    /// Recovery from loss.
    pub loss: LossInfo,
}

impl Tcb {
    /// A snapshot.
    pub fn info(&self, core: &Core, now: Instant) -> Info {
        let ssthresh = self.controller.ssthresh();
        Info {
            state: self.state,
            receive_queue: self.unread(core),
            send_queue: self
                .snd
                .end
                .since(self.snd.una.max(self.snd.iss + 1).min(self.snd.end)),
            timer: self
                .timers
                .next()
                .map(|(timer, deadline)| (timer.name(), deadline.saturating_since(now))),
            srtt: self.rtt.srtt(),
            rttvar: self.rtt.rttvar(),
            rto: self.rtt.rto(),
            congestion: self.controller.algorithm().name(),
            cwnd: self.controller.cwnd(),
            ssthresh: (ssthresh != u32::MAX).then_some(ssthresh),
            mss: self.smss,
            flight_size: self.flight_size(),
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.edge.since(self.rcv.nxt),
            retransmissions: self.retransmits,
            sack: self.sack,
            timestamps: self.timestamps.is_some(),
            window_scale: (self.snd.shift, self.rcv.shift),
            loss: self.loss_info(),
        }
    }
}

impl SynEntry {
    /// A snapshot.
    pub fn info(&self, now: Instant) -> Info {
        Info {
            timer: Some(("retransmission", self.deadline.saturating_since(now))),
            retransmissions: u32::from(self.retransmissions()),
            ..Info::without_tcb(State::SynReceived)
        }
    }
}

impl TimeWait {
    /// A snapshot.
    pub fn info(&self, now: Instant) -> Info {
        Info {
            timer: Some(("time-wait", self.deadline.saturating_since(now))),
            ..Info::without_tcb(State::TimeWait)
        }
    }
}

impl Info {
    /// What is known of a connection that has no TCB.
    fn without_tcb(state: State) -> Self {
        Self {
            state,
            receive_queue: 0,
            send_queue: 0,
            timer: None,
            srtt: None,
            rttvar: Duration::ZERO,
            rto: Duration::ZERO,
            congestion: "",
            cwnd: 0,
            ssthresh: None,
            mss: 0,
            flight_size: 0,
            snd_wnd: 0,
            rcv_wnd: 0,
            retransmissions: 0,
            sack: false,
            timestamps: false,
            window_scale: (0, 0),
            loss: LossInfo::default(),
        }
    }
}
