//! The draft's behaviour round by round: a test says what each round trip has delivered.

use super::*;

const SMSS: u32 = 1_000;
const RTT: Duration = Duration::from_millis(40);

struct Drive {
    bbr: Bbr,
    now: Instant,
    delivered: u64,
}

/// What a round trip has brought.
#[derive(Clone, Copy)]
struct Lap {
    /// Octets per second.
    rate: u64,
    /// Before it and after it.
    inflight: u32,
    lost: u32,
    in_recovery: bool,
    is_app_limited: bool,
    rtt: Duration,
}

const LAP: Lap = Lap {
    rate: 0,
    inflight: 0,
    lost: 0,
    in_recovery: false,
    is_app_limited: false,
    rtt: RTT,
};

impl Drive {
    fn new(seed: u32) -> Self {
        Self {
            bbr: Bbr::new(SMSS as u16, seed),
            now: Instant::from_millis(1_000),
            delivered: 0,
        }
    }

    /// One round trip, all of it acknowledged at once.
    fn lap(&mut self, lap: Lap) {
        self.bbr.on_sent(self.now, SMSS, lap.inflight.max(1));
        self.now += lap.rtt;
        let delivered = model::volume(lap.rate, lap.rtt);
        let prior_delivered = self.delivered;
        self.delivered += u64::from(delivered);
        self.bbr.on_ack(&Ack {
            now: self.now,
            acked: delivered,
            delivered,
            lost: lap.lost,
            pipe: lap.inflight,
            in_recovery: lap.in_recovery,
            round_start: true,
            rtt: Some(lap.rtt),
            srtt: Some(lap.rtt),
            rate: Some(RateSample {
                delivered,
                lost: lap.lost,
                interval: lap.rtt,
                is_app_limited: lap.is_app_limited,
                tx_in_flight: lap.inflight,
                prior_delivered,
                total_delivered: self.delivered,
            }),
            ..Ack::default()
        });
    }

    fn laps(&mut self, count: usize, lap: Lap) {
        for _ in 0..count {
            self.lap(lap);
        }
    }

    /// Until `state`; the states on the way.
    fn until(&mut self, state: State, lap: Lap) -> Vec<State> {
        let mut states = vec![self.bbr.state];
        for _ in 0..500 {
            if self.bbr.state == state {
                return states;
            }
            self.lap(lap);
            if states.last() != Some(&self.bbr.state) {
                states.push(self.bbr.state);
            }
        }
        panic!("{states:?} and never {state:?}");
    }

    /// A path of 10 MB/s whose bandwidth is known; the BDP is 400 segments.
    fn cruising(seed: u32) -> Self {
        let mut drive = Self::new(seed);
        drive.until(State::Cruise, STEADY);
        drive
    }

    /// The pacing rate in percent of the bandwidth.
    fn pace(&self) -> u64 {
        self.bbr.pacing_rate().unwrap() * 100 / self.bbr.bw
    }
}

const STEADY: Lap = Lap {
    rate: 10_000_000,
    inflight: 400_000,
    ..LAP
};

#[test]
fn startup_doubles_until_three_rounds_bring_no_more() {
    let mut drive = Drive::new(1);
    assert_eq!(drive.bbr.pacing_rate(), None);
    for doubling in 0..6 {
        let rate = 300_000 << doubling;
        drive.lap(Lap {
            rate,
            inflight: 20_000,
            ..LAP
        });
        // BBR.StartupPacingGain, less BBR.PacingMarginPercent.
        assert_eq!(drive.bbr.pacing_rate(), Some(rate * 277 / 100 * 99 / 100));
        assert_eq!(drive.bbr.state, State::Startup);
    }
    let full = Lap {
        rate: 10_000_000,
        inflight: 900_000,
        ..LAP
    };
    drive.laps(2, full);
    assert_eq!(drive.bbr.state, State::Startup);
    drive.laps(1, full);
    assert_eq!((drive.bbr.state, drive.pace()), (State::Drain, 49));
    // Nothing is drained in three rounds: on it goes.
    drive.laps(3, full);
    assert_eq!(drive.bbr.state, State::Drain);
    drive.laps(1, full);
    assert_eq!((drive.bbr.state, drive.pace()), (State::Down, 89));
}

#[test]
fn rounds_that_the_application_limits_do_not_end_startup() {
    let mut drive = Drive::new(1);
    drive.laps(
        20,
        Lap {
            is_app_limited: true,
            ..STEADY
        },
    );
    assert_eq!(drive.bbr.state, State::Startup);
    assert_eq!(drive.bbr.max_bw.get(), 10_000_000);
}

