//! Segments that no honest peer would send, near and on the edges of what is expected: nothing
//! panics, and what must hold always holds.

use super::*;
use crate::tcp::congestion::Algorithm;
use crate::tcp::timers::Timer;
use crate::wire::tcp::FastOpen;

const SEEDS: u64 = 400;
const STEPS: u64 = 300;

#[track_caller]
fn check(t: &Host) {
    let tcb = &t.tcb;
    tcb.check(&t.core);
    t.core.receive.check();
    if tcb.state().is_synchronized() {
        assert!(tcb.rcv.edge.since(tcb.rcv.nxt) <= tcb_buffer(t), "window");
    }
    let held = t.buffers.slots.iter().flatten();
    let live = held.filter(|slot| !slot.released).count();
    assert_eq!(live, t.core.segments.len(), "one buffer per segment");
    assert_eq!(live, usize::from(tcb.send.segments()));
    assert!(t.buffers.in_use <= t.buffers.limit.max(300));
}

/// The largest window that rounding up to the unit of the scale allows.
fn tcb_buffer(t: &Host) -> u32 {
    t.tcb.options(&t.core).receive_buffer.most() + (1 << t.tcb.rcv.shift)
}

fn start(chance: &mut Chance) -> Host {
    let mut setup = if chance.percent(50) {
        Setup::with_options()
    } else {
        Setup::default()
    };
    setup.irs = chance.next() as u32;
    setup.start = Instant::from_nanos(1_000_000_000 + chance.below(20_000_000_000_000));
    setup.window = chance.next() as u16;
    setup.buffers = 300;
    setup.config.options.receive_buffer = BufferLimit::Auto(1 << (8 + chance.below(12)));
    setup.config.receive_memory = 2_048 * chance.below(200) as usize;
    setup.config.options.send_buffer = BufferLimit::Fixed(100_000);
    if chance.percent(30) {
        setup.config.options.keepalive = Some(Keepalive::default());
    }
    if chance.percent(40) {
        let mut t = setup.clone().connecting();
        t.poll();
        if chance.percent(70) {
            let header = setup.syn();
            t.handle(&Segment {
                header,
                payload: &[],
            });
        }
        t
    } else {
        setup.established()
    }
}

/// A number on, next to, or far from one that matters.
fn near(chance: &mut Chance, base: Seq, other: Seq) -> u32 {
    let base = if chance.percent(70) { base } else { other };
    let distance = match chance.below(10) {
        0..4 => 0,
        4..6 => chance.below(3) as u32,
        6 => 0u32.wrapping_sub(chance.below(3) as u32),
        7 => chance.below(5_000) as u32,
        8 => 0u32.wrapping_sub(chance.below(5_000) as u32),
        _ => chance.next() as u32,
    };
    base.0.wrapping_add(distance)
}

fn forge(t: &Host, chance: &mut Chance) -> Header {
    let mut flags = if chance.percent(95) {
        Flags::ACK
    } else {
        Flags(0)
    };
    for (flag, percent) in [
        (Flags::SYN, 4),
        (Flags::FIN, 5),
        (Flags::RST, 1),
        (Flags::URG, 2),
    ] {
        if chance.percent(percent) {
            flags = flags | flag;
        }
    }
    let tsval = t.tcb.timestamps.map_or(0, |state| state.recent);
    let timestamps = Timestamps {
        tsval: tsval.wrapping_add(chance.below(4) as u32).wrapping_sub(1),
        tsecr: if chance.percent(80) {
            t.tsecr
        } else {
            chance.next() as u32
        },
    };
    let window = match chance.below(4) {
        0 => 0,
        1 => chance.below(50) as u16,
        2 => 0xffff,
        _ => chance.next() as u16,
    };
    Header {
        seq: near(chance, t.tcb.rcv.nxt, t.tcb.rcv.edge),
        ack: near(chance, t.tcb.snd.nxt, t.tcb.snd.una),
        flags,
        window,
        urgent: 0,
        options: Options {
            timestamps: chance.percent(90).then_some(timestamps),
            mss: chance.percent(10).then(|| chance.next() as u16),
            window_scale: chance.percent(10).then(|| chance.next() as u8),
            sack_permitted: chance.percent(10),
            sack: (0..chance.below(5))
                .map(|_| SackBlock {
                    left: near(chance, t.tcb.snd.una, t.tcb.snd.nxt),
                    right: near(chance, t.tcb.snd.nxt, t.tcb.snd.una),
                })
                .collect(),
            fast_open: chance
                .percent(10)
                .then(|| FastOpen::new(&octets(chance.below(17) as usize)))
                .flatten(),
        },
    }
}

