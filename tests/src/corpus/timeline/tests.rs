use super::*;

fn scenario(text: &str) -> Scenario {
    toml::from_str(&format!("name = 'x'\nseconds = 1000.0\n{text}")).unwrap()
}

/// Live tasks at a time.
fn live(timeline: &Timeline, at: f64) -> u32 {
    let lives = |spawn: &&Spawn| {
        spawn.at <= at
            && match spawn.fate {
                Fate::Lives(seconds) => spawn.at + seconds > at,
                Fate::Held | Fate::Lost => true,
            }
    };
    timeline
        .spawns
        .iter()
        .filter(lives)
        .map(|spawn| spawn.count)
        .sum()
}

fn near(found: u32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= 5.0 * expected.sqrt() + 1.0
}

/// A flow has its rate, its life times and its share that is lost.
#[test]
fn flow_has_its_rate_life_and_losses() {
    let of = scenario(
        "leak = 'fast'\nflow = [{ site = 'a', rate = 20.0, life = 2.0, lost = 0.1, lost_from = 500.0, lost_to = 600.0 }]",
    );
    let timeline = Timeline::of(&of, 7, 1.0);
    assert!(near(u32::try_from(timeline.spawns.len()).unwrap(), 20_000.0));
    assert!(near(live(&timeline, 400.0), 40.0));
    assert!(near(live(&timeline, 900.0), 240.0), "{}", live(&timeline, 900.0));
    let lost: Vec<f64> = timeline
        .spawns
        .iter()
        .filter(|spawn| spawn.fate == Fate::Lost)
        .map(|spawn| spawn.at)
        .collect();
    assert!(lost.iter().all(|at| (500.0..600.0).contains(at)));
    assert!(timeline.spawns.is_sorted_by(|a, b| a.at <= b.at));
}

/// Spikes, a growing rate, an outage that ends, and a sweep show in the number of live tasks.
#[test]
fn flow_follows_its_circumstances() {
    let live = |text: &str, at: f64| {
        let text = format!("flow = [{{ site = 'a', rate = 20.0, life = 1.0, {text} }}]");
        live(&Timeline::of(&scenario(&text), 3, 1.0), at)
    };
    let spikes = "spikes = { every = 100.0, lasts = 20.0, times = 10.0 }";
    assert!(near(live(spikes, 160.0), 200.0) && near(live(spikes, 190.0), 20.0));
    let grows = "grows = 5.0, slows = 2.0, during = [100.0, 200.0]";
    assert!(near(live(grows, 99.0), 20.0) && near(live(grows, 300.0), 200.0));
    let outage = "outage = [100.0, 150.0]";
    assert!(near(live(outage, 149.0), 980.0) && near(live(outage, 160.0), 20.0));
    let timeout = "outage = [100.0, 150.0], timeout = 10.0";
    assert!(near(live(timeout, 140.0), 220.0));
    let stale = "stale = 0.5, sweep = 60.0";
    assert!(near(live(stale, 59.5), 610.0) && near(live(stale, 60.5), 15.0));
}

/// Held tasks follow their curve; where a tenth is replaced every second, these may be away for a moment.
#[test]
fn held_tasks_follow_their_curve() {
    for (churn, away) in [("0.0", 0), ("0.1", 10)] {
        let of = scenario(&format!(
            "held = [{{ site = 'a', shape = 'saw', size = 100.0, time = 100.0, churn = {churn} }}]"
        ));
        let timeline = Timeline::of(&of, 1, 1.0);
        for (at, held) in [(50.5, 50), (199.0, 99), (200.5, 0)] {
            let live = live(&timeline, at);
            assert!(live.abs_diff(held) <= away, "{churn}: {live} at {at}");
        }
    }
}

/// Drips come by the clock, in bursts, for their time; the schedule has them in microseconds, made faster.
#[test]
fn drips_and_schedule_have_their_numbers() {
    let of = scenario("drip = [{ site = 'a', rate = 1.0, burst = 30.0, from = 60.0, to = 130.0 }]");
    let timeline = Timeline::of(&of, 1, 10.0);
    assert_eq!(
        timeline.schedule(10.0),
        "6000000 a 30 lost\n9000000 a 30 lost\n12000000 a 30 lost\n100000000 end 0 0\n"
    );
}

/// A rate that is not to be scaled is the same in the schedule, and so is the number of live tasks.
#[test]
fn unscaled_rate_is_the_same_at_every_scale() {
    let of = scenario("flow = [{ site = 'a', rate = 5000.0, unscaled = true, life = 0.01, to = 100.0 }]");
    for scale in [1.0, 10.0] {
        let timeline = Timeline::of(&of, 1, scale);
        let spawned: u32 = timeline.spawns.iter().map(|spawn| spawn.count).sum();
        assert!(near(spawned, 500_000.0 / scale), "{scale}: {spawned}");
        assert!((30..70).contains(&live(&timeline, 50.0)), "{scale}");
    }
}

/// The crowd is so many sites with the same flow.
#[test]
fn crowd_is_so_many_sites() {
    let of = scenario("flow = [{ site = 'crowd', sites = 3, rate = 1.0, life = 1.0 }]");
    let mut sites: Vec<String> = Timeline::of(&of, 1, 1.0)
        .spawns
        .into_iter()
        .map(|spawn| spawn.site)
        .collect();
    sites.sort_unstable();
    sites.dedup();
    assert_eq!(sites, ["crowd_000", "crowd_001", "crowd_002"]);
}
