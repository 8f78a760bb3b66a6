//! ICMP errors: Path MTU Discovery (RFC 1191, RFC 8201) against forgers (RFC 5927), and soft errors
//! (RFC 1122 section 4.2.3.9, RFC 5461).

use super::*;
use crate::wire::icmp::IcmpError;

impl Host {
    /// An error arrives that quotes the segment at `seq`.
    pub(super) fn icmp(&mut self, seq: u32, error: IcmpError) {
        let key = Setup {
            ipv6: !self.tcb.opening.is_ipv4,
            ..Setup::default()
        }
        .key();
        let seq = self.tcb.snd.iss.0.wrapping_add(seq);
        let events = self.with(|tcb, cx| tcb.handle_icmp(cx, &key, seq, error));
        self.events |= events;
    }

    /// A router has dropped a full packet at `seq`, since its next hop takes `mtu`.
    fn too_big(&mut self, seq: u32, mtu: u32) {
        let quoted = 1_500;
        self.icmp(seq, IcmpError::PacketTooBig { mtu, quoted });
    }

    fn lens(&mut self) -> Vec<(u32, usize)> {
        let sent = self.sent();
        sent.iter()
            .map(|sent| (sent.seq, sent.text.len()))
            .collect()
    }
}

/// Segments of 1460 octets over IPv4, of 1440 over IPv6.
fn wide(ipv6: bool) -> Setup {
    Setup {
        ipv6,
        path_mss: if ipv6 { 1_440 } else { 1_460 },
        syn: Options {
            mss: Some(9_000),
            ..Options::default()
        },
        ..Setup::default()
    }
}

fn sending(ipv6: bool, octets_len: usize) -> Host {
    let mut t = wide(ipv6).established();
    t.tcb.set_nodelay(true);
    t.send(&octets(octets_len));
    t
}

fn ack(ack: u32) -> Seg<'static> {
    Seg { ack, ..ACK }
}

#[test]
fn what_was_too_big_is_cut_and_sent_again_at_once_without_congestion() {
    let mut t = sending(false, 4_000);
    assert_eq!(t.lens(), [(1, 1_460), (1_461, 1_460), (2_921, 1_080)]);
    t.too_big(1, 1_300);
    // The last one has arrived, for all we know.
    let pieces = [(1, 1_260), (1_261, 200), (1_461, 1_260), (2_721, 200)];
    assert_eq!(t.lens(), pieces);
    // Ten segments, as they are now.
    assert_eq!(t.tcb.controller.cwnd(), 12_600);
    assert_eq!(t.tcb.info(&t.core, t.now).ssthresh, None);
    assert_eq!(t.tcb.info(&t.core, t.now).mss, 1_260);
    assert_eq!(t.counters().path_mtu_lowered, 1);
    // The next router's claim, for packets that were sent before it.
    t.too_big(1_461, 1_300);
    sent_nothing!(t);
    recv!(t, ack(4_001));
    t.send(&octets(3_000));
    assert_eq!(t.lens(), [(4_001, 1_260), (5_261, 1_260), (6_521, 480)]);
}

#[test]
fn unsent_text_is_cut_as_it_goes() {
    let mut t = sending(false, 30_000);
    let in_flight: usize = t.lens().iter().map(|&(_, len)| len).sum();
    t.too_big(1, 1_300);
    let again = t.lens();
    assert_eq!(again[..3], [(1, 1_260), (1_261, 200), (1_461, 1_260)]);
    recv!(t, ack(in_flight as u32 + 1));
    let new = t.lens();
    assert!(new.iter().all(|&(_, len)| len <= 1_260), "{new:?}");
    assert_eq!(new[0], (in_flight as u32 + 1, 1_260));
    // All of it arrives, in order.
    let mut next = in_flight as u32 + 1;
    for (seq, len) in new {
        assert_eq!(seq, next);
        next += len as u32;
    }
}

#[test]
fn duplicate_acknowledgments_for_what_was_too_big_start_no_recovery() {
    let mut t = sending(false, 10_000);
    t.poll();
    t.outbox.clear();
    let ssthresh = t.tcb.controller.ssthresh();
    t.too_big(1, 1_300);
    t.poll();
    for _ in 0..5 {
        recv!(t, ack(1));
    }
    t.poll();
    assert_eq!(t.tcb.controller.ssthresh(), ssthresh);
}

#[test]
fn a_fin_goes_with_the_last_piece() {
    let mut t = sending(false, 1_400);
    t.shutdown();
    assert_eq!(t.lens(), [(1, 1_400)]);
    t.too_big(1, 1_000);
    let sent = t.sent();
    let fins: Vec<_> = sent
        .iter()
        .map(|sent| (sent.text.len(), sent.header.flags.contains(Flags::FIN)))
        .collect();
    assert_eq!(fins, [(960, false), (440, true)]);
    recv!(t, ack(1_402));
    assert_eq!(t.state(), State::FinWait2);
}

