//! The lives of findings: opened, confirmed, resolved, opened again; and what the policy makes of them.

use super::simulator::{BOOT, info, process, runtime};
use crate::config::{FileConfig, Policy};
use crate::detect::{
    Change, Detectors, Facts, FindingState, Judgement, Limits, Observation, Severity, Usage, Verdict,
};
use crate::engine::snapshot::{CountedBy, Counts, ProcessSnapshot, SiteSnapshot, Snapshot};
use crate::types::BootTime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A program with one site, moved by hand.
pub(super) struct Hand {
    pub(super) detectors: Detectors,
    pub(super) at: u64,
    pub(super) pid: u32,
    pub(super) counts: Counts,
    pub(super) limits: Option<Limits>,
    pub(super) lost_counts: u64,
    pub(super) news: Vec<(Change, u64)>,
}

impl Hand {
    pub(super) fn new(policy: &str) -> Self {
        let policy = match policy {
            "" => Policy::default(),
            text => FileConfig::parse(text).unwrap().policy,
        };
        Self {
            detectors: Detectors::new(Arc::new(policy)),
            at: 1_000,
            pid: 100,
            counts: Counts::default(),
            limits: None,
            lost_counts: 0,
            news: Vec::new(),
        }
    }

    pub(super) fn process(&self) -> ProcessSnapshot {
        let site = SiteSnapshot::new(info(0), self.counts);
        process(self.pid, 900, vec![runtime(CountedBy::Probes, vec![site])])
    }

    /// The next second, with these processes.
    pub(super) fn tick(&mut self, processes: Vec<ProcessSnapshot>) -> Judgement {
        self.at += 1;
        self.observe(processes)
    }

    pub(super) fn observe(&mut self, processes: Vec<ProcessSnapshot>) -> Judgement {
        let limits = self.limits.map(|limits| (self.process().key, limits));
        let judgement = self.detectors.observe(&Observation {
            snapshot: &Snapshot {
                at: BootTime(self.at * 1_000_000_000),
                processes: processes.into_iter().map(Arc::new).collect(),
                counters: BTreeMap::new(),
            },
            unix: BOOT + self.at as f64,
            facts: &Facts {
                lost_counts: self.lost_counts,
                limits: limits.into_iter().collect(),
                stacks: BTreeMap::new(),
            },
        });
        let at = self.at;
        self.news
            .extend(judgement.news.iter().map(|news| (news.what, at)));
        judgement
    }

    /// Seconds in each of which so many tasks begin and end; the last judgement.
    pub(super) fn run(&mut self, seconds: u64, spawned: u64, finished: u64) -> Judgement {
        let mut last = Judgement::default();
        for _ in 0..seconds {
            self.counts.spawned += spawned;
            self.counts.finished += finished;
            last = self.tick(vec![self.process()]);
        }
        last
    }

    /// Ten minutes of healthy work, then two of a leak of one in twenty.
    pub(super) fn leaking(policy: &str) -> (Self, Judgement) {
        let mut hand = Self::new(policy);
        hand.counts.spawned = 6;
        hand.run(600, 20, 20);
        let judgement = hand.run(120, 20, 19);
        (hand, judgement)
    }

    pub(super) fn changes(&self) -> Vec<Change> {
        self.news.iter().map(|(what, _)| *what).collect()
    }
}

fn verdict(judgement: &Judgement) -> Verdict {
    let runtime = judgement.runtimes.values().next().unwrap();
    runtime.site(&info(0).id).verdict
}

/// A leak is suspected first, then called one, with its beginning, its rate, its surplus and a sentence.
#[test]
fn leak_is_opened_and_confirmed_with_its_numbers() {
    let (hand, judgement) = Hand::leaking("");
    assert_eq!(hand.changes(), [Change::Opened, Change::Confirmed]);
    let finding = &judgement.findings[0];
    assert_eq!(
        (finding.state, finding.verdict, finding.severity),
        (FindingState::Confirmed, Verdict::Leak, Severity::Red)
    );
    assert!(
        (54.0..66.0).contains(&finding.per_minute),
        "{}",
        finding.per_minute
    );
    assert!((110..=126).contains(&finding.surplus), "{}", finding.surplus);
    let began = finding.started.unwrap().unix - BOOT;
    assert!((1_595.0..1_615.0).contains(&began), "{began}");
    assert!(finding.confidence >= 0.8, "{}", finding.confidence);
    assert!(finding.leak.unwrap().unix > finding.opened.unix);
    // 1,700,000,000 s after the epoch it was 22:13 and 20 s.
    assert!(
        finding.sentence.starts_with(&format!(
            "{} tasks of app::site_0 (src/app.rs:0) have been spawned since 22:4",
            finding.surplus
        )) && finding.sentence.contains(" UTC and never ended: +"),
        "{}",
        finding.sentence
    );
    assert_eq!(verdict(&judgement), Verdict::Leak);
    assert_eq!((judgement.opened, judgement.resolved), (1, 0));
}

