//! Active opens (OPEN of RFC 9293 section 3.10.1).

use super::context::Context;
use super::options::OptionsId;
use super::seq::Seq;
use super::state::Event;
use super::tcb::{Opening, Tcb};
use super::timers::Timer;
use crate::wire::FlowKey;

impl Tcb {
    /// An active open: a connection in SYN-SENT that owes its SYN. `path_mss` is the MTU less the
    /// fixed IP and TCP headers.
    pub fn connect(cx: &mut Context<'_>, key: &FlowKey, path_mss: u16, options: OptionsId) -> Self {
        let iss = cx.core.isn.isn(key, cx.now);
        Self::open_actively(cx, key, path_mss, options, iss)
    }

    /// As [`connect`](Self::connect), in the place of a [`TimeWait`](super::TimeWait) that
    /// [lets it](super::TimeWait::gives_way).
    pub fn reconnect(
        cx: &mut Context<'_>,
        key: &FlowKey,
        path_mss: u16,
        options: OptionsId,
        beyond: Seq,
    ) -> Self {
        let iss = cx.core.isn.isn_beyond(key, cx.now, Some(beyond));
        cx.core.counters.time_wait_recycled += 1;
        Self::open_actively(cx, key, path_mss, options, iss)
    }

    fn open_actively(
        cx: &mut Context<'_>,
        key: &FlowKey,
        path_mss: u16,
        options: OptionsId,
        iss: Seq,
    ) -> Self {
        let path_mss = cx.core.options[options].clamp_mss(path_mss);
        let opening = Opening {
            timestamp_offset: cx.core.isn.timestamp_offset(key),
            path_mss,
            is_ipv4: key.local.is_ipv4(),
        };
        let mut tcb = Self::new(cx, iss, opening, options);
        tcb.recall_path(cx, key);
        tcb.transition(Event::Open);
        tcb.snd.nxt = tcb.snd.iss + 1;
        tcb.pending.syn = true;
        tcb.timers
            .set(Timer::Retransmission, cx.now + tcb.rtt.rto());
        tcb.start_waiting(cx);
        cx.core.counters.active_opens += 1;
        tcb
    }
}
