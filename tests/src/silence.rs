//! Probes that are lost: in one process, the kernel's breakpoints are taken out behind its back, and put back.
//!
//! A breakpoint lies in a page of the process's own; a debugger's write replaces it there and nowhere else. The kernel knows
//! nothing of it and goes on once the byte is back.

use crate::books::bias;
use leak_agent::source::HookPlan;
use leak_agent::source::plan::Role;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Probes of one process that do not fire. Dropping it lets them fire again.
#[derive(Debug)]
pub struct Silence {
    memory: File,
    /// Address, and what the kernel had there.
    points: Vec<(u64, u8)>,
}

impl Silence {
    /// Silences the points of this role that the plan has in this process.
    ///
    /// # Panics
    ///
    /// One of them has no probe.
    #[must_use]
    pub fn of(pid: u32, path: &Path, plan: &HookPlan, role: Role) -> Self {
        let bias = bias(pid, path);
        let disk = fs::read(path).unwrap();
        let memory = File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .unwrap();
        let mut points = Vec::new();
        for point in plan.points.iter().filter(|point| point.role == role) {
            let at = bias.wrapping_add(point.vaddr.0);
            let original = disk[usize::try_from(point.offset.0).unwrap()];
            let mut probe = [0];
            memory.read_exact_at(&mut probe, at).unwrap();
            assert_ne!(probe[0], original, "there is no probe at {at:#x}");
            memory.write_all_at(&[original], at).unwrap();
            points.push((at, probe[0]));
        }
        assert!(!points.is_empty(), "the plan has no such points");
        Self { memory, points }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        for (at, probe) in &self.points {
            // The process may have ended.
            let _ = self.memory.write_all_at(&[*probe], *at);
        }
    }
}
