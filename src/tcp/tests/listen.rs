//! LISTEN and the SYN queue (RFC 9293 section 3.10.7.2, RFC 5961 section 4).

use super::*;

#[test]
fn the_syn_ack_comes_again_with_back_off_and_an_end() {
    let mut half = Setup::default().half_open();
    let start = half.now;
    let mut at = Vec::new();
    while half.timeout() {
        at.push(half.now.saturating_since(start).as_millis());
    }
    assert_eq!(at, [1_000, 3_000, 7_000, 15_000, 31_000]);
    assert_eq!(half.core.counters.syn_ack_retransmits, 5);
    assert_eq!(half.core.counters.attempt_fails, 1);
}

#[test]
fn any_configured_number_of_retransmissions_is_safe() {
    let mut half = Setup {
        config: Config {
            syn_ack_retransmissions: u8::MAX,
            ..Config::default()
        },
        ..Setup::default()
    }
    .half_open();
    while half.timeout() {
        assert!(half.entry.deadline.saturating_since(half.now) <= Duration::from_secs(60));
    }
}

#[test]
fn the_same_syn_gets_the_same_syn_ack() {
    let mut half = Setup::default().half_open();
    let syn = half.setup.syn();
    assert!(matches!(half.handle(&syn), SynVerdict::SynAckAgain));
    let mut cx = Context {
        now: half.now,
        buffers: &mut half.buffers,
        core: &mut half.core,
    };
    assert_eq!(half.entry.syn_ack(&mut cx, &half.key), half.syn_ack);
}

/// The peer has forgotten its first attempt. It resets the SYN-ACK of that, and starts anew.
#[test]
fn another_syn_is_told_of_the_first_and_clears_it() {
    let mut half = Setup::default().half_open();
    let mut syn = half.setup.syn();
    syn.seq = 777_777;
    assert!(matches!(half.handle(&syn), SynVerdict::SynAckAgain));
    assert_eq!(half.core.counters.syn_challenged, 1);
    let reset = Header {
        seq: half.syn_ack.ack,
        flags: Flags::RST,
        ..Header::default()
    };
    assert!(matches!(half.handle(&reset), SynVerdict::Gone));
}

#[test]
fn another_syn_is_answered_within_the_limit_of_challenges() {
    let mut half = Setup {
        config: Config {
            challenge_acks_per_second: 5,
            ..Config::default()
        },
        ..Setup::default()
    }
    .half_open();
    let mut syn = half.setup.syn();
    let answered = (0..20)
        .filter(|i| {
            syn.seq = 1_000_000 + i;
            matches!(half.handle(&syn), SynVerdict::SynAckAgain)
        })
        .count();
    // A single second has up to a half more or less (CVE-2016-5696).
    assert!((3..=7).contains(&answered), "{answered}");
    assert_eq!(
        half.core.counters.challenge_acks_suppressed,
        20 - answered as u64
    );
}

#[test]
fn a_reset_counts_only_exactly() {
    let mut half = Setup::default().half_open();
    let reset = |seq: u32| Header {
        seq,
        flags: Flags::RST,
        ..Header::default()
    };
    for seq in [5_000, 5_002, 0] {
        assert!(!matches!(half.handle(&reset(seq)), SynVerdict::Gone));
    }
    assert!(matches!(half.handle(&reset(5_001)), SynVerdict::Gone));
}

#[test]
fn a_reset_elsewhere_folds_back_after_a_challenge() {
    let mut half = Setup::default().half_open();
    let header = Header {
        seq: 5_100,
        flags: Flags::RST,
        ..Header::default()
    };
    let iss = half.syn_ack.seq;
    let SynVerdict::Opens(_) = half.handle(&header) else {
        panic!("only the connection can judge it");
    };
    let mut t = half.open(&header, &[]);
    assert_eq!(t.state(), State::SynReceived);
    let challenge = t.sent_one();
    assert_eq!(challenge.header.seq, iss.wrapping_add(1));
    assert_eq!(challenge.header.flags, Flags::ACK);
}

#[test]
fn the_third_acknowledgment_may_be_lost() {
    let half = Setup::default().half_open();
    let mut header = half.third_ack();
    header.flags = Flags::ACK | Flags::PSH;
    let t = half.open(&header, b"GET /");
    assert_eq!(t.state(), State::Established);
    assert_eq!(t.received, b"GET /");
}

