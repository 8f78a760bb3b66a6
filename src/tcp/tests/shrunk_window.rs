//! Peers whose windows shrink (RFC 9293 section 3.8.6): a sender must be robust against them
//! (MUST-34).

use super::*;

/// Four segments are out when the peer takes back all of its window but so much.
fn shrunk(window: u16) -> Host {
    let mut t = established();
    t.send(&octets(6_000));
    t.tcb.set_nodelay(true);
    let out = t.sent().len();
    assert_eq!(out, 6);
    t.peer_window = window;
    recv!(t, ACK);
    t
}

/// SHLD-15: nothing new beyond the window. SHLD-16: what is out is sent again as ever.
#[test]
fn nothing_new_is_sent_beyond_a_window_that_has_shrunk() {
    let mut t = shrunk(2_000);
    t.send(&octets(3_000));
    sent_nothing!(t);
    advance!(t, 10 s);
    let again = t.sent();
    assert!(!again.is_empty());
    let end = again.iter().map(|it| it.seq + it.text.len() as u32).max();
    assert!(end <= Some(6_001), "{end:?}");
    recv!(t, Seg { ack: 6_001, ..ACK });
    let new: usize = t.sent().iter().map(|it| it.text.len()).sum();
    assert_eq!(new, 2_000, "what the window holds now");
}

/// SHLD-17: what is out beyond the window may stay unacknowledged for as long as the peer answers.
#[test]
fn text_beyond_a_window_that_has_shrunk_does_not_end_the_connection() {
    for window in [0, 500] {
        let mut t = shrunk(window);
        for _ in 0..60 {
            let due = t.tcb.next_deadline().expect("the timer runs");
            t.advance(due.saturating_since(t.now));
            assert!(!t.sent().is_empty());
            recv!(t, ACK);
            t.sent();
        }
        assert_eq!(t.state(), State::Established, "{window}");
        // But a peer that is silent is dead.
        advance!(t, 3600 s);
        t.sent();
        assert_eq!(t.state(), State::Closed);
    }
}

/// MUST-35: a window that shrinks to nothing is probed, and goes on when it opens.
#[test]
fn a_window_that_shrinks_to_nothing_is_probed_and_text_goes_on_when_it_opens() {
    let mut t = shrunk(0);
    recv!(t, Seg { ack: 6_001, ..ACK });
    t.send(&octets(1_000));
    sent_nothing!(t);
    advance!(t, 200 ms);
    sent!(t, [Seg { seq: 6_000, ..ACK }]);
    t.peer_window = 0xffff;
    recv!(t, Seg { ack: 6_001, ..ACK });
    assert_eq!(t.sent_one().text.len(), 1_000);
}

/// A peer that takes what fits and shrinks again makes progress, octet by octet.
#[test]
fn a_window_that_is_smaller_than_a_segment_lets_parts_of_it_through() {
    let mut t = shrunk(300);
    let mut acked = 1;
    for _ in 0..20 {
        let due = t.tcb.next_deadline().expect("the timer runs");
        t.advance(due.saturating_since(t.now));
        t.sent();
        acked += 300;
        recv!(t, Seg { ack: acked, ..ACK });
        t.sent();
    }
    assert_eq!(t.tcb.snd.una.since(t.tcb.snd.iss), acked);
    assert_eq!(t.state(), State::Established);
}
