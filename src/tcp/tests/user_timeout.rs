//! How long a connection waits: the user timeout (RFC 5482, local part; RFC 9293 section 3.9.1),
//! linger, and orphans whose peer never gets on.

use super::*;

fn with(change: impl FnOnce(&mut SocketOptions)) -> Host {
    let mut setup = Setup::default();
    change(&mut setup.config.options);
    setup.established()
}

fn close_window(t: &mut Host) {
    t.peer_window = 0;
    recv!(t, ACK);
}

/// The peer answers every probe, for so many seconds.
fn answer_probes(t: &mut Host, seconds: u64) {
    for _ in 0..10 * seconds {
        advance!(t, 100 ms);
        let ack = t.tcb.snd.una.since(t.tcb.snd.iss);
        if !t.sent().is_empty() && t.state() != State::Closed {
            recv!(t, Seg { ack, ..ACK });
        }
    }
}

#[test]
fn text_that_is_not_acknowledged_in_time_ends_the_connection() {
    let mut t = with(|it| it.user_timeout = Some(Duration::from_millis(5_000)));
    advance!(t, 100 s);
    t.send(b"x");
    advance!(t, 4999 ms);
    assert_eq!(t.state(), State::Established);
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::TimedOut);
    t.happened(Events::CLOSED);
    assert_eq!(t.counters().timed_out, 1);
    t.sent();
}

#[test]
fn every_acknowledgment_starts_the_user_timeout_anew() {
    let mut t = with(|it| it.user_timeout = Some(Duration::from_secs(5)));
    t.send(&octets(3_000));
    t.sent();
    for i in 1..=3 {
        advance!(t, 4 s);
        recv!(
            t,
            Seg {
                ack: 1 + 1_000 * i,
                ..ACK
            }
        );
        t.sent();
    }
    advance!(t, 1000 s);
    assert_eq!(t.state(), State::Established, "nothing waits any more");
    t.send(b"x");
    advance!(t, 5 s);
    assert_eq!(t.state(), State::Closed);
    t.sent();
}

/// RFC 5482 section 3: text that a closed window holds back waits as well, though probes are
/// answered.
#[test]
fn the_user_timeout_counts_behind_a_closed_window() {
    let mut t = with(|it| it.user_timeout = Some(Duration::from_secs(5)));
    close_window(&mut t);
    t.send(b"x");
    answer_probes(&mut t, 4);
    assert_eq!(t.state(), State::Established);
    answer_probes(&mut t, 2);
    assert_eq!(t.state(), State::Closed);
}

/// Without one, probes go on for as long as they are answered (RFC 9293 section 3.8.6.1, MUST-37).
#[test]
fn without_a_user_timeout_a_closed_window_may_stay_closed() {
    let mut t = established();
    close_window(&mut t);
    t.send(b"x");
    answer_probes(&mut t, 2_000);
    assert_eq!(t.state(), State::Established);
    t.sent();
}

#[test]
fn the_user_timeout_counts_for_a_syn() {
    let mut setup = Setup::default();
    setup.config.options.user_timeout = Some(Duration::from_secs(2));
    let mut t = setup.connecting();
    advance!(t, 1999 ms);
    assert_eq!(t.state(), State::SynSent);
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed);
    t.sent();
}

#[test]
fn the_user_timeout_can_be_set_and_taken_back_while_text_waits() {
    let mut t = established();
    t.send(b"x");
    advance!(t, 3 s);
    t.with(|tcb, cx| {
        tcb.update_options(cx, |it| it.user_timeout = Some(Duration::from_secs(5)));
    });
    advance!(t, 1 s);
    t.with(|tcb, cx| tcb.update_options(cx, |it| it.user_timeout = None));
    advance!(t, 5 s);
    assert_eq!(t.state(), State::Established);
    t.with(|tcb, cx| {
        tcb.update_options(cx, |it| it.user_timeout = Some(Duration::from_secs(5)));
    });
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed, "it has waited for 9 s");
    t.sent();
}

/// As Linux has it: the user timeout takes the place of the number of probes.
#[test]
fn the_user_timeout_ends_keepalive_probes() {
    let mut t = with(|it| {
        it.user_timeout = Some(Duration::from_secs(125));
        it.keepalive = Some(Keepalive {
            idle: Duration::from_secs(100),
            interval: Duration::from_secs(10),
            count: 1,
        });
    });
    advance!(t, 129 s);
    assert_eq!((t.state(), t.sent().len()), (State::Established, 3));
    advance!(t, 1 s);
    assert_eq!(t.state(), State::Closed);
}

/// MUST-26: only when nothing else is outstanding; the persist timer probes already.
#[test]
fn keepalive_does_not_compete_with_window_probes() {
    let mut t = with(|it| {
        it.keepalive = Some(Keepalive {
            idle: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            count: 2,
        });
    });
    close_window(&mut t);
    t.send(b"x");
    advance!(t, 60 s);
    assert_eq!(t.counters().keepalive_probes, 0);
    assert_eq!(t.state(), State::Established);
    t.sent();
}

#[test]
fn time_wait_has_no_keepalive() {
    let mut t = with(|it| it.keepalive = Some(Keepalive::default()));
    t.close();
    t.sent();
    recv!(t, Seg { flags: FIN, ..ACK });
    assert_eq!(t.state(), State::Closing);
    recv!(
        t,
        Seg {
            seq: 2,
            ack: 2,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::TimeWait);
    assert_eq!(t.tcb.next_deadline(), None);
    t.sent();
}

/// SO_LINGER with no time: what is not acknowledged is thrown away, and the peer learns of it.
#[test]
fn linger_of_zero_resets_on_close() {
    let mut t = with(|it| it.linger = Linger::Reset);
    t.send(b"lost");
    t.sent();
    t.close();
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::Aborted);
    sent!(
        t,
        [Seg {
            seq: 5,
            flags: RST_ACK,
            ..ACK
        }]
    );
}

