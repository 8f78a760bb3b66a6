//! Window scale (RFC 7323 section 2).

use super::*;

fn window(t: &Host) -> u32 {
    t.tcb.info(&t.core, t.now).snd_wnd
}

/// Our shift is 4, for a buffer of 512 KiB; the peer's is 3.
fn setup() -> Setup {
    let mut setup = Setup::with_options();
    setup.config.options.receive_buffer = BufferLimit::Fixed(512 * 1024);
    setup
}

fn scaled() -> Host {
    setup().established()
}

/// Section 2.3: every window but that of a SYN is shifted left by what the peer has said, in segments
/// of whatever kind.
#[test]
fn the_peers_window_is_shifted_in_every_segment() {
    let mut t = scaled();
    let (mut seq, mut field) = (1, 100);
    for text in [&b""[..], b"abc", b"", b"x"] {
        field += 1;
        recv!(
            t,
            Seg {
                seq,
                text,
                window: Some(field),
                ..ACK
            }
        );
        seq += text.len() as u32;
        assert_eq!(window(&t), u32::from(field) << 3);
    }
    recv!(
        t,
        Seg {
            seq,
            flags: FIN,
            window: Some(7),
            ..ACK
        }
    );
    assert_eq!(window(&t), 56);
    t.sent();
}

#[test]
fn our_window_is_shifted_in_every_segment_but_the_syn() {
    let half = setup().half_open();
    assert_eq!(half.syn_ack.window, 0xffff, "never scaled");
    assert_eq!(half.syn_ack.options.window_scale, Some(4));
    let mut t = scaled();
    t.send(b"x");
    let field = t.sent_one().header.window;
    assert_eq!(u32::from(field) << 4, 512 * 1024);
    t.tcb.set_nodelay(true);
    t.send(b"y");
    t.shutdown();
    assert_eq!(t.sent_one().header.window, field);
}

/// Section 2.2: a shift counts only if both have sent one. Without, windows are what they say.
#[test]
fn without_an_offer_windows_are_not_shifted() {
    let mut t = established();
    recv!(
        t,
        Seg {
            window: Some(0xffff),
            ..ACK
        }
    );
    assert_eq!(window(&t), 0xffff, "unsigned (RFC 9293 MUST-1)");
    t.send(b"x");
    assert_eq!(t.sent_one().header.window, 0xffff);
}

/// Section 2.3: the largest shift makes a gigabyte of window, and the arithmetic of its edge holds.
#[test]
fn the_largest_window_is_a_gigabyte() {
    let mut t = Setup {
        syn: Options {
            mss: Some(1_000),
            window_scale: Some(14),
            ..Options::default()
        },
        ..Setup::default()
    }
    .established();
    recv!(
        t,
        Seg {
            window: Some(0xffff),
            ..ACK
        }
    );
    assert_eq!(window(&t), 0xffff << 14);
    t.send(&octets(3_000));
    assert_eq!(t.sent().len(), 3);
    // And acknowledgments that old are still credible.
    recv!(
        t,
        Seg {
            ack: 1u32.wrapping_sub(0xffff << 14),
            text: b"abc",
            ..ACK
        }
    );
    assert_eq!(t.received, b"abc");
    t.sent();
}

/// Section 2.4: what we have said is what we take, to the last octet of the last unit.
#[test]
fn text_at_the_end_of_a_scaled_window_is_taken() {
    let mut t = scaled();
    t.send(b"x");
    let sent = t.sent_one();
    let edge = sent.ack + (u32::from(sent.header.window) << 4);
    recv!(
        t,
        Seg {
            seq: edge - 3,
            text: b"end",
            ack: 2,
            ..ACK
        }
    );
    sent!(
        t,
        [Seg {
            seq: 2,
            sack: Some(&[(edge - 3, edge)]),
            ..ACK
        }]
    );
    recv!(
        t,
        Seg {
            seq: edge,
            text: b"beyond",
            ack: 2,
            ..ACK
        }
    );
    assert_eq!(t.counters().out_of_window, 1);
    t.sent();
}