#[test]
fn heavy_loss_ends_startup_but_not_six_lost_in_a_thousand() {
    for (lost, ends) in [(1_000, false), (3_000, true)] {
        let mut drive = Drive::new(1);
        for i in 0..4 {
            drive.lap(Lap {
                rate: 1_000_000 << i,
                inflight: 100_000,
                in_recovery: i > 0,
                ..LAP
            });
        }
        // Several acknowledgments of one round, each of which tells of a hole.
        for _ in 0..8 {
            drive.bbr.on_ack(&Ack {
                lost,
                in_recovery: true,
                ..Ack::default()
            });
        }
        drive.lap(Lap {
            rate: 16_000_000,
            inflight: 100_000,
            lost,
            in_recovery: true,
            ..LAP
        });
        assert_eq!(drive.bbr.state != State::Startup, ends, "{lost}");
        assert_eq!(drive.bbr.inflight_longterm != INFINITE_VOLUME, ends);
    }
}

#[test]
fn the_cycle_goes_down_cruises_refills_and_goes_up() {
    let mut drive = Drive::cruising(1);
    assert_eq!(drive.pace(), 99);
    assert_eq!(
        drive.until(State::Refill, STEADY),
        [State::Cruise, State::Refill]
    );
    assert_eq!(drive.pace(), 99);
    drive.lap(STEADY);
    assert_eq!((drive.bbr.state, drive.pace()), (State::Up, 123));
    // Three rounds that bring no more bandwidth, and no queue is left.
    assert_eq!(
        drive.until(State::Cruise, STEADY),
        [State::Up, State::Down, State::Cruise]
    );
}

#[test]
fn the_window_is_twice_the_bdp() {
    let mut drive = Drive::cruising(1);
    drive.laps(10, STEADY);
    let bdp = 400_000;
    let extra = drive.bbr.extra_acked.get();
    assert_eq!(drive.bbr.cwnd(), 2 * bdp + extra);
    assert!(extra <= bdp, "{extra}");
}

#[test]
fn more_bandwidth_is_found_by_going_up() {
    let mut drive = Drive::cruising(1);
    drive.until(State::Up, STEADY);
    for percent in [125, 156, 195] {
        drive.lap(Lap {
            rate: 100_000 * percent,
            inflight: 4_000 * percent as u32,
            ..LAP
        });
        assert_eq!(drive.bbr.state, State::Up);
    }
    assert_eq!(drive.bbr.max_bw.get(), 19_500_000);
}

/// Section 5.3.3.8: at most 63 rounds, and two to three seconds by a chance that differs.
#[test]
fn the_wait_for_the_next_probe_is_bounded_and_random() {
    let mut waits = Vec::new();
    for seed in 0..20 {
        let mut drive = Drive::cruising(seed);
        let start = drive.bbr.cycle_stamp;
        // Probing for a lower round trip is another matter.
        drive.bbr.probe_rtt_min_stamp = drive.now;
        drive.until(State::Refill, STEADY);
        let waited = drive.now.saturating_since(start);
        assert!(waited <= RTT * 64, "{waited}");
        assert!((2_000..3_000).contains(&drive.bbr.bw_probe_wait.as_millis()));
        waits.push(waited);
    }
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 5, "{waits:?}");
}

/// Section 5.5.10.3.
#[test]
fn while_cruising_a_lossy_round_lowers_the_short_term_model_to_what_it_delivers() {
    let mut drive = Drive::cruising(1);
    let lossy = |rate| Lap {
        rate,
        lost: 4_000,
        ..STEADY
    };
    drive.laps(2, lossy(9_600_000));
    assert_eq!(drive.bbr.bw, 9_600_000);
    // Not by more than 30 % a round.
    let before = drive.bbr.bw;
    drive.lap(lossy(1_000_000));
    drive.lap(lossy(1_000_000));
    assert!(drive.bbr.bw >= before / 10 * 7 / 10 * 7, "{}", drive.bbr.bw);
    assert!(drive.bbr.bw < before);
    assert_eq!(drive.bbr.max_bw.get(), 10_000_000);
    // Forgotten as soon as the pipe is filled again.
    drive.until(State::Refill, STEADY);
    assert_eq!(drive.bbr.bw_shortterm, INFINITE_RATE);
    assert_eq!(drive.bbr.inflight_shortterm, INFINITE_VOLUME);
}

/// Section 5.5.10.2: BBR.LossThresh is 2 %.
#[test]
fn more_than_two_percent_lost_while_probing_bound_what_is_in_flight() {
    for (lost, bounds) in [(9_000, false), (11_000, true)] {
        let mut drive = Drive::cruising(1);
        drive.until(State::Up, STEADY);
        drive.lap(Lap {
            inflight: 500_000,
            lost,
            ..STEADY
        });
        assert_eq!(drive.bbr.inflight_longterm == 500_000, bounds, "{lost}");
        assert_eq!(drive.bbr.state == State::Down, bounds);
        if bounds {
            drive.until(State::Cruise, STEADY);
            // BBR.Headroom.
            assert!(drive.bbr.cwnd() <= 425_000, "{}", drive.bbr.cwnd());
            // The next probe is brief, since the last one was too high.
            drive.until(State::Up, STEADY);
            drive.lap(Lap {
                inflight: 500_000,
                ..STEADY
            });
            assert_eq!(drive.bbr.state, State::Down);
            assert!(drive.bbr.prev_probe_precautionary);
            // It went well, and the one behind it comes at once.
            drive.lap(STEADY);
            assert_eq!(drive.bbr.state, State::Refill);
        }
    }
}

