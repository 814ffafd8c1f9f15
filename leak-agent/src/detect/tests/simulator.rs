//! Programs as their counts: what a scenario file describes, played second by second. Chance is seeded.

use crate::detect::{Detectors, Facts, Judgement, Observation};
use crate::engine::snapshot::{
    CountedBy, Counts, FollowState, ProcessSnapshot, RuntimeSnapshot, SiteSnapshot, Snapshot,
};
use crate::source::{SiteInfo, tokio};
use crate::types::{BootTime, ProcessKey};
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// When the simulated machine booted: Unix time.
pub(in crate::detect) const BOOT: f64 = 1_700_000_000.0;

/// A program.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: String,
    /// How long it is watched, seconds.
    pub(super) seconds: u32,
    /// It ran for so long before it was watched.
    #[serde(default)]
    pub(super) before: u32,
    /// It is started anew so often.
    pub(super) restart_every: Option<u32>,
    /// Which site leaks; none = no verdict may be a leak.
    pub(super) leaks: Option<usize>,
    /// Since when, seconds since it is watched.
    #[serde(default)]
    pub(super) since: f64,
    /// And it must be told within so many seconds.
    #[serde(default)]
    pub(super) within: f64,
    /// How its tasks are counted.
    #[serde(default)]
    pub(super) from_memory: bool,
    pub(super) site: Vec<Parts>,
    /// So many more sites like the first, all of them healthy.
    #[serde(default)]
    pub(super) crowd: Vec<Parts>,
    #[serde(default)]
    pub(super) crowd_size: usize,
}

/// What the tasks of one site do: all of these together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Parts {
    load: Vec<Load>,
    held: Vec<Held>,
    leak: Vec<Leak>,
}

/// Tasks that come by chance and end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    /// Per second.
    rate: f64,
    /// Mean, or for `pareto` least, life time in seconds.
    life: f64,
    #[serde(default)]
    dist: Dist,
    /// Exponent of `pareto`.
    #[serde(default = "one")]
    alpha: f64,
    /// Longest life time.
    cap: Option<f64>,
    /// The rate goes up and down by this share …
    #[serde(default)]
    swing: f64,
    /// … with this period.
    #[serde(default = "one")]
    period: f64,
    /// The rate rises by this factor, from 1 …
    #[serde(default = "one")]
    grows: f64,
    /// … during these seconds.
    #[serde(default)]
    during: [f64; 2],
    /// The life time rises by this factor during them.
    #[serde(default = "one")]
    slows: f64,
    /// Tasks spawned in between do not end …
    #[serde(default)]
    outage: [f64; 2],
    /// … if they are among this share, …
    #[serde(default = "one")]
    hit: f64,
    /// … but after this time, or within half a minute after the end of the outage.
    timeout: Option<f64>,
    #[serde(default)]
    from: f64,
    to: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Dist {
    #[default]
    Exp,
    Const,
    Pareto,
}

/// Tasks that are held at a level.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    shape: Shape,
    /// Tasks at the top.
    size: f64,
    /// Seconds: of a rise, a period, a step.
    #[serde(default = "one")]
    time: f64,
    /// Of a batch or a spike: how long it stays.
    #[serde(default)]
    stays: f64,
    /// Of stairs: how many.
    #[serde(default = "one")]
    steps: f64,
    /// Begins then.
    #[serde(default)]
    from: f64,
    /// Share of the tasks that is replaced per second.
    #[serde(default)]
    churn: f64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    /// At once, for ever.
    Step,
    /// Linearly within `time`, then level.
    Ramp,
    /// Exponentially with time constant `time`.
    Plateau,
    /// Up linearly within `time`, then to nothing, again and again.
    Saw,
    /// Up and down around half of `size`.
    Sine,
    /// Up by `size`, `time` apart, `steps` times.
    Stairs,
    /// Every `time` up to `size` at once, back after `stays`.
    Spikes,
    /// Every `time` up to `size` within `stays`, then down within `stays`.
    Batch,
    /// Down from `size` within `time`.
    Drain,
}

/// Tasks that never end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Leak {
    /// Per second, on average.
    rate: f64,
    /// At once.
    #[serde(default = "one")]
    burst: f64,
    /// By chance, not by the clock.
    #[serde(default)]
    random: bool,
    #[serde(default)]
    from: f64,
    to: Option<f64>,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped, and rounded on purpose"
)]
fn whole(count: f64) -> u64 {
    count.round().clamp(0.0, 1e18) as u64
}

fn one() -> f64 {
    1.0
}

/// Chance: splitmix64.
#[derive(Clone, Debug)]
pub(in crate::detect) struct Chance(pub(in crate::detect) u64);

