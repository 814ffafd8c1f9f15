//! The findings and their lives: open → confirmed → resolved → reopened.

use super::combine::Decision;
use super::finding::{Evidence, Finding, FindingState, Moment, Severity, Suppressed};
use super::fingerprint::fingerprint;
use super::judgement::{Change, Judgement, News, Table};
use super::observation::SiteKey;
use super::sentence::sentence;
use super::verdict::{Opinion, Verdict};
use super::{Look, nanos};
use crate::config::Policy;
use crate::config::policy::{Detect, Labels};
use crate::engine::snapshot::SiteSnapshot;
use crate::types::{BootTime, ProcessKey};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Said of a finding whose process is gone.
const ENDED: &str = "the process has ended";
/// Said of one whose tasks are gone.
const GIVEN_BACK: &str = "most of them have ended";
/// Said of one that stands still.
const STANDS_STILL: &str = "it has not grown for a while";
/// A suspicion that does not grow for so many times the patience for suspicions is dropped.
const SUSPICION: u32 = 4;

/// What the detectors claim of one site at one moment.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) decision: Decision,
    pub(super) live: u64,
    /// How often its floor was higher than ever since its last fall.
    pub(super) records: u32,
    pub(super) evidence: Evidence,
}

/// A finding and what is needed to go on with it.
#[derive(Debug)]
struct Kept {
    finding: Finding,
    detect: Arc<Detect>,
    /// When it last grew, and the records then.
    grown: BootTime,
    records: u32,
    /// Live tasks when it began.
    level: u64,
}

/// All findings, bounded.
#[derive(Debug)]
pub(super) struct Findings {
    kept: BTreeMap<SiteKey, Kept>,
    capacity: usize,
    news: Vec<News>,
    opened: u64,
    resolved: u64,
    /// Findings for which there was no room.
    pub(super) over_limit: u64,
}

