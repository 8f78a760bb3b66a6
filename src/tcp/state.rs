//! The connection states and the transitions between them (RFC 9293 section 3.3.2, figure 5).
//!
//! ```text
//!                    CLOSED --open--> SYN-SENT --syn+ack--> ESTABLISHED
//!        LISTEN --syn--> SYN-RECEIVED --ack of syn-----------^   |    |
//!                                                          close    fin
//!             FIN-WAIT-1 <--------------------------------------+    v
//!              |  |    \--fin--> CLOSING --ack of fin--+      CLOSE-WAIT
//!              |  +--fin and ack of it--> TIME-WAIT <--+           | close
//!              v ack of fin                   ^                    v
//!             FIN-WAIT-2 --------fin----------+              LAST-ACK --ack of fin--> CLOSED
//! ```

use std::fmt;

/// A state of RFC 9293 section 3.3.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the RFC's")]
#[repr(u8)]
pub enum State {
    #[default]
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

/// What moves a connection from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Event {
    /// Active open: our SYN is sent.
    Open,
    /// A SYN without an acknowledgment of ours.
    Syn,
    /// A SYN that acknowledges our SYN.
    SynAck,
    /// The acknowledgment of our SYN.
    AckOfSyn,
    /// The application has no more to send: our FIN is queued.
    Close,
    /// The peer's FIN, in order.
    Fin,
    /// The acknowledgment of our FIN.
    AckOfFin,
    /// Twice the maximum segment lifetime has passed in TIME-WAIT.
    Expire,
    /// A reset, sent or received, or a connection timeout.
    Reset,
}

impl State {
    /// All states.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    #[expect(clippy::use_self, reason = "one letter each keeps the table a table")]
    /// The state after `event`, or `None` if the event has no meaning in this state.
    pub const fn after(self, event: Event) -> Option<Self> {
        use Event as E;
        use State as S;
        Some(match (self, event) {
            (S::Closed, E::Open) => S::SynSent,
            (S::Listen | S::SynSent, E::Syn) => S::SynReceived,
            (S::SynSent, E::SynAck) | (S::SynReceived, E::AckOfSyn) => S::Established,
            (S::SynReceived | S::Established, E::Close) => S::FinWait1,
            (S::SynReceived | S::Established, E::Fin) => S::CloseWait,
            (S::FinWait1, E::AckOfFin) => S::FinWait2,
            (S::FinWait1, E::Fin) => S::Closing,
            (S::FinWait2, E::Fin) | (S::Closing, E::AckOfFin) => S::TimeWait,
            (S::CloseWait, E::Close) => S::LastAck,
            (S::SynSent, E::Close) | (S::LastAck, E::AckOfFin) | (S::TimeWait, E::Expire) => {
                S::Closed
            }
            (S::Closed | S::Listen, E::Reset) => return None,
            (_, E::Reset) => S::Closed,
            _ => return None,
        })
    }

    /// Whether both sides know each other's sequence numbers (RFC 9293 section 3.5.2).
    pub const fn is_synchronized(self) -> bool {
        !matches!(
            self,
            Self::Closed | Self::Listen | Self::SynSent | Self::SynReceived
        )
    }

    /// Whether the application may still add data to send.
    pub const fn may_send(self) -> bool {
        matches!(
            self,
            Self::SynSent | Self::SynReceived | Self::Established | Self::CloseWait
        )
    }

    /// Whether text from the peer is still expected (RFC 9293 section 3.10.7.4, seventh check).
    pub const fn may_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// The RFC's spelling.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }
}

impl Event {
    /// All events.
    pub const ALL: [Self; 9] = [
        Self::Open,
        Self::Syn,
        Self::SynAck,
        Self::AckOfSyn,
        Self::Close,
        Self::Fin,
        Self::AckOfFin,
        Self::Expire,
        Self::Reset,
    ];
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every transition there is; all other pairs of state and event have none.
    #[test]
    fn transitions_are_those_of_rfc_9293() {
        let mut table = String::new();
        for state in State::ALL {
            for event in Event::ALL {
                if let Some(next) = state.after(event) {
                    table.push_str(&format!("{state} {event:?} -> {next}\n"));
                }
            }
        }
        insta::assert_snapshot!(table, @r"
        CLOSED Open -> SYN-SENT
        LISTEN Syn -> SYN-RECEIVED
        SYN-SENT Syn -> SYN-RECEIVED
        SYN-SENT SynAck -> ESTABLISHED
        SYN-SENT Close -> CLOSED
        SYN-SENT Reset -> CLOSED
        SYN-RECEIVED AckOfSyn -> ESTABLISHED
        SYN-RECEIVED Close -> FIN-WAIT-1
        SYN-RECEIVED Fin -> CLOSE-WAIT
        SYN-RECEIVED Reset -> CLOSED
        ESTABLISHED Close -> FIN-WAIT-1
        ESTABLISHED Fin -> CLOSE-WAIT
        ESTABLISHED Reset -> CLOSED
        FIN-WAIT-1 Fin -> CLOSING
        FIN-WAIT-1 AckOfFin -> FIN-WAIT-2
        FIN-WAIT-1 Reset -> CLOSED
        FIN-WAIT-2 Fin -> TIME-WAIT
        FIN-WAIT-2 Reset -> CLOSED
        CLOSE-WAIT Close -> LAST-ACK
        CLOSE-WAIT Reset -> CLOSED
        CLOSING AckOfFin -> TIME-WAIT
        CLOSING Reset -> CLOSED
        LAST-ACK AckOfFin -> CLOSED
        LAST-ACK Reset -> CLOSED
        TIME-WAIT Expire -> CLOSED
        TIME-WAIT Reset -> CLOSED
        ");
    }

    #[test]
    fn every_state_can_reach_closed() {
        let mut reaches = vec![State::Closed];
        loop {
            let more: Vec<State> = State::ALL
                .into_iter()
                .filter(|state| !reaches.contains(state))
                .filter(|state| {
                    Event::ALL
                        .iter()
                        .filter_map(|&event| state.after(event))
                        .any(|next| reaches.contains(&next))
                })
                .collect();
            if more.is_empty() {
                break;
            }
            reaches.extend(more);
        }
        assert_eq!(reaches.len(), State::ALL.len());
    }
}
