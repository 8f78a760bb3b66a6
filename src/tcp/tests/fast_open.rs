//! Fast Open (RFC 7413).

use super::*;
use crate::wire::tcp::FastOpen;

const SYN: Seg<'static> = Seg {
    seq: 0,
    ack: 0,
    flags: Flags::SYN,
    ..ACK
};

fn serving(queue: usize) -> Setup {
    Setup {
        config: Config {
            fast_open_queue: queue,
            ..Config::default()
        },
        ..Setup::default()
    }
}

/// A listener and what it makes of SYNs.
struct Server {
    setup: Setup,
    core: Core,
    buffers: TestBuffers,
    listener: Listener,
    now: Instant,
}

impl Server {
    fn new(setup: Setup) -> Self {
        Self {
            core: setup.core(),
            buffers: TestBuffers::new(setup.buffers),
            listener: Listener::default(),
            now: setup.start,
            setup,
        }
    }

    fn with<T>(&mut self, body: impl FnOnce(&mut Listener, &mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            now: self.now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        };
        body(&mut self.listener, &mut cx)
    }

    /// The half-open connection of a SYN, and its SYN-ACK.
    fn syn(&mut self, option: Option<FastOpen>, text: &[u8]) -> (SynEntry, Header) {
        let mut header = self.setup.syn();
        header.options.fast_open = option;
        let (key, path_mss) = (self.setup.key(), self.setup.path_mss);
        self.with(|listener, cx| {
            let segment = Segment {
                header,
                payload: text,
            };
            let entry = listener
                .handle_syn(cx, &key, &segment, path_mss, None)
                .expect("the queue has room");
            let syn_ack = entry.syn_ack(cx, &key);
            (entry, syn_ack)
        })
    }

    fn cookie(&mut self) -> FastOpen {
        let (_, syn_ack) = self.syn(Some(FastOpen::REQUEST), b"");
        syn_ack.options.fast_open.expect("a cookie")
    }

    /// The connection that takes the text on its SYN.
    fn open(mut self, text: &[u8]) -> Host {
        let cookie = self.cookie();
        let (entry, _) = self.syn(Some(cookie), text);
        assert!(entry.takes_text());
        let key = self.setup.key();
        let tcb = self.with(|_, cx| entry.fast_open(cx, &key));
        let Self {
            setup,
            core,
            buffers,
            now,
            ..
        } = self;
        let mut host = Host::new(now, setup.irs, setup.window, core, buffers, tcb);
        let arrival = host.tcb.handle_text_on_syn(text);
        assert!(arrival.events.contains(Events::OPENED));
        host.received.extend_from_slice(arrival.text);
        let taken = arrival.text.len();
        host.with(|tcb, cx| tcb.handle_text(cx, &text[..taken], taken));
        host
    }
}

/// Section 4.2.1.
#[test]
fn who_asks_for_a_cookie_gets_one_of_eight_octets_that_stays_the_same() {
    let mut server = Server::new(serving(10));
    let (entry, syn_ack) = server.syn(Some(FastOpen::REQUEST), b"");
    assert!(!entry.takes_text());
    let cookie = syn_ack.options.fast_open.unwrap();
    assert_eq!(cookie.cookie().len(), 8);
    assert_eq!(server.cookie(), cookie);
    assert_eq!(server.core.counters.fast_open_cookies, 2);
}

/// Section 4.1.1: no option unless the peer sent one; and none at all while it is off.
#[test]
fn who_does_not_ask_gets_none_and_text_waits() {
    let mut server = Server::new(serving(10));
    let (entry, syn_ack) = server.syn(None, b"early");
    assert!(!entry.takes_text());
    assert_eq!(syn_ack.options.fast_open, None);
    assert_eq!(syn_ack.ack, 5_001, "only the SYN");
    let mut off = Server::new(serving(0));
    let (entry, syn_ack) = off.syn(Some(FastOpen::REQUEST), b"early");
    assert!(!entry.takes_text());
    assert_eq!(syn_ack.options.fast_open, None);
}

