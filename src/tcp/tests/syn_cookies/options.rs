//! What of the SYN's options outlives a cookie.

use super::*;

/// Scale, SACK and ECN, each with and without the others.
#[test]
fn with_timestamps_every_option_is_kept() {
    for ipv6 in [false, true] {
        for (scale, sack, ecn) in [
            (None, false, false),
            (Some(0), false, false),
            (Some(7), false, false),
            (Some(14), false, false),
            (Some(255), false, false),
            (None, true, false),
            (None, false, true),
            (Some(9), true, true),
        ] {
            let mut setup = Setup { ipv6, ..always() };
            setup.syn.window_scale = scale;
            setup.syn.sack_permitted = sack;
            if ecn {
                setup.syn_flags = Flags::ECE | Flags::CWR;
            }
            let mut server = Server::new(setup);
            let syn_ack = server.cookie();
            assert_eq!(syn_ack.options.window_scale.is_some(), scale.is_some());
            assert_eq!(syn_ack.options.sack_permitted, sack);
            assert_eq!(syn_ack.flags.contains(Flags::ECE), ecn);
            let mut ack = server.ack(&syn_ack);
            ack.window = 1_000;
            let t = server.open(&ack, &[]);
            let info = t.tcb.info(&t.core, t.now);
            assert!(info.timestamps);
            assert_eq!((info.sack, info.ecn), (sack, ecn));
            let shift = scale.map_or(0, |shift| shift.min(14));
            let ours = syn_ack.options.window_scale.unwrap_or(0);
            assert_eq!(info.window_scale, (shift, ours));
            assert_eq!(info.snd_wnd, 1_000 << shift, "the acknowledgment's window");
        }
    }
}

/// What only the timestamp could say is not offered.
#[test]
fn without_timestamps_only_the_mss_is_kept() {
    let mut setup = always();
    setup.syn.timestamps = None;
    setup.syn_flags = Flags::ECE | Flags::CWR;
    let mut server = Server::new(setup);
    let syn_ack = server.cookie();
    assert_eq!(syn_ack.flags, SYN_ACK);
    assert_eq!(
        syn_ack.options,
        Options {
            mss: Some(1_460),
            ..Options::default()
        }
    );
    let ack = server.ack(&syn_ack);
    let t = server.open(&ack, &[]);
    let info = t.tcb.info(&t.core, t.now);
    assert!(!info.sack && !info.ecn && !info.timestamps);
    assert_eq!((info.window_scale, info.mss), ((0, 0), 536));
}

/// What is switched off is not offered with a cookie either.
#[test]
fn options_that_are_off_stay_off() {
    let mut setup = always();
    setup.config.sack = false;
    setup.config.window_scale = false;
    setup.config.ecn = EcnMode::Off;
    setup.syn_flags = Flags::ECE | Flags::CWR;
    let mut server = Server::new(setup);
    let syn_ack = server.cookie();
    assert_eq!(syn_ack.flags, SYN_ACK);
    assert!(!syn_ack.options.sack_permitted && syn_ack.options.window_scale.is_none());
    assert!(syn_ack.options.timestamps.is_some());
    let mut off = always();
    off.config.timestamps = false;
    let mut server = Server::new(off);
    assert!(server.cookie().options.timestamps.is_none());
}

/// What the timestamp says is no secret: a peer may echo it with bits that it has never had.
#[test]
fn a_changed_timestamp_switches_nothing_on() {
    let mut setup = always();
    setup.config.sack = false;
    setup.config.window_scale = false;
    setup.config.ecn = EcnMode::Off;
    let mut server = Server::new(setup);
    let syn_ack = server.cookie();
    let mut ack = server.ack(&syn_ack);
    let offset = server.core.isn.timestamp_offset(&server.key());
    let timestamps = ack.options.timestamps.as_mut().expect("timestamps");
    let told = timestamps.tsecr.wrapping_sub(offset);
    // SACK, ECN and a scale of 7, as if it had been sent a little earlier.
    let told = (told & !0x3f | 0x37).wrapping_sub(64);
    timestamps.tsecr = told.wrapping_add(offset);
    let t = server.open(&ack, &[]);
    let info = t.tcb.info(&t.core, t.now);
    assert!(info.timestamps && !info.sack && !info.ecn);
    assert_eq!(info.window_scale, (0, 0));
}