impl Chance {
    pub(in crate::detect) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1].
    pub(in crate::detect) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub(in crate::detect) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return whole(mean + mean.sqrt() * self.normal());
        }
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// One site while it runs.
#[derive(Clone, Debug)]
struct Running {
    parts: Parts,
    /// When tasks of loads end, milliseconds.
    ends: BinaryHeap<Reverse<u64>>,
    /// Live tasks of loads that are too many to follow each.
    mass: Vec<u64>,
    held: Vec<u64>,
    leaked: Vec<u64>,
    spawned: u64,
    finished: u64,
}

/// More tasks per second than that are not followed one by one.
const MASS: f64 = 2_000.0;

impl Running {
    fn new(parts: Parts) -> Self {
        Self {
            ends: BinaryHeap::new(),
            mass: vec![0; parts.load.len()],
            held: vec![0; parts.held.len()],
            leaked: vec![0; parts.leak.len()],
            spawned: 0,
            finished: 0,
            parts,
        }
    }

    /// One second, until `now` seconds after the start.
    fn second(&mut self, now: f64, chance: &mut Chance) {
        let parts = self.parts.clone();
        for (load, mass) in parts.load.iter().zip(0..) {
            let rate = load.rate_at(now);
            if rate > MASS {
                let spawned = chance.poisson(rate);
                let live = chance.poisson(rate * load.life_at(now)).min(spawned);
                self.spawned += spawned;
                self.finished += (self.mass[mass] + spawned).saturating_sub(live);
                self.mass[mass] = live;
                continue;
            }
            for _ in 0..chance.poisson(rate) {
                self.spawned += 1;
                let at = now - chance.unit();
                let end = load.end_of(at, chance);
                self.ends.push(Reverse(whole(end * 1_000.0)));
            }
        }
        while self.ends.peek().is_some_and(|end| end.0 <= whole(now * 1_000.0)) {
            self.ends.pop();
            self.finished += 1;
        }
        for (held, level) in parts.held.iter().zip(&mut self.held) {
            let wanted = whole(held.level(now));
            self.spawned += wanted.saturating_sub(*level);
            self.finished += level.saturating_sub(wanted);
            *level = wanted;
            let replaced = chance.poisson(*level as f64 * held.churn);
            self.spawned += replaced;
            self.finished += replaced;
        }
        for (leak, leaked) in parts.leak.iter().zip(&mut self.leaked) {
            let new = leak.new_tasks(now, *leaked, chance);
            *leaked += new;
            self.spawned += new;
        }
    }

    fn live(&self) -> u64 {
        self.spawned - self.finished
    }
}

impl Load {
    fn rate_at(&self, now: f64) -> f64 {
        if now < self.from || self.to.is_some_and(|to| now > to) {
            return 0.0;
        }
        let swing = 1.0 + self.swing * (std::f64::consts::TAU * now / self.period).sin();
        self.rate * swing.max(0.0) * self.progress(now, self.grows)
    }

    fn life_at(&self, now: f64) -> f64 {
        self.life * self.progress(now, self.slows)
    }

    fn progress(&self, now: f64, factor: f64) -> f64 {
        let [from, to] = self.during;
        if to <= from {
            return 1.0;
        }
        1.0 + (factor - 1.0) * ((now - from) / (to - from)).clamp(0.0, 1.0)
    }

    fn end_of(&self, at: f64, chance: &mut Chance) -> f64 {
        let life = match self.dist {
            Dist::Const => self.life_at(at),
            Dist::Exp => -self.life_at(at) * chance.unit().ln(),
            Dist::Pareto => self.life_at(at) * chance.unit().powf(-1.0 / self.alpha),
        };
        let life = self.cap.map_or(life, |cap| life.min(cap));
        let [from, to] = self.outage;
        if to > from && at + life > from && at < to && chance.unit() <= self.hit {
            let drained = to + 30.0 * chance.unit();
            return self.timeout.map_or(drained, |timeout| drained.min(at + timeout));
        }
        at + life
    }
}

impl Held {
    fn level(&self, now: f64) -> f64 {
        let time = now - self.from;
        if time < 0.0 {
            return 0.0;
        }
        let phase = time % self.time;
        match self.shape {
            Shape::Step => self.size,
            Shape::Ramp => self.size * (time / self.time).min(1.0),
            Shape::Plateau => self.size * (1.0 - (-time / self.time).exp()),
            Shape::Saw => self.size * phase / self.time,
            Shape::Sine => 0.5 * self.size * (1.0 - (std::f64::consts::TAU * time / self.time).cos()),
            Shape::Stairs => self.size * (time / self.time).floor().min(self.steps),
            Shape::Spikes if phase < self.stays => self.size,
            Shape::Spikes => 0.0,
            Shape::Batch if phase < self.stays => self.size * phase / self.stays,
            Shape::Batch if phase < 2.0 * self.stays => self.size * (2.0 - phase / self.stays),
            Shape::Batch => 0.0,
            Shape::Drain => self.size * (1.0 - time / self.time).max(0.0),
        }
    }
}