/// Section 4.2.2, the server's step 3.
#[test]
fn a_wrong_cookie_falls_back_and_is_replaced() {
    let mut server = Server::new(serving(10));
    let cookie = server.cookie();
    let mut octets = [0; 8];
    octets.copy_from_slice(cookie.cookie());
    octets[3] ^= 1;
    for wrong in [&octets[..], &octets[..4], &[0; 16]] {
        let (entry, syn_ack) = server.syn(FastOpen::new(wrong), b"early");
        assert!(!entry.takes_text());
        assert_eq!(syn_ack.ack, 5_001);
        assert_eq!(syn_ack.options.fast_open, Some(cookie));
    }
    assert_eq!(server.core.counters.fast_open_rejected, 3);
}

#[test]
fn a_cookie_of_the_last_key_is_taken_and_replaced_and_an_older_one_is_not() {
    let mut server = Server::new(serving(10));
    let cookie = server.cookie();
    server.now += Duration::from_secs(3_600);
    let (entry, syn_ack) = server.syn(Some(cookie), b"early");
    assert!(entry.takes_text());
    assert!(syn_ack.options.fast_open.is_some_and(|new| new != cookie));
    server.now += Duration::from_secs(3_600);
    let (entry, _) = server.syn(Some(cookie), b"early");
    assert!(!entry.takes_text());
}

/// Section 4.2.2: the SYN-ACK acknowledges the text, which the application has already.
#[test]
fn text_on_a_syn_with_a_right_cookie_is_delivered_before_the_handshake_ends() {
    let mut t = Server::new(serving(10)).open(b"request");
    assert_eq!(t.received, b"request");
    assert_eq!(t.state(), State::SynReceived);
    let syn_ack = t.sent_one();
    assert_eq!((syn_ack.header.flags, syn_ack.ack), (SYN_ACK, 8));
    recv!(t, Seg { seq: 8, ..ACK });
    assert_eq!(t.state(), State::Established);
    sent_nothing!(t);
    assert_eq!(t.tcb.next_deadline(), None);
    assert_eq!(t.received, b"request");
}

/// Section 4.2.2: more segments may follow the SYN-ACK, within the initial window (RFC 5681), and
/// Nagle's algorithm does not hold them up.
#[test]
fn the_answer_follows_the_syn_ack_at_once_but_the_fin_waits() {
    let mut t = Server::new(serving(10)).open(b"request");
    t.send(b"answer");
    t.shutdown();
    let sent = t.sent();
    assert_eq!(sent.len(), 2, "{sent:#?}");
    assert_eq!((sent[0].header.flags, sent[0].ack), (SYN_ACK, 8));
    assert_eq!(sent[1].text, b"answer");
    assert_eq!((sent[1].seq, sent[1].ack), (1, 8));
    assert!(!sent[1].header.flags.intersects(Flags::FIN));
    recv!(
        t,
        Seg {
            seq: 8,
            ack: 7,
            ..ACK
        }
    );
    assert_eq!(t.state(), State::FinWait1);
    sent!(
        t,
        [Seg {
            seq: 7,
            ack: 8,
            flags: FIN,
            ..ACK
        }]
    );
}

#[test]
fn no_more_than_the_initial_window_follows_the_syn_ack() {
    let mut t = Server::new(serving(10)).open(b"request");
    let text = octets(60_000);
    t.send(&text);
    let sent = t.sent();
    let early: usize = sent.iter().map(|sent| sent.text.len()).sum();
    // RFC 6928: ten segments of 1000 octets.
    assert!((9_000..=10_000).contains(&early), "{early}");
}

/// The SYN-ACK was lost: the peer sends its SYN again, without text (section 4.2.2).
#[test]
fn the_syn_again_gets_the_syn_ack_again_and_nothing_is_delivered_twice() {
    let mut t = Server::new(serving(10)).open(b"request");
    assert_eq!(t.sent_one().ack, 8);
    recv!(t, SYN);
    assert_eq!((t.sent_one().ack, t.state()), (8, State::SynReceived));
    recv!(
        t,
        Seg {
            text: b"request",
            ..SYN
        }
    );
    assert_eq!(t.sent_one().ack, 8);
    recv!(
        t,
        Seg {
            text: b"request",
            ..ACK
        }
    );
    recv!(
        t,
        Seg {
            seq: 8,
            text: b" and more",
            ..ACK
        }
    );
    assert_eq!(t.received, b"request and more");
}