#[test]
fn the_queue_has_a_limit_and_forgets() {
    let setup = Setup {
        config: Config {
            syn_queue: 2,
            syn_cookies: SynCookies::Off,
            ..Config::default()
        },
        ..Setup::default()
    };
    let mut half = setup.clone().half_open();
    let mut key = half.key;
    let mut syn = |half: &mut HalfOpen, port: u16| {
        key.remote_port = port;
        let segment = Segment {
            header: setup.syn(),
            payload: &[],
        };
        let mut cx = Context {
            now: half.now,
            buffers: &mut half.buffers,
            core: &mut half.core,
        };
        half.listener
            .handle_syn(&mut cx, &key, &segment, 1_460, None)
            .is_some()
    };
    assert!(syn(&mut half, 1));
    assert!(!syn(&mut half, 2));
    assert_eq!(half.core.counters.listen_overflows, 1);
    assert_eq!(half.listener.half_open(), 2);
    half.listener.forget();
    assert!(syn(&mut half, 3));
    assert!(half.core.is_empty(), "a SYN costs no memory of the core");
}

#[test]
fn only_a_plain_syn_opens() {
    let opens = |flags: Flags| {
        SynEntry::opens(&Header {
            flags,
            ..Header::default()
        })
    };
    assert!(opens(Flags::SYN));
    assert!(opens(Flags::SYN | Flags::ECE | Flags::CWR));
    for with in [Flags::ACK, Flags::RST, Flags::FIN] {
        assert!(!opens(Flags::SYN | with));
        assert!(!opens(with));
    }
}

#[test]
fn the_handshakes_round_trip_is_measured() {
    let mut half = Setup::default().half_open();
    half.now += Duration::from_millis(80);
    let ack = half.third_ack();
    let t = half.open(&ack, &[]);
    let info = t.tcb.info(&t.core, t.now);
    assert_eq!(info.srtt, Some(Duration::from_millis(80)));
    assert_eq!(info.rto, Duration::from_millis(280));
}

/// Karn's algorithm (RFC 6298 section 3): the acknowledgment may be of either SYN-ACK.
#[test]
fn a_syn_ack_that_was_sent_again_tells_no_round_trip() {
    let mut half = Setup::default().half_open();
    let syn = half.setup.syn();
    half.now += Duration::from_millis(300);
    assert!(matches!(half.handle(&syn), SynVerdict::SynAckAgain));
    assert_eq!(half.core.counters.retrans_segs, 1);
    half.now += Duration::from_millis(80);
    let ack = half.third_ack();
    let t = half.open(&ack, &[]);
    assert_eq!(t.state(), State::Established);
    assert_eq!(t.tcb.info(&t.core, t.now).srtt, None);
}

/// With timestamps the echo tells which.
#[test]
fn with_timestamps_a_syn_ack_that_was_sent_again_tells_one() {
    let mut half = Setup::with_options().half_open();
    half.now += Duration::from_millis(300);
    let syn = half.setup.syn();
    assert!(matches!(half.handle(&syn), SynVerdict::SynAckAgain));
    let mut cx = Context {
        now: half.now,
        buffers: &mut half.buffers,
        core: &mut half.core,
    };
    half.syn_ack = half.entry.syn_ack(&mut cx, &half.key);
    half.now += Duration::from_millis(80);
    let ack = half.third_ack();
    let t = half.open(&ack, &[]);
    let srtt = t.tcb.info(&t.core, t.now).srtt;
    // Rounded up.
    assert_eq!(srtt, Some(Duration::from_millis(81)));
}

/// RFC 9293 section 3.10.7.2: text on a SYN may be left to come again, and without Fast Open it is.
#[test]
fn text_on_a_syn_is_not_acknowledged_and_comes_again() {
    let mut half = Setup::default().half_open();
    let (key, path_mss) = (half.key, half.setup.path_mss);
    let segment = Segment {
        header: half.setup.syn(),
        payload: b"early",
    };
    let mut cx = Context {
        now: half.now,
        buffers: &mut half.buffers,
        core: &mut half.core,
    };
    let entry = half
        .listener
        .handle_syn(&mut cx, &key, &segment, path_mss, None)
        .expect("room");
    assert_eq!(entry.syn_ack(&mut cx, &key).ack, 5_001);
    assert!(!entry.takes_text());
    let ack = half.third_ack();
    let t = half.open(&ack, b"early");
    assert_eq!(t.received, b"early");
}

/// The limit of challenge ACKs outlives the connection's folding back (RFC 5961 section 7).
#[test]
fn a_half_open_connection_is_challenged_for_within_its_limit() {
    let mut half = Setup::default().half_open();
    let reset = Header {
        seq: 5_100,
        flags: Flags::RST,
        ..Header::default()
    };
    let mut challenges = 0;
    for _ in 0..5 {
        let SynVerdict::Opens(mut tcb) = half.handle(&reset) else {
            panic!("only the connection can judge it");
        };
        let mut cx = Context {
            now: half.now,
            buffers: &mut half.buffers,
            core: &mut half.core,
        };
        let segment = Segment {
            header: reset.clone(),
            payload: &[],
        };
        tcb.handle_segment(&mut cx, &segment);
        challenges += usize::from(tcb.poll_transmit(&mut cx).is_some());
        tcb.release(&mut cx);
        half.entry.fold_back(&tcb);
    }
    assert_eq!(challenges, 1);
}
