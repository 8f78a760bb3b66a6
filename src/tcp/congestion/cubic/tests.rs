//! RFC 9438's formulas against a model in segments and seconds, written from the RFC alone.

use super::*;

const SMSS: u32 = 1_000;
const RTT: Duration = Duration::from_millis(100);

fn at(millis: u64) -> Instant {
    Instant::from_millis(100_000 + millis)
}

fn cubic(cwnd: u32, ssthresh: u32) -> Cubic {
    let mut window = Window::new(SMSS as u16);
    (window.cwnd, window.ssthresh) = (cwnd, ssthresh);
    Cubic::with(window)
}

/// A loss, and the recovery from it.
fn lose(cubic: &mut Cubic, millis: u64, flight_size: u32) {
    cubic.on_congestion(at(millis), Congestion::Loss, flight_size);
    cubic.on_recovered(at(millis), 0);
}

fn ack(millis: u64, acked: u32) -> Ack {
    Ack {
        now: at(millis),
        acked,
        srtt: Some(RTT),
        ..Ack::default()
    }
}

/// RFC 3465 section 2.1: what is newly acknowledged counts, though the window is ssthresh at first
/// (RFC 5681 section 3.2 step 6).
#[test]
fn what_the_end_of_recovery_delivers_counts_for_growth() {
    for delivered in [1_u32, 4] {
        let mut cubic = cubic(10 * SMSS, u32::MAX);
        cubic.on_congestion(at(0), Congestion::Loss, 10 * SMSS);
        cubic.on_sent(at(0), 10 * SMSS, 0);
        cubic.on_ack(&Ack {
            delivered: delivered * SMSS,
            in_recovery: true,
            ends_recovery: true,
            ..ack(0, 10 * SMSS)
        });
        assert_eq!(cubic.cwnd(), 7 * SMSS);
        cubic.on_ack(&ack(0, SMSS));
        // Figure 4: W_est, of what has been acknowledged since.
        let w_est = 7_000.0 + 9.0 / 17.0 * 1_000.0 * f64::from(delivered + 1) / 7.0;
        assert_eq!(cubic.cwnd(), w_est as u32, "{delivered}");
    }
}

/// One round trip in which all of the window is sent and acknowledged, `smss` octets at a time.
fn round(cubic: &mut Cubic, start: u64) {
    let segments = cubic.cwnd() / SMSS;
    for i in 0..segments {
        cubic.on_sent(at(start), SMSS, cubic.cwnd() - SMSS);
        cubic.on_ack(&ack(start + u64::from(i * 100 / segments), SMSS));
    }
}

/// W_cubic(t) in segments (figure 1), K by figure 2.
fn w_cubic(t: f64, w_max: f64, cwnd_epoch: f64) -> f64 {
    let k = ((w_max - cwnd_epoch) / 0.4).cbrt();
    0.4 * (t - k).powi(3) + w_max
}

#[test]
fn the_model_is_boxed_and_the_controller_small() {
    assert_eq!(size_of::<Cubic>(), 24);
}

#[test]
fn a_loss_reduces_the_window_to_seven_tenths_of_what_was_in_flight() {
    let mut cubic = cubic(100 * SMSS, u32::MAX);
    lose(&mut cubic, 0, 100 * SMSS);
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (70 * SMSS, 70 * SMSS));
    // RFC 9438 section 4.6: at least two segments, one after a mark.
    lose(&mut cubic, 0, SMSS);
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (2 * SMSS, 2 * SMSS));
    cubic.on_congestion(at(0), Congestion::Ecn, SMSS);
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (SMSS, 2 * SMSS));
}

#[test]
fn k_is_the_cube_root_of_what_is_missing_over_c() {
    for missing in [1u32, 3, 30, 300, 3_000, 30_000, 1_000_000] {
        let expected = (f64::from(missing) / 0.4).cbrt();
        let k = k(missing * SMSS, SMSS);
        assert!((k - expected).abs() < 2e-6, "{missing}: {k} {expected}");
    }
    assert_eq!(k(0, SMSS), 0.0);
    assert!(k(u32::MAX, 1) > 2_000.0);
}

