//! Socket options by name, and what `tcp_info` says.

use super::*;
use crate::tcp::congestion::Algorithm;

fn with(change: impl FnOnce(&mut SocketOptions)) -> Host {
    let mut setup = Setup::default();
    change(&mut setup.config.options);
    setup.established()
}

fn change(t: &mut Host, change: impl FnOnce(&mut SocketOptions)) {
    t.with(|tcb, cx| tcb.update_options(cx, change));
}

#[test]
fn nodelay_of_the_listener_counts_from_the_first_segment() {
    let mut t = with(|it| it.nodelay = true);
    t.send(b"one");
    t.sent_one();
    t.send(b"two");
    assert_eq!(t.sent_one().text, b"two");
}

#[test]
fn corked_segments_wait_until_they_are_full_or_uncorked() {
    let mut t = with(|it| (it.cork, it.nodelay) = (true, true));
    t.send(&octets(600));
    sent_nothing!(t);
    t.send(&octets(600));
    assert_eq!(t.sent_one().text.len(), 1_000);
    recv!(t, Seg { ack: 1_001, ..ACK });
    sent_nothing!(t);
    change(&mut t, |it| it.cork = false);
    assert_eq!(t.sent_one().text.len(), 200);
}

#[test]
fn a_cork_holds_for_at_most_200_ms() {
    let mut t = with(|it| it.cork = true);
    t.send(b"held back");
    advance!(t, 199 ms);
    sent_nothing!(t);
    advance!(t, 1 ms);
    assert_eq!(t.sent_one().text, b"held back");
    // And again: it is still there.
    recv!(t, Seg { ack: 10, ..ACK });
    t.send(b"and this");
    sent_nothing!(t);
    advance!(t, 200 ms);
    assert_eq!(t.sent_one().text, b"and this");
    assert_eq!(t.counters().window_probes, 0);
}

#[test]
fn a_fin_takes_what_is_corked_along() {
    let mut t = with(|it| it.cork = true);
    t.send(b"last");
    sent_nothing!(t);
    t.shutdown();
    sent!(
        t,
        [Seg {
            flags: FIN,
            text: b"last",
            ..ACK
        }]
    );
}

#[test]
fn what_is_written_and_not_sent_has_a_limit_of_its_own() {
    let mut t = with(|it| it.notsent_lowat = Some(2_000));
    t.peer_window = 3_000;
    recv!(t, ACK);
    let sent = t.with(|tcb, cx| tcb.send(cx, &octets(10_000)));
    assert_eq!(sent, 2_000);
    t.sent();
    let sent = t.with(|tcb, cx| tcb.send(cx, &octets(10_000)));
    assert_eq!(sent, 2_000, "what is in flight does not count");
    t.sent();
    assert_eq!(t.flight(), 3_000);
    recv!(t, Seg { ack: 2_001, ..ACK });
    t.happened(Events::WRITABLE);
    t.sent();
    assert_eq!(t.with(|tcb, cx| tcb.send(cx, &octets(10_000))), 2_000);
    t.sent();
}

/// Twice the congestion window, so that it is never the buffer that holds the window up; and the
/// least, so that small text need not wait.
#[test]
fn the_send_buffer_follows_the_congestion_window() {
    let mut t = with(|it| it.send_buffer = BufferLimit::Auto(1 << 20));
    let text = octets(2 << 20);
    assert_eq!(t.with(|tcb, cx| tcb.send(cx, &text)), 64_000);
    let mut acked = 1;
    let mut most = 0;
    for _ in 0..12 {
        for sent in t.sent() {
            acked = acked.max(sent.seq + sent.text.len() as u32);
            recv!(t, Seg { ack: acked, ..ACK });
        }
        t.with(|tcb, cx| tcb.send(cx, &text));
        let queued = t.tcb.snd.end.since(t.tcb.snd.una);
        let cwnd = t.tcb.info(&t.core, t.now).cwnd;
        assert!(queued <= (2 * cwnd).max(64_000), "{queued} for {cwnd}");
        most = most.max(queued);
    }
    // The path of these tests has 1000 buffers, of which a connection gets a quarter.
    assert!((100_000..=252_000).contains(&most), "{most}");
}

#[test]
fn the_send_buffer_has_the_limit_of_its_options() {
    for limit in [BufferLimit::Auto(30_000), BufferLimit::Fixed(30_000)] {
        let mut t = with(|it| it.send_buffer = limit);
        let written = t.with(|tcb, cx| tcb.send(cx, &octets(500_000)));
        let least = matches!(limit, BufferLimit::Auto(_));
        assert_eq!(written, if least { 64_000 } else { 30_000 });
        t.sent();
    }
}

/// TCP_MAXSEG: what we offer, and what we send whatever the peer would take (RFC 9293 section
/// 3.7.1, MUST-15).
#[test]
fn the_mss_is_clamped_for_both_directions() {
    let mut setup = Setup::default();
    setup.config.options.max_segment = Some(700);
    let half = setup.clone().half_open();
    assert_eq!(half.syn_ack.options.mss, Some(700));
    let mut t = setup.clone().established();
    t.send(&octets(2_000));
    assert_eq!(t.sent()[0].text.len(), 700);
    let mut t = setup.connecting();
    assert_eq!(t.sent_one().header.options.mss, Some(700));
}

