//! Which acknowledgments have a right cookie.

use super::*;

/// 64 to 128 seconds.
#[test]
fn a_cookie_ends_with_the_next_step_of_time() {
    for (made, right_until) in [(0, 2 * STEP), (STEP - 1, STEP + 1), (STEP / 2, 96)] {
        let mut setup = always();
        setup.start = Instant::from_millis((100 * STEP + made) * 1_000);
        let mut server = Server::new(setup);
        let syn_ack = server.cookie();
        let ack = server.ack(&syn_ack);
        server.now = server.setup.start + Duration::from_millis(right_until * 1_000 - 1);
        assert!(server.accepts(&ack), "{made}");
        server.now += Duration::from_millis(1);
        assert!(!server.accepts(&ack), "{made}");
        assert_eq!(server.core.counters.syn_cookies_failed, 1);
    }
}

/// A key lasts for 64 steps; cookies of the one before are right for as long as any.
#[test]
fn keys_change_and_the_last_one_still_counts() {
    let change = 5 * 64 * STEP;
    let mut setup = always();
    setup.start = Instant::from_millis((change - 1) * 1_000);
    let mut server = Server::new(setup);
    let old = server.cookie();
    server.now += Duration::from_secs(2);
    let new = server.cookie();
    assert_ne!(old.seq, new.seq);
    for syn_ack in [&old, &new, &old] {
        let ack = server.ack(syn_ack);
        assert!(server.accepts(&ack));
    }
    server.now += Duration::from_secs(STEP);
    let ack = server.ack(&old);
    assert!(!server.accepts(&ack));
    // Every core has the same keys, without having seen any of it.
    let mut other = Server::new(server.setup.clone());
    other.now = server.now;
    let ack = server.ack(&new);
    assert!(other.accepts(&ack));
    let mut stranger = Server::new(server.setup.clone());
    stranger.core = Core::new(server.setup.config.clone(), IsnGenerator::new([8; 32]));
    stranger.now = server.now;
    assert!(!stranger.accepts(&ack));
}

/// As in Linux, whatever is wrong is none of ours, and is answered with a reset by the stack.
#[test]
fn what_is_not_exactly_a_cookie_is_none() {
    let mut server = Server::new(always());
    let syn_ack = server.cookie();
    let ack = server.ack(&syn_ack);
    let mut wrong = Vec::new();
    // The table has eight sizes; from the sixth to the last are two steps.
    for by in [1u32, 8, u32::MAX, 1 << 24, 1 << 31] {
        wrong.push(Header {
            seq: ack.seq.wrapping_add(by),
            ..ack.clone()
        });
    }
    for by in [8u32, 8u32.wrapping_neg(), 1 << 24, 1 << 31] {
        wrong.push(Header {
            ack: ack.ack.wrapping_add(by),
            ..ack.clone()
        });
    }
    for flags in [Flags(0), Flags::RST, RST_ACK, SYN_ACK, Flags::FIN] {
        wrong.push(Header {
            flags,
            ..ack.clone()
        });
    }
    // An echo of what was never sent: of the future, and of long ago.
    for by in [64u32, 1 << 31, 200_000u32.wrapping_neg()] {
        let mut header = ack.clone();
        let timestamps = header.options.timestamps.as_mut().expect("in use");
        timestamps.tsecr = timestamps.tsecr.wrapping_add(by);
        wrong.push(header);
    }
    for header in &wrong {
        assert!(!server.accepts(header), "{header:?}");
    }
    // Not those without the flags of an acknowledgment.
    assert_eq!(server.core.counters.syn_cookies_failed, 12);
    server.port += 1;
    assert!(!server.accepts(&ack), "another peer's");
    server.port -= 1;
    assert!(server.accepts(&ack));
    assert!(server.core.is_empty());
}

/// A blind guess hits once in 2^28: none of a hundred thousand does.
#[test]
fn guesses_find_nothing() {
    let mut server = Server::new(always());
    let mut chance = Chance::new(1);
    for _ in 0..100_000 {
        let ack = Header {
            seq: chance.next() as u32,
            ack: chance.next() as u32,
            flags: Flags::ACK,
            ..Header::default()
        };
        assert!(!server.accepts(&ack));
    }
}

/// So that a flood of acknowledgments alone finds nothing to guess.
#[test]
fn acknowledgments_are_looked_at_only_after_a_cookie_was_sent() {
    let mut server = auto(1);
    let mut twin = Server::new(with_mode(SynCookies::Always, server.setup.clone()));
    let right = twin.cookie();
    let ack = twin.ack(&right);
    assert!(!server.accepts(&ack), "none was sent");
    assert_eq!(server.core.counters.syn_cookies_failed, 0);
    assert!(!server.syn().1);
    assert!(!server.accepts(&ack), "only a half-open connection");
    server.port += 1;
    server.cookie();
    server.port -= 1;
    assert!(server.accepts(&ack));
    server.now += Duration::from_secs(2 * STEP - 1);
    assert!(!server.accepts(&ack));
    assert_eq!(server.core.counters.syn_cookies_failed, 1);
    server.now += Duration::from_secs(1);
    assert!(!server.accepts(&ack));
    assert_eq!(server.core.counters.syn_cookies_failed, 1, "not looked at");
}
