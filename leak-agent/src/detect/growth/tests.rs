use super::*;
use crate::detect::trace::tests::points;

fn judged(points: Vec<Point>) -> GrowthEvidence {
    let trace = Trace { points };
    judge(
        &trace.points.clone(),
        || &trace,
        0.0,
        true,
        &policy::Growth::default(),
    )
}

fn line(seconds: u32, per_second: f64) -> impl Iterator<Item = f64> {
    (0..seconds).map(move |second| 10.0 + per_second * f64::from(second))
}

/// A count that climbs steadily grows as a leak does, and the numbers are those of the line.
#[test]
fn steady_climb_grows_with_its_numbers() {
    let evidence = judged(points(line(30, 5.0)));
    assert_eq!(evidence.opinion, Opinion::of(Verdict::Leak));
    assert_eq!((evidence.window, evidence.per_minute), (12.0, 300.0));
    assert_eq!((evidence.not_fallen, evidence.climbs), (1.0, 3));
    assert_eq!(
        (evidence.lasted, evidence.began, evidence.level),
        (30.0, 0.0, 10.0)
    );
    assert_eq!((evidence.surplus, evidence.per_second()), (145.0, 145.0 / 30.0));
    assert_eq!(evidence.steadiness, Some(1.0));
}

/// What stands still, falls, goes up and down, or jumped once does not grow.
#[test]
fn other_shapes_do_not_grow() {
    let wave = |n: u32| 100.0 + 50.0 * (f64::from(n) / 2.0).sin();
    let shapes: [(&str, Vec<f64>); 5] = [
        ("still", vec![50.0; 30]),
        ("falling", line(30, 5.0).map(|live| 500.0 - live).collect()),
        ("wave", (0..30).map(wave).collect()),
        (
            "step",
            (0..30).map(|n| if n < 24 { 10.0 } else { 300.0 }).collect(),
        ),
        ("too little", line(30, 0.9).collect()),
    ];
    for (name, floors) in shapes {
        let evidence = judged(points(floors));
        assert_eq!(
            (evidence.opinion.verdict, evidence.grows()),
            (Verdict::Healthy, false),
            "{name}"
        );
    }
    assert_eq!(judged(points(line(7, 5.0))).opinion.verdict, Verdict::Undecided);
}

/// The beginning of a rise is found, whatever was before it.
#[test]
fn beginning_of_a_rise_is_found() {
    let flat = std::iter::repeat_n(80.0, 40);
    let rise = line(20, 5.0).map(|live| live + 70.0);
    let evidence = judged(points(flat.chain(rise)));
    assert!((35.0..=42.0).contains(&evidence.began), "{evidence:?}");
    assert_eq!(evidence.level, 80.0);
}

/// A count that grows less and less is only suspect.
#[test]
fn growth_that_slows_down_is_suspect() {
    let warm_up = (0..30).map(|n| 1_000.0 * (1.0 - (-f64::from(n) / 15.0).exp()));
    let evidence = judged(points(warm_up));
    assert_eq!(evidence.opinion.verdict, Verdict::Suspect, "{evidence:?}");
    assert!(evidence.steadiness.unwrap() < 0.5);
    assert!(evidence.opinion.reason.unwrap().contains("less and less"));
}

/// Growth that keeps step with the spawn rate is load.
#[test]
fn growth_with_the_spawn_rate_is_healthy() {
    let mut load = points(line(30, 5.0));
    for point in &mut load {
        point.spawned = point.floor * 2.0;
        point.finished = point.spawned - 5.0;
    }
    let evidence = judged(load.clone());
    assert_eq!(evidence.opinion.verdict, Verdict::Healthy);
    assert!(evidence.grows() && evidence.explained > 0.9, "{evidence:?}");
    for point in &mut load {
        point.spawned = 100.0;
        point.finished = 95.0;
    }
    let evidence = judged(load);
    assert_eq!(
        (evidence.opinion.verdict, evidence.explained),
        (Verdict::Leak, 0.0)
    );
    assert!((evidence.longer - 13.25).abs() < 0.1, "{}", evidence.longer);
}

/// Many tasks that live long may drift by chance: a rise must be larger than that.
#[test]
fn drift_of_many_long_tasks_is_chance() {
    let mut drift = points((0..30).map(|n| 2_000.0 + 6.0 * f64::from(n)));
    for point in &mut drift {
        (point.spawned, point.finished) = (100.0, 94.0);
    }
    assert!(!judged(drift.clone()).grows());
    for point in &mut drift {
        (point.spawned, point.finished) = (6.0, 0.0);
    }
    assert!(judged(drift).grows());
}

/// A climb that is not much more than what the floor jumps up and down is none, and neither is one of which most steps fall.
#[test]
fn climb_within_the_noise_is_none() {
    let noisy = |by: f64| (0..30).map(move |n: u32| 1.5 * f64::from(n) + by * f64::from(n % 3));
    assert!(judged(points(noisy(0.4))).grows());
    assert!(!judged(points(noisy(10.0))).grows());
    // Up by 13, down by 2, down by 2.
    let falling = (0..30).map(|n: u32| 3.0 * f64::from(n) + [0.0, 10.0, 5.0][n as usize % 3]);
    let evidence = judged(points(falling));
    assert!(!evidence.grows() && evidence.not_fallen < 0.5, "{evidence:?}");
}

/// What has climbed and then given it all back does not grow any more.
#[test]
fn climb_that_was_given_back_is_over() {
    let climb = (0..30).map(|n| 10.0 * f64::from(n));
    let fallen = climb
        .enumerate()
        .map(|(n, live)| if n < 27 { live } else { 180.0 });
    let evidence = judged(points(fallen));
    assert!(!evidence.grows(), "{evidence:?}");
}

/// A count that climbs much slower than it did before is warming up, even if it does so steadily.
#[test]
fn slower_climb_than_before_is_suspect() {
    let steep = (0..10).map(|n| 20.0 * f64::from(n));
    let slow = (0..20).map(|n| 150.0 + 5.0 * f64::from(n));
    let evidence = judged(points(steep.chain(slow)));
    assert_eq!(evidence.opinion.verdict, Verdict::Suspect, "{evidence:?}");
    let slow = (0..20).map(|n| 150.0 + 5.0 * f64::from(n));
    let evidence = judged(points(std::iter::repeat_n(170.0, 10).chain(slow)));
    assert_eq!(evidence.opinion.verdict, Verdict::Leak, "{evidence:?}");
}