/// SO_LINGER with a time: so long for the peer to acknowledge, then a reset.
#[test]
fn linger_gives_what_is_written_its_time_and_then_resets() {
    let mut t = with(|it| it.linger = Linger::For(Duration::from_secs(3)));
    t.send(b"slow");
    t.close();
    t.sent();
    // The peer gets on, but not to the end.
    advance!(t, 2 s);
    t.sent();
    recv!(t, Seg { ack: 3, ..ACK });
    advance!(t, 999 ms);
    t.sent();
    assert_eq!(t.state(), State::FinWait1);
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed);
    assert!(t.sent_one().header.flags.contains(Flags::RST));
    assert_eq!(t.counters().orphans_given_up, 1);
}

#[test]
fn linger_does_not_touch_what_is_acknowledged_in_time() {
    let mut t = with(|it| it.linger = Linger::For(Duration::from_secs(3)));
    t.send(b"fast");
    t.close();
    t.sent();
    recv!(t, Seg { ack: 6, ..ACK });
    assert_eq!(t.state(), State::FinWait2);
    advance!(t, 59 s);
    assert_eq!(t.state(), State::FinWait2, "a limit of its own");
    recv!(
        t,
        Seg {
            ack: 6,
            flags: FIN,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::TimeWait);
    t.sent();
}

/// Nobody waits for it any more, and its peer answers each probe with a closed window: it would stay
/// for ever.
#[test]
fn an_orphan_behind_a_closed_window_is_given_up() {
    let mut t = established();
    close_window(&mut t);
    t.send(b"x");
    t.close();
    answer_probes(&mut t, 99);
    assert_eq!(t.state(), State::FinWait1);
    answer_probes(&mut t, 2);
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.counters().orphans_given_up, 1);
}

#[test]
fn an_orphan_whose_peer_gets_on_has_its_time() {
    let mut t = established();
    t.peer_window = 10;
    recv!(t, ACK);
    t.send(&octets(100));
    t.close();
    for i in 1..=10 {
        advance!(t, 90 s);
        assert_eq!(t.state(), State::FinWait1, "{i}");
        t.sent();
        recv!(
            t,
            Seg {
                ack: 1 + 10 * i,
                ..ACK
            }
        );
    }
    t.sent();
    recv!(t, Seg { ack: 102, ..ACK });
    assert_eq!(t.state(), State::FinWait2);
}

/// With both sides closing, an orphan in LAST-ACK or CLOSING ends as well.
#[test]
fn an_orphan_in_last_ack_is_given_up() {
    let mut t = established();
    recv!(t, Seg { flags: FIN, ..ACK });
    t.close();
    assert_eq!(t.state(), State::LastAck);
    advance!(t, 99 s);
    assert_eq!(t.state(), State::LastAck);
    advance!(t, 1 s);
    assert_eq!(t.state(), State::Closed);
    t.sent();
}

#[test]
fn fin_wait_2_has_the_limit_of_its_options() {
    let mut t = with(|it| it.fin_wait_2 = Duration::from_secs(7));
    t.close();
    t.sent();
    recv!(t, Seg { ack: 2, ..ACK });
    assert_eq!(
        t.tcb.info(&t.core, t.now).timer,
        Some(("fin-wait-2", Duration::from_secs(7)))
    );
    advance!(t, 7 s);
    assert_eq!(t.state(), State::Closed);
}

/// What linger allows counts from the close, whatever is set meanwhile.
#[test]
fn options_set_after_a_close_do_not_prolong_the_linger() {
    let mut t = with(|it| it.linger = Linger::For(Duration::from_secs(3)));
    t.send(b"x");
    t.close();
    t.sent();
    advance!(t, 2 s);
    t.with(|tcb, cx| {
        tcb.update_options(cx, |it| it.user_timeout = Some(Duration::from_secs(60)));
    });
    advance!(t, 999 ms);
    assert_ne!(t.state(), State::Closed);
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed);
    t.sent();
}

/// Whatever linger allows, a peer that acknowledges nothing for the user timeout is given up.
#[test]
fn the_user_timeout_counts_behind_a_close_that_lingers() {
    let mut t = with(|it| {
        it.linger = Linger::For(Duration::from_secs(30));
        it.user_timeout = Some(Duration::from_secs(5));
    });
    t.send(b"slow");
    t.sent();
    advance!(t, 1 s);
    t.close();
    advance!(t, 3999 ms);
    assert_eq!(t.state(), State::FinWait1);
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.counters().orphans_given_up, 1);
    t.sent();
}

/// And a peer that gets on within the user timeout is given up when linger ends.
#[test]
fn linger_ends_whoever_gets_on() {
    let mut t = with(|it| {
        it.linger = Linger::For(Duration::from_secs(12));
        it.user_timeout = Some(Duration::from_secs(5));
    });
    t.send(b"slow");
    t.close();
    t.sent();
    for ack in [2, 3, 4] {
        advance!(t, 3 s);
        t.sent();
        recv!(t, Seg { ack, ..ACK });
    }
    advance!(t, 2999 ms);
    assert_eq!(t.state(), State::FinWait1);
    advance!(t, 1 ms);
    assert_eq!(t.state(), State::Closed);
    t.sent();
}