/// RFC 5927 section 4.1.
#[test]
fn an_error_about_nothing_in_flight_is_ignored() {
    let mut t = sending(false, 4_000);
    t.poll();
    recv!(t, ack(1_461));
    t.outbox.clear();
    for seq in [0, 1, 1_460, 4_001, 5_000, 1 << 31] {
        t.too_big(seq, 1_300);
        t.icmp(seq, IcmpError::Unreachable);
        sent_nothing!(t);
    }
    assert_eq!(t.counters().icmp_out_of_window, 12);
    assert!(!t.tcb.soft_error);
    t.too_big(4_000, 1_300);
    assert_eq!(t.counters().icmp_out_of_window, 12);
}

/// RFC 5927 section 7.2, RFC 1191 section 3, RFC 8201 section 4.
#[test]
fn a_claim_that_cannot_be_true_is_ignored() {
    for (ipv6, mtu, quoted) in [
        (false, 1_500, 1_500),
        (false, 1_501, 1_500),
        (false, 67, 1_500),
        (false, 1_300, 1_300),
        (true, 1_279, 1_500),
        (true, 0, 1_500),
        (true, u32::MAX, 1_500),
    ] {
        let mut t = sending(ipv6, 4_000);
        t.poll();
        t.outbox.clear();
        t.icmp(1, IcmpError::PacketTooBig { mtu, quoted });
        sent_nothing!(t);
        assert_eq!(t.counters().packet_too_big_ignored, 1, "{mtu}");
    }
}

#[test]
fn the_least_mtu_of_each_family_is_a_bound() {
    // The text of a segment, per family.
    for (ipv6, mtu, len) in [(false, 68, 512), (false, 552, 512), (true, 1_280, 1_220)] {
        let mut t = sending(ipv6, 1_300);
        t.poll();
        t.outbox.clear();
        t.too_big(1, mtu);
        assert_eq!(t.lens()[0], (1, len), "{mtu}");
    }
}

/// RFC 1191 section 7.
#[test]
fn an_old_router_that_names_no_mtu_means_the_next_plateau() {
    let mut t = sending(false, 1_400);
    t.poll();
    t.outbox.clear();
    t.icmp(
        1,
        IcmpError::PacketTooBig {
            mtu: 0,
            quoted: 1_440,
        },
    );
    assert_eq!(t.lens()[0], (1, 1_006 - 40));
}

/// RFC 5927 section 7.2: what has been acknowledged is no lie.
#[test]
fn a_claim_against_what_has_arrived_waits_for_the_timer() {
    let mut t = sending(false, 4_000);
    t.poll();
    recv!(t, ack(1_461));
    t.outbox.clear();
    t.too_big(1_461, 1_300);
    sent_nothing!(t);
    assert_eq!(t.counters().packet_too_big_deferred, 1);
    // The segment arrives: the claim was forged.
    recv!(t, ack(2_921));
    assert!(t.tcb.path.as_ref().unwrap().pending.is_none());
    // The next one is true: nothing arrives any more.
    t.too_big(2_921, 1_000);
    sent_nothing!(t);
    advance!(t, 2 s);
    assert_eq!(t.lens()[0], (2_921, 960));
    assert_eq!(t.tcb.info(&t.core, t.now).mss, 960);
}

/// RFC 1191 section 6.3, RFC 8201 section 4.
#[test]
fn the_interface_mtu_is_tried_again_after_ten_minutes() {
    let mut t = sending(false, 1_460);
    t.poll();
    t.too_big(1, 1_300);
    t.poll();
    recv!(t, ack(1_461));
    t.outbox.clear();
    advance!(t, 599 s);
    t.send(&octets(1_460));
    assert_eq!(t.lens(), [(1_461, 1_260), (2_721, 200)]);
    recv!(t, ack(2_921));
    advance!(t, 1 s);
    t.send(b"x");
    t.poll();
    recv!(t, ack(2_922));
    t.outbox.clear();
    t.send(&octets(1_460));
    assert_eq!(t.lens(), [(2_922, 1_460)]);
    // The path is as narrow as it was.
    t.too_big(2_922, 1_300);
    assert_eq!(t.lens(), [(2_922, 1_260), (4_182, 200)]);
}