/// A leak that stops is resolved once it has not grown for a while, and its tasks are no new leak.
#[test]
fn leak_that_stops_is_resolved_after_a_while() {
    let (mut hand, _) = Hand::leaking("");
    let judgement = hand.run(600, 20, 20);
    assert_eq!(judgement.findings[0].state, FindingState::Confirmed);
    let judgement = hand.run(600, 20, 20);
    assert_eq!(hand.changes()[2..], [Change::Resolved]);
    let finding = &judgement.findings[0];
    assert_eq!(finding.resolution, Some("it has not grown for a while"));
    assert!(finding.resolved.is_some() && finding.leak.is_some());
    assert_eq!(verdict(&judgement), Verdict::Healthy);
    let judgement = hand.run(3_700, 20, 20);
    assert!(judgement.findings.is_empty(), "it is forgotten after an hour");
    assert_eq!((judgement.opened, judgement.resolved), (1, 1));
}

/// A leak whose tasks end is resolved at once, and opened again when it comes back.
#[test]
fn leak_that_gives_its_tasks_back_is_resolved_and_comes_back() {
    let (mut hand, _) = Hand::leaking("");
    let judgement = hand.run(20, 20, 26);
    assert_eq!(hand.changes()[2..], [Change::Resolved]);
    assert_eq!(judgement.findings[0].resolution, Some("most of them have ended"));
    let judgement = hand.run(500, 20, 19);
    assert_eq!(hand.changes()[3..], [Change::Reopened, Change::Confirmed]);
    let finding = &judgement.findings[0];
    assert_eq!((finding.reopened, finding.resolved), (1, None));
    assert_eq!(judgement.findings.len(), 1);
}

/// When its process ends, a finding is resolved; the next process of the same image has the same fingerprint.
#[test]
fn fingerprint_outlives_its_process() {
    let (mut hand, judgement) = Hand::leaking("");
    let fingerprint = judgement.findings[0].fingerprint.clone();
    let judgement = hand.tick(vec![]);
    assert_eq!(judgement.findings[0].resolution, Some("the process has ended"));
    assert!(judgement.runtimes.is_empty());
    hand.pid = 101;
    hand.counts = Counts::default();
    hand.run(600, 20, 20);
    let judgement = hand.run(120, 20, 19);
    let names: Vec<&str> = judgement
        .findings
        .iter()
        .map(|finding| finding.fingerprint.as_str())
        .collect();
    assert_eq!(names, [fingerprint.as_str(), &fingerprint]);
    assert!(judgement.findings[0].is_open() && !judgement.findings[1].is_open());
}

/// Labels, tier and severity make the priority; a slow leak is yellow, and red when a limit is near.
#[test]
fn priority_comes_from_tier_and_severity() {
    let critical = "labels = { team = \"shop\", tier = \"critical\" }";
    let (_, judgement) = Hand::leaking(critical);
    let finding = &judgement.findings[0];
    assert_eq!(
        (finding.priority.label(), finding.labels.team.as_str()),
        ("P0", "shop")
    );

    let slow = "detect.rules.red_per_minute = 100.0\nlabels.tier = \"critical\"";
    let (mut hand, judgement) = Hand::leaking(slow);
    let finding = &judgement.findings[0];
    assert_eq!(
        (finding.severity, finding.priority.label()),
        (Severity::Yellow, "P1")
    );
    let keys = hand.detectors.wants_limits();
    assert_eq!(keys, [hand.process().key]);
    let mut last = Judgement::default();
    for used in 0..20 {
        hand.limits = Some(Limits {
            cgroup_pids: Some(Usage {
                used: 900 + used,
                limit: 1_000,
            }),
            ..Limits::default()
        });
        last = hand.run(4, 20, 19);
    }
    let ahead = &last.exhaustion[&hand.process().key][0];
    assert!((200.0..500.0).contains(&ahead.seconds), "{ahead:?}");
    let finding = &last.findings[0];
    assert_eq!(
        (finding.severity, finding.priority.label()),
        (Severity::Red, "P0")
    );
}

