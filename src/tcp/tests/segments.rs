//! What segments look like: their size, their options, their PSH (RFC 9293 sections 3.1, 3.7 and
//! 3.9.1.2).

use super::*;

/// MUST-65: the MSS is a SYN's to say, and so is the scale.
#[test]
fn after_the_syn_no_segment_has_an_mss() {
    let mut t = Setup::with_options().established();
    t.send(&octets(3_000));
    recv!(
        t,
        Seg {
            seq: 100,
            text: b"x",
            ..ACK
        }
    );
    t.sent();
    advance!(t, 1 s);
    t.shutdown();
    t.sent();
    t.abort();
    for sent in t.sent() {
        assert_eq!(sent.header.options.mss, None);
        assert_eq!(sent.header.options.window_scale, None);
    }
}

/// MUST-67 and MUST-14: what we say in a SYN is what the path lets us receive, whatever the peer says
/// of itself, over both versions of IP, in both directions.
#[test]
fn our_mss_is_what_we_can_receive() {
    for (ipv6, path_mss) in [(false, 1_460), (true, 1_440), (false, 8_960), (false, 536)] {
        for peers in [100, 1_460, 65_495] {
            let setup = Setup {
                ipv6,
                path_mss,
                syn: Options {
                    mss: Some(peers),
                    ..Options::default()
                },
                ..Setup::default()
            };
            assert_eq!(
                setup.clone().half_open().syn_ack.options.mss,
                Some(path_mss)
            );
            let mut t = setup.connecting();
            assert_eq!(t.sent_one().header.options.mss, Some(path_mss));
        }
    }
}

/// MUST-16: no segment is longer than the peer's MSS, the path's, and what the options leave.
#[test]
fn no_segment_is_longer_than_both_sides_allow() {
    for (peers, path) in [(1_460, 1_460), (1_460, 500), (300, 1_460), (65_495, 1_460)] {
        for timestamps in [false, true] {
            let mut t = Setup {
                path_mss: path,
                syn: Options {
                    mss: Some(peers),
                    timestamps: timestamps.then_some(Timestamps { tsval: 1, tsecr: 0 }),
                    ..Options::default()
                },
                ..Setup::default()
            }
            .established();
            t.send(&octets(3_000));
            let sent = t.sent();
            let longest = sent
                .iter()
                .map(|sent| sent.text.len() + sent.header.options.len())
                .max();
            assert_eq!(
                longest,
                Some(usize::from(peers.min(path))),
                "{peers} {path}"
            );
        }
    }
}

/// SHLD-28 and SHLD-27: what is written in small pieces goes in full segments, and many pushes are
/// one.
#[test]
fn small_writes_become_full_segments() {
    let mut t = established();
    t.send(b"x");
    t.sent_one();
    let text = octets(3_000);
    for piece in text.chunks(60) {
        t.send(piece);
    }
    recv!(t, Seg { ack: 2, ..ACK });
    let sent = t.sent();
    let lens: Vec<usize> = sent.iter().map(|sent| sent.text.len()).collect();
    assert_eq!(lens, [1_000, 1_000, 1_000]);
    let pushes = sent
        .iter()
        .filter(|sent| sent.header.flags.contains(Flags::PSH))
        .count();
    assert_eq!(pushes, 1);
}

/// MUST-60 and MUST-61: SEND has no PUSH flag, so nothing waits for one, and the last segment of what
/// is queued has it, sent again or not.
#[test]
fn nothing_waits_for_a_push() {
    let mut t = established();
    for text in [&b"a"[..], b"bc"] {
        t.send(text);
        let sent = t.sent_one();
        assert!(sent.header.flags.contains(Flags::PSH));
        advance!(t, 1 s);
        assert!(t.sent().iter().all(|s| s.header.flags.contains(Flags::PSH)));
        let ack = sent.seq + text.len() as u32;
        recv!(t, Seg { ack, ..ACK });
    }
}

/// Section 3.9.1.2: PSH in what arrives makes no difference to when it is delivered.
#[test]
fn text_is_delivered_with_and_without_push() {
    let mut t = established();
    for (seq, flags) in [(1, Flags::ACK), (4, Flags::ACK | Flags::PSH)] {
        recv!(
            t,
            Seg {
                seq,
                flags,
                text: b"abc",
                ..ACK
            }
        );
        assert_eq!(t.received.len(), seq as usize + 2);
    }
    t.sent();
}

/// Section 3.10.7.4: all that can be sent is, in one turn, and in order.
#[test]
fn segments_go_in_order_without_gaps() {
    let mut t = established();
    let text = octets(9_500);
    t.send(&text);
    let mut next = 1;
    for sent in t.sent() {
        assert_eq!(sent.seq, next);
        next += sent.text.len() as u32;
    }
    assert_eq!(next, 9_001, "Nagle holds the rest");
    recv!(t, Seg { ack: 9_001, ..ACK });
    let last = t.sent_one();
    assert_eq!((last.seq, last.text.len()), (9_001, 500));
}

/// Section 3.8.6.3, MUST-59: what a batch has brought is acknowledged as a whole, gaps and all.
#[test]
fn the_whole_batch_is_processed_before_it_is_acknowledged() {
    let mut t = established();
    let text = octets(5_000);
    for i in [1, 2, 0, 3, 4] {
        recv!(
            t,
            Seg {
                seq: 1 + 1_000 * i as u32,
                text: &text[1_000 * i..1_000 * (i + 1)],
                ..ACK
            }
        );
    }
    sent!(t, [Seg { ack: 5_001, ..ACK }]);
}
