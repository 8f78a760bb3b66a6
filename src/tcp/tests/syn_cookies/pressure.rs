//! When cookies begin and end (RFC 4987 section 3.7).

use super::*;

#[test]
fn switched_off_a_full_queue_drops() {
    let mut server = auto(2);
    server.core.config.syn_cookies = SynCookies::Off;
    for port in 1..=2 {
        server.port = port;
        assert!(!server.syn().1);
    }
    server.port = 3;
    let syn = server.setup.syn();
    assert!(server.try_syn(syn, &[], None).is_none());
    assert_eq!(server.core.counters.listen_overflows, 1);
    assert_eq!(server.core.counters.syn_cookies_sent, 0);
}

/// Section 3.7: the queue while it suffices, cookies while it does not.
#[test]
fn cookies_begin_when_the_queue_is_full() {
    let mut server = auto(3);
    for port in 1..=5 {
        server.port = port;
        assert_eq!(server.syn().1, port > 3, "{port}");
    }
    assert_eq!(server.core.counters.listen_overflows, 0);
    assert_eq!(server.listener.half_open(), 3);
}

/// They go on for as long as the queue would be more than half full without them.
#[test]
fn cookies_end_when_the_flood_has() {
    let mut server = auto(4);
    let flood = |server: &mut Server| {
        let change = server.listener.take_flood(server.now, &server.core);
        (change, server.listener.is_flooded())
    };
    for port in 1..=104 {
        server.port = port;
        server.syn();
    }
    assert_eq!(flood(&mut server), (Some(true), true));
    assert_eq!(flood(&mut server), (None, true), "told once");
    // The queue has room again, but would not have without cookies.
    for _ in 0..4 {
        server.listener.forget();
    }
    assert_eq!(server.listener.half_open(), 0);
    assert!(server.syn().1);
    server.now += Duration::from_secs(STEP);
    assert!(server.syn().1, "those of the last step count");
    // One every minute is no flood: the hundred are forgotten two steps after the last.
    server.now += Duration::from_secs(STEP);
    assert!(!server.syn().1);
    assert_eq!(flood(&mut server), (Some(false), false));
    assert_eq!(flood(&mut server), (None, false));
}

/// It ends without any further SYN, too.
#[test]
fn the_end_of_a_flood_needs_no_syn() {
    let mut server = auto(1);
    for port in 1..=10 {
        server.port = port;
        server.syn();
    }
    assert_eq!(
        server.listener.take_flood(server.now, &server.core),
        Some(true)
    );
    server.listener.forget();
    server.now += Duration::from_secs(STEP);
    assert_eq!(server.listener.take_flood(server.now, &server.core), None);
    server.now += Duration::from_secs(STEP);
    assert_eq!(
        server.listener.take_flood(server.now, &server.core),
        Some(false)
    );
}

/// Peers that answer are no flood, however many.
#[test]
fn cookies_that_are_answered_do_not_keep_cookies_on() {
    let mut server = auto(4);
    for port in 1..=4 {
        server.port = port;
        server.syn();
    }
    for port in 5..=500 {
        server.port = port;
        let syn_ack = server.cookie();
        let ack = server.ack(&syn_ack);
        assert!(server.accepts(&ack));
    }
    for _ in 0..2 {
        server.listener.forget();
    }
    assert!(!server.syn().1, "half of the queue is free");
}
