//! Clocks of 32 bits that count milliseconds begin anew after seven weeks, and so do timestamps.

use super::*;

/// So much before the wrap: within every wait of these tests.
const BEFORE: u64 = 500;
/// The wrap itself.
const WRAP: u64 = 1 << 32;

fn with(change: impl FnOnce(&mut SocketOptions)) -> Host {
    let mut setup = Setup {
        start: Instant::from_millis(WRAP - BEFORE),
        ..Setup::with_options()
    };
    change(&mut setup.config.options);
    setup.established()
}

#[test]
fn the_user_timeout_is_as_long_across_it() {
    let mut t = with(|it| it.user_timeout = Some(Duration::from_secs(5)));
    t.send(b"x");
    advance!(t, 4999 ms);
    assert_eq!(t.state(), State::Established);
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed);
    t.sent();
}

#[test]
fn silence_is_as_long_across_it() {
    let mut t = with(|it| {
        it.user_timeout = Some(Duration::from_secs(5));
        it.keepalive = Some(Keepalive {
            idle: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            count: 9,
        });
    });
    advance!(t, 4999 ms);
    assert_eq!(t.state(), State::Established);
    assert_eq!(t.sent().len(), 4);
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn challenges_are_as_far_apart_across_it() {
    let mut t = with(|_| ());
    let syn = Seg {
        flags: Flags::SYN,
        seq: 100,
        ..ACK
    };
    let mut challenged = || {
        let before = t.counters().challenge_acks;
        recv!(t, syn);
        t.sent();
        let is_challenged = t.counters().challenge_acks > before;
        advance!(t, 300 ms);
        is_challenged
    };
    assert_eq!(
        [challenged(), challenged(), challenged(), challenged()],
        [true, false, true, false]
    );
}

/// Nobody can ask for more than the clock can tell: it would never be over.
#[test]
fn a_user_timeout_of_months_is_one_of_weeks() {
    let hour = Duration::from_secs(3_600);
    let mut setup = Setup::default();
    setup.config.retransmissions = u8::MAX;
    setup.config.options.user_timeout = Some(Duration::from_secs(60 * 86_400));
    let mut t = setup.established();
    t.peer_window = 0;
    recv!(t, ACK);
    t.send(b"x");
    // 2^31 milliseconds.
    for _ in 0..596 {
        assert_eq!(t.state(), State::Established);
        // The peer lives, and keeps its window closed.
        t.advance(hour);
        t.sent();
        recv!(t, ACK);
    }
    t.advance(hour);
    assert_eq!(t.state(), State::Closed);
    t.sent();
}
