//! Urgent data is ordinary data (RFC 6093 section 4; RFC 9293 section 3.8.5).

use super::*;

const URGENT: Flags = Flags(Flags::ACK.0 | Flags::URG.0 | Flags::PSH.0);

fn recv_urgent(t: &mut Host, seg: Seg<'_>, pointer: u16) {
    let mut header = t.header(&seg);
    header.urgent = pointer;
    t.handle(&Segment {
        header,
        payload: seg.text,
    });
}

/// RFC 6093 section 6 and RFC 9293 MUST-31: of any length, at any place, and no octet is taken out
/// of the stream, wherever the pointer points.
#[test]
fn urgent_text_stays_in_line_wherever_the_pointer_points() {
    for pointer in [0, 1, 4, 5, 6, 1_000, u16::MAX] {
        let mut t = established();
        let seg = Seg {
            flags: URGENT,
            text: b"urgent",
            ..ACK
        };
        recv_urgent(&mut t, seg, pointer);
        recv!(
            t,
            Seg {
                seq: 7,
                text: b" and not",
                ..ACK
            }
        );
        assert_eq!(t.received, b"urgent and not", "pointer {pointer}");
        advance!(t, 50 ms);
        sent!(t, [Seg { ack: 15, ..ACK }]);
    }
}

#[test]
fn urgent_text_out_of_order_is_put_in_order_like_any_other() {
    let mut t = established();
    let late = Seg {
        seq: 7,
        flags: URGENT,
        text: b" second",
        ..ACK
    };
    recv_urgent(&mut t, late, 7);
    recv!(
        t,
        Seg {
            text: b"first,",
            ..ACK
        }
    );
    assert_eq!(t.received, b"first, second");
    t.sent();
}

/// A segment that is only urgent, as some keepalives are.
#[test]
fn an_urgent_segment_without_text_changes_nothing() {
    let mut t = established();
    let empty = Seg {
        flags: URGENT,
        ..ACK
    };
    recv_urgent(&mut t, empty, 1);
    sent_nothing!(t);
    assert_eq!((t.received.len(), t.state()), (0, State::Established));
    let fin = Seg {
        flags: Flags(URGENT.0 | Flags::FIN.0),
        ..ACK
    };
    recv_urgent(&mut t, fin, 1);
    assert_eq!(t.state(), State::CloseWait);
    t.sent();
}

/// RFC 6093 section 5: new applications do not use it, and ours cannot.
#[test]
fn we_never_send_urgent_text() {
    let mut t = established();
    t.send(b"text");
    let sent = t.sent_one();
    assert!(!sent.header.flags.intersects(Flags::URG));
    assert_eq!(sent.header.urgent, 0);
    recv!(t, Seg { ack: 5, ..ACK });
}
