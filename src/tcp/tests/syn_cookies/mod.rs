//! SYN cookies (RFC 4987 section 3.6): half-open connections of which nothing is kept.

mod options;
mod pressure;
mod validity;

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
