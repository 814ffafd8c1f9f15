//! Who was called a leak, by the agent's reports.

use leak_agent::report::{Report, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A site of a process that was called a leak.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The process.
    pub pid: u32,
    /// "thread", "tokio", "go".
    pub runtime: String,
    /// Name of the site.
    pub site: String,
    /// "file:line", where it is known.
    pub location: Option<String>,
    /// When it was called so first: Unix time, seconds.
    pub leak_at: f64,
    /// Whether that was taken back later, while the process lived.
    pub resolved: bool,
    /// Why it was called so.
    pub sentence: String,
}

/// All of them: the first verdict on each site of each process.
#[derive(Debug, Default)]
pub struct Verdicts(BTreeMap<(u32, u64, String), Told>);

impl Verdicts {
    /// Takes what a report says.
    pub fn take(&mut self, report: &Report) {
        for finding in &report.findings {
            let key = (finding.pid, finding.start_boottime, finding.site_id.clone());
            let leak_at = finding.leak_at.filter(|_| finding.verdict == Verdict::Leak);
            if let Some(told) = self.0.get_mut(&key) {
                // Names may come later.
                told.site.clone_from(&finding.site);
                told.location.clone_from(&finding.location);
                let ended = finding.resolution.as_deref() == Some("the process has ended");
                told.resolved |= finding.resolved_at.is_some() && !ended;
            } else if let Some(leak_at) = leak_at {
                let told = Told {
                    pid: finding.pid,
                    runtime: finding.runtime.clone(),
                    site: finding.site.clone(),
                    location: finding.location.clone(),
                    leak_at,
                    resolved: false,
                    sentence: finding.sentence.clone(),
                };
                self.0.insert(key, told);
            }
        }
    }

    /// What was told, by process.
    #[must_use]
    pub fn told(self) -> Vec<Told> {
        self.0.into_values().collect()
    }
}
