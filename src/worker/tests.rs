use std::sync::mpsc;

use super::*;
use crate::ring::sim::{SimConfig, SimDevice};
use crate::stack::{Queue, StackConfig, Stray};
use crate::wire::checksum::Sum;
use crate::wire::emit::{MAX_HEADERS, Route, segment_headers};
use crate::wire::tcp::{Flags, Header};
use crate::wire::{Address, ChecksumPolicy, FlowKey, Link, MacAddr};

/// Long enough for a busy machine; a test that passes does not wait for it.
const LIMIT: Duration = Duration::from_secs(20);

struct Lone {
    mailbox: Arc<Mailbox>,
    phase_changed: Arc<Wake>,
    answered: Arc<Wake>,
    clock: Clock,
    thread: thread::JoinHandle<()>,
}

impl Lone {
    /// A worker on the first core, with one queue that carries nothing.
    fn start(idle: Idle, before: impl FnOnce() + Send + 'static) -> Self {
        Self::start_on(first_core(), idle, None, before)
    }

    fn start_on(
        core: usize,
        idle: Idle,
        next: Option<Arc<Mailbox>>,
        before: impl FnOnce() + Send + 'static,
    ) -> Self {
        let phase_changed = Arc::new(Wake::new().unwrap());
        let answered = Arc::new(Wake::new().unwrap());
        let mailbox = Mailbox::new(Arc::clone(&phase_changed), Arc::clone(&answered)).unwrap();
        let setup = Setup {
            core,
            idle,
            clock: Clock::start(),
            mailbox: Arc::new(mailbox),
            next,
            filter: None,
        };
        let other_workers = usize::from(setup.next.is_some());
        let clock = setup.clock;
        let mailbox = Arc::clone(&setup.mailbox);
        let thread = spawn(setup, move |now| {
            before();
            stack(now, other_workers)
        });
        Self {
            mailbox,
            phase_changed,
            answered,
            clock,
            thread: thread.unwrap(),
        }
    }

    fn wait_for(&self, phase: Phase) {
        let deadline = self.clock.now() + LIMIT;
        while self.mailbox.phase() != phase {
            let left = deadline.saturating_since(self.clock.now());
            assert!(left > Duration::ZERO, "still {:?}", self.mailbox.phase());
            self.phase_changed.wait(left);
        }
    }

