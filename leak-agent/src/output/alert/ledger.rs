//! What one receiver knows and what it is to be told next. Pure: findings and time come as arguments, notifications go out.
//!
//! A finding of one process is a *subject*. It is told when it is first worth it, when it gets worse, again after the repeat
//! interval, and when it is over. News of one group waits for more of it for a while, and then becomes one notification, as
//! soon as the rate allows.

mod memory;

use super::bucket::Bucket;
use super::notification::{Alert, News, Notification, Rank, Status, VERSION};
use crate::config::notify::{Pace, Wants};
use crate::types::BootTime;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Subjects that a receiver can know of; further ones are counted and not told.
const SUBJECTS_MAX: usize = 2_000;
/// Findings in one notification; more become several.
const ALERTS_MAX: usize = 100;
/// A finding that was told and is in no report any more, though its process lives, is over after this time.
const MISSING_FOR: Duration = Duration::from_secs(60);
/// The same for what was told before the agent was restarted: it has to see the growth again first.
const MISSING_AFTER_RESTART: Duration = Duration::from_secs(1_800);

/// One finding of a report, as the ledger sees it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// What would be told of it.
    pub(super) alert: Alert,
    /// Why it does not stand; `None` = it stands.
    pub(super) over: Option<&'static str>,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) boot: BootTime,
    /// Unix time, seconds.
    pub(super) unix: f64,
}

/// What news waits for each other, and becomes one notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// All: the receiver groups itself.
    All,
    /// That of one executable.
    Executable,
    /// None: one notification per finding.
    Finding,
}

/// Which process: pid and start time.
pub(super) type ProcessId = (u32, u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    fingerprint: String,
    process: ProcessId,
}

#[derive(Debug)]
struct Subject {
    alert: Alert,
    group: String,
    /// What it was told as, and when; `None` = not yet.
    told: Option<(Rank, BootTime)>,
    news: Option<News>,
    seen: BootTime,
    /// It is over if it is not seen for this long.
    patience: Duration,
}

/// What a receiver knows.
#[derive(Debug)]
pub(super) struct Ledger {
    wants: Wants,
    pace: Pace,
    grouping: Grouping,
    head: Head,
    subjects: BTreeMap<Key, Subject>,
    /// Groups with news, and when that is to be told.
    due: BTreeMap<String, BootTime>,
    bucket: Bucket,
    /// A group waits for the rate: counted once.
    held: bool,
    numbers: u64,
    counts: LedgerCounts,
}

/// What all notifications of a receiver begin with.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) sender: String,
    pub(super) node: String,
    pub(super) receiver: String,
    /// The page that says what to do about findings.
    pub(super) runbook_url: Option<String>,
    /// Makes the ids of this run of the agent unique.
    pub(super) run: String,
}

/// What happened to news that became no notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LedgerCounts {
    /// Findings that were over before they were told.
    pub(super) settled: u64,
    /// Findings not told because too many are known.
    pub(super) over_limit: u64,
    /// Times that news had to wait for the rate.
    pub(super) held: u64,
}

impl Ledger {
    pub(super) fn new(wants: Wants, pace: Pace, grouping: Grouping, head: Head, now: BootTime) -> Self {
        Self {
            bucket: Bucket::new(pace.max_per_minute, now),
            wants,
            pace,
            grouping,
            head,
            subjects: BTreeMap::new(),
            due: BTreeMap::new(),
            held: false,
            numbers: 0,
            counts: LedgerCounts::default(),
        }
    }

    pub(super) fn counts(&self) -> LedgerCounts {
        self.counts
    }

    /// Takes the findings of a report. `alive` says of a process whether it lives, or `None` if nobody knows yet.
    pub(super) fn see(
        &mut self,
        findings: &[Seen],
        alive: impl Fn(ProcessId) -> Option<bool>,
        now: BootTime,
    ) {
        let mut present = BTreeSet::new();
        for seen in findings {
            let key = Key {
                fingerprint: seen.alert.fingerprint.clone(),
                process: (seen.alert.pid, seen.alert.start_boottime),
            };
            self.see_one(&key, seen, now);
            present.insert(key);
        }
        let missing: Vec<Key> = self
            .subjects
            .keys()
            .filter(|key| !present.contains(key))
            .cloned()
            .collect();
        for key in missing {
            self.miss(&key, alive(key.process), now);
        }
        self.repeat(now);
    }