#[test]
fn an_answer_that_was_lost_with_the_syn_ack_comes_again_when_the_handshake_ends() {
    let mut t = Server::new(serving(10)).open(b"request");
    t.send(b"answer");
    assert_eq!(t.sent().len(), 2);
    advance!(t, 1100 ms);
    let again = t.sent();
    assert_eq!(again.len(), 1, "only the SYN-ACK");
    assert_eq!(again[0].header.flags, SYN_ACK);
    t.buffers.complete();
    recv!(t, Seg { seq: 8, ..ACK });
    sent!(
        t,
        [Seg {
            seq: 1,
            ack: 8,
            text: b"answer",
            ..ACK
        }]
    );
}

#[test]
fn a_peer_that_never_answers_is_given_up_and_leaves_nothing() {
    let mut t = Server::new(serving(10)).open(b"request");
    t.send(b"answer");
    advance!(t, 120 s);
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.tcb.close_reason(), CloseReason::TimedOut);
}

/// Section 5.1.
#[test]
fn only_so_many_may_be_pending_and_a_reset_one_counts_on() {
    let mut server = Server::new(serving(2));
    let cookie = server.cookie();
    let takes = |server: &mut Server| server.syn(Some(cookie), b"early").0.takes_text();
    assert!(takes(&mut server) && takes(&mut server));
    assert!(!takes(&mut server));
    assert_eq!(server.core.counters.fast_open_overflows, 1);
    let now = server.now;
    server.listener.fast_open_ended(now, true);
    assert!(!takes(&mut server));
    server.listener.fast_open_ended(now, false);
    assert!(takes(&mut server));
}

/// A client whose cache says this of the server.
fn connecting(core: Core, text: &[u8]) -> Host {
    let setup = Setup::default();
    let mut t = setup.clone().connecting_in(core);
    let key = setup.key();
    let queued = t.with(|tcb, cx| tcb.send_early(cx, &key, text));
    assert_eq!(queued, text.len());
    t
}

fn recv_syn_ack(t: &mut Host, ack: u32, cookie: Option<FastOpen>) {
    let mut header = t.header(&Seg {
        flags: SYN_ACK,
        ack,
        ..SYN
    });
    header.options.mss = Some(1_000);
    header.options.fast_open = cookie;
    t.handle(&Segment {
        header,
        payload: &[],
    });
}

fn cookie() -> FastOpen {
    FastOpen::new(&[1, 2, 3, 4, 5, 6, 7, 8]).unwrap()
}

/// A core that has got a cookie before.
fn core_with_cookie() -> Core {
    let mut t = connecting(Setup::default().core(), b"first");
    assert_eq!(
        t.sent_one().header.options.fast_open,
        Some(FastOpen::REQUEST)
    );
    recv_syn_ack(&mut t, 1, Some(cookie()));
    let sent = t.sent_one();
    assert_eq!(sent.text, b"first");
    t.abort();
    std::mem::replace(&mut t.core, Setup::default().core())
}

/// Sections 4.2.1 and 4.1.3: text goes behind the handshake the first time, with the SYN the next.
#[test]
fn a_cookie_is_asked_for_once_and_used_from_then_on() {
    let mut t = connecting(core_with_cookie(), b"request");
    let syn = t.sent_one();
    assert_eq!(syn.header.flags, Flags::SYN);
    assert_eq!(syn.text, b"request");
    assert_eq!(syn.header.options.fast_open, Some(cookie()));
    recv_syn_ack(&mut t, 8, None);
    assert_eq!(t.state(), State::Established);
    sent!(t, [Seg { seq: 8, ..ACK }]);
    assert_eq!(t.tcb.next_deadline(), None);
    assert_eq!(t.counters().fast_open_active, 1);
    assert_eq!(t.counters().fast_open_active_fails, 0);
}

/// Section 4.2.2: the server has acknowledged the SYN alone.
#[test]
fn text_that_was_not_taken_goes_again_at_once_and_the_server_is_spared_for_a_while() {
    let mut t = connecting(core_with_cookie(), b"request");
    assert_eq!(t.sent_one().text, b"request");
    recv_syn_ack(&mut t, 1, None);
    t.buffers.complete();
    sent!(
        t,
        [Seg {
            text: b"request",
            ..ACK
        }]
    );
    assert_eq!(t.counters().fast_open_active_fails, 1);
    recv!(t, Seg { ack: 8, ..ACK });
    sent_nothing!(t);
    t.abort();
    let core = std::mem::replace(&mut t.core, Setup::default().core());
    let mut t = connecting(core, b"again");
    let syn = t.sent_one();
    assert_eq!((syn.header.options.fast_open, syn.text.len()), (None, 0));
}