fn application(t: &mut Host, chance: &mut Chance) {
    match chance.below(16) {
        0..5 => {
            let data = octets(chance.below(6_000) as usize);
            t.with(|tcb, cx| tcb.send(cx, &data));
        }
        5 => {
            let limit = chance.below(6_000) as usize;
            t.with(|tcb, cx| tcb.send_with(cx, limit, &mut |room| room.len()));
        }
        6..9 => {
            t.read(chance.below(4_000) as usize);
        }
        9 => t.application = Application::Keeps,
        10 => t.application = Application::Consumes,
        11 => t.tcb.set_nodelay(chance.percent(50)),
        12 => t.buffers.limit = chance.below(300) as usize,
        13 => t.buffers.hold = chance.percent(50),
        14 if chance.percent(20) => t.shutdown(),
        15 if chance.percent(10) => t.close(),
        15 if chance.percent(2) => t.abort(),
        _ => t.buffers.complete(),
    }
}

fn time(t: &mut Host, chance: &mut Chance) {
    t.now += Duration::from_micros(chance.below(200_000));
    if chance.percent(60)
        && let Some(deadline) = t.tcb.next_deadline()
    {
        t.now = t.now.max(deadline);
    }
    let events = t.with(|tcb, cx| tcb.handle_timeout(cx));
    t.events |= events;
}

#[test]
fn nothing_from_the_network_breaks_a_connection() {
    let mut states = [0u32; 11];
    for seed in seeds(SEEDS) {
        let _replay = Replay {
            seed,
            of: "hostile",
        };
        let mut chance = Chance::new(seed);
        let mut t = start(&mut chance);
        let text = octets(3_000);
        for _ in 0..STEPS {
            states[t.state() as usize] += 1;
            match chance.below(10) {
                0..6 => {
                    let header = forge(&t, &mut chance);
                    let len = if chance.percent(50) {
                        0
                    } else {
                        chance.below(3_000) as usize
                    };
                    t.handle(&Segment {
                        header,
                        payload: &text[..len],
                    });
                }
                6..8 => application(&mut t, &mut chance),
                8 => time(&mut t, &mut chance),
                _ => {}
            }
            check(&t);
            if chance.percent(70) {
                t.poll();
                t.outbox.clear();
                check(&t);
            }
            if t.state() == State::Closed {
                break;
            }
        }
    }
    if std::env::var("CORELANE_SEED").is_ok() {
        return;
    }
    for state in State::ALL {
        let seen = states[state as usize];
        assert!(
            seen > 100 || state == State::Listen || state == State::Closed,
            "{state}: {seen}"
        );
    }
}