    fn see_one(&mut self, key: &Key, seen: &Seen, now: BootTime) {
        let stands = seen.over.is_none();
        let wanted = stands && self.wanted(&seen.alert);
        let Some(subject) = self.subjects.get_mut(key) else {
            if wanted {
                self.begin(key, &seen.alert, now);
            }
            return;
        };
        subject.seen = now;
        subject.patience = MISSING_FOR;
        let Some((told, _)) = &subject.told else {
            if wanted {
                subject.alert = seen.alert.clone();
            } else {
                self.subjects.remove(key);
                self.counts.settled += 1;
            }
            return;
        };
        if !stands {
            subject.alert = seen.alert.clone();
            subject.alert.over = seen.over.map(str::to_owned);
            self.news(key, News::Resolved, now);
            return;
        }
        if subject.news == Some(News::Resolved) {
            // Reopened before anybody was told that it was over.
            subject.news = None;
        }
        let worse = wanted && seen.alert.rank.worse_than(told);
        // What was told stays told, also when it is judged more mildly for a while.
        let milder = told.worse_than(&seen.alert.rank);
        let told = told.clone();
        subject.alert = seen.alert.clone();
        if worse {
            subject.alert.before = Some(told);
            self.news(key, News::Worse, now);
            return;
        }
        if subject.news == Some(News::Worse) {
            // Milder again before anybody was told.
            subject.news = None;
        }
        if milder {
            subject.alert.rank = told;
        }
    }

    fn begin(&mut self, key: &Key, alert: &Alert, now: BootTime) {
        if self.subjects.len() >= SUBJECTS_MAX {
            self.counts.over_limit += 1;
            return;
        }
        let group = match self.grouping {
            Grouping::All => String::new(),
            Grouping::Executable => alert.exe.clone().unwrap_or_else(|| alert.comm.clone()),
            Grouping::Finding => format!("{} in process {}", alert.fingerprint, alert.pid),
        };
        let subject = Subject {
            alert: alert.clone(),
            group,
            told: None,
            news: None,
            seen: now,
            patience: MISSING_FOR,
        };
        self.subjects.insert(key.clone(), subject);
        self.news(key, News::New, now);
    }

    /// A finding that is in this report no more.
    fn miss(&mut self, key: &Key, alive: Option<bool>, now: BootTime) {
        let Some(subject) = self.subjects.get_mut(key) else {
            return;
        };
        if subject.told.is_none() {
            self.subjects.remove(key);
            self.counts.settled += 1;
            return;
        }
        let why = if alive == Some(false) {
            "process_ended"
        } else if now.since(subject.seen) >= subject.patience {
            "not_seen_again"
        } else {
            return;
        };
        if subject.news != Some(News::Resolved) {
            subject.alert.over = Some(why.to_owned());
            self.news(key, News::Resolved, now);
        }
    }

