//! Peers that throw away what they have SACKed (RFC 2018 section 8).

use std::collections::BTreeMap;

use super::rack::with_rtt;
use super::*;

/// A receiver that throws away what it holds out of order now and then.
#[derive(Default)]
struct Reneger {
    received: Vec<u8>,
    /// Text out of order, by the sequence number that it starts at.
    held: BTreeMap<u32, Vec<u8>>,
    reneged: u32,
}

impl Reneger {
    fn nxt(&self) -> u32 {
        1 + self.received.len() as u32
    }

    fn take(&mut self, seq: u32, text: &[u8]) {
        self.held.insert(seq, text.to_vec());
        while let Some((seq, text)) = self.held.pop_first() {
            if seq > self.nxt() {
                self.held.insert(seq, text);
                break;
            }
            let old = (self.nxt() - seq) as usize;
            self.received
                .extend_from_slice(text.get(old..).unwrap_or_default());
        }
    }

    fn renege(&mut self) {
        self.reneged += u32::from(!self.held.is_empty());
        self.held.clear();
    }

    /// The first blocks of what is held.
    fn blocks(&self) -> Vec<(u32, u32)> {
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        for (&seq, text) in &self.held {
            let end = seq + text.len() as u32;
            match blocks.last_mut() {
                Some(last) if last.1 >= seq => last.1 = last.1.max(end),
                _ => blocks.push((seq, end)),
            }
        }
        blocks.truncate(3);
        blocks
    }
}

/// Whenever it does so, all text gets through, and the books of what is in flight are right after
/// each step.
#[test]
fn whatever_a_peer_throws_away_gets_through() {
    let (mut reneged, mut found) = (0, 0);
    for seed in seeds(150) {
        let _replay = Replay {
            seed,
            of: "reneging",
        };
        let mut chance = Chance::new(seed);
        let (loss, weakness) = (chance.below(30), 1 + chance.below(10));
        let mut t = with_rtt();
        let text = octets(60_000);
        t.send(&text);
        let mut peer = Reneger::default();
        for _ in 0..20_000 {
            if peer.received.len() == text.len() && t.flight() == 0 {
                break;
            }
            let sent = t.sent();
            if sent.is_empty() {
                let due = t.tcb.next_deadline().expect("a timer");
                t.advance(due.saturating_since(t.now));
                continue;
            }
            advance!(t, 10 ms);
            for segment in sent {
                if chance.percent(loss) {
                    continue;
                }
                peer.take(segment.seq, &segment.text);
                if chance.percent(weakness) {
                    peer.renege();
                }
                recv!(
                    t,
                    Seg {
                        ack: peer.nxt(),
                        sack: Some(&peer.blocks()),
                        ..ACK
                    }
                );
                t.tcb.send.check(&t.core.segments);
            }
        }
        assert_eq!(t.state(), State::Established);
        assert!(peer.received == text, "{} octets", peer.received.len());
        assert_eq!(t.flight(), 0);
        reneged += peer.reneged;
        found += t.counters().sack_reneging;
    }
    if std::env::var("CORELANE_SEED").is_err() {
        assert!(reneged > 100 && found > 10, "{reneged}, {found}");
    }
}

/// It throws away all that it has, and its acknowledgment never reaches what it said it had: the
/// timer finds out, and nothing that was SACKed is believed any more.
#[test]
fn a_peer_that_throws_everything_away_gets_everything_again() {
    let mut t = with_rtt();
    let text = octets(10_000);
    t.send(&text);
    assert_eq!(t.sent().len(), 10);
    recv!(
        t,
        Seg {
            ack: 2_001,
            sack: Some(&[(3_001, 10_001)]),
            ..ACK
        }
    );
    // The hole is filled, and then the rest is gone.
    assert_eq!(t.sent_one().seq, 2_001);
    recv!(t, Seg { ack: 3_001, ..ACK });
    assert_eq!(t.tcb.send.sacked(), 7_000);
    let mut peer = Reneger::default();
    peer.received.extend_from_slice(&text[..3_000]);
    for _ in 0..100 {
        if t.flight() == 0 {
            break;
        }
        advance!(t, 50 ms);
        for segment in t.sent() {
            peer.take(segment.seq, &segment.text);
            recv!(
                t,
                Seg {
                    ack: peer.nxt(),
                    ..ACK
                }
            );
            t.tcb.send.check(&t.core.segments);
        }
    }
    assert_eq!(t.counters().sack_reneging, 1);
    assert!(peer.received == text);
}