#[test]
fn a_new_cookie_takes_the_place_of_the_old_one() {
    let mut t = connecting(core_with_cookie(), b"request");
    assert_eq!(t.sent_one().text, b"request");
    let new = FastOpen::new(&[9; 16]).unwrap();
    recv_syn_ack(&mut t, 1, Some(new));
    t.abort();
    let core = std::mem::replace(&mut t.core, Setup::default().core());
    let mut t = connecting(core, b"again");
    assert_eq!(t.sent_one().header.options.fast_open, Some(new));
}

/// Section 4.1.3.1: what swallows SYNs with text or options gets plain ones.
#[test]
fn a_syn_that_is_sent_again_is_plain_and_the_path_is_spared() {
    let mut t = connecting(core_with_cookie(), b"request");
    assert_eq!(t.sent_one().text, b"request");
    advance!(t, 1100 ms);
    let syn = t.sent_one();
    assert_eq!(syn.header.flags, Flags::SYN);
    assert_eq!((syn.header.options.fast_open, syn.text.len()), (None, 0));
    // The first one had come through after all, or not: either is right.
    for ack in [1, 8] {
        let mut t = connecting(core_with_cookie(), b"request");
        assert_eq!(t.sent().len(), 1);
        advance!(t, 1100 ms);
        assert_eq!(t.sent().len(), 1);
        t.buffers.complete();
        recv_syn_ack(&mut t, ack, None);
        assert_eq!(t.state(), State::Established);
        let sent = t.sent_one();
        assert_eq!(sent.text.is_empty(), ack == 8);
        recv!(t, Seg { ack: 8, ..ACK });
        assert_eq!(t.flight(), 0);
    }
    t.abort();
    let core = std::mem::replace(&mut t.core, Setup::default().core());
    let mut t = connecting(core, b"again");
    assert_eq!(t.sent_one().header.options.fast_open, None);
}

/// More than a SYN holds: the rest follows the handshake.
#[test]
fn one_segment_goes_with_the_syn_and_the_rest_behind_the_handshake() {
    let text = octets(3_000);
    let mut t = connecting(core_with_cookie(), &text);
    t.tcb.set_nodelay(true);
    let syn = t.sent_one();
    // The MSS that the server has said, less the options of a SYN.
    assert_eq!(syn.text, &text[..960]);
    recv_syn_ack(&mut t, 961, None);
    let rest: Vec<u8> = t.sent().into_iter().flat_map(|sent| sent.text).collect();
    assert!(rest == text[960..], "{} octets", rest.len());
}

/// The server takes less than it did the last time.
#[test]
fn text_that_was_not_taken_is_cut_to_what_the_server_says_now() {
    let text = octets(960);
    let mut t = connecting(core_with_cookie(), &text);
    assert_eq!(t.sent_one().text.len(), 960);
    t.buffers.complete();
    let mut header = t.header(&Seg {
        flags: SYN_ACK,
        ack: 1,
        ..SYN
    });
    header.options.mss = Some(400);
    t.handle(&Segment {
        header,
        payload: &[],
    });
    let sent = t.sent();
    assert!(sent.iter().all(|sent| sent.text.len() <= 400), "{sent:#?}");
    let again: Vec<u8> = sent.into_iter().flat_map(|sent| sent.text).collect();
    assert_eq!(again, text);
}

#[test]
fn an_early_open_that_is_refused_or_given_up_leaves_nothing() {
    let mut t = connecting(core_with_cookie(), b"request");
    assert_eq!(t.sent().len(), 1);
    recv!(
        t,
        Seg {
            flags: RST_ACK,
            ack: 8,
            ..ACK
        }
    );
    assert_eq!(t.tcb.close_reason(), CloseReason::Refused);
    let mut t = connecting(core_with_cookie(), b"request");
    advance!(t, 400 s);
    assert_eq!(t.tcb.close_reason(), CloseReason::TimedOut);
}
