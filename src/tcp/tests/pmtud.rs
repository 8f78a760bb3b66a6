//! Packetization Layer Path MTU Discovery (RFC 4821).

use super::*;

fn wide(mtu_probing: bool) -> Setup {
    Setup {
        config: Config {
            mtu_probing,
            ..Config::default()
        },
        syn: Options {
            mss: Some(9_000),
            ..Options::default()
        },
        ..Setup::default()
    }
}

/// A path that drops what is larger than `carries` octets of text, without a word, and a peer that
/// acknowledges the rest at once.
struct Hole {
    t: Host,
    carries: usize,
    nxt: u32,
    /// Beyond `nxt`.
    stored: std::collections::BTreeMap<u32, u32>,
    /// What was sent that the path did not carry.
    dropped: Vec<usize>,
}

impl Hole {
    fn new(t: Host, carries: usize) -> Self {
        Self {
            t,
            carries,
            nxt: 1,
            stored: std::collections::BTreeMap::new(),
            dropped: Vec::new(),
        }
    }

    /// What is sent goes through, or does not.
    /// Returns whether anything was.
    fn step(&mut self) -> bool {
        let sent = self.t.sent();
        let is_busy = !sent.is_empty();
        for sent in sent {
            let len = sent.text.len();
            if len > self.carries {
                self.dropped.push(len);
                continue;
            }
            self.stored.insert(sent.seq, sent.seq + len as u32);
            while let Some((_, end)) = self.stored.pop_first_if(|seq, _| *seq <= self.nxt) {
                self.nxt = self.nxt.max(end);
            }
            self.t.recv(Seg {
                ack: self.nxt,
                ..ACK
            });
        }
        is_busy
    }

    /// Sends `len` octets and sees them acknowledged.
    #[track_caller]
    fn transfer(&mut self, len: usize) {
        let data = octets(len);
        let mut written = 0;
        let target = self.nxt + len as u32;
        for _ in 0..100_000 {
            // What is cut already is no probe: not all at once.
            let queued = self.t.tcb.snd.end.since(self.t.tcb.snd.una) as usize;
            let end = len.min(written + 16_000_usize.saturating_sub(queued));
            written += self.t.with(|tcb, cx| tcb.send(cx, &data[written..end]));
            let is_busy = self.step();
            if self.nxt >= target {
                return;
            }
            if !is_busy {
                self.t.advance(Duration::from_millis(1));
            }
        }
        panic!("{} of {target} after {:?}", self.nxt, self.dropped);
    }

    fn mss(&self) -> u16 {
        self.t.tcb.info(&self.t.core, self.t.now).mss
    }
}

trait PopFirstIf {
    fn pop_first_if(&mut self, wish: impl Fn(&u32, &u32) -> bool) -> Option<(u32, u32)>;
}

impl PopFirstIf for std::collections::BTreeMap<u32, u32> {
    fn pop_first_if(&mut self, wish: impl Fn(&u32, &u32) -> bool) -> Option<(u32, u32)> {
        let (key, value) = self.first_key_value()?;
        wish(key, value).then(|| self.pop_first())?
    }
}

/// Section 7.7.
#[test]
fn two_timeouts_in_silence_make_segments_smaller() {
    let mut t = wide(true).established();
    t.send(&octets(2_000));
    assert_eq!(t.sent()[0].text.len(), 1_460);
    // Timeouts after 0.2 and 0.6 s, and after 1.4 and 3 s.
    advance!(t, 500 ms);
    assert!(t.sent().iter().all(|sent| sent.text.len() == 1_460));
    advance!(t, 1 s);
    assert_eq!(t.sent()[0].text.len(), 1_024);
    assert_eq!(t.counters().black_holes, 1);
    advance!(t, 30 s);
    assert_eq!(t.sent().last().unwrap().text.len(), 552 - 40);
    assert_eq!(t.counters().black_holes, 2);
    // There is no smaller one.
    advance!(t, 300 s);
    assert_eq!(t.counters().black_holes, 2);
}

