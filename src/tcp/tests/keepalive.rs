//! Keepalive (RFC 9293 section 3.8.4).

use super::*;

const KEEPALIVE: Keepalive = Keepalive {
    idle: Duration::from_secs(100),
    interval: Duration::from_secs(10),
    count: 3,
};

fn with_keepalive() -> Host {
    Setup {
        config: Config {
            options: SocketOptions {
                keepalive: Some(KEEPALIVE),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
    .established()
}

#[test]
fn it_is_off_unless_asked_for() {
    let mut t = established();
    advance!(t, 100000 s);
    sent_nothing!(t);
    assert_eq!(t.state(), State::Established);
}

#[test]
fn silence_is_probed_and_the_answer_starts_it_anew() {
    let mut t = with_keepalive();
    advance!(t, 99 s);
    sent_nothing!(t);
    advance!(t, 1 s);
    sent!(t, [Seg { seq: 0, ..ACK }]);
    recv!(t, ACK);
    advance!(t, 99 s);
    sent_nothing!(t);
    advance!(t, 1 s);
    sent!(t, [Seg { seq: 0, ..ACK }]);
    assert_eq!(t.counters().keepalive_probes, 2);
}

#[test]
fn a_dead_peer_is_given_up() {
    let mut t = with_keepalive();
    advance!(t, 129 s);
    assert_eq!(t.sent().len(), 3);
    assert_eq!(t.state(), State::Established);
    advance!(t, 1 s);
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::TimedOut);
    t.happened(Events::CLOSED);
    assert_eq!(t.counters().timed_out, 1);
}

#[test]
fn it_can_be_switched_on_and_off_for_one_connection() {
    let mut t = established();
    t.with(|tcb, cx| tcb.update_options(cx, |it| it.keepalive = Some(KEEPALIVE)));
    advance!(t, 100 s);
    t.sent_one();
    t.with(|tcb, cx| tcb.update_options(cx, |it| it.keepalive = None));
    advance!(t, 1000 s);
    sent_nothing!(t);
}

/// With text in flight the retransmission timer decides; keepalive would give up too early.
#[test]
fn it_does_not_compete_with_retransmission() {
    let mut t = Setup {
        config: Config {
            options: SocketOptions {
                keepalive: Some(Keepalive {
                    idle: Duration::from_secs(1),
                    interval: Duration::from_secs(1),
                    count: 2,
                }),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
    .established();
    t.send(b"x");
    advance!(t, 60 s);
    assert_eq!(t.state(), State::Established);
    assert_eq!(t.counters().keepalive_probes, 0);
    t.sent();
}

/// The peer's probe: an old sequence number, with an octet of text or without.
#[test]
fn the_peers_probes_are_answered() {
    let mut t = established();
    for text in [&b"x"[..], b""] {
        recv!(
            t,
            Seg {
                seq: 0,
                text,
                ..ACK
            }
        );
        sent!(t, [ACK]);
    }
    assert!(t.received.is_empty());
}