#[test]
fn each_listener_has_options_of_its_own() {
    let setup = Setup::with_options();
    let mut core = setup.core();
    let options = SocketOptions {
        receive_buffer: BufferLimit::Fixed(8_000),
        max_segment: Some(500),
        ..SocketOptions::default()
    };
    let mut listener = Listener::new(core.add_options(options));
    let mut buffers = TestBuffers::new(10);
    let mut cx = Context {
        now: setup.start,
        buffers: &mut buffers,
        core: &mut core,
    };
    let key = setup.key();
    let segment = Segment {
        header: setup.syn(),
        payload: &[],
    };
    let mut entry = listener
        .handle_syn(&mut cx, &key, &segment, 1_460, None)
        .expect("room");
    let syn_ack = entry.syn_ack(&mut cx, &key);
    assert_eq!(syn_ack.window, 8_000);
    assert_eq!(syn_ack.options.mss, Some(500));
    assert_eq!(syn_ack.options.window_scale, Some(0));
    let ack = Segment {
        header: Header {
            seq: setup.irs + 1,
            ack: syn_ack.seq.wrapping_add(1),
            flags: Flags::ACK,
            options: Options {
                timestamps: Some(Timestamps { tsval: 2, tsecr: 0 }),
                ..Options::default()
            },
            ..Header::default()
        },
        payload: &[],
    };
    let SynVerdict::Opens(mut tcb) = entry.handle_segment(&mut cx, &key, &ack) else {
        panic!("does not open");
    };
    assert_eq!(tcb.options(cx.core).max_segment, Some(500));
    assert!(!cx.core.options.is_idle());
    tcb.release(&mut cx);
    assert!(core.options.is_idle());
}

#[test]
fn options_that_change_back_and_forth_leave_nothing() {
    let mut t = established();
    for i in 0..100 {
        change(&mut t, |it| {
            it.cork = i % 2 == 0;
            it.user_timeout = Some(Duration::from_secs(1 + i));
        });
    }
    assert_eq!(t.core.options.len(), 2);
    t.abort();
    t.sent();
    assert_eq!(t.core.options.len(), 1);
    assert!(t.core.options.is_idle());
}

#[test]
fn a_window_that_was_advertised_stays_when_the_buffer_shrinks() {
    let mut t = Setup::with_options().established();
    let edge = t.tcb.rcv.edge;
    change(&mut t, |it| {
        it.receive_buffer = BufferLimit::Fixed(5_000);
    });
    recv!(
        t,
        Seg {
            text: &octets(1_000),
            ..ACK
        }
    );
    advance!(t, 100 ms);
    t.sent();
    assert_eq!(t.tcb.rcv.edge, edge);
    let far = edge.since(t.tcb.rcv.irs) - 1_000;
    recv!(
        t,
        Seg {
            seq: far,
            text: &octets(1_000),
            ..ACK
        }
    );
    assert_eq!(t.counters().out_of_window, 0);
    t.sent();
}

#[test]
fn a_congestion_control_can_be_chosen_by_name_for_one_connection() {
    let mut t = established();
    change(&mut t, |it| it.congestion = Algorithm::Reno);
    assert_eq!(t.tcb.info(&t.core, t.now).congestion, "reno");
}

#[test]
fn info_counts_octets_and_segments() {
    let mut t = established();
    t.send(&octets(2_500));
    t.sent();
    recv!(t, Seg { ack: 1_001, ..ACK });
    recv!(
        t,
        Seg {
            ack: 1_001,
            text: b"abc",
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            seq: 10,
            ack: 1_001,
            text: b"later",
            ..ACK
        }
    );
    t.sent();
    advance!(t, 300 ms);
    assert!(!t.sent().is_empty(), "a retransmission");
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.octets_acked, 1_000);
    assert_eq!(info.octets_received, 3);
    assert_eq!(
        info.octets_sent,
        2_000 + u64::from(info.octets_retransmitted)
    );
    assert_eq!(info.octets_retransmitted, 1_000);
    assert_eq!((info.segs_in, info.data_segs_in), (4, 2));
    assert_eq!(info.data_segs_out, 3);
    assert_eq!(info.out_of_order, 1);
    assert_eq!(info.timeouts, 1);
    assert_eq!(info.last_data_received, Some(Duration::from_millis(300)));
    assert_eq!(info.last_heard, Some(Duration::from_millis(300)));
    assert!(info.last_data_sent.is_some());
    assert_eq!(
        (info.mss, info.advertised_mss, info.path_mtu),
        (1_000, 1_460, 1_500)
    );
    assert_eq!(info.options.as_deref(), Some(t.tcb.options(&t.core)));
}

/// The numbers of SYN and FIN are no octets.
#[test]
fn info_at_the_end_counts_text_only() {
    let mut t = established();
    t.send(b"abc");
    t.shutdown();
    t.sent();
    recv!(
        t,
        Seg {
            ack: 5,
            flags: FIN,
            text: b"defg",
            ..ACK
        }
    );
    assert_eq!(t.state(), State::TimeWait);
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(
        (info.octets_acked, info.octets_received, info.octets_sent),
        (3, 4, 3)
    );
    t.sent();
}

/// Four GiB are 2^32 sequence numbers.
#[test]
fn info_goes_on_counting_when_sequence_numbers_come_round() {
    let mut t = established();
    let far = 1_u32 << 30;
    for i in 1..=9u32 {
        let una = t.tcb.snd.iss + 1 + far.wrapping_mul(i);
        t.tcb.advance_una(&mut t.core, una);
        let nxt = t.tcb.rcv.irs + 1 + far.wrapping_mul(i);
        t.tcb.advance_nxt(&mut t.core, nxt);
    }
    (t.tcb.snd.end, t.tcb.snd.nxt) = (t.tcb.snd.una, t.tcb.snd.una);
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.octets_acked, 9 << 30);
    assert_eq!(info.octets_received, 9 << 30);
    assert_eq!(info.octets_sent, 9 << 30);
}