#[test]
fn ipv6_goes_down_to_its_least_mtu_and_no_further() {
    let mut t = Setup {
        ipv6: true,
        path_mss: 1_440,
        ..wide(true)
    }
    .established();
    t.send(&octets(1_440));
    advance!(t, 300 s);
    assert_eq!(t.sent().last().unwrap().text.len(), 1_220);
    assert_eq!(t.counters().black_holes, 1);
}

#[test]
fn small_segments_and_those_of_whom_does_not_want_it_stay() {
    for (mtu_probing, len) in [(false, 2_000), (true, 500)] {
        let mut t = wide(mtu_probing).established();
        t.send(&octets(len));
        advance!(t, 300 s);
        assert_eq!(t.counters().black_holes, 0);
        assert_eq!(t.tcb.info(&t.core, t.now).mss, 1_460);
        assert!(t.tcb.path.is_none());
    }
}

/// Sections 7.3 to 7.6: what the path carries is found, to 16 octets.
#[test]
fn a_black_hole_is_found_and_measured() {
    for carries in [600, 1_000, 1_024, 1_100, 1_260, 1_400, 1_458] {
        let mut hole = Hole::new(wide(true).established(), carries);
        hole.transfer(500_000);
        let mss = usize::from(hole.mss());
        let least = if carries < 1_024 {
            512
        } else {
            carries.saturating_sub(16)
        };
        assert!((least..=carries).contains(&mss), "{mss} of {carries}");
        let counters = hole.t.counters();
        // The first timeouts, and perhaps one for a probe that was the last segment of all: others
        // cost none.
        assert!(counters.timeouts <= 5, "{}", counters.timeouts);
        assert!(counters.mtu_probes_lost >= 1);
        // Nothing is tried again before it is time.
        let probes = counters.mtu_probes;
        hole.transfer(200_000);
        assert_eq!(hole.t.counters().mtu_probes, probes);
    }
}

/// What looked like a black hole was an outage: the first probe shows it.
#[test]
fn after_an_outage_the_first_probe_restores_all() {
    let mut hole = Hole::new(wide(true).established(), 0);
    let data = octets(3_000);
    hole.t.send(&data);
    for _ in 0..4 {
        hole.step();
        hole.t.advance(Duration::from_millis(300));
    }
    assert_eq!(hole.mss(), 1_024);
    hole.carries = 1_460;
    hole.nxt = 1;
    while hole.nxt < 3_001 {
        hole.step();
        hole.t.advance(Duration::from_millis(100));
    }
    hole.transfer(100_000);
    assert_eq!(hole.mss(), 1_460);
    assert!(hole.t.tcb.path.is_none(), "nothing is left of it");
    let counters = hole.t.counters();
    assert_eq!((counters.mtu_probes, counters.mtu_probes_lost), (1, 0));
}

/// Section 7.5.
#[test]
fn the_loss_of_a_probe_is_no_congestion() {
    let mut hole = Hole::new(wide(true).established(), 1_100);
    hole.transfer(20_000);
    while hole.t.counters().mtu_probes_lost == 0 {
        let (cwnd, ssthresh) = {
            let controller = &hole.t.tcb.controller;
            (controller.cwnd(), controller.ssthresh())
        };
        let fast = hole.t.counters().fast_retransmits;
        hole.transfer(10_000);
        let controller = &hole.t.tcb.controller;
        assert!(controller.cwnd() >= cwnd && controller.ssthresh() == ssthresh);
        assert_eq!(hole.t.counters().fast_retransmits, fast);
    }
}

/// RFC 1191 section 6.3's time holds for the search as well.
#[test]
fn a_path_that_has_become_wider_is_found_after_ten_minutes() {
    let mut hole = Hole::new(wide(true).established(), 1_100);
    hole.transfer(500_000);
    hole.carries = 1_460;
    hole.t.advance(Duration::from_secs(590));
    hole.transfer(50_000);
    assert!(hole.mss() <= 1_100);
    hole.t.advance(Duration::from_secs(20));
    hole.transfer(200_000);
    assert_eq!(hole.mss(), 1_460);
}

/// A segment need not be full to be too large.
#[test]
fn a_last_segment_that_is_not_full_gets_through_a_hole() {
    let mut hole = Hole::new(wide(true).established(), 1_100);
    hole.transfer(1_300);
    assert_eq!(hole.t.counters().black_holes, 1);
}
