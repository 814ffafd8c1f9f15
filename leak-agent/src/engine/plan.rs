//! What the engine keeps of a hook plan that is attached.

use crate::source::{HookPlan, SiteInfo};
use crate::types::{BootTime, Runtime};
use std::collections::HashMap;
use std::sync::Arc;

/// A plan, as far as counts need it.
#[derive(Debug)]
pub struct PlanFacts {
    /// Its runtime.
    pub runtime: Runtime,
    /// The runtime's version, if known.
    pub version: Option<String>,
    /// How the points were found.
    pub evidence: String,
    /// How many points, and how many of them the kernel emulates.
    pub points: (u32, u32),
    /// What is not followed, each as half a sentence.
    pub gaps: Vec<String>,
    /// The sites by their numbers.
    pub sites: HashMap<u64, Arc<SiteInfo>>,
    /// When its points began to count.
    pub armed_at: BootTime,
}

impl PlanFacts {
    /// Of a plan that counts since `armed_at`.
    #[must_use]
    pub fn new(plan: &HookPlan, armed_at: BootTime) -> Self {
        let emulated = plan.points.iter().filter(|point| point.emulated).count();
        Self {
            runtime: plan.runtime,
            version: plan.version.clone(),
            evidence: plan.evidence.clone(),
            points: (clamp(plan.points.len()), clamp(emulated)),
            gaps: plan.gaps.iter().map(|gap| gap.reason.clone()).collect(),
            sites: plan
                .sites
                .iter()
                .map(|site| (site.number, Arc::new(site.info.clone())))
                .collect(),
            armed_at,
        }
    }
}

fn clamp(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