#[test]
fn roots_are_exact() {
    for root in [0u128, 1, 2, 9, 1_000, 0xffff, 0xffff_ffff] {
        let cube = root * root * root;
        assert_eq!(u128::from(cube_root(cube)), root);
        if root > 0 {
            assert_eq!(u128::from(cube_root(cube - 1)), root - 1);
        }
    }
}

/// Sections 4.4 and 4.5: a large window follows the curve through its concave and convex parts.
#[test]
fn the_window_follows_the_cubic_curve() {
    let mut cubic = cubic(1_000 * SMSS, u32::MAX);
    lose(&mut cubic, 0, 1_000 * SMSS);
    // It is a target for the next round trip that each round trip moves to.
    let k = (300.0f64 / 0.4).cbrt();
    for i in 0..180 {
        round(&mut cubic, i * 100);
        let t = (i + 1) as f64 / 10.0;
        let expected = w_cubic(t, 1_000.0, 700.0);
        let cwnd = f64::from(cubic.cwnd()) / f64::from(SMSS);
        assert!(
            (cwnd / expected - 1.0).abs() < 0.015,
            "{t} s: {cwnd}, not {expected}"
        );
    }
    assert!(k > 9.0 && k < 9.1);
    assert!(cubic.cwnd() > 1_150 * SMSS);
}

/// Section 4.3: on a short path with a small window it does as well as Reno, alpha_cubic first.
#[test]
fn a_small_window_grows_as_renos_would_on_average() {
    let mut cubic = cubic(20 * SMSS, u32::MAX);
    lose(&mut cubic, 0, 20 * SMSS);
    let (mut w_est, mut segments) = (14.0f64, 14.0f64);
    for i in 0..30u64 {
        // Ten milliseconds each.
        let sent = cubic.cwnd() / SMSS;
        for _ in 0..sent {
            cubic.on_sent(at(i * 10), SMSS, cubic.cwnd() - SMSS);
            cubic.on_ack(&Ack {
                srtt: Some(Duration::from_millis(10)),
                ..ack(i * 10, SMSS)
            });
            let alpha = if w_est < 20.0 { 9.0 / 17.0 } else { 1.0 };
            w_est += alpha / segments;
            segments = f64::from(cubic.cwnd()) / f64::from(SMSS);
        }
        let cwnd = f64::from(cubic.cwnd()) / f64::from(SMSS);
        assert!((cwnd - w_est).abs() < 0.1, "round {i}: {cwnd}, not {w_est}");
    }
    assert!(cubic.cwnd() > 30 * SMSS, "{}", cubic.cwnd());
}

/// Section 4.7.
#[test]
fn a_loss_below_the_last_plateau_releases_bandwidth() {
    let mut cubic = cubic(100 * SMSS, u32::MAX);
    lose(&mut cubic, 0, 100 * SMSS);
    lose(&mut cubic, 1_000, 70 * SMSS);
    assert_eq!(cubic.model().curve.w_max, 70 * SMSS * 17 / 20);
    assert_eq!(cubic.model().curve.cwnd_prior, 70 * SMSS);
    // Not if it was above.
    cubic.window.cwnd = 90 * SMSS;
    lose(&mut cubic, 2_000, 90 * SMSS);
    assert_eq!(cubic.model().curve.w_max, 90 * SMSS);
}

/// Section 4.2: the target is at most half again the window, however late it is.
#[test]
fn the_window_grows_by_half_per_round_trip_at_most() {
    let mut cubic = cubic(100 * SMSS, 100 * SMSS);
    cubic.on_sent(at(0), SMSS, 99 * SMSS);
    cubic.on_ack(&ack(0, SMSS));
    let before = cubic.cwnd();
    cubic.on_sent(at(60_000), before, SMSS);
    cubic.on_ack(&ack(60_000, before));
    let grown = cubic.cwnd() - before;
    assert!(grown.abs_diff(before / 2) <= 1, "{grown}");
}