/// Section 5.3.4: every five seconds, for 200 ms, at half of the BDP.
#[test]
fn an_old_round_trip_is_measured_again_with_an_empty_queue() {
    let mut drive = Drive::cruising(1);
    let queued = Lap {
        rtt: Duration::from_millis(60),
        ..STEADY
    };
    drive.until(State::ProbeRtt, queued);
    assert_eq!(drive.bbr.cwnd(), 200_000);
    let start = drive.now;
    let drained = Lap {
        rate: 5_000_000,
        inflight: 200_000,
        ..LAP
    };
    drive.until(State::Cruise, drained);
    let lasted = drive.now.saturating_since(start);
    assert!((200..=320).contains(&lasted.as_millis()), "{lasted}");
    assert_eq!(drive.bbr.max_bw.get(), 10_000_000, "low rates do not count");
    assert_eq!(drive.bbr.bw, 10_000_000);
    assert!(drive.bbr.cwnd() > 600_000, "{}", drive.bbr.cwnd());
}

#[test]
fn a_path_that_has_become_longer_is_believed_after_ten_seconds() {
    let mut drive = Drive::cruising(1);
    let longer = Lap {
        rtt: Duration::from_millis(80),
        inflight: 200_000,
        ..STEADY
    };
    drive.laps(100, longer);
    assert_eq!(drive.bbr.min_rtt, RTT);
    drive.laps(80, longer);
    assert_eq!(drive.bbr.min_rtt, Duration::from_millis(80));
}

#[test]
fn an_idle_flow_neither_probes_for_the_round_trip_nor_loses_its_window() {
    let mut drive = Drive::cruising(1);
    let cwnd = drive.bbr.cwnd();
    drive.now += Duration::from_secs(30);
    drive.bbr.on_idle(drive.now, Duration::from_secs(30), RTT);
    drive.bbr.on_sent(drive.now, SMSS, 0);
    drive.lap(STEADY);
    assert_ne!(drive.bbr.state, State::ProbeRtt);
    assert!(drive.bbr.cwnd() >= cwnd);
}

#[test]
fn a_timeout_leaves_one_segment_and_the_model_brings_the_rest_back() {
    let mut drive = Drive::cruising(1);
    drive.laps(10, STEADY);
    drive.bbr.on_timeout(drive.now, 400_000, true);
    assert_eq!(drive.bbr.cwnd(), SMSS);
    drive.laps(5, STEADY);
    assert!(drive.bbr.cwnd() >= 800_000, "{}", drive.bbr.cwnd());
}

#[test]
fn recovery_gives_back_the_window_that_it_found() {
    let mut drive = Drive::cruising(1);
    drive.laps(10, STEADY);
    let cwnd = drive.bbr.cwnd();
    drive
        .bbr
        .on_congestion(drive.now, Congestion::Loss, 400_000);
    drive.bbr.window.cwnd = 10_000;
    drive.bbr.on_recovered(drive.now, 400_000);
    assert_eq!(drive.bbr.cwnd(), cwnd);
}

/// Section 5.5.11.
#[test]
fn a_loss_that_was_none_is_undone() {
    let mut drive = Drive::cruising(1);
    drive.until(State::Up, STEADY);
    drive
        .bbr
        .on_congestion(drive.now, Congestion::Loss, 400_000);
    drive.lap(Lap {
        inflight: 500_000,
        lost: 20_000,
        ..STEADY
    });
    assert_eq!(drive.bbr.state, State::Down);
    drive.bbr.on_spurious(drive.now);
    assert_eq!(drive.bbr.state, State::Refill);
    assert_eq!(drive.bbr.inflight_longterm, INFINITE_VOLUME);
}

/// Section 3.7.
#[test]
fn a_mark_is_congestion() {
    let mut drive = Drive::new(1);
    drive.lap(STEADY);
    drive.bbr.on_congestion(drive.now, Congestion::Ecn, 400_000);
    assert_eq!(drive.bbr.state, State::Drain);
    let mut drive = Drive::cruising(1);
    let slower = Lap {
        rate: 9_000_000,
        ..STEADY
    };
    drive.lap(slower);
    assert_eq!(drive.bbr.bw, 10_000_000);
    drive.bbr.on_congestion(drive.now, Congestion::Ecn, 400_000);
    drive.lap(slower);
    assert_eq!(drive.bbr.bw, 10_000_000 * 9 / 10);
}

#[test]
fn the_window_is_never_below_four_segments() {
    let mut drive = Drive::cruising(1);
    drive.laps(
        400,
        Lap {
            rate: 10_000,
            inflight: 400,
            lost: 400,
            ..LAP
        },
    );
    assert!(drive.bbr.cwnd() >= 4 * SMSS, "{}", drive.bbr.cwnd());
}