    /// What was told long ago is news again.
    fn repeat(&mut self, now: BootTime) {
        let after = self.pace.repeat_interval;
        let due: Vec<Key> = self
            .subjects
            .iter()
            .filter(|(_, subject)| {
                let told = subject.told.as_ref();
                subject.news.is_none() && told.is_some_and(|(_, at)| now.since(*at) >= after)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.news(&key, News::Repeated, now);
        }
    }

    fn news(&mut self, key: &Key, news: News, now: BootTime) {
        let Some(subject) = self.subjects.get_mut(key) else {
            return;
        };
        if subject.news == Some(news) {
            return;
        }
        subject.news = Some(news);
        let wait = match news {
            News::Repeated => Duration::ZERO,
            _ => self.pace.group_wait,
        };
        let due = later(now, wait);
        self.due.entry(subject.group.clone()).or_insert(due);
    }

    fn wanted(&self, alert: &Alert) -> bool {
        let wants = &self.wants;
        let label = |name: &str| alert.labels.get(name).map_or("", String::as_str);
        alert
            .rank
            .verdict()
            .is_some_and(|verdict| verdict >= wants.verdict)
            && alert.rank.severity() >= wants.severity
            && (wants.runtimes.is_empty() || wants.runtimes.contains(&alert.runtime))
            && wants.exes.wants(alert.exe.as_deref())
            && wants
                .labels
                .iter()
                .all(|(name, pattern)| pattern.is_match(label(name)))
    }

    /// When there is something to do though no report comes.
    pub(super) fn next_due(&mut self, now: BootTime) -> Option<BootTime> {
        let due = *self.due.values().min()?;
        if due > now {
            return Some(due);
        }
        // It is held back by the rate.
        Some(later(now, self.bucket.wait(now)))
    }

    /// What is to be told now. While the receiver has a `backlog`, nothing is repeated: what waits says the same.
    pub(super) fn take(&mut self, backlog: bool, now: Moment) -> Vec<Notification> {
        let due: Vec<String> = self
            .due
            .iter()
            .filter(|(_, at)| **at <= now.boot)
            .map(|(group, _)| group.clone())
            .collect();
        let mut written = Vec::new();
        for group in due {
            if !self.has_news(&group, backlog, now.boot) {
                self.due.remove(&group);
                continue;
            }
            if !self.bucket.take(now.boot) {
                if !std::mem::replace(&mut self.held, true) {
                    self.counts.held += 1;
                }
                break;
            }
            self.held = false;
            self.due.remove(&group);
            written.extend(self.write(&group, now));
        }
        written
    }

    /// All that is not told yet, without waiting for more, or for the rate: the agent ends.
    pub(super) fn take_all(&mut self, now: Moment) -> Vec<Notification> {
        let due = std::mem::take(&mut self.due);
        let mut written = Vec::new();
        for group in due.into_keys() {
            if self.has_news(&group, true, now.boot) {
                written.extend(self.write(&group, now));
            }
        }
        written
    }

    /// Whether there is anything to tell of a group; takes back what is not worth it.
    fn has_news(&mut self, group: &str, backlog: bool, now: BootTime) -> bool {
        let mut any = false;
        for subject in self
            .subjects
            .values_mut()
            .filter(|subject| subject.group == group)
        {
            if backlog && subject.news == Some(News::Repeated) {
                subject.news = None;
                if let Some((_, at)) = &mut subject.told {
                    *at = now;
                }
            }
            any |= subject.news.is_some();
        }
        any
    }

    /// The notifications with all news of a group; afterwards it is told.
    fn write(&mut self, group: &str, now: Moment) -> Vec<Notification> {
        let mut alerts = Vec::new();
        let mut over = Vec::new();
        let early = self.pace.repeat_interval / 2;
        for (key, subject) in self
            .subjects
            .iter_mut()
            .filter(|(_, subject)| subject.group == group)
        {
            // A receiver that hears of everything all the time hears of it together.
            let along = self.grouping == Grouping::All
                && subject
                    .told
                    .as_ref()
                    .is_some_and(|(_, at)| now.boot.since(*at) >= early);
            let Some(news) = subject.news.take().or(along.then_some(News::Repeated)) else {
                continue;
            };
            let mut alert = subject.alert.clone();
            alert.news = news;
            alert.runbook_url.clone_from(&self.head.runbook_url);
            if news == News::Resolved {
                alert.status = Status::Resolved;
                alert.resolved_at = alert.resolved_at.or(Some(now.unix));
                over.push(key.clone());
                if !self.wants.resolved {
                    continue;
                }
            } else {
                alert.status = Status::Firing;
                subject.told = Some((alert.rank.clone(), now.boot));
                subject.alert.before = None;
            }
            alerts.push(alert);
        }
        for key in &over {
            self.subjects.remove(key);
        }
        let mut written = Vec::new();
        while !alerts.is_empty() {
            let rest = alerts.split_off(alerts.len().min(ALERTS_MAX));
            let batch = std::mem::replace(&mut alerts, rest);
            written.push(self.notification(group, batch, now));
        }
        written
    }

    /// A notification with these findings.
    pub(super) fn notification(&mut self, group: &str, alerts: Vec<Alert>, now: Moment) -> Notification {
        self.numbers += 1;
        Notification {
            version: VERSION,
            id: format!("{}-{}", self.head.run, self.numbers),
            sender: self.head.sender.clone(),
            node: self.head.node.clone(),
            receiver: self.head.receiver.clone(),
            group: group.to_owned(),
            created_at: now.unix,
            status: Notification::status_of(&alerts),
            alerts,
        }
    }
}

/// `now` and a while.
pub(super) fn later(now: BootTime, wait: Duration) -> BootTime {
    BootTime(
        now.0
            .saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)),
    )
}

#[cfg(test)]
mod tests;
