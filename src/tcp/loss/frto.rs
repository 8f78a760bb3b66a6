//! F-RTO (RFC 5682, the SACK-enhanced version of its section 3 where there is SACK, the basic one of
//! section 2 elsewhere, both as Linux folds them into one): after a timeout new text is sent before
//! anything but the first segment is sent again. What is then acknowledged without having been sent
//! again was not lost.

use super::News;
use crate::tcp::context::Context;
use crate::tcp::tcb::Tcb;

/// Where the algorithm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frto {
    /// Not in use, or the loss was real.
    Off,
    /// Step 1 is done: the first segment is sent again.
    First,
    /// Step 2b: new text goes out.
    NewText,
}

impl Tcb {
    /// Steps 2 and 3, for an acknowledgment that does not prove the timeout spurious.
    pub(super) fn go_on_with_frto(&mut self, cx: &Context<'_>, news: &News) {
        let can_send_new = self.can_send_new(cx);
        let sack = self.sack;
        let Some(undo) = self.undo_state() else {
            return;
        };
        undo.frto = match undo.frto {
            Frto::First if news.acked > 0 && can_send_new => Frto::NewText,
            // Step 2a: a duplicate first is what the late original of a hole's neighbor causes.
            Frto::First if news.acked == 0 && sack => Frto::First,
            // Step 3a, or nothing to send: the loss was real.
            _ => Frto::Off,
        };
    }

    fn can_send_new(&self, cx: &Context<'_>) -> bool {
        self.send
            .first_unsent(&cx.core.segments)
            .is_some_and(|segment| {
                let edge = self.snd.una + self.snd.wnd;
                let is_full = segment.len >= self.smss || self.nodelay && !self.is_corked();
                is_full && segment.end().at_or_before(edge)
            })
    }

    /// Whether nothing is sent again until the peer has answered new text (step 2b).
    pub(in crate::tcp) fn holds_retransmissions(&self) -> bool {
        self.recovery
            .episode
            .as_ref()
            .and_then(|episode| episode.undo.as_ref())
            .is_some_and(|undo| undo.frto == Frto::NewText)
    }
}
