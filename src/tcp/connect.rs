//! Active opens (OPEN of RFC 9293 section 3.10.1).

use super::context::Context;
use super::seq::Seq;
use super::state::Event;
use super::tcb::{Opening, Tcb};
use super::timers::Timer;
use crate::wire::FlowKey;

impl Tcb {
    /// An active open: a connection in SYN-SENT that owes its SYN. `path_mss` is the MTU less the
    /// fixed IP and TCP headers.
    pub fn connect(cx: &mut Context<'_>, key: &FlowKey, path_mss: u16) -> Self {
        let iss = cx.core.isn.isn(key, cx.now);
        Self::open_actively(cx, key, path_mss, iss)
    }

    /// As [`connect`](Self::connect), in the place of a [`TimeWait`](super::TimeWait) that
    /// [lets it](super::TimeWait::gives_way).
    pub fn reconnect(cx: &mut Context<'_>, key: &FlowKey, path_mss: u16, beyond: Seq) -> Self {
        let iss = cx.core.isn.isn_beyond(key, cx.now, Some(beyond));
        cx.core.counters.time_wait_recycled += 1;
        Self::open_actively(cx, key, path_mss, iss)
    }

    fn open_actively(cx: &mut Context<'_>, key: &FlowKey, path_mss: u16, iss: Seq) -> Self {
        let opening = Opening {
            iss,
            timestamp_offset: cx.core.isn.timestamp_offset(key),
            path_mss,
            is_ipv4: key.local.is_ipv4(),
        };
        let mut tcb = Self::new(&cx.core.config, opening);
        tcb.recall_path(cx, key);
        tcb.transition(Event::Open);
        tcb.snd.nxt = tcb.snd.iss + 1;
        tcb.pending.syn = true;
        tcb.timers
            .set(Timer::Retransmission, cx.now + tcb.rtt.rto());
        cx.core.counters.active_opens += 1;
        tcb
    }
}