impl Findings {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            kept: BTreeMap::new(),
            capacity,
            news: Vec::new(),
            opened: 0,
            resolved: 0,
            over_limit: 0,
        }
    }

    /// Those that are not resolved.
    pub(super) fn open(&self) -> impl Iterator<Item = &Finding> {
        self.kept
            .values()
            .map(|kept| &kept.finding)
            .filter(|finding| finding.is_open())
    }

    pub(super) fn table(&self) -> Table {
        Table {
            name: "detect_findings",
            entries: self.kept.len(),
            capacity: self.capacity,
        }
    }

    /// What the open findings of one runtime in one process say of their sites.
    pub(super) fn opinions(&self, process: ProcessKey, runtime: u32) -> Vec<(String, Opinion)> {
        let from = SiteKey {
            process,
            runtime,
            site: String::new(),
        };
        let of = self
            .kept
            .range(from..)
            .take_while(|(key, _)| key.process == process && key.runtime == runtime);
        of.filter(|(_, kept)| kept.finding.is_open())
            .map(|(key, kept)| {
                let opinion = Opinion::because(kept.finding.verdict, kept.finding.sentence.clone());
                (key.site.clone(), opinion)
            })
            .collect()
    }

    /// Takes what the detectors say of a site; `true` = there is a finding of it.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, from the one place where all of this is at hand"
    )]
    pub(super) fn claim(
        &mut self,
        key: SiteKey,
        look: &Look<'_>,
        site: &SiteSnapshot,
        claim: Claim,
        labels: &Arc<Labels>,
        policy: &Policy,
        now: Moment,
    ) -> bool {
        let verdict = claim.decision.verdict;
        let runtime = look.runtime.runtime.label;
        let exe = look.process.exe.as_deref();
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.detect = Arc::clone(look.detect);
            let change = kept.take(claim, look, site, labels, policy, now);
            let finding = kept.finding.clone();
            self.tell_change(change, finding);
            return true;
        }
        if verdict < Verdict::Suspect || is_expected(policy, exe, runtime, &site.info.name, claim.live) {
            return false;
        }
        if !self.make_room() {
            self.over_limit += 1;
            return false;
        }
        let fingerprint = fingerprint(runtime, &key.site, exe);
        let mut kept = Kept {
            detect: Arc::clone(look.detect),
            grown: now.boot,
            records: claim.records,
            level: 0,
            finding: Finding {
                key: key.clone(),
                fingerprint,
                runtime,
                comm: look.process.comm.clone(),
                exe: look.process.exe.clone(),
                site: site.info.name.clone(),
                location: site.info.location.clone(),
                verdict: Verdict::Suspect,
                state: FindingState::Open,
                severity: Severity::Yellow,
                priority: policy.tier(&labels.tier).yellow,
                confidence: 0.0,
                opened: now,
                leak: None,
                resolved: None,
                resolution: None,
                reopened: 0,
                started: None,
                per_minute: 0.0,
                surplus: 0,
                evidence: Evidence::default(),
                labels: Arc::clone(labels),
                suppressed: None,
                sentence: String::new(),
            },
        };
        self.opened += 1;
        let change = kept.take(claim, look, site, labels, policy, now);
        self.tell_change(Some(Change::Opened), kept.finding.clone());
        if change == Some(Change::Confirmed) {
            self.tell_change(change, kept.finding.clone());
        }
        self.kept.insert(key, kept);
        true
    }

    /// The process of these findings is gone.
    pub(super) fn process_ended(&mut self, process: ProcessKey, now: Moment) {
        let from = SiteKey {
            process,
            runtime: 0,
            site: String::new(),
        };
        let mut ended = Vec::new();
        for (key, kept) in self.kept.range_mut(from..) {
            if key.process != process {
                break;
            }
            if kept.finding.is_open() {
                kept.resolve(ENDED, now);
                ended.push(kept.finding.clone());
            }
        }
        for finding in ended {
            self.tell_change(Some(Change::Resolved), finding);
        }
    }

    /// Resolves what stands still, and forgets what was resolved long ago.
    pub(super) fn age(&mut self, now: Moment) {
        let mut resolved = Vec::new();
        self.kept.retain(|_, kept| {
            let detect = &kept.detect;
            match kept.finding.resolved {
                Some(at) => now.boot.since(at.boot) < detect.keep_resolved,
                None => {
                    let patience = match kept.finding.verdict {
                        Verdict::Leak => detect.resolve_after,
                        _ => (detect.patience.suspect * SUSPICION).min(detect.resolve_after),
                    };
                    // What grows slowly may stand still between two tasks for longer than that.
                    let between = between_tasks(kept.finding.per_minute);
                    if now.boot.since(kept.grown) >= patience.max(between) {
                        kept.resolve(STANDS_STILL, now);
                        resolved.push(kept.finding.clone());
                    }
                    true
                }
            }
        });
        for finding in resolved {
            self.tell_change(Some(Change::Resolved), finding);
        }
    }

    /// Adds the findings to a judgement.
    pub(super) fn tell(&mut self, judgement: &mut Judgement, now: Moment) {
        for kept in self.kept.values_mut() {
            if let Some(suppressed) = &kept.finding.suppressed
                && suppressed.until <= now.unix
            {
                kept.finding.suppressed = None;
            }
        }
        judgement.findings = self.kept.values().map(|kept| kept.finding.clone()).collect();
        judgement.findings.sort_by(|a, b| {
            let order = |finding: &Finding| {
                Reverse((
                    finding.is_open(),
                    finding.suppressed.is_none(),
                    finding.verdict,
                    finding.severity,
                    finding.surplus,
                ))
            };
            order(a).cmp(&order(b)).then_with(|| a.key.cmp(&b.key))
        });
        judgement.news = std::mem::take(&mut self.news);
        judgement.opened = self.opened;
        judgement.resolved = self.resolved;
    }

    fn tell_change(&mut self, change: Option<Change>, finding: Finding) {
        let Some(what) = change else { return };
        match what {
            Change::Resolved => self.resolved += 1,
            Change::Reopened => self.opened += 1,
            Change::Opened | Change::Confirmed => {}
        }
        self.news.push(News { what, finding });
    }

    /// Whether one more fits; the finding that was resolved first gives way.
    fn make_room(&mut self) -> bool {
        if self.kept.len() < self.capacity {
            return true;
        }
        let resolved = self
            .kept
            .iter()
            .filter_map(|(key, kept)| Some((kept.finding.resolved?.boot, key)));
        let oldest = resolved.min().map(|(_, key)| key.clone());
        oldest.and_then(|key| self.kept.remove(&key)).is_some()
    }
}

/// The time between two tasks at this rate, with some to spare.
fn between_tasks(per_minute: f64) -> Duration {
    if per_minute > 0.0 {
        Duration::from_secs_f64((180.0 / per_minute).min(86_400.0))
    } else {
        Duration::ZERO
    }
}

fn is_expected(policy: &Policy, exe: Option<&str>, runtime: &str, site: &str, live: u64) -> bool {
    policy.expected.iter().any(|expected| {
        expected.place.matches(exe, runtime, site) && expected.at_most.is_none_or(|most| live <= most)
    })
}