impl Leak {
    fn new_tasks(&self, now: f64, leaked: u64, chance: &mut Chance) -> u64 {
        let until = self.to.map_or(now, |to| now.min(to));
        if self.random {
            let running = now > self.from && now <= until;
            return if running {
                chance.poisson(self.rate / self.burst) * whole(self.burst)
            } else {
                0
            };
        }
        let due = ((until - self.from).max(0.0) * self.rate / self.burst).floor() * self.burst;
        whole(due).saturating_sub(leaked)
    }
}

/// A program while it runs under the detectors.
pub(super) struct Run {
    scenario: Scenario,
    sites: Vec<Running>,
    chance: Chance,
    detectors: Detectors,
    started: u64,
    pid: u32,
}

impl Run {
    pub(super) fn new(scenario: &Scenario, seed: u64, detectors: Detectors) -> Self {
        let crowd = scenario.crowd.iter().cycle().take(scenario.crowd_size);
        let sites = scenario.site.iter().chain(crowd);
        let mut run = Self {
            sites: sites.map(|parts| Running::new(parts.clone())).collect(),
            scenario: scenario.clone(),
            chance: Chance(seed),
            detectors,
            started: 1_000,
            pid: 100,
        };
        for second in 0..scenario.before {
            run.advance(f64::from(second) - f64::from(scenario.before));
        }
        run
    }

    fn advance(&mut self, now: f64) {
        for site in &mut self.sites {
            site.second(now + f64::from(self.scenario.before), &mut self.chance);
        }
    }

    /// The next second; times of a scenario count from when its process began.
    pub(super) fn second(&mut self, second: u32) -> Judgement {
        if let Some(every) = self.scenario.restart_every
            && second > 0
            && second.is_multiple_of(every)
        {
            self.pid += 1;
            self.started += u64::from(every);
            for site in &mut self.sites {
                *site = Running::new(site.parts.clone());
            }
        }
        let own = match self.scenario.restart_every {
            Some(every) => second % every,
            None => second,
        };
        self.advance(f64::from(own));
        let at = BootTime((1_000 + u64::from(second)) * 1_000_000_000);
        let snapshot = self.snapshot(at);
        self.detectors.observe(&Observation {
            snapshot: &snapshot,
            unix: BOOT + at.0 as f64 / 1e9,
            facts: &Facts::default(),
        })
    }

    fn snapshot(&self, at: BootTime) -> Snapshot {
        let memory = self.scenario.from_memory;
        let sites = self.sites.iter().enumerate().map(|(number, site)| {
            let counts = if memory {
                Counts {
                    baseline: site.live(),
                    ..Counts::default()
                }
            } else {
                Counts {
                    baseline: 0,
                    spawned: site.spawned,
                    finished: site.finished,
                }
            };
            SiteSnapshot::new(info(number), counts)
        });
        let by = if memory {
            CountedBy::Memory
        } else {
            CountedBy::Probes
        };
        Snapshot {
            at,
            processes: vec![std::sync::Arc::new(process(
                self.pid,
                self.started,
                vec![runtime(by, sites.collect())],
            ))],
            counters: std::collections::BTreeMap::new(),
        }
    }
}

pub(in crate::detect) fn info(number: usize) -> SiteInfo {
    SiteInfo {
        id: format!("feed:{number:#x}"),
        name: format!("app::site_{number}"),
        location: Some(format!("src/app.rs:{number}")),
        kind: "async",
        system: false,
        ambiguous: false,
        created_by: None,
        note: None,
    }
}

pub(in crate::detect) fn runtime(by: CountedBy, sites: Vec<SiteSnapshot>) -> RuntimeSnapshot {
    let mut counts = Counts::default();
    for site in &sites {
        counts.baseline += site.counts.baseline;
        counts.spawned += site.counts.spawned;
        counts.finished += site.counts.finished;
    }
    RuntimeSnapshot {
        runtime: tokio::RUNTIME,
        state: FollowState::Followed,
        reason: None,
        version: None,
        evidence: None,
        points: 0,
        points_emulated: 0,
        counts,
        exact: true,
        books: None,
        counted_by: Some(by),
        watch: None,
        probes: None,
        listed_at: None,
        sites,
    }
}

/// A process that began so many seconds after the boot.
pub(in crate::detect) fn process(pid: u32, started: u64, runtimes: Vec<RuntimeSnapshot>) -> ProcessSnapshot {
    ProcessSnapshot {
        key: ProcessKey {
            start_boottime: started * 1_000_000_000,
            tgid: pid,
            pad: 0,
        },
        comm: "app".to_owned(),
        exe: Some("/srv/app".to_owned()),
        alive: true,
        runtimes,
        schedulers: Vec::new(),
    }
}
