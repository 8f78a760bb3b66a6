//! What a sender spends its time on, and what else `ss` says of it as Linux's `tcp_info` does.

use super::rack::{block, with_rtt};
use super::*;

/// Milliseconds busy, limited by the peer's window, and by the send buffer.
fn spent(t: &Host) -> [u64; 3] {
    let info = t.tcb.info(&t.core, t.now);
    [info.busy, info.rwnd_limited, info.sndbuf_limited].map(Duration::as_millis)
}

fn ack(t: &mut Host, ack: u32) {
    recv!(t, Seg { ack, ..ACK });
    t.poll();
}

/// The application writes what it can of so many octets.
fn write(t: &mut Host, octets: usize) -> usize {
    let sent = t.with(|tcb, cx| tcb.send(cx, &vec![7; octets]));
    t.poll();
    sent
}

#[test]
fn busy_is_the_time_until_all_that_was_written_is_acknowledged() {
    let mut t = established();
    advance!(t, 300 ms);
    assert_eq!(spent(&t), [0, 0, 0]);
    assert!(t.core.ledgers.is_empty(), "nothing to remember yet");
    write(&mut t, 2_000);
    advance!(t, 30 ms);
    assert_eq!(spent(&t), [30, 0, 0], "it goes on");
    ack(&mut t, 1_001);
    advance!(t, 20 ms);
    ack(&mut t, 2_001);
    advance!(t, 500 ms);
    assert_eq!(spent(&t), [50, 0, 0], "idle");
    write(&mut t, 1);
    advance!(t, 7 ms);
    ack(&mut t, 2_002);
    // A FIN is no text.
    t.shutdown();
    advance!(t, 40 ms);
    assert_eq!(spent(&t), [57, 0, 0]);
}

#[test]
fn what_waits_for_the_peers_window_is_limited_by_it() {
    let mut t = established();
    t.peer_window = 1_000;
    recv!(t, ACK);
    write(&mut t, 3_000);
    assert_eq!(t.sent().len(), 1, "a window");
    advance!(t, 40 ms);
    t.peer_window = 0;
    ack(&mut t, 1_001);
    advance!(t, 100 ms);
    assert_eq!(spent(&t), [140, 140, 0]);
    t.peer_window = 0xffff;
    ack(&mut t, 1_001);
    assert_eq!(t.flight(), 2_000);
    advance!(t, 20 ms);
    ack(&mut t, 3_001);
    advance!(t, 20 ms);
    assert_eq!(spent(&t), [160, 140, 0]);
}

/// Who has nothing more to send is not limited by a window that is full.
#[test]
fn a_window_that_is_just_full_limits_nobody() {
    let mut t = established();
    t.peer_window = 2_000;
    recv!(t, ACK);
    write(&mut t, 2_000);
    advance!(t, 40 ms);
    assert_eq!(spent(&t), [40, 0, 0]);
    write(&mut t, 1);
    advance!(t, 10 ms);
    assert_eq!(spent(&t), [50, 10, 0]);
}

/// The congestion window comes first, as in Linux.
#[test]
fn what_waits_for_the_congestion_window_is_only_busy() {
    let mut t = established();
    t.peer_window = 10_000;
    recv!(t, ACK);
    write(&mut t, 20_000);
    assert_eq!(t.flight(), 10_000, "both windows");
    advance!(t, 30 ms);
    assert_eq!(spent(&t), [30, 0, 0]);
}

#[test]
fn an_application_that_may_not_write_what_would_leave_is_limited_by_its_buffer() {
    let mut setup = Setup::default();
    setup.config.options.send_buffer = BufferLimit::Fixed(2_000);
    let mut t = setup.established();
    assert_eq!(write(&mut t, 5_000), 2_000);
    assert_eq!(t.flight(), 2_000);
    advance!(t, 30 ms);
    ack(&mut t, 1_001);
    // There is room, and the application takes its time.
    advance!(t, 10 ms);
    assert_eq!(spent(&t), [40, 0, 30]);
    assert_eq!(write(&mut t, 3_000), 1_000);
    advance!(t, 20 ms);
    assert_eq!(spent(&t), [60, 0, 50]);
    ack(&mut t, 3_001);
    advance!(t, 20 ms);
    assert_eq!(spent(&t), [60, 0, 50]);
}

#[test]
fn an_application_that_wants_no_more_is_not_limited() {
    let mut setup = Setup::default();
    setup.config.options.send_buffer = BufferLimit::Fixed(2_000);
    let mut t = setup.established();
    assert_eq!(write(&mut t, 2_000), 2_000);
    advance!(t, 30 ms);
    assert_eq!(spent(&t), [30, 0, 0]);
}

/// Times go on when the clock of milliseconds comes round.
#[test]
fn the_clock_may_come_round() {
    let setup = Setup {
        start: Instant::from_millis((1 << 32) - 50),
        ..Setup::default()
    };
    let mut t = setup.established();
    write(&mut t, 10);
    advance!(t, 150 ms);
    ack(&mut t, 11);
    assert_eq!(spent(&t), [150, 0, 0]);
}

/// Linux's `tcp_check_sack_reordering()`: from the highest octet that had arrived down to the one
/// that came late.
#[test]
fn the_degree_of_reordering_is_told_in_segments() {
    let mut t = with_rtt();
    let degree = |t: &Host| t.tcb.info(&t.core, t.now).reordering;
    t.send(&octets(10_000));
    t.sent();
    assert_eq!(degree(&t), Some(3), "three duplicates mean a loss");
    for (late, expected) in [
        (&[block(1, 2), block(5, 10)], 9),
        (&[block(1, 3), block(5, 10)], 9),
    ] {
        recv!(
            t,
            Seg {
                sack: Some(&[block(5, 10)]),
                ..ACK
            }
        );
        recv!(
            t,
            Seg {
                sack: Some(late),
                ..ACK
            }
        );
        assert_eq!(degree(&t), Some(expected));
    }
    // The very first, too, without having been sent again.
    recv!(
        t,
        Seg {
            ack: 3_001,
            sack: Some(&[block(5, 10)]),
            ..ACK
        }
    );
    assert_eq!(degree(&t), Some(10));
    recv!(t, Seg { ack: 10_001, ..ACK });
    assert_eq!(degree(&t), Some(10));
}

/// What was sent again tells nothing of the order in which the path delivers.
#[test]
fn a_retransmission_is_no_reordering() {
    let mut t = with_rtt();
    t.send(&octets(10_000));
    t.sent();
    recv!(
        t,
        Seg {
            sack: Some(&[block(1, 10)]),
            ..ACK
        }
    );
    assert_eq!(t.sent_one().seq, 1);
    recv!(t, Seg { ack: 10_001, ..ACK });
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!((info.reordering, info.reorderings_seen), (Some(3), Some(0)));
}
