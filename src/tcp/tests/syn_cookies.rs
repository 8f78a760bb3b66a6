//! SYN cookies (RFC 4987 section 3.6): half-open connections of which nothing is kept.

use super::*;
use crate::wire::tcp::FastOpen;

/// Seconds of one step of the time in a cookie.
const STEP: u64 = 64;

fn always() -> Setup {
    with_mode(SynCookies::Always, Setup::with_options())
}

fn with_mode(mode: SynCookies, setup: Setup) -> Setup {
    Setup {
        config: Config {
            syn_cookies: mode,
            ..setup.config.clone()
        },
        ..setup
    }
}

/// A listener whose cookies come on by pressure, with a queue of `queue`.
fn auto(queue: usize) -> Server {
    let mut setup = with_mode(SynCookies::Auto, Setup::with_options());
    setup.config.syn_queue = queue;
    Server::new(setup)
}

/// A listener, what it makes of SYNs and of acknowledgments.
struct Server {
    setup: Setup,
    core: Core,
    buffers: TestBuffers,
    listener: Listener,
    now: Instant,
    port: u16,
}

impl Server {
    fn new(setup: Setup) -> Self {
        Self {
            core: setup.core(),
            buffers: TestBuffers::new(setup.buffers),
            listener: Listener::default(),
            now: setup.start,
            port: 40_000,
            setup,
        }
    }