impl Kept {
    /// Takes what the detectors say now. Gives what changed.
    fn take(
        &mut self,
        claim: Claim,
        look: &Look<'_>,
        site: &SiteSnapshot,
        labels: &Arc<Labels>,
        policy: &Policy,
        now: Moment,
    ) -> Option<Change> {
        let exe = look.process.exe.as_deref();
        let runtime = look.runtime.runtime.label;
        let verdict = claim.decision.verdict;
        let records = claim.records;
        let finding = &mut self.finding;
        // Names come later than counts.
        finding.site.clone_from(&site.info.name);
        finding.location.clone_from(&site.info.location);
        finding.comm.clone_from(&look.process.comm);
        let mut change = None;
        if verdict >= Verdict::Suspect {
            if is_expected(policy, exe, runtime, &site.info.name, claim.live) {
                return None;
            }
            if finding.state == FindingState::Resolved {
                finding.state = FindingState::Reopened;
                finding.verdict = Verdict::Suspect;
                finding.reopened += 1;
                (finding.resolved, finding.resolution, finding.leak) = (None, None, None);
                change = Some(Change::Reopened);
            }
            self.grown = now.boot;
            if verdict == Verdict::Leak && finding.verdict != Verdict::Leak {
                finding.verdict = Verdict::Leak;
                finding.state = FindingState::Confirmed;
                finding.leak = Some(now);
                change = Some(Change::Confirmed);
            }
            let growth = &claim.evidence.growth;
            finding.confidence = claim.decision.confidence;
            finding.per_minute = 60.0 * growth.surplus / growth.lasted.max(1.0);
            // Of a leak the beginning is known; later rises of it are the same leak.
            if change.is_some() || finding.verdict != Verdict::Leak {
                finding.started = Some(moment(growth.began, now));
                self.level = whole(growth.level);
            }
            finding.evidence = claim.evidence;
        } else if finding.is_open() {
            if claim.evidence.growth.grows() || claim.records > self.records {
                self.grown = now.boot;
            }
            finding.evidence.rules = claim.evidence.rules;
        }
        self.records = records;
        if finding.is_open() {
            let surplus = claim.live.saturating_sub(self.level);
            let given_back = verdict < Verdict::Suspect && surplus < finding.surplus.div_ceil(2);
            if given_back {
                self.resolve(GIVEN_BACK, now);
                return Some(Change::Resolved);
            }
            if verdict >= Verdict::Suspect {
                finding.surplus = surplus;
            }
            self.grade(look.detect, labels, policy, now);
        }
        change
    }

    /// Severity, priority, suppression and sentence.
    fn grade(&mut self, detect: &Detect, labels: &Arc<Labels>, policy: &Policy, now: Moment) {
        let finding = &mut self.finding;
        let within = detect.exhaustion.within.as_secs_f64();
        let soon = finding
            .evidence
            .exhaustion
            .iter()
            .any(|ahead| ahead.seconds < within);
        let fast = finding.per_minute > detect.rules.red_per_minute;
        finding.severity = if finding.verdict == Verdict::Leak && (fast || soon) {
            Severity::Red
        } else {
            Severity::Yellow
        };
        finding.labels = Arc::clone(labels);
        let tier = policy.tier(&labels.tier);
        finding.priority = match finding.severity {
            Severity::Red => tier.red,
            Severity::Yellow => tier.yellow,
        };
        let suppression = policy.suppressions.iter().find(|each| {
            each.until > now.unix
                && each
                    .place
                    .matches(finding.exe.as_deref(), finding.runtime, &finding.site)
        });
        finding.suppressed = suppression.map(|each| Suppressed {
            reason: each.reason.clone(),
            until: each.until,
        });
        finding.sentence = sentence(finding, now.unix);
    }

    fn resolve(&mut self, why: &'static str, now: Moment) {
        let finding = &mut self.finding;
        finding.state = FindingState::Resolved;
        finding.resolved = Some(now);
        finding.resolution = Some(why);
        finding.sentence = sentence(finding, now.unix);
    }
}

/// A moment of the past: seconds since the boot.
fn moment(seconds: f64, now: Moment) -> Moment {
    let boot = nanos(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default());
    let ago = now.boot.since(BootTime(boot)).as_secs_f64();
    Moment {
        boot: BootTime(boot),
        unix: now.unix - ago,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
fn whole(count: f64) -> u64 {
    count.clamp(0.0, 1e18) as u64
}
