//! The receive window follows the path (RFC 9293 section 3.8.6; RFC 7323 section 1.1 has why).

use super::*;

const MOST: u32 = 6 * 1024 * 1024;

fn setup(timestamps: bool) -> Setup {
    let mut setup = Setup::with_options();
    if !timestamps {
        setup.syn.timestamps = None;
        setup.syn.mss = Some(1_000);
    }
    setup
}

/// The window that the peer knows of, in octets.
fn window(t: &Host) -> u32 {
    t.tcb.rcv.edge.since(t.tcb.rcv.nxt)
}

/// The peer fills the window, at most with so much, within each of so many round trips of 100 ms.
fn fill(t: &mut Host, rounds: usize, most: u32) {
    let text = octets(1_000);
    for _ in 0..rounds {
        let mut left = window(t).min(most);
        // What arrives now was caused by what we sent a round trip ago.
        let echo = t.tcb.timestamps.map(|_| (t.tsval, t.tsecr));
        while left >= 1_000 {
            let seq = t.tcb.rcv.nxt.since(t.tcb.rcv.irs);
            t.recv(Seg {
                seq,
                text: &text,
                timestamps: echo,
                ..ACK
            });
            t.sent();
            t.received.clear();
            left -= 1_000;
        }
        t.advance(Duration::from_millis(100));
        t.sent();
    }
}

#[test]
fn a_window_that_is_used_grows_to_the_limit_within_a_few_round_trips() {
    for timestamps in [true, false] {
        let mut t = setup(timestamps).established();
        assert_eq!(t.tcb.rcv.shift, 7, "room for the limit");
        advance!(t, 100 ms);
        assert!(window(&t) <= 65_536);
        fill(&mut t, 9, u32::MAX);
        assert!((MOST..=MOST + 128).contains(&window(&t)), "{}", window(&t));
        let info = t.tcb.info(&t.core, t.now);
        assert_eq!(info.receive_limit, MOST);
        let rtt = info.receive_rtt.expect("measured").as_millis();
        assert!(
            (50..=200).contains(&rtt),
            "{rtt} ms, timestamps {timestamps}"
        );
        assert!(t.counters().receive_windows_grown > 1);
    }
}

/// 10 Mbit/s at 100 ms are 125 KB a round trip: twice that is enough.
#[test]
fn a_window_grows_to_what_the_path_takes_and_no_further() {
    let mut t = setup(true).established();
    fill(&mut t, 60, 125_000);
    assert!((250_000..1_500_000).contains(&window(&t)), "{}", window(&t));
    let grown = t.tcb.rcv_limit;
    fill(&mut t, 60, 125_000);
    assert_eq!(t.tcb.rcv_limit, grown);
}

/// What counts is what the application consumes.
#[test]
fn a_window_does_not_grow_for_an_application_that_is_slow() {
    let mut t = setup(true).established();
    t.application = Application::Keeps;
    for _ in 0..30 {
        fill(&mut t, 1, u32::MAX);
        t.read(5_000);
        t.sent();
    }
    assert!(window(&t) < 65_536);
    assert!(t.tcb.rcv_limit <= 65_536, "{}", t.tcb.rcv_limit);
}

#[test]
fn a_fixed_window_is_there_from_the_start_and_stays() {
    let mut setup = setup(true);
    setup.config.options.receive_buffer = BufferLimit::Fixed(500_000);
    let mut t = setup.established();
    assert!(window(&t) <= 65_535, "not said by a SYN");
    fill(&mut t, 1, 2_000);
    assert!(window(&t) >= 498_000);
    fill(&mut t, 10, u32::MAX);
    assert!(window(&t) <= 500_000 + 16);
    assert!(t.core.tuning.is_empty());
}

#[test]
fn a_window_is_clamped_below_its_buffer() {
    let mut setup = setup(true);
    setup.config.options.window_clamp = Some(100_000);
    let mut t = setup.established();
    assert_eq!(t.tcb.rcv.shift, 1, "no more than the clamp needs");
    fill(&mut t, 10, u32::MAX);
    assert!((98_000..=100_002).contains(&window(&t)), "{}", window(&t));
}

#[test]
fn without_scale_the_window_is_what_16_bits_can_say() {
    let mut t = established();
    fill(&mut t, 10, u32::MAX);
    assert!(window(&t) <= 65_535);
}

/// Advertised and then not there would be text sent for nothing: with half of the core's memory used,
/// windows do not grow, and those that have move on as if they had not.
#[test]
fn windows_do_not_grow_while_memory_is_short() {
    let mut setup = setup(true);
    setup.config.receive_memory = 100 * 2_048;
    let mut t = setup.established();
    fill(&mut t, 4, u32::MAX);
    let grown = window(&t);
    assert!(grown > 200_000);
    let gap = t.tcb.rcv.nxt.since(t.tcb.rcv.irs) + 3_000;
    let text = octets(1_000);
    for i in 0..60 {
        recv!(
            t,
            Seg {
                seq: gap + 2_048 * i,
                text: &text,
                ..ACK
            }
        );
    }
    assert!(t.core.receive_bytes() > 50 * 2_048);
    let edge = t.tcb.rcv.edge;
    let limit = t.tcb.rcv_limit;
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.receive_limit, 65_536);
    for i in 0..2 {
        let seq = t.tcb.rcv.nxt.since(t.tcb.rcv.irs);
        recv!(
            t,
            Seg {
                seq,
                text: &text,
                ..ACK
            }
        );
        t.sent();
        advance!(t, 200 ms);
        assert_eq!(
            t.tcb.rcv.edge, edge,
            "{i}: stays where it is, and is kept (SHLD-14)"
        );
    }
    assert_eq!(t.tcb.rcv_limit, limit);
    t.sent();
}

#[test]
fn few_octets_cost_no_tuning_and_the_end_gives_it_back() {
    let mut t = setup(true).established();
    fill(&mut t, 1, 15_000);
    assert!(t.core.tuning.is_empty());
    fill(&mut t, 1, 15_000);
    assert_eq!(t.core.tuning.len(), 1);
    t.abort();
    t.sent();
    assert!(t.core.tuning.is_empty());
}

/// An echo can lie: what it may do is bounded by the limit and by what really is consumed.
#[test]
fn a_lying_echo_measures_nothing() {
    let mut t = setup(true).established();
    fill(&mut t, 1, 20_000);
    let text = octets(1_000);
    for tsecr in [0, 1, u32::MAX, 1 << 31] {
        let seq = t.tcb.rcv.nxt.since(t.tcb.rcv.irs);
        let tsval = t.tsval;
        recv!(
            t,
            Seg {
                seq,
                text: &text,
                timestamps: Some((tsval, tsecr)),
                ..ACK
            }
        );
        t.sent();
    }
    let rtt = t.tcb.info(&t.core, t.now).receive_rtt;
    assert!(
        rtt.is_none_or(|rtt| rtt < Duration::from_secs(1)),
        "{rtt:?}"
    );
}