    fn key(&self) -> FlowKey {
        FlowKey {
            remote_port: self.port,
            ..self.setup.key()
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

    fn try_syn(&mut self, header: Header, text: &[u8], beyond: Option<Seq>) -> Option<SynEntry> {
        let (key, path_mss) = (self.key(), self.setup.path_mss);
        let segment = Segment {
            header,
            payload: text,
        };
        self.with(|listener, cx| listener.handle_syn(cx, &key, &segment, path_mss, beyond))
    }

    /// What the setup's SYN is answered with, and whether that is a cookie.
    #[track_caller]
    fn syn(&mut self) -> (Header, bool) {
        let entry = self
            .try_syn(self.setup.syn(), &[], None)
            .expect("an answer");
        let key = self.key();
        (
            self.with(|_, cx| entry.syn_ack(cx, &key)),
            entry.is_cookie(),
        )
    }

    #[track_caller]
    fn cookie(&mut self) -> Header {
        let (syn_ack, is_cookie) = self.syn();
        assert!(is_cookie);
        syn_ack
    }

    /// The peer's acknowledgment of `syn_ack`.
    fn ack(&self, syn_ack: &Header) -> Header {
        Header {
            seq: syn_ack.ack,
            ack: syn_ack.seq.wrapping_add(1),
            flags: Flags::ACK,
            window: self.setup.window,
            options: Options {
                timestamps: syn_ack.options.timestamps.map(|it| Timestamps {
                    tsval: 2,
                    tsecr: it.tsval,
                }),
                ..Options::default()
            },
            ..Header::default()
        }
    }

    fn judge(&mut self, ack: &Header) -> Option<SynEntry> {
        let (key, path_mss) = (self.key(), self.setup.path_mss);
        self.with(|listener, cx| listener.handle_cookie(cx, &key, ack, path_mss))
    }

    fn accepts(&mut self, ack: &Header) -> bool {
        self.judge(ack).is_some()
    }

    /// The connection of an acknowledgment with `text`.
    #[track_caller]
    fn open(mut self, ack: &Header, text: &[u8]) -> Host {
        let entry = self.judge(ack).expect("a right cookie");
        let key = self.key();
        let tcb = self.with(|_, cx| entry.open(cx, &key));
        let Self {
            setup,
            core,
            buffers,
            now,
            ..
        } = self;
        let mut host = Host::new(now, setup.irs, setup.window, core, buffers, tcb);
        host.tsval = 2;
        host.tsecr = ack.options.timestamps.map_or(0, |it| it.tsecr);
        host.handle(&Segment {
            header: ack.clone(),
            payload: text,
        });
        host
    }

    /// The peer's whole handshake.
    #[track_caller]
    fn established(mut self) -> Host {
        let syn_ack = self.cookie();
        let ack = self.ack(&syn_ack);
        let mut t = self.open(&ack, &[]);
        assert_eq!(t.state(), State::Established);
        t.happened(Events::OPENED);
        sent_nothing!(t);
        t
    }
}

/// Contract 5 of the design: nothing is allocated for a cookie.
#[test]
fn a_cookie_costs_no_memory_and_no_place_in_the_queue() {
    let mut server = Server::new(always());
    for port in 1..2_000 {
        server.port = port;
        server.cookie();
    }
    assert_eq!(server.listener.half_open(), 0);
    assert!(server.core.is_empty());
    assert_eq!(server.buffers.in_use, 0);
    assert_eq!(server.core.counters.syn_cookies_sent, 1_999);
    assert_eq!(server.core.counters.passive_opens, 0);
}

#[test]
fn its_acknowledgment_opens_the_connection_which_serves_as_any_other() {
    for ipv6 in [false, true] {
        let mut t = Server::new(Setup { ipv6, ..always() }).established();
        assert_eq!(t.counters().syn_cookies_recv, 1);
        assert_eq!(
            (t.counters().passive_opens, t.counters().established),
            (1, 1)
        );
        recv!(
            t,
            Seg {
                text: b"request",
                ..ACK
            }
        );
        assert_eq!(t.received, b"request");
        t.send(b"answer");
        sent!(
            t,
            [Seg {
                ack: 8,
                text: b"answer",
                ..ACK
            }]
        );
        recv!(
            t,
            Seg {
                seq: 8,
                ack: 7,
                flags: FIN,
                ..ACK
            }
        );
        assert_eq!(t.state(), State::CloseWait);
        t.sent();
    }
}

/// The acknowledgment may be lost: text has the same number.
#[test]
fn text_in_the_place_of_a_lost_acknowledgment_opens_and_is_delivered() {
    let mut server = Server::new(always());
    let syn_ack = server.cookie();
    let mut ack = server.ack(&syn_ack);
    ack.flags = Flags::ACK | Flags::PSH;
    server.now += Duration::from_millis(300);
    let t = server.open(&ack, b"GET /");
    assert_eq!(t.state(), State::Established);
    assert_eq!(t.received, b"GET /");
}

#[test]
fn text_and_the_end_of_it_may_come_at_once() {
    let mut server = Server::new(always());
    let syn_ack = server.cookie();
    let mut ack = server.ack(&syn_ack);
    ack.flags = FIN;
    let t = server.open(&ack, b"all");
    assert_eq!(t.state(), State::CloseWait);
    assert_eq!(t.received, b"all");
}

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

/// 64 to 128 seconds.
#[test]
fn a_cookie_ends_with_the_next_step_of_time() {
    for (made, right_until) in [(0, 2 * STEP), (STEP - 1, STEP + 1), (STEP / 2, 96)] {
        let mut setup = always();
        setup.start = Instant::from_millis((100 * STEP + made) * 1_000);
        let mut server = Server::new(setup);
        let syn_ack = server.cookie();
        let ack = server.ack(&syn_ack);
        server.now = server.setup.start + Duration::from_millis(right_until * 1_000 - 1);
        assert!(server.accepts(&ack), "{made}");
        server.now += Duration::from_millis(1);
        assert!(!server.accepts(&ack), "{made}");
        assert_eq!(server.core.counters.syn_cookies_failed, 1);
    }
}

/// A key lasts for 64 steps; cookies of the one before are right for as long as any.
#[test]
fn keys_change_and_the_last_one_still_counts() {
    let change = 5 * 64 * STEP;
    let mut setup = always();
    setup.start = Instant::from_millis((change - 1) * 1_000);
    let mut server = Server::new(setup);
    let old = server.cookie();
    server.now += Duration::from_secs(2);
    let new = server.cookie();
    assert_ne!(old.seq, new.seq);
    for syn_ack in [&old, &new, &old] {
        let ack = server.ack(syn_ack);
        assert!(server.accepts(&ack));
    }
    server.now += Duration::from_secs(STEP);
    let ack = server.ack(&old);
    assert!(!server.accepts(&ack));
    // Every core has the same keys, without having seen any of it.
    let mut other = Server::new(server.setup.clone());
    other.now = server.now;
    let ack = server.ack(&new);
    assert!(other.accepts(&ack));
    let mut stranger = Server::new(server.setup.clone());
    stranger.core = Core::new(server.setup.config.clone(), IsnGenerator::new([8; 32]));
    stranger.now = server.now;
    assert!(!stranger.accepts(&ack));
}

/// As in Linux, whatever is wrong is none of ours, and is answered with a reset by the stack.
#[test]
fn what_is_not_exactly_a_cookie_is_none() {
    let mut server = Server::new(always());
    let syn_ack = server.cookie();
    let ack = server.ack(&syn_ack);
    let mut wrong = Vec::new();
    // The table has eight sizes; from the sixth to the last are two steps.
    for by in [1u32, 8, u32::MAX, 1 << 24, 1 << 31] {
        wrong.push(Header {
            seq: ack.seq.wrapping_add(by),
            ..ack.clone()
        });
    }
    for by in [8u32, 8u32.wrapping_neg(), 1 << 24, 1 << 31] {
        wrong.push(Header {
            ack: ack.ack.wrapping_add(by),
            ..ack.clone()
        });
    }
    for flags in [Flags(0), Flags::RST, RST_ACK, SYN_ACK, Flags::FIN] {
        wrong.push(Header {
            flags,
            ..ack.clone()
        });
    }
    // An echo of what was never sent: of the future, and of long ago.
    for by in [64u32, 1 << 31, 200_000u32.wrapping_neg()] {
        let mut header = ack.clone();
        let timestamps = header.options.timestamps.as_mut().expect("in use");
        timestamps.tsecr = timestamps.tsecr.wrapping_add(by);
        wrong.push(header);
    }
    for header in &wrong {
        assert!(!server.accepts(header), "{header:?}");
    }
    // Not those without the flags of an acknowledgment.
    assert_eq!(server.core.counters.syn_cookies_failed, 12);
    server.port += 1;
    assert!(!server.accepts(&ack), "another peer's");
    server.port -= 1;
    assert!(server.accepts(&ack));
    assert!(server.core.is_empty());
}

/// A blind guess hits once in 2^28: none of a hundred thousand does.
#[test]
fn guesses_find_nothing() {
    let mut server = Server::new(always());
    let mut chance = Chance::new(1);
    for _ in 0..100_000 {
        let ack = Header {
            seq: chance.next() as u32,
            ack: chance.next() as u32,
            flags: Flags::ACK,
            ..Header::default()
        };
        assert!(!server.accepts(&ack));
    }
}

/// So that a flood of acknowledgments alone finds nothing to guess.
#[test]
fn acknowledgments_are_looked_at_only_after_a_cookie_was_sent() {
    let mut server = auto(1);
    let mut twin = Server::new(with_mode(SynCookies::Always, server.setup.clone()));
    let right = twin.cookie();
    let ack = twin.ack(&right);
    assert!(!server.accepts(&ack), "none was sent");
    assert_eq!(server.core.counters.syn_cookies_failed, 0);
    assert!(!server.syn().1);
    assert!(!server.accepts(&ack), "only a half-open connection");
    server.port += 1;
    server.cookie();
    server.port -= 1;
    assert!(server.accepts(&ack));
    server.now += Duration::from_secs(2 * STEP - 1);
    assert!(!server.accepts(&ack));
    assert_eq!(server.core.counters.syn_cookies_failed, 1);
    server.now += Duration::from_secs(1);
    assert!(!server.accepts(&ack));
    assert_eq!(server.core.counters.syn_cookies_failed, 1, "not looked at");
}

#[test]
fn switched_off_a_full_queue_drops() {
    let mut server = auto(2);
    server.core.config.syn_cookies = SynCookies::Off;
    for port in 1..=2 {
        server.port = port;
        assert!(!server.syn().1);
    }
    server.port = 3;
    let syn = server.setup.syn();
    assert!(server.try_syn(syn, &[], None).is_none());
    assert_eq!(server.core.counters.listen_overflows, 1);
    assert_eq!(server.core.counters.syn_cookies_sent, 0);
}

/// Section 3.7: the queue while it suffices, cookies while it does not.
#[test]
fn cookies_begin_when_the_queue_is_full() {
    let mut server = auto(3);
    for port in 1..=5 {
        server.port = port;
        assert_eq!(server.syn().1, port > 3, "{port}");
    }
    assert_eq!(server.core.counters.listen_overflows, 0);
    assert_eq!(server.listener.half_open(), 3);
}

/// They go on for as long as the queue would be more than half full without them.
#[test]
fn cookies_end_when_the_flood_has() {
    let mut server = auto(4);
    let flood = |server: &mut Server| {
        let change = server.listener.take_flood(server.now, &server.core);
        (change, server.listener.is_flooded())
    };
    for port in 1..=104 {
        server.port = port;
        server.syn();
    }
    assert_eq!(flood(&mut server), (Some(true), true));
    assert_eq!(flood(&mut server), (None, true), "told once");
    // The queue has room again, but would not have without cookies.
    for _ in 0..4 {
        server.listener.forget();
    }
    assert_eq!(server.listener.half_open(), 0);
    assert!(server.syn().1);
    server.now += Duration::from_secs(STEP);
    assert!(server.syn().1, "those of the last step count");
    // One every minute is no flood: the hundred are forgotten two steps after the last.
    server.now += Duration::from_secs(STEP);
    assert!(!server.syn().1);
    assert_eq!(flood(&mut server), (Some(false), false));
    assert_eq!(flood(&mut server), (None, false));
}

/// It ends without any further SYN, too.
#[test]
fn the_end_of_a_flood_needs_no_syn() {
    let mut server = auto(1);
    for port in 1..=10 {
        server.port = port;
        server.syn();
    }
    assert_eq!(
        server.listener.take_flood(server.now, &server.core),
        Some(true)
    );
    server.listener.forget();
    server.now += Duration::from_secs(STEP);
    assert_eq!(server.listener.take_flood(server.now, &server.core), None);
    server.now += Duration::from_secs(STEP);
    assert_eq!(
        server.listener.take_flood(server.now, &server.core),
        Some(false)
    );
}

/// Peers that answer are no flood, however many.
#[test]
fn cookies_that_are_answered_do_not_keep_cookies_on() {
    let mut server = auto(4);
    for port in 1..=4 {
        server.port = port;
        server.syn();
    }
    for port in 5..=500 {
        server.port = port;
        let syn_ack = server.cookie();
        let ack = server.ack(&syn_ack);
        assert!(server.accepts(&ack));
    }
    for _ in 0..2 {
        server.listener.forget();
    }
    assert!(!server.syn().1, "half of the queue is free");
}

/// Its ISS must be beyond the old connection's, which a cookie's need not be; and its peer has been
/// here.
#[test]
fn a_syn_that_reopens_a_time_wait_is_let_in() {
    for mode in [SynCookies::Auto, SynCookies::Always] {
        let mut server = auto(1);
        server.core.config.syn_cookies = mode;
        server.port = 1;
        server.syn();
        server.port = 2;
        let syn = server.setup.syn();
        let beyond = Seq(77);
        let entry = server.try_syn(syn, &[], Some(beyond)).expect("let in");
        assert!(!entry.is_cookie());
        let key = server.key();
        let syn_ack = server.with(|_, cx| entry.syn_ack(cx, &key));
        assert!(Seq(syn_ack.seq).after(beyond));
    }
}

/// RFC 7413: text only of a peer with a right cookie, within its own queue; and no new cookies.
#[test]
fn fast_open_goes_on_for_those_who_may_and_gives_nothing_to_others() {
    let mut setup = always();
    setup.config.fast_open_queue = 1;
    let mut server = Server::new(setup);
    let key = server.key();
    let right = server.core.isn.fast_open_cookie(&key, server.now);
    let syn = |server: &mut Server, option: FastOpen| {
        let mut header = server.setup.syn();
        header.options.fast_open = Some(option);
        let entry = server.try_syn(header, b"early", None).expect("an answer");
        let syn_ack = server.with(|_, cx| entry.syn_ack(cx, &key));
        (entry, syn_ack)
    };
    for option in [FastOpen::REQUEST, FastOpen::new(&[7; 8]).unwrap()] {
        let (entry, syn_ack) = syn(&mut server, option);
        assert!(entry.is_cookie() && !entry.takes_text());
        assert_eq!(syn_ack.options.fast_open, None);
        assert_eq!(syn_ack.ack, 5_001);
    }
    assert_eq!(server.core.counters.fast_open_cookies, 0);
    let (entry, _) = syn(&mut server, right);
    assert!(entry.takes_text() && !entry.is_cookie());
    let (entry, syn_ack) = syn(&mut server, right);
    assert!(
        entry.is_cookie() && !entry.takes_text(),
        "its queue is full"
    );
    assert_eq!(syn_ack.ack, 5_001);
    assert_eq!(server.core.counters.fast_open_overflows, 1);
}

/// The connection has the options of its listener.
#[test]
fn the_listeners_options_count() {
    let mut server = Server::new(always());
    let options = SocketOptions {
        max_segment: Some(500),
        nodelay: true,
        receive_buffer: BufferLimit::Fixed(20_000),
        ..SocketOptions::default()
    };
    let id = server.core.add_options(options);
    server.listener = Listener::new(id);
    let syn_ack = server.cookie();
    assert_eq!(syn_ack.options.mss, Some(500));
    assert_eq!(syn_ack.window, 20_000);
    let ack = server.ack(&syn_ack);
    let t = server.open(&ack, &[]);
    assert!(t.tcb.options(&t.core).nodelay);
    assert_eq!(t.tcb.info(&t.core, t.now).mss, 500 - 12);
    assert_eq!(t.tcb.info(&t.core, t.now).rcv_wnd, 20_000);
}

/// Whatever stands in the segment besides a right cookie: the handshake is over.
#[test]
fn no_segment_with_a_right_cookie_stays_half_open() {
    for seed in seeds(2_000) {
        let _replay = Replay {
            seed,
            of: "syn_cookies",
        };
        let mut chance = Chance::new(seed);
        let mut setup = always();
        setup.irs = chance.next() as u32;
        setup.syn.mss = chance.percent(80).then(|| chance.next() as u16);
        setup.syn.window_scale = chance.percent(80).then(|| chance.next() as u8);
        setup.path_mss = 536 + chance.below(9_000) as u16;
        if chance.percent(20) {
            setup.syn.timestamps = None;
        }
        let mut server = Server::new(setup);
        let syn_ack = server.cookie();
        let mut ack = server.ack(&syn_ack);
        ack.flags = Flags(chance.next() as u8 & !(Flags::SYN | Flags::RST).0) | Flags::ACK;
        ack.window = chance.next() as u16;
        ack.urgent = chance.next() as u16;
        if let Some(timestamps) = &mut ack.options.timestamps {
            timestamps.tsval = chance.next() as u32;
        }
        let text = octets(chance.below(3_000) as usize);
        let mut t = server.open(&ack, &text);
        assert!(t.state().is_synchronized(), "{:?}", t.state());
        assert_eq!(t.received, text);
        t.poll();
        assert!(t.tcb.next_deadline().is_none_or(|due| due > t.now));
    }
}