    fn tally(&self, id: u64) -> Tally {
        assert!(self.mailbox.order(Order::Counters(id)));
        let deadline = self.clock.now() + LIMIT;
        loop {
            match self.mailbox.take_answer(id) {
                Some(Answer::Counters(_, tally)) => return tally,
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            let left = deadline.saturating_since(self.clock.now());
            assert!(left > Duration::ZERO, "no answer");
            self.answered.wait(left);
        }
    }

    fn stop(self) {
        assert!(self.mailbox.order(Order::Stop));
        self.wait_for(Phase::Ended);
        self.thread.join().unwrap();
    }
}

fn first_core() -> usize {
    core_affinity::get_core_ids().unwrap()[0].id
}

fn stack(now: Instant, other_workers: usize) -> Stack<SimDevice> {
    let config = StackConfig {
        tcp: crate::tcp::Config::default(),
        max_connections: 16,
        secret: [1; 32],
        hash_key: [2, 3],
        other_workers,
    };
    let queue = Queue {
        io: SimDevice::new(&SimConfig::default()).unwrap(),
        id: 0,
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1_500,
        checksums: ChecksumPolicy::Full,
    };
    Stack::new(config, vec![queue], now)
}

/// An ACK of a connection that nobody has.
fn stray() -> Stray {
    let to_us = FlowKey {
        local: Address::from_ipv4([198, 18, 0, 2]),
        remote: Address::from_ipv4([198, 18, 0, 1]),
        local_port: 40_000,
        remote_port: 80,
    };
    let route = Route {
        link: Link {
            local: MacAddr([2, 0, 0, 0, 0, 2]),
            remote: MacAddr([2, 0, 0, 0, 0, 1]),
            vlan: None,
        },
        key: to_us,
        hop_limit: 64,
        traffic_class: 0,
        identification: 0,
    };
    let header = Header {
        seq: 1,
        ack: 1,
        flags: Flags::ACK,
        ..Header::default()
    };
    let mut frame = [0; MAX_HEADERS];
    let len = segment_headers(&mut frame, &route, &header, (0, Sum::of(&[])));
    Stray {
        frame: frame[MAX_HEADERS - len..].into(),
        checksums: ChecksumPolicy::Full,
        hops: 0,
    }
}

#[test]
fn a_stray_goes_on_and_wakes_the_next_worker() {
    let wake = Arc::new(Wake::new().unwrap());
    let next = Arc::new(Mailbox::new(Arc::clone(&wake), wake).unwrap());
    let worker = Lone::start_on(
        first_core(),
        Idle::Interrupt,
        Some(Arc::clone(&next)),
        || (),
    );
    worker.wait_for(Phase::Running);
    assert!(next.fall_asleep());
    assert!(worker.mailbox.deliver(stray()));
    worker.mailbox.notify();
    next.wake().wait(LIMIT);
    let passed = next
        .next_stray()
        .expect("the worker has no such connection");
    assert_eq!((passed.hops, &passed.frame), (1, &stray().frame));
    assert_eq!(worker.tally(1).strays_sent, 1);

    // One too many for a neighbour that does not come round.
    while next.deliver(stray()) {}
    assert!(worker.mailbox.deliver(stray()));
    let deadline = worker.clock.now() + LIMIT;
    let mut id = 1;
    let tally = loop {
        id += 1;
        let tally = worker.tally(id);
        if tally.strays_dropped_full > 0 || worker.clock.now() > deadline {
            break tally;
        }
    };
    assert_eq!((tally.strays_sent, tally.strays_received), (1, 2));
    assert_eq!(
        (tally.strays_dropped_full, tally.strays_dropped_rate),
        (1, 0)
    );
    worker.stop();
}

#[test]
fn every_idle_policy_takes_orders() {
    for idle in Idle::ALL {
        let worker = Lone::start(idle, || ());
        worker.wait_for(Phase::Running);
        worker.tally(1);
        assert!(worker.mailbox.order(Order::Drain));
        worker.wait_for(Phase::Draining);
        assert_eq!(worker.mailbox.live(), 0);
        assert!(worker.mailbox.order(Order::Abort));
        worker.wait_for(Phase::Aborted);
        worker.stop();
    }
}

#[test]
fn a_spinning_worker_does_not_sleep_and_the_others_do() {
    for (idle, sleeps) in [
        (Idle::Spin, false),
        (Idle::Adaptive, true),
        (Idle::Interrupt, true),
    ] {
        let worker = Lone::start(idle, || ());
        worker.wait_for(Phase::Running);
        // A worker that is adaptive makes some hundred turns before it sleeps, whatever the machine
        // does meanwhile: its patience is 50 us.
        let deadline = worker.clock.now() + LIMIT;
        let mut id = 0;
        let tally = loop {
            id += 1;
            let tally = worker.tally(id);
            if tally.turns > 100_000 || tally.sleeps > 2 || worker.clock.now() > deadline {
                break tally;
            }
        };
        assert_eq!(tally.sleeps > 0, sleeps, "{idle}: {tally:?}");
        worker.stop();
    }
}

#[test]
fn a_sleeper_wakes_for_a_letter() {
    let phase_changed = Arc::new(Wake::new().unwrap());
    let mailbox = Mailbox::new(Arc::clone(&phase_changed), phase_changed).unwrap();
    assert!(mailbox.fall_asleep());
    assert!(mailbox.order(Order::Drain));
    let mut bed = Bed::new(mailbox.wake(), Some(&[]));
    let clock = Clock::start();
    let before = clock.now();
    bed.sleep(LIMIT);
    mailbox.wake_up();
    assert!(clock.now().saturating_since(before) < LIMIT / 2);
    // What came before the sleep keeps from sleeping; what was read does not.
    assert!(!mailbox.fall_asleep());
    assert_eq!(mailbox.next_order(), Some(Order::Drain));
    assert!(mailbox.fall_asleep());
}

#[test]
fn a_full_mailbox_refuses() {
    let wake = Arc::new(Wake::new().unwrap());
    let mailbox = Mailbox::new(Arc::clone(&wake), wake).unwrap();
    let stray = stray();
    let delivered = (0..10_000)
        .take_while(|_| mailbox.deliver(stray.clone()))
        .count();
    assert_eq!(delivered, 256);
    let ordered = (0..10_000)
        .take_while(|_| mailbox.order(Order::Drain))
        .count();
    assert_eq!(ordered, 16);
}

#[test]
fn old_answers_are_thrown_away() {
    let wake = Arc::new(Wake::new().unwrap());
    let mailbox = Mailbox::new(Arc::clone(&wake), wake).unwrap();
    for id in 1..=3 {
        mailbox.answer(id, Answer::Connections(Vec::new()));
    }
    assert!(mailbox.take_answer(3).is_some());
    assert!(mailbox.take_answer(3).is_none());
}

#[test]
fn a_worker_is_on_its_core_before_its_stack_is_made() {
    for core in core_affinity::get_core_ids().unwrap() {
        let (sender, receiver) = mpsc::channel();
        let worker = Lone::start_on(core.id, Idle::Interrupt, None, move || {
            sender.send(rustix::thread::sched_getcpu()).unwrap();
        });
        assert_eq!(receiver.recv().unwrap(), core.id);
        worker.stop();
    }
}

#[test]
fn a_core_that_is_not_there_is_told() {
    let worker = Lone::start_on(1_000, Idle::Interrupt, None, || ());
    worker.wait_for(Phase::NotPinned);
    worker.thread.join().unwrap();
}

#[test]
fn a_panic_is_told() {
    let worker = Lone::start(Idle::Spin, || panic!("on purpose"));
    worker.wait_for(Phase::Ended);
    assert!(worker.thread.join().is_err());
}
