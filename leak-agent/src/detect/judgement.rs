//! What the detectors say at one moment: their only output.

use super::exhaustion::Exhaustion;
use super::finding::Finding;
use super::verdict::{Opinion, Verdict};
use crate::types::ProcessKey;
use std::collections::{BTreeMap, HashMap};

/// All verdicts and findings at one moment.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// By process and number of the runtime on the wire. What is missing was not judged.
    pub runtimes: HashMap<(ProcessKey, u32), RuntimeJudgement>,
    /// The findings, the worst first; resolved ones last.
    pub findings: Vec<Finding>,
    /// Limits that come nearer, by process.
    pub exhaustion: BTreeMap<ProcessKey, Vec<Exhaustion>>,
    /// What changed since the judgement before.
    pub news: Vec<News>,
    /// Findings that were opened so far, and that were resolved.
    pub opened: u64,
    /// See `opened`.
    pub resolved: u64,
    /// Fill of the detectors' tables.
    pub tables: Vec<Table>,
    /// What was not looked at, and why; names are those of the metrics.
    pub counters: BTreeMap<&'static str, u64>,
}

/// One runtime in one process.
#[derive(Clone, Debug, Default)]
pub struct RuntimeJudgement {
    /// The worst of its sites.
    pub opinion: Opinion,
    /// What holds for the sites that are not in `sites`.
    pub others: Opinion,
    /// By id of the site.
    pub sites: BTreeMap<String, Opinion>,
}

/// Something that happened to a finding.
#[derive(Clone, Debug, PartialEq)]
pub struct News {
    /// What.
    pub what: Change,
    /// The finding, after it.
    pub finding: Finding,
}

/// What happens to findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was opened: suspected.
    Opened,
    /// It became a leak.
    Confirmed,
    /// It was resolved.
    Resolved,
    /// It grows again.
    Reopened,
}

/// Fill of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Entries in use.
    pub entries: usize,
    /// Entries it can hold.
    pub capacity: usize,
}

impl RuntimeJudgement {
    /// What is thought of this site.
    #[must_use]
    pub fn site(&self, id: &str) -> &Opinion {
        self.sites.get(id).unwrap_or(&self.others)
    }

    /// The same verdict for all sites.
    pub(super) fn all(opinion: Opinion) -> Self {
        Self {
            others: opinion.clone(),
            opinion,
            sites: BTreeMap::new(),
        }
    }

    /// Adds what is thought of one site.
    pub(super) fn add(&mut self, id: &str, opinion: Opinion) {
        if opinion.verdict > self.opinion.verdict || self.opinion.verdict == Verdict::Undecided {
            let worse = opinion.verdict > Verdict::Undecided || self.opinion.verdict < opinion.verdict;
            if worse {
                self.opinion = opinion.clone();
            }
        }
        self.sites.insert(id.to_owned(), opinion);
    }
}
