//! Whether a process has probes in its code: the kernel puts them there as other bytes than the file has.

use crate::books::{bias, plan_of};
use leak_agent::source::{HookPlan, tokio};
use leak_agent::types::Runtime;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How many of the points at which an executable can be probed for tokio have other bytes in this process than in the
/// file.
#[must_use]
pub fn breakpoints(pid: u32, path: &Path) -> usize {
    breakpoints_of(pid, path, tokio::RUNTIME)
}

/// As [`breakpoints`], for any runtime.
#[must_use]
pub fn breakpoints_of(pid: u32, path: &Path, runtime: Runtime) -> usize {
    let plan = plan_of(path, runtime);
    assert!(!plan.points.is_empty(), "nothing to probe in {}", path.display());
    changed(pid, path, &plan)
}

fn changed(pid: u32, path: &Path, plan: &HookPlan) -> usize {
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let file = File::open(path).unwrap();
    let bias = bias(pid, path);
    let byte = |file: &File, at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte
    };
    let points = plan.points.iter();
    points
        .filter(|point| byte(&memory, point.vaddr.0.wrapping_add(bias)) != byte(&file, point.offset.0))
        .count()
}
