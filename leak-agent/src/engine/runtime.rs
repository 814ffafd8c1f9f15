//! One runtime in one process that plans follow: rows, baselines and plans → a snapshot.

use super::baseline::Row;
use super::books::{self, BookFacts, Missed};
use super::plan::{PlanFacts, Probes};
use super::process::{Birth, Process};
use super::seen::Seen;
use super::sites::Sites;
use super::snapshot::{Counts, FollowState, ProbesSnapshot, RuntimeSnapshot, SiteSnapshot};
use super::threads::sum;
use super::watch::INHERITED;
use crate::source::{Evidence, SiteInfo};
use crate::types::{PlanId, Runtime};
use leak_agent_common::key::site;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// Said when more ended than began: then no number of the runtime is called exact.
const MORE_ENDS: &str = "more of its tasks ended than were seen to begin: not every spawn is seen";

/// How far the tasks of one plan are known from the time before its probes.
enum Before {
    /// There were none.
    Nothing,
    /// The runtime's books told.
    Books,
    /// Not (wholly) known, and why.
    Unknown(String),
}

impl Process {
    pub(super) fn runtime(
        &self,
        followed: &[(PlanId, &PlanFacts)],
        refused: Option<&(Runtime, String)>,
        lost: Option<&str>,
    ) -> Option<RuntimeSnapshot> {
        // What is read from memory cannot be lost on the way.
        let lost = lost.filter(|_| followed.iter().any(|(_, facts)| !facts.is_watched()));
        let runtime = followed
            .first()
            .map(|(_, facts)| facts.runtime)
            .or(refused.map(|(runtime, _)| *runtime))?;
        let mut reasons: Vec<String> = refused.map(|(_, reason)| reason.clone()).into_iter().collect();
        reasons.extend(lost.map(ToOwned::to_owned));
        let mut exact = refused.is_none() && lost.is_none();
        let mut sites = Sites::default();
        let mut listed_at = None;
        for (plan, facts) in followed {
            reasons.extend(facts.gaps.iter().take(3).cloned());
            if facts.gaps.len() > 3 {
                reasons.push(format!("and {} more gaps", facts.gaps.len() - 3));
            }
            if facts.is_watched() {
                let why = self.watch_sites(*plan, facts, |number, counts| match facts.site(number) {
                    Some(info) => sites.push(&info, counts),
                    None => drop(sites.add(&FOREIGN, counts)),
                });
                exact &= why.is_empty() && facts.gaps.is_empty();
                reasons.extend(why);
                if let Some(seen) = self.seen(*plan, facts) {
                    seen.tell(facts, &mut sites);
                    listed_at = listed_at.max(seen.listed_at());
                }
                continue;
            }
            let before = self.before(*plan, facts);
            self.plan_sites(*plan, facts, &before, &mut sites);
            self.plan_retained(*plan, facts, &mut sites);
            self.creations.tell(self.exec, *plan, facts, &mut sites);
            self.callers.tell(*plan, facts, &mut sites);
            if let Some(seen) = self.seen(*plan, facts) {
                seen.tell(facts, &mut sites);
                listed_at = listed_at.max(seen.listed_at());
            }
            exact &= facts.gaps.is_empty();
            if let Before::Unknown(reason) = before {
                exact = false;
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        let lacks = |facts: &PlanFacts| !facts.gaps.is_empty() || (facts.is_watched() && facts.unlisted > 0);
        let partial = refused.is_some() || followed.iter().any(|(_, facts)| lacks(facts));
        let sites = sites.finish(followed.len());
        let versions: BTreeSet<&str> = followed
            .iter()
            .filter_map(|(_, facts)| facts.version.as_deref())
            .collect();
        let attached = || {
            let all = followed.iter().map(|(_, facts)| *facts);
            all.filter(|facts| !facts.is_watched())
        };
        Some(RuntimeSnapshot {
            runtime,
            state: match (followed.is_empty(), partial) {
                (true, _) => FollowState::Unsupported,
                (false, true) => FollowState::Partial,
                (false, false) => FollowState::Followed,
            },
            reason: joined(reasons.iter().map(String::as_str), "; "),
            version: joined(versions, ", "),
            evidence: evidence(followed),
            points: attached().map(|facts| facts.points.0).sum(),
            points_emulated: attached().map(|facts| facts.points.1).sum(),
            counts: total(&sites),
            exact,
            books: books::told(&self.books, followed),
            counted_by: followed.iter().map(|(_, facts)| facts.counted_by()).max(),
            watch: self.watch_of(followed),
            listed_at,
            probes: probes_of(followed),
            sites,
        })
    }

    /// What the newest readings of the plan's books tell besides counts.
    fn seen(&self, plan: PlanId, facts: &PlanFacts) -> Option<&Seen> {
        if facts.is_watched() {
            self.watched.get(&plan).map(|watched| &watched.seen)
        } else {
            self.books.get(&plan).map(|books| &books.seen)
        }
    }

    /// What is known of the time before the plan's points began to count.
    fn before(&self, plan: PlanId, facts: &PlanFacts) -> Before {
        let books = self.books.get(&plan);
        if let Some(contradiction) = books.and_then(|books| books.contradiction.as_ref()) {
            return Before::Unknown(contradiction.clone());
        }
        if matches!(self.birth, Birth::Forked { inherited: true, .. }) {
            return Before::Unknown(INHERITED.to_owned());
        }
        let late = self.late(facts);
        match (late, books) {
            (_, Some(books)) if self.is_proven(plan, facts, books) => Before::Books,
            (None, _) if self.surplus(plan) => Before::Unknown(MORE_ENDS.to_owned()),
            (None, _) => Before::Nothing,
            (Some(late), Some(books)) => Before::Unknown(match books.baseline.why_inexact() {
                Some(doubt) => format!("{late}: its own books: {doubt}"),
                None => format!("{late}: its own books do not have all of them"),
            }),
            (Some(late), None) => Before::Unknown(format!("{late} are counted only as they end")),
        }
    }

    /// The books have no doubt, and what ended since does not contradict them. Of the runtime's own jobs nobody asks.
    fn is_proven(&self, plan: PlanId, facts: &PlanFacts, books: &BookFacts) -> bool {
        let mut spare = books.baseline.elsewhere;
        books.baseline.why_inexact().is_none()
            && self
                .rows
                .iter()
                .filter(|(key, _)| key.plan == plan.0)
                .filter(|(key, _)| facts.site(key.site).is_none_or(|info| !info.system))
                .all(|(key, row)| {
                    let known = books.baseline.at(key.site);
                    let known = known.saturating_add(books.missed_at(key.site).spawned);
                    let missing = row.floor().saturating_sub(known);
                    spare.checked_sub(missing).map(|rest| spare = rest).is_some()
                })
    }

    /// Adds the tasks of one plan that ended and are still held, as the books have them.
    fn plan_retained(&self, plan: PlanId, facts: &PlanFacts, sites: &mut Sites) {
        let Some(retained) = self.books.get(&plan).and_then(|books| books.retained.as_ref()) else {
            return;
        };
        for (number, info) in &facts.sites {
            let count = retained.sites.get(number).copied().unwrap_or(0);
            if count > 0 {
                sites.add(info, Counts::default());
            }
            if let Some(site) = sites.get_mut(info) {
                let known = &mut site.more_mut().retained;
                *known = Some(known.unwrap_or(0).saturating_add(count));
            }
        }
    }

    /// Why tasks may have been alive before the plan's points began to count; `None`: nothing was.
    pub(super) fn late(&self, facts: &PlanFacts) -> Option<String> {
        let since = match self.birth {
            Birth::Execed { at } => at,
            Birth::Forked { at, inherited: false } => at,
            Birth::Forked { inherited: true, .. } => {
                return Some("forked without exec: what its parent's tasks left in its memory".to_owned());
            }
            Birth::Unseen => {
                return Some("ran before its probes were attached: tasks alive then".to_owned());
            }
        };
        (since < facts.armed_at).then(|| {
            format!(
                "started {} ms before its probes were attached: tasks alive then",
                facts.armed_at.since(since).as_millis()
            )
        })
    }

    /// Whether more tasks of some site ended than began, though all were to be seen.
    fn surplus(&self, plan: PlanId) -> bool {
        self.rows
            .iter()
            .any(|(key, row)| key.plan == plan.0 && row.floor() != 0)
    }

    fn plan_sites(&self, plan: PlanId, facts: &PlanFacts, before: &Before, sites: &mut Sites) {
        let told = self.books.get(&plan);
        let books = match before {
            Before::Nothing => None,
            Before::Books => told,
            Before::Unknown(_) => told.filter(|books| !books.baseline.unproven),
        };
        let known = |number: u64| books.map_or(0, |books| books.baseline.at(number));
        let missed = |number: u64| books.map_or_else(Missed::default, |books| books.missed_at(number));
        let mut seen = BTreeSet::new();
        for (key, row) in self.rows.iter() {
            let folded = key.plan == 0 && key.site == site::OTHER && key.runtime == facts.runtime.wire;
            if key.plan != plan.0 && !folded {
                continue;
            }
            seen.insert(key.site);
            let nothing = matches!(before, Before::Nothing);
            let counts = row.counts((!nothing).then(|| known(key.site)), missed(key.site));
            match facts.site(key.site) {
                Some(info) if key.plan == plan.0 => sites.push(&info, counts),
                _ if key.site == site::OTHER => drop(sites.add(&FOLDED, counts)),
                _ => drop(sites.add(&FOREIGN, counts)),
            }
        }
        let Some(books) = books else {
            return;
        };
        for number in books.sites().into_iter().filter(|number| !seen.contains(number)) {
            let counts = Row::default().counts(Some(known(number)), missed(number));
            match facts.site(number) {
                Some(info) => sites.push(&info, counts),
                None => drop(sites.add(&FOREIGN, counts)),
            }
        }
        // What rows show to have been there is no longer elsewhere.
        let shown: u64 = self
            .rows
            .iter()
            .filter(|(key, _)| key.plan == plan.0)
            .filter(|(key, _)| facts.site(key.site).is_none_or(|info| !info.system))
            .map(|(key, row)| {
                let known = known(key.site).saturating_add(missed(key.site).spawned);
                row.floor().saturating_sub(known)
            })
            .sum();
        let elsewhere = books.baseline.elsewhere.saturating_sub(shown);
        if elsewhere > 0 {
            let counts = Row::default().counts(Some(elsewhere), Missed::default());
            sites.add(&ELSEWHERE, counts);
        }
    }
}

/// How what all plans say is known.
fn evidence(followed: &[(PlanId, &PlanFacts)]) -> Option<Evidence> {
    let all = |of: fn(&Evidence) -> Option<&str>| {
        let told: BTreeSet<&str> = followed
            .iter()
            .filter_map(|(_, facts)| of(&facts.evidence))
            .collect();
        joined(told, "; ")
    };
    Some(Evidence {
        points: all(|evidence| Some(&evidence.points))?,
        names: all(|evidence| evidence.names.as_deref()),
        books: all(|evidence| evidence.books.as_deref()),
    })
}

/// Since when and why there are probes: those that came last.
fn probes_of(followed: &[(PlanId, &PlanFacts)]) -> Option<ProbesSnapshot> {
    let all = followed.iter().filter_map(|(_, facts)| match &facts.probes {
        Probes::Attached(reason) => Some(ProbesSnapshot {
            since: facts.armed_at,
            reason: reason.clone(),
        }),
        Probes::None => None,
    });
    all.max_by_key(|probes| probes.since)
}

/// Sum over the sites that are not the runtime's own.
pub(super) fn total(sites: &[SiteSnapshot]) -> Counts {
    sites
        .iter()
        .filter(|site| !site.info.system)
        .fold(Counts::default(), |all, site| sum(all, site.counts))
}

fn joined<'a>(texts: impl IntoIterator<Item = &'a str>, separator: &str) -> Option<String> {
    let texts: Vec<&str> = texts.into_iter().collect();
    (!texts.is_empty()).then(|| texts.join(separator))
}

/// The sites for which there was no room.
static FOLDED: LazyLock<Arc<SiteInfo>> = LazyLock::new(|| {
    special(
        "~other",
        "no room for more sites in the kernel's map: --max-sites makes it larger",
    )
});

/// Counts whose site the plan does not know.
static FOREIGN: LazyLock<Arc<SiteInfo>> = LazyLock::new(|| {
    special(
        "~unknown",
        "the process's memory named a site that its file does not have",
    )
});

/// Tasks from before the probes whose site is not known.
static ELSEWHERE: LazyLock<Arc<SiteInfo>> = LazyLock::new(|| {
    special(
        "~before",
        "alive before the probes, or missed by them; the runtime's books were too busy to tell at which of the sites",
    )
});

fn special(name: &str, note: &str) -> Arc<SiteInfo> {
    Arc::new(SiteInfo {
        id: name.to_owned(),
        name: name.to_owned(),
        location: None,
        kind: "folded",
        system: false,
        ambiguous: false,
        created_by: None,
        note: Some(note.to_owned()),
    })
}