/// Section 4.8: K = 0 and W_max where congestion avoidance begins.
#[test]
fn after_a_timeout_the_curve_starts_where_slow_start_ends() {
    let mut cubic = cubic(100 * SMSS, u32::MAX);
    cubic.on_timeout(at(0), 100 * SMSS, true);
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (SMSS, 70 * SMSS));
    cubic.on_timeout(at(0), SMSS, false);
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (SMSS, 70 * SMSS));
    let mut i = 0;
    while cubic.window.in_slow_start() {
        round(&mut cubic, i * 100);
        i += 1;
    }
    let model = cubic.model();
    assert_eq!(model.curve.w_max, 70 * SMSS);
    assert!(model.stage.is_some_and(|stage| stage.k == 0.0));
}

/// Section 4.9.
#[test]
fn a_spurious_event_is_undone() {
    let mut cubic = cubic(100 * SMSS, u32::MAX);
    lose(&mut cubic, 0, 100 * SMSS);
    for i in 0..10 {
        round(&mut cubic, i * 100);
    }
    let (cwnd, w_est) = (cubic.cwnd(), cubic.model().stage.unwrap().w_est);
    cubic.on_timeout(at(1_000), cwnd, true);
    cubic.on_timeout(at(2_000), SMSS, false);
    cubic.on_spurious(at(2_100));
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (cwnd, 70 * SMSS));
    assert_eq!(cubic.model().stage.unwrap().w_est, w_est);
    assert_eq!(cubic.model().curve.w_max, 100 * SMSS);
    // Once.
    cubic.on_spurious(at(2_100));
    assert_eq!(cubic.cwnd(), cwnd);
}

#[test]
fn a_window_that_has_outgrown_the_old_one_is_not_undone() {
    let mut cubic = cubic(100 * SMSS, u32::MAX);
    lose(&mut cubic, 0, 100 * SMSS);
    cubic.window.cwnd = 120 * SMSS;
    cubic.on_spurious(at(1_000));
    assert_eq!((cubic.cwnd(), cubic.ssthresh()), (120 * SMSS, 70 * SMSS));
}

/// Section 5.8.
#[test]
fn time_in_which_the_application_sets_the_pace_does_not_count() {
    let mut cubic = cubic(100 * SMSS, u32::MAX);
    lose(&mut cubic, 0, 100 * SMSS);
    for i in 0..10 {
        round(&mut cubic, i * 100);
    }
    let before = cubic.cwnd();
    // Ten seconds of a segment at a time, then ten of silence.
    for i in 10..110 {
        cubic.on_sent(at(i * 100), SMSS, 0);
        cubic.on_ack(&Ack {
            round_start: true,
            ..ack(i * 100 + 99, SMSS)
        });
    }
    cubic.on_sent(at(21_000), SMSS, 0);
    round(&mut cubic, 21_000);
    let grown = f64::from(cubic.cwnd() - before) / f64::from(SMSS);
    // About 1.4 s into the stage: the curve has risen by little.
    assert!(grown < 6.0, "{grown}");
}

/// Section 4.10: with HyStart++ the first stage begins without a loss.
#[test]
fn hystart_ends_slow_start_without_a_loss() {
    let mut cubic = cubic(10 * SMSS, u32::MAX);
    for i in 0..20u64 {
        let segments = cubic.cwnd() / SMSS;
        for j in 0..segments {
            cubic.on_sent(at(i * 100), SMSS, cubic.cwnd() - SMSS);
            cubic.on_ack(&Ack {
                round_start: j == 0,
                // A queue builds up from the third round on.
                rtt: Some(Duration::from_millis(100 + 20 * i.saturating_sub(2))),
                paced: true,
                ..ack(i * 100, SMSS)
            });
        }
    }
    assert_ne!(cubic.ssthresh(), u32::MAX);
    // 80 segments when it was noticed, and five rounds of a quarter more.
    assert!(cubic.ssthresh() < 300 * SMSS, "{}", cubic.ssthresh());
    assert!(cubic.model().stage.is_some());
}
