//! A look at one site of a process: its reading is taken, and all detectors are asked if there is something new to see.

use super::combine::{self, Context, Decision};
use super::life::Claim;
use super::process::{self, Runtime, Tracked};
use super::site::{Site, Taken, WIDTHS};
use super::trace::Point;
use super::{Evidence, Facts, GrowthEvidence, Opinion, SiteKey, Verdict, growth, never_ends, rules};
use crate::config::policy::Detect;
use crate::engine::snapshot::{ProcessSnapshot, RuntimeSnapshot, SiteSnapshot};
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

/// A process that has been watched for less is undecided, if nothing grows.
const SHORT: Duration = Duration::from_secs(30);

/// What holds while one runtime's sites are looked at.
pub(super) struct Look<'a> {
    pub(super) process: &'a ProcessSnapshot,
    pub(super) runtime: &'a RuntimeSnapshot,
    pub(super) detect: &'a Arc<Detect>,
    pub(super) facts: &'a Facts,
    pub(super) at: u64,
    pub(super) since: u64,
}

/// What a look at one site came to.
pub(super) enum Seen {
    /// It has too few tasks.
    Small,
    /// Nothing to judge now.
    Still,
    /// There is no room for its past.
    NoRoom,
    /// A clock or a counter ran backwards.
    Backwards,
    /// This is what the detectors say.
    Claims(Box<Claim>),
}

/// A look at one site.
pub(super) struct Looked {
    pub(super) seen: Seen,
    /// Whether a past was kept of it before, and is now; `None` = nothing was, or is, known of it.
    pub(super) before: Option<bool>,
    pub(super) after: Option<bool>,
}

/// What there is room for.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// The past of one more site.
    pub(super) moved: bool,
    /// One more site that has not moved so far.
    pub(super) still: bool,
}