/// The largest size of the table that the peer takes, never more; and no more than the path takes.
#[test]
fn the_mss_is_the_next_below_the_peers() {
    let mss = |ipv6, path_mss, said: Option<u16>| {
        let mut setup = Setup {
            ipv6,
            path_mss,
            ..always()
        };
        setup.syn.mss = said;
        setup.syn.timestamps = None;
        let mut server = Server::new(setup);
        let syn_ack = server.cookie();
        assert_eq!(syn_ack.options.mss, Some(path_mss), "ours");
        let ack = server.ack(&syn_ack);
        let t = server.open(&ack, &[]);
        t.tcb.info(&t.core, t.now).mss
    };
    for (said, kept) in [
        (Some(0), 48),
        (Some(48), 48),
        (Some(535), 48),
        (Some(536), 536),
        (None, 536),
        (Some(1_219), 536),
        (Some(1_220), 1_220),
        (Some(1_300), 1_300),
        (Some(1_379), 1_300),
        (Some(1_380), 1_380),
        (Some(1_440), 1_440),
        (Some(1_452), 1_440),
        (Some(1_459), 1_440),
        (Some(1_460), 1_460),
        (Some(8_959), 1_460),
        (Some(8_960), 8_960),
        (Some(u16::MAX), 8_960),
    ] {
        assert_eq!(mss(false, 9_000, said), kept, "{said:?}");
    }
    for (said, kept) in [
        (None, 1_220),
        (Some(1_219), 536),
        (Some(1_419), 1_380),
        (Some(1_420), 1_420),
        (Some(1_440), 1_440),
        (Some(8_940), 8_940),
    ] {
        assert_eq!(mss(true, 9_000, said), kept, "{said:?}");
    }
    assert_eq!(mss(false, 1_400, Some(8_960)), 1_400);
    assert_eq!(mss(true, 1_400, Some(1_440)), 1_400);
}

/// RFC 7323 section 5: the cookie's timestamp is none of the future, and none that goes back.
#[test]
fn timestamps_never_go_back() {
    for start in 0..130 {
        let mut setup = always();
        setup.start = Instant::from_millis(1_000_000 + start);
        setup.syn.window_scale = Some(14);
        setup.syn_flags = Flags::ECE | Flags::CWR;
        let mut server = Server::new(setup);
        let tsval = |header: &Header| header.options.timestamps.expect("in use").tsval;
        let first = server.cookie();
        server.now += Duration::from_millis(1);
        let second = server.cookie();
        assert!(tsval(&second).wrapping_sub(tsval(&first)) < 1 << 31);
        let ack = server.ack(&second);
        let mut t = server.open(&ack, &[]);
        t.send(b"x");
        let sent = t.sent_one();
        let later = tsval(&sent.header).wrapping_sub(tsval(&second));
        assert!(later < 64, "{later}");
    }
}

/// The clock of the timestamps wraps after 49 days.
#[test]
fn the_clock_may_wrap_between_cookie_and_acknowledgment() {
    let wrap = 1u64 << 32;
    for before in [0, 1, 30, 63, 64] {
        let mut setup = always();
        setup.start = Instant::from_millis(wrap - before);
        let mut server = Server::new(setup);
        let syn_ack = server.cookie();
        let ack = server.ack(&syn_ack);
        server.now += Duration::from_millis(50);
        let t = server.open(&ack, &[]);
        let info = t.tcb.info(&t.core, t.now);
        assert!(info.sack && info.window_scale.0 == 3);
    }
}

/// The timestamp is older than the cookie, so that it would tell too long a round trip.
#[test]
fn the_handshake_tells_no_round_trip() {
    let t = Server::new(always()).established();
    assert_eq!(t.tcb.info(&t.core, t.now).srtt, None);
}