/// The same against what has no connection yet, or none any more.
#[test]
fn nothing_from_the_network_breaks_what_is_half_open_or_waits() {
    let mut opened = 0;
    for seed in seeds(20 * SEEDS) {
        let _replay = Replay {
            seed,
            of: "hostile",
        };
        let mut chance = Chance::new(seed);
        let mut setup = Setup::with_options();
        setup.irs = chance.next() as u32;
        setup.syn.mss = chance.percent(80).then(|| chance.next() as u16);
        setup.syn.window_scale = chance.percent(80).then(|| chance.next() as u8);
        setup.path_mss = 536 + chance.below(9_000) as u16;
        let half = setup.clone().half_open();
        let ack = half.third_ack();
        let header = Header {
            seq: near(&mut chance, Seq(ack.seq), Seq(setup.irs)),
            ack: near(&mut chance, Seq(ack.ack), Seq(half.syn_ack.seq)),
            flags: Flags(chance.next() as u8),
            window: chance.next() as u16,
            ..ack
        };
        let mut half = half;
        if matches!(half.handle(&header), SynVerdict::Opens(_)) {
            let text = octets(chance.below(3_000) as usize);
            let mut t = half.open(&header, &text);
            check(&t);
            t.poll();
            check(&t);
            opened += u32::from(t.state() == State::Established);
            let mut wait = t.tcb.time_wait(&t.core, t.now);
            for _ in 0..10 {
                let header = forge(&t, &mut chance);
                let mut cx = Context {
                    now: t.now,
                    buffers: &mut t.buffers,
                    core: &mut t.core,
                };
                let segment = Segment {
                    header,
                    payload: &text,
                };
                wait.handle_segment(&mut cx, &segment);
                let answer = reset_for(&segment);
                assert!(answer.is_none_or(|answer| answer.flags.contains(Flags::RST)));
            }
        }
    }
    assert!(opened > 100 || std::env::var("CORELANE_SEED").is_ok());
}

/// Acknowledgments, blocks, echoes and marks without any sense: whatever the peer says, the books stay
/// right, the window in bounds, and what is out has a timer.
#[test]
fn a_peer_that_says_anything_breaks_nothing() {
    for seed in seeds(400) {
        let _replay = Replay {
            seed,
            of: "hostile",
        };
        let chance = &mut Chance::new(seed);
        let mut setup = Setup::with_options();
        setup.config.options.congestion = Algorithm::ALL[chance.below(3) as usize];
        setup.config.pacing = chance.percent(50);
        setup.config.sack = chance.percent(80);
        setup.config.ecn = EcnMode::Passive;
        setup.config.retransmissions = 200;
        setup.config.timestamps = chance.percent(50);
        setup.syn.mss = Some(100 + chance.below(1_300) as u16);
        if chance.percent(50) {
            setup.syn_flags = Flags::ECE | Flags::CWR;
        }
        let mut t = setup.established();
        let text = octets(30_000);
        for _ in 0..200 {
            say_anything(&mut t, chance, &text);
            t.poll();
            let answers = t.outbox.drain(..).count();
            assert!(answers <= 500, "{answers}");
            assert!(t.tcb.pipe() <= t.flight());
            assert!((1..1 << 30).contains(&t.tcb.controller.cwnd()));
            assert!(t.flight() == 0 || t.tcb.timers.is_set(Timer::Retransmission));
        }
    }
}

fn say_anything(t: &mut Host, chance: &mut Chance, text: &[u8]) {
    let una = t.tcb.snd.una.since(t.tcb.snd.iss);
    let flight = t.flight();
    if chance.percent(30) {
        let len = chance.below(20_000) as usize;
        t.with(|tcb, cx| tcb.send(cx, &text[..len]));
        t.poll();
    }
    if chance.percent(40) {
        t.advance(Duration::from_micros(1 << chance.below(20)));
    }
    let any = |chance: &mut Chance| {
        let offset = chance.below(u64::from(flight) + 4_000) as u32;
        (una + offset).saturating_sub(2_000)
    };
    let sack: Vec<_> = (0..chance.below(4))
        .map(|_| {
            let (one, other) = (any(chance), any(chance));
            if chance.percent(50) {
                (one, one + 100 * chance.below(30) as u32)
            } else {
                (one, other)
            }
        })
        .collect();
    let acked = match chance.below(4) {
        0 => chance.below(u64::from(flight) + 1) as u32,
        1 => flight.min(1),
        _ => 0,
    };
    let tsecr = match chance.below(3) {
        0 => chance.next() as u32,
        1 => t.tsecr.wrapping_sub(chance.below(2_000) as u32),
        _ => t.tsecr,
    };
    recv!(
        t,
        Seg {
            ack: una + acked,
            flags: if chance.percent(10) {
                Flags::ACK | Flags::ECE
            } else {
                Flags::ACK
            },
            timestamps: t.tcb.timestamps.map(|_| (t.tsval, tsecr)),
            window: chance.percent(20).then(|| chance.below(1_000) as u16),
            sack: Some(&sack),
            ..ACK
        }
    );
}