/// A suppressed finding stays visible and counted, says why, and is told again after the end date.
#[test]
fn suppressed_finding_stays_visible_until_its_end_date() {
    let suppress =
        |until: &str| format!("[[suppress]]\nsite = [\"app::site_*\"]\nreason = \"known\"\nuntil = {until}");
    let (_, judgement) = Hand::leaking(&suppress("2100-01-01"));
    let suppressed = judgement.findings[0].suppressed.clone().unwrap();
    assert_eq!(suppressed.reason, "known");
    assert_eq!(
        (judgement.findings[0].verdict, judgement.opened),
        (Verdict::Leak, 1)
    );
    let (_, judgement) = Hand::leaking(&suppress("2023-11-14T22:00:00Z"));
    assert_eq!(judgement.findings[0].suppressed, None);
    let (mut hand, judgement) = Hand::leaking(&suppress("2023-11-14T22:45:00Z"));
    assert!(judgement.findings[0].suppressed.is_some());
    let judgement = hand.run(600, 20, 19);
    assert_eq!(judgement.findings[0].suppressed, None);
}

/// Sites that are expected to hold tasks are no findings, up to their number.
#[test]
fn expected_site_is_no_finding_up_to_its_number() {
    let expect = |more: &str| format!("[[expect]]\nexe = [\"app\"]\nreason = \"sockets\"\n{more}");
    let (_, judgement) = Hand::leaking(&expect(""));
    assert!(judgement.findings.is_empty());
    let (_, judgement) = Hand::leaking(&expect("at_most = 1000"));
    assert!(judgement.findings.is_empty());
    let (_, judgement) = Hand::leaking(&expect("at_most = 60"));
    assert_eq!(judgement.findings.len(), 1);
    let (_, judgement) = Hand::leaking(&expect("site = [\"other\"]"));
    assert_eq!(judgement.findings.len(), 1);
}

/// An override changes the thresholds of the processes that it names, and of no others.
#[test]
fn override_holds_for_its_executables() {
    let slow = |exe: &str| format!("[[override]]\nexe = [\"{exe}\"]\ndetect.growth.least_surplus = 1000");
    let (_, judgement) = Hand::leaking(&slow("app"));
    assert!(judgement.findings.is_empty());
    let (_, judgement) = Hand::leaking(&slow("other"));
    assert_eq!(judgement.findings.len(), 1);
}

/// With time ten times faster the same leak, ten times faster, is told within a tenth of the time.
#[test]
fn scaled_time_tells_leaks_sooner() {
    let mut hand = Hand::new("detect.time_scale = 10.0");
    hand.counts.spawned = 6;
    hand.run(60, 200, 200);
    let judgement = hand.run(12, 200, 190);
    assert_eq!(judgement.findings[0].verdict, Verdict::Leak);
    let (_, told) = hand.news[1];
    assert!(told - 1_060 <= 8, "{}", told - 1_060);
}

/// Findings and sites have caps, and what does not fit is counted.
#[test]
fn tables_are_capped() {
    let (hand, judgement) = Hand::leaking("detect.max_findings = 1\ndetect.max_sites = 1");
    let fill = |judgement: &Judgement| -> Vec<(usize, usize)> {
        let tables = judgement.tables.iter();
        tables.map(|table| (table.entries, table.capacity)).collect()
    };
    assert_eq!(fill(&judgement), [(1, 1), (0, 10), (1, 1)]);
    let mut hand = hand;
    let mut second = hand.process();
    second.key.tgid = 101;
    let mut last = Judgement::default();
    for _ in 0..100 {
        hand.counts.spawned += 2;
        hand.counts.finished += 1;
        let mut second = second.clone();
        second.runtimes = hand.process().runtimes;
        last = hand.tick(vec![hand.process(), second]);
    }
    assert_eq!(fill(&last), [(1, 1), (0, 10), (1, 1)]);
    assert!(last.counters["detect_sites_over_limit"] > 0);
    let gone = hand.tick(vec![]);
    assert_eq!(fill(&gone)[0].0, 0);
}

/// A site that stands still costs no past; one that was small for an hour is let go.
#[test]
fn still_and_small_sites_are_let_go() {
    let mut hand = Hand::new("");
    hand.counts.baseline = 50;
    let judgement = hand.run(10, 0, 0);
    let fill = |judgement: &Judgement| (judgement.tables[0].entries, judgement.tables[1].entries);
    assert_eq!(fill(&judgement), (0, 1));
    assert_eq!(fill(&hand.run(1, 1, 0)), (1, 0));
    hand.run(1, 0, 51);
    assert_eq!(fill(&hand.run(3_000, 1, 1)), (1, 0));
    assert_eq!(fill(&hand.run(700, 1, 1)), (0, 0));
}
