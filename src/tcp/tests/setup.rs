//! How a connection under test comes about.

use super::*;
use crate::tcp::congestion::Algorithm;

/// How the two ends meet. The peer's SYN is a template too.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) ipv6: bool,
    pub(super) path_mss: u16,
    pub(super) start: Instant,
    pub(super) irs: u32,
    pub(super) window: u16,
    pub(super) syn: Options,
    /// What the peer's SYN has besides SYN.
    pub(super) syn_flags: Flags,
    pub(super) buffers: usize,
    /// Whether the first acknowledgments are quick, as they are but for these tests.
    pub(super) quick: bool,
}

impl Default for Setup {
    /// Round numbers: segments of 1000 octets, no options.
    fn default() -> Self {
        Self {
            // What most tests are about is not how fast a window grows or is used up.
            config: Config {
                options: SocketOptions {
                    congestion: Algorithm::Reno,
                    ..SocketOptions::default()
                },
                pacing: false,
                ..Config::default()
            },
            ipv6: false,
            path_mss: 1_460,
            start: Instant::from_millis(10_000),
            irs: 5_000,
            window: 0xffff,
            syn: Options {
                mss: Some(1_000),
                ..Options::default()
            },
            syn_flags: Flags(0),
            buffers: 1_000,
            quick: false,
        }
    }
}

impl Setup {
    pub(super) fn key(&self) -> FlowKey {
        let (local, remote) = if self.ipv6 {
            let mut octets = [0xfd; 16];
            octets[15] = 1;
            let local = Address::from_ipv6(octets);
            octets[15] = 2;
            (local, Address::from_ipv6(octets))
        } else {
            (
                Address::from_ipv4([198, 18, 0, 1]),
                Address::from_ipv4([198, 18, 0, 2]),
            )
        };
        FlowKey {
            local,
            remote,
            local_port: 80,
            remote_port: 40_000,
        }
    }

    pub(super) fn core(&self) -> Core {
        let mut config = self.config.clone();
        if config.options.send_buffer == SocketOptions::default().send_buffer {
            // Tests write all that they have at once, and look at what goes out.
            config.options.send_buffer = BufferLimit::Fixed(256_000);
        }
        Core::new(config, IsnGenerator::new([7; 32]))
    }

    fn slow_down(&self, tcb: &mut Tcb) {
        if !self.quick {
            tcb.quick_acks = 0;
        }
    }

    /// Timestamps, SACK and a shift of 3.
    pub(super) fn with_options() -> Self {
        Self {
            syn: Options {
                mss: Some(1_012),
                window_scale: Some(3),
                sack_permitted: true,
                timestamps: Some(Timestamps { tsval: 1, tsecr: 0 }),
                ..Options::default()
            },
            ..Self::default()
        }
    }

    pub(super) fn syn(&self) -> Header {
        Header {
            seq: self.irs,
            flags: Flags::SYN | self.syn_flags,
            window: self.window,
            options: self.syn.clone(),
            ..Header::default()
        }
    }

    /// A half-open connection and the SYN-ACK that it has sent.
    pub(super) fn half_open(self) -> HalfOpen {
        let mut core = self.core();
        let mut buffers = TestBuffers::new(self.buffers);
        let key = self.key();
        let mut listener = Listener::default();
        let mut cx = Context {
            now: self.start,
            buffers: &mut buffers,
            core: &mut core,
        };
        let segment = Segment {
            header: self.syn(),
            payload: &[],
        };
        let entry = listener
            .handle_syn(&mut cx, &key, &segment, self.path_mss, None)
            .expect("the queue is empty");
        let syn_ack = entry.syn_ack(&mut cx, &key);
        HalfOpen {
            now: self.start,
            setup: self,
            core,
            buffers,
            key,
            listener,
            entry,
            syn_ack,
        }
    }

    /// An established connection, opened passively.
    pub(super) fn established(self) -> Host {
        let half = self.half_open();
        let ack = half.third_ack();
        let mut host = half.open(&ack, &[]);
        sent_nothing!(host);
        assert_eq!(host.tcb.state(), State::Established);
        host.events = Events::NONE;
        host
    }

    /// An active open whose SYN has not been polled for.
    pub(super) fn connecting(self) -> Host {
        let core = self.core();
        self.connecting_in(core)
    }

    /// The same, on a core that has seen something.
    pub(super) fn connecting_in(self, mut core: Core) -> Host {
        let mut buffers = TestBuffers::new(self.buffers);
        let key = self.key();
        let mut cx = Context {
            now: self.start,
            buffers: &mut buffers,
            core: &mut core,
        };
        let mut tcb = Tcb::connect(&mut cx, &key, self.path_mss, OptionsId::DEFAULT);
        self.slow_down(&mut tcb);
        Host::new(self.start, self.irs, self.window, core, buffers, tcb)
    }
}

/// A connection that is still an entry of the SYN queue.
#[derive(Debug)]
pub(super) struct HalfOpen {
    pub(super) now: Instant,
    pub(super) setup: Setup,
    pub(super) core: Core,
    pub(super) buffers: TestBuffers,
    pub(super) key: FlowKey,
    pub(super) listener: Listener,
    pub(super) entry: SynEntry,
    pub(super) syn_ack: Header,
}

impl HalfOpen {
    pub(super) fn third_ack(&self) -> Header {
        Header {
            seq: self.setup.irs.wrapping_add(1),
            ack: self.syn_ack.seq.wrapping_add(1),
            flags: Flags::ACK,
            window: self.setup.window,
            options: Options {
                timestamps: self
                    .syn_ack
                    .options
                    .timestamps
                    .map(|timestamps| Timestamps {
                        tsval: 1,
                        tsecr: timestamps.tsval,
                    }),
                ..Options::default()
            },
            ..Header::default()
        }
    }

    pub(super) fn handle(&mut self, header: &Header) -> SynVerdict {
        let mut cx = Context {
            now: self.now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        };
        let segment = Segment {
            header: header.clone(),
            payload: &[],
        };
        self.entry.handle_segment(&mut cx, &self.key, &segment)
    }

    pub(super) fn timeout(&mut self) -> bool {
        self.now = self.entry.deadline;
        let mut cx = Context {
            now: self.now,
            buffers: &mut self.buffers,
            core: &mut self.core,
        };
        self.entry.handle_timeout(&mut cx)
    }

    /// The segment goes to the connection that the entry stands for.
    #[track_caller]
    pub(super) fn open(mut self, header: &Header, text: &[u8]) -> Host {
        let SynVerdict::Opens(mut tcb) = self.handle(header) else {
            panic!("does not open");
        };
        self.setup.slow_down(&mut tcb);
        let mut host = Host::new(
            self.now,
            self.setup.irs,
            self.setup.window,
            self.core,
            self.buffers,
            tcb,
        );
        host.tsecr = self.syn_ack.options.timestamps.map_or(0, |t| t.tsval);
        host.tsval = 1;
        host.handle(&Segment {
            header: header.clone(),
            payload: text,
        });
        host
    }
}
