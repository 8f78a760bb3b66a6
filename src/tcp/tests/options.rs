//! What the SYNs agree on (RFC 9293 section 3.7.1, RFC 7323 section 2.2, RFC 2018 section 2).

use super::*;

fn syn(options: Options) -> Setup {
    Setup {
        syn: options,
        ..Setup::default()
    }
}

#[test]
fn without_an_mss_option_the_default_of_the_ip_version_counts() {
    for (ipv6, mss) in [(false, 536), (true, 1_220)] {
        let mut t = Setup {
            ipv6,
            ..syn(Options::default())
        }
        .established();
        t.tcb.set_nodelay(true);
        t.send(&octets(3_000));
        assert_eq!(t.sent()[0].text.len(), mss);
    }
}

#[test]
fn a_segment_fits_the_peer_and_the_path() {
    for (offered, path, full) in [(1_000, 1_460, 1_000), (9_000, 1_460, 1_460), (1, 1_460, 48)] {
        let mut t = Setup {
            path_mss: path,
            ..syn(Options {
                mss: Some(offered),
                ..Options::default()
            })
        }
        .established();
        t.send(&octets(5_000));
        assert_eq!(t.sent()[0].text.len(), full, "{offered}");
    }
}

#[test]
fn timestamps_take_their_room_from_the_text() {
    let mut t = Setup::with_options().established();
    t.send(&octets(3_000));
    assert_eq!(t.sent()[0].text.len(), 1_000);
}

#[test]
fn the_syn_ack_answers_each_option_and_offers_none_by_itself() {
    for bits in 0..8 {
        let offered = Options {
            mss: Some(1_000),
            window_scale: (bits & 1 != 0).then_some(7),
            sack_permitted: bits & 2 != 0,
            timestamps: (bits & 4 != 0).then_some(Timestamps { tsval: 1, tsecr: 0 }),
            ..Options::default()
        };
        let options = syn(offered.clone()).half_open().syn_ack.options;
        assert_eq!(options.mss, Some(1_460));
        assert_eq!(options.window_scale, offered.window_scale.map(|_| 7));
        assert_eq!(options.sack_permitted, offered.sack_permitted);
        assert_eq!(
            options.timestamps.map(|t| t.tsecr),
            offered.timestamps.map(|t| t.tsval)
        );
        let t = syn(offered.clone()).established();
        let info = t.tcb.info(&t.core, t.now);
        assert_eq!(info.sack, offered.sack_permitted);
        assert_eq!(info.timestamps, offered.timestamps.is_some());
        let shifts = if bits & 1 != 0 { (7, 7) } else { (0, 0) };
        assert_eq!(info.window_scale, shifts);
    }
}

#[test]
fn what_is_switched_off_is_neither_offered_nor_taken() {
    let config = Config {
        sack: false,
        timestamps: false,
        window_scale: false,
        ..Config::default()
    };
    let half = Setup {
        config: config.clone(),
        ..Setup::with_options()
    }
    .half_open();
    let only_mss = Options {
        mss: Some(1_460),
        ..Options::default()
    };
    assert_eq!(half.syn_ack.options, only_mss);
    let mut t = Setup {
        config,
        ..Setup::default()
    }
    .connecting();
    assert_eq!(t.sent_one().header.options, only_mss);
}

#[test]
fn an_active_open_offers_everything() {
    let mut t = Setup::default().connecting();
    let options = t.sent_one().header.options;
    assert_eq!(options.mss, Some(1_460));
    assert_eq!(options.window_scale, Some(7));
    assert!(options.sack_permitted && options.timestamps.is_some());
}

/// A shift of 0 from both sides is still an option that must be answered (RFC 7323 section 2.2).
#[test]
fn a_simultaneous_open_answers_a_scale_of_zero() {
    let mut t = Setup {
        config: Config {
            options: SocketOptions {
                receive_buffer: BufferLimit::Auto(32_768),
                ..SocketOptions::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    }
    .connecting();
    assert_eq!(t.sent_one().header.options.window_scale, Some(0));
    let header = Header {
        options: Options {
            window_scale: Some(0),
            ..Options::default()
        },
        ..Setup::default().syn()
    };
    t.handle(&Segment {
        header,
        payload: &[],
    });
    assert_eq!(t.sent_one().header.options.window_scale, Some(0));
}

#[test]
fn a_shift_beyond_14_counts_as_14() {
    let mut t = syn(Options {
        mss: Some(1_000),
        window_scale: Some(255),
        ..Options::default()
    })
    .established();
    recv!(
        t,
        Seg {
            window: Some(1),
            ..ACK
        }
    );
    assert_eq!(t.tcb.info(&t.core, t.now).snd_wnd, 1 << 14);
}

#[test]
fn the_window_of_a_syn_is_never_scaled() {
    let mut t = Setup::with_options().connecting();
    t.poll();
    t.outbox.clear();
    let header = Header {
        flags: SYN_ACK,
        ack: t.tcb.snd.nxt.0,
        window: 100,
        ..Setup::with_options().syn()
    };
    t.handle(&Segment {
        header,
        payload: &[],
    });
    assert_eq!(t.tcb.info(&t.core, t.now).snd_wnd, 100);
    t.tsval = 1;
    recv!(
        t,
        Seg {
            window: Some(100),
            ..ACK
        }
    );
    assert_eq!(t.tcb.info(&t.core, t.now).snd_wnd, 800);
}
