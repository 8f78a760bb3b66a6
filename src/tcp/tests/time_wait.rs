//! TIME-WAIT (RFC 9293 section 3.6.1, RFC 1337, RFC 6191).

use super::*;

/// A connection that we have closed first: peer's next number 2, ours 2.
struct Waiting {
    host: Host,
    wait: TimeWait,
}

impl Waiting {
    fn new(setup: Setup) -> Self {
        let mut host = setup.established();
        host.close();
        host.sent_one();
        recv!(
            host,
            Seg {
                ack: 2,
                flags: FIN,
                ..ACK
            }
        );
        host.sent_one();
        assert_eq!(host.state(), State::TimeWait);
        let wait = host.tcb.time_wait(&host.core, host.now);
        Self { host, wait }
    }

    fn recv(&mut self, seg: Seg<'_>) -> TimeWaitVerdict {
        let header = self.host.header(&seg);
        let mut cx = Context {
            now: self.host.now,
            buffers: &mut self.host.buffers,
            core: &mut self.host.core,
        };
        self.wait.handle_segment(
            &mut cx,
            &Segment {
                header,
                payload: seg.text,
            },
        )
    }
}

const SYN: Seg<'static> = Seg {
    seq: 1_000,
    flags: Flags::SYN,
    ..ACK
};

#[test]
fn a_retransmitted_fin_is_acknowledged_and_starts_2msl_again() {
    let mut t = Waiting::new(Setup::default());
    assert_eq!(t.wait.deadline, t.host.now + Duration::from_secs(60));
    t.host.now += Duration::from_secs(30);
    let verdict = t.recv(Seg {
        ack: 2,
        flags: FIN,
        ..ACK
    });
    let TimeWaitVerdict::Acknowledge(header) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(header.flags, Flags::ACK);
    assert_eq!(header.ack.wrapping_sub(t.host.irs), 2);
    assert_eq!(header.seq, t.host.tcb.snd.nxt.0);
    assert_eq!(t.wait.deadline, t.host.now + Duration::from_secs(60));
}

/// Whoever does not know where the peer's FIN was must not keep a TIME-WAIT alive.
#[test]
fn another_fin_does_not_start_2msl_again() {
    let mut t = Waiting::new(Setup::default());
    let deadline = t.wait.deadline;
    t.host.now += Duration::from_secs(30);
    for seq in [2, 0, 5_000] {
        let verdict = t.recv(Seg {
            seq,
            ack: 2,
            flags: FIN,
            ..ACK
        });
        assert!(matches!(verdict, TimeWaitVerdict::Acknowledge(_)));
    }
    assert_eq!(t.wait.deadline, deadline);
}

#[test]
fn resets_and_bare_acknowledgments_are_ignored() {
    let mut t = Waiting::new(Setup::default());
    for flags in [Flags::RST, RST_ACK, Flags::ACK] {
        let verdict = t.recv(Seg {
            seq: 2,
            ack: 2,
            flags,
            ..ACK
        });
        assert!(matches!(verdict, TimeWaitVerdict::Drop), "{verdict:?}");
    }
}

#[test]
fn text_is_answered() {
    let mut t = Waiting::new(Setup::default());
    let verdict = t.recv(Seg {
        seq: 2,
        ack: 2,
        text: b"late",
        ..ACK
    });
    assert!(matches!(verdict, TimeWaitVerdict::Acknowledge(_)));
}

#[test]
fn a_syn_beyond_the_old_numbers_reopens() {
    let mut t = Waiting::new(Setup::default());
    let TimeWaitVerdict::Reopen { beyond } = t.recv(SYN) else {
        panic!("a new connection");
    };
    assert_eq!(beyond, t.host.tcb.snd.nxt);
    // Its ISS is beyond, also if the generator's is not (RFC 9293 section 3.10.7.4, MAY-2).
    for beyond in [beyond, beyond + 1_000_000_000] {
        let setup = Setup::default();
        let mut cx = Context {
            now: t.host.now,
            buffers: &mut t.host.buffers,
            core: &mut t.host.core,
        };
        let segment = Segment {
            header: setup.syn(),
            payload: &[],
        };
        let entry = Listener::default()
            .handle_syn(&mut cx, &setup.key(), &segment, 1_460, Some(beyond))
            .expect("room");
        let syn_ack = entry.syn_ack(&mut cx, &setup.key());
        assert!(Seq(syn_ack.seq).after(beyond));
    }
}

#[test]
fn an_old_syn_does_not_reopen() {
    let mut t = Waiting::new(Setup::default());
    for seq in [2, 0, 0x8000_0003] {
        let verdict = t.recv(Seg { seq, ..SYN });
        assert!(matches!(verdict, TimeWaitVerdict::Acknowledge(_)), "{seq}");
    }
    let verdict = t.recv(Seg {
        flags: SYN_ACK,
        ..SYN
    });
    assert!(matches!(verdict, TimeWaitVerdict::Acknowledge(_)));
}

/// RFC 6191 section 2: the timestamp decides, whatever the sequence number.
#[test]
fn with_timestamps_a_later_one_reopens() {
    for (tsval, seq, reopens) in [
        (1_000, 0, true),
        (0, 5_000, false),
        (1, 5_000, true),
        (1, 1, false),
    ] {
        let mut t = Waiting::new(Setup::with_options());
        let verdict = t.recv(Seg {
            seq,
            timestamps: Some((tsval, 0)),
            ..SYN
        });
        let reopened = matches!(verdict, TimeWaitVerdict::Reopen { .. });
        assert_eq!(reopened, reopens, "tsval {tsval} seq {seq}: {verdict:?}");
    }
}

/// RFC 6191 section 2: what comes without timestamps cannot be of a connection that has them; and
/// without any in use, the sequence number decides.
#[test]
fn timestamps_where_there_were_none_reopen_unless_we_do_not_use_them() {
    for (uses_timestamps, reopens) in [(true, true), (false, false)] {
        let mut t = Waiting::new(Setup {
            config: Config {
                timestamps: uses_timestamps,
                ..Config::default()
            },
            ..Setup::default()
        });
        let mut header = t.host.header(&Seg { seq: 0, ..SYN });
        header.options.timestamps = Some(Timestamps {
            tsval: 77,
            tsecr: 0,
        });
        let mut cx = Context {
            now: t.host.now,
            buffers: &mut t.host.buffers,
            core: &mut t.host.core,
        };
        let segment = Segment {
            header,
            payload: &[],
        };
        let verdict = t.wait.handle_segment(&mut cx, &segment);
        let reopened = matches!(verdict, TimeWaitVerdict::Reopen { .. });
        assert_eq!(reopened, reopens, "{verdict:?}");
    }
}

/// `net.ipv4.tcp_tw_reuse` of Linux, by RFC 6191's argument.
#[test]
fn an_active_open_may_take_its_place_after_a_second_if_it_had_timestamps() {
    let t = Waiting::new(Setup::with_options());
    let now = t.host.now;
    assert_eq!(t.wait.gives_way(now + Duration::from_millis(900)), None);
    let beyond = t.wait.gives_way(now + Duration::from_millis(1_100));
    assert_eq!(beyond, Some(t.host.tcb.snd.nxt));
    let t = Waiting::new(Setup::default());
    assert_eq!(t.wait.gives_way(t.host.now + Duration::from_secs(50)), None);
}