impl Look<'_> {
    /// What holds for sites in which nothing grows.
    pub(super) fn others(&self, runtime: &Runtime) -> Opinion {
        let watched = Duration::from_nanos(self.at.saturating_sub(runtime.since));
        if let Some((_, reason)) = &runtime.doubt {
            return Opinion::undecided(reason.clone());
        }
        if watched < SHORT.div_f64(self.detect.time_scale) {
            return Opinion::undecided(format!("it has been watched for {} s only", watched.as_secs()));
        }
        if !self.runtime.exact && watched < self.detect.warm_up {
            let why = self
                .runtime
                .reason
                .as_deref()
                .unwrap_or("its counts are not exact");
            return Opinion::undecided(why);
        }
        Opinion::of(Verdict::Healthy)
    }

    pub(super) fn key(&self, site: &SiteSnapshot) -> SiteKey {
        SiteKey {
            process: self.process.key,
            runtime: self.runtime.runtime.wire,
            site: site.info.id.clone(),
        }
    }

    /// Takes the reading of one site, and judges it if there is something new to see.
    pub(super) fn site(&self, runtime: &mut Runtime, site: &SiteSnapshot, tick: u64, room: Room) -> Looked {
        let Some(tracked) = runtime.sites.get_mut(site.info.id.as_str()) else {
            return self.new_site(runtime, site, tick, room);
        };
        let before = Some(tracked.has_moved());
        if site.counts.live() >= self.detect.least_tasks {
            tracked.large = tick;
        }
        let least = self.detect.growth.least_surplus;
        let scale = self.detect.time_scale;
        let seen = match tracked.site.take(self.at, site.counts, least, scale, room.moved) {
            Taken::Nothing => Seen::Still,
            Taken::NoRoom => Seen::NoRoom,
            Taken::Backwards => Seen::Backwards,
            Taken::Bucket => {
                let claim = self.judge(tracked, site);
                if claim.decision.verdict < Verdict::Suspect && !tracked.found {
                    Seen::Still
                } else {
                    Seen::Claims(Box::new(claim))
                }
            }
        };
        Looked {
            seen,
            before,
            after: Some(tracked.has_moved()),
        }
    }

    /// Begins to look at a site, if it has tasks enough.
    fn new_site(&self, runtime: &mut Runtime, site: &SiteSnapshot, tick: u64, room: Room) -> Looked {
        let not = |seen| Looked {
            seen,
            before: None,
            after: None,
        };
        if site.counts.live() < self.detect.least_tasks {
            return not(Seen::Small);
        }
        if !room.still {
            return not(Seen::NoRoom);
        }
        // Until now it had fewer tasks than are looked at.
        let few = self.detect.least_tasks.saturating_sub(1);
        let new = if self.at > runtime.since {
            Site::risen(runtime.since, self.at, site.counts, few, self.detect.time_scale)
        } else {
            Site::new(self.at, site.counts)
        };
        let tracked = Tracked {
            site: new,
            found: false,
            looked: 0.0,
            judged: self.at,
            large: tick,
        };
        let after = Some(tracked.has_moved());
        runtime.sites.insert(site.info.id.as_str().into(), tracked);
        Looked {
            seen: Seen::Still,
            before: None,
            after,
        }
    }

    /// All detectors on one site.
    fn judge(&self, tracked: &mut Tracked, snapshot: &SiteSnapshot) -> Claim {
        let site = &tracked.site;
        let detect: &Detect = self.detect;
        let counts_events = self.runtime.counted_by.is_some_and(process::counts_events);
        let recent = points(site, 0);
        let kept = OnceCell::new();
        let trace = || kept.get_or_init(|| site.trace());
        let low_at = site.past().map_or(0.0, |past| past.low_at as f64 / 1e9);
        let mut growth: Option<GrowthEvidence> = None;
        for resolution in 0..WIDTHS.len() {
            let coarse = (resolution > 0).then(|| points(site, resolution));
            let window = coarse.as_deref().unwrap_or(&recent);
            let mut judged = growth::judge(window, trace, low_at, counts_events, &detect.growth);
            judged.shortest = resolution == 0;
            let better = match &growth {
                None => true,
                Some(best) => judged.opinion.verdict > best.opinion.verdict && judged.grows(),
            };
            if better {
                growth = Some(judged);
            }
        }
        let growth = growth.unwrap_or_default();
        let never_ends = if growth.grows() {
            never_ends::judge(&growth, trace(), counts_events)
        } else {
            never_ends::nothing()
        };
        let stacks = if self.facts.stacks.is_empty() {
            None
        } else {
            self.facts.stacks.get(&self.key(snapshot)).copied()
        };
        let rules = rules::judge(&recent, snapshot.counts.live(), stacks, &detect.rules);
        let trust = process::trust(self.runtime);
        let decision = match site.past() {
            Some(past) => {
                let context = Context {
                    watched_since: self.since as f64 / 1e9,
                    past,
                    spawned: snapshot.counts.spawned as f64,
                    finished: snapshot.counts.finished as f64,
                    trust,
                    counts_events,
                    looked: tracked.looked,
                    passed: self.at.saturating_sub(tracked.judged) as f64 / 1e9,
                };
                combine::decide(&growth, &never_ends, &rules, &context, detect)
            }
            None => Decision::default(),
        };
        (tracked.looked, tracked.judged) = (decision.looked, self.at);
        Claim {
            decision,
            live: snapshot.counts.live(),
            records: tracked.site.past().map_or(0, |past| past.records),
            evidence: Evidence {
                growth,
                never_ends,
                rules,
                exhaustion: Vec::new(),
                alternative: decision.alternative,
                patience: decision.patience,
                trust,
            },
        }
    }
}

/// The complete whiles of one resolution, oldest first.
fn points(site: &Site, resolution: usize) -> Vec<Point> {
    let Some(ring) = site.ring(resolution) else {
        return Vec::new();
    };
    let width = ring.width() as f64 / 1e9;
    let buckets = ring.buckets();
    buckets
        .map(|(end, bucket)| Point {
            at: end as f64 / 1e9,
            width,
            floor: f64::from(bucket.least),
            last: f64::from(bucket.last),
            spawned: f64::from(bucket.spawned),
            finished: f64::from(bucket.finished),
        })
        .collect()
}