#[test]
fn the_next_connection_to_the_same_host_starts_with_what_was_learned() {
    let mut t = sending(false, 4_000);
    t.poll();
    t.too_big(1, 1_300);
    t.poll();
    let paths = std::mem::take(&mut t.core.paths);
    let now = t.now;
    drop(t);
    for (age, full) in [(0, 1_260), (599, 1_260), (600, 1_460)] {
        let setup = Setup {
            start: now + Duration::from_secs(age),
            ..wide(false)
        };
        let mut t = setup.clone().connecting();
        let limit = paths.lookup(&setup.key().remote, setup.start);
        assert_eq!(limit.is_some(), full == 1_260);
        if let Some(limit) = limit {
            t.core.paths.insert(setup.key().remote, limit);
        }
        t.with(|tcb, cx| *tcb = Tcb::connect(cx, &setup.key(), 1_460, OptionsId::DEFAULT));
        let syn = t.sent_one();
        assert_eq!(syn.header.options.mss, Some(1_460), "what we can receive");
        let header = Header {
            flags: SYN_ACK,
            ack: syn.header.seq.wrapping_add(1),
            ..setup.syn()
        };
        t.handle(&Segment {
            header,
            payload: &[],
        });
        t.poll();
        t.outbox.clear();
        t.send(&octets(1_460));
        assert_eq!(t.lens()[0].1, full, "after {age} s");
    }
}

#[test]
fn a_lost_segment_that_cannot_be_cut_waits_for_a_buffer() {
    let mut t = Setup {
        buffers: 2,
        ..wide(false)
    }
    .established();
    t.send(&octets(2_920));
    assert_eq!(t.lens(), [(1, 1_460), (1_461, 1_460)]);
    t.too_big(1, 1_300);
    sent_nothing!(t);
    assert!(t.tcb.waits_for_buffer());
    t.buffers.limit = 4;
    let pieces = [(1, 1_260), (1_261, 200), (1_461, 1_260), (2_721, 200)];
    assert_eq!(t.lens(), pieces);
}

/// A peer that acknowledges the half of a segment before it has to be cut.
#[test]
fn a_segment_acknowledged_in_part_is_cut_behind_that_part() {
    let mut t = sending(false, 1_460);
    let text = t.sent_one().text;
    recv!(t, ack(101));
    t.too_big(101, 1_000);
    let pieces = t.sent();
    assert_eq!(pieces[0].seq, 101);
    assert_eq!(pieces[0].text, text[100..1_060]);
    assert_eq!(pieces[1].text, text[1_060..]);
}

/// RFC 5461 section 2.2: only an open that was never answered is refused.
#[test]
fn a_hard_error_ends_an_open_and_nothing_else() {
    let mut t = Setup::default().connecting();
    t.poll();
    t.icmp(1, IcmpError::PortUnreachable);
    assert_eq!(t.state(), State::SynSent, "not our SYN");
    t.icmp(0, IcmpError::PortUnreachable);
    t.happened(Events::CLOSED);
    assert_eq!(t.tcb.close_reason(), CloseReason::Refused);

    let mut t = sending(false, 100);
    t.poll();
    t.icmp(1, IcmpError::PortUnreachable);
    assert_eq!(t.state(), State::Established);
}

/// RFC 1122 section 4.2.3.9: soft errors must not end a connection, but the application may hear
/// of them.
#[test]
fn a_soft_error_is_the_reason_of_a_timeout_that_follows() {
    for error in [
        IcmpError::Unreachable,
        IcmpError::Other,
        IcmpError::PortUnreachable,
    ] {
        let mut t = sending(false, 100);
        t.poll();
        t.icmp(1, error);
        assert_eq!(t.state(), State::Established);
        advance!(t, 3_600 s);
        t.happened(Events::CLOSED);
        assert_eq!(t.tcb.close_reason(), CloseReason::Unreachable);
    }
    let mut t = Setup::default().connecting();
    t.poll();
    t.icmp(0, IcmpError::Unreachable);
    advance!(t, 3_600 s);
    assert_eq!(t.tcb.close_reason(), CloseReason::Unreachable);
}

#[test]
fn a_soft_error_before_progress_is_forgotten() {
    let mut t = sending(false, 100);
    t.poll();
    t.icmp(1, IcmpError::Unreachable);
    recv!(t, ack(101));
    t.send(b"text");
    advance!(t, 3_600 s);
    assert_eq!(t.tcb.close_reason(), CloseReason::TimedOut);
}

/// Options take their room from the text, whatever the path carries.
#[test]
fn timestamps_are_part_of_what_the_path_carries() {
    let mut setup = Setup::with_options();
    setup.syn.mss = Some(9_000);
    let mut t = setup.established();
    t.send(&octets(1_448));
    assert_eq!(t.lens(), [(1, 1_448)]);
    t.too_big(1, 1_300);
    assert_eq!(t.lens(), [(1, 1_248), (1_249, 200)]);
}
