//! `leak-agent bpf-check`: whether the BPF programs load into this kernel, for the builders of the object and for
//! bug reports.

use super::SUCCESS;
use super::error::CliError;
use crate::bpf::{Hook, Kernel, Limits};
use std::io::{self, Write as _};
use std::path::Path;

/// As small as the programs allow: nothing is to be followed.
const LIMITS: Limits = Limits {
    ring_bytes: 1 << 16,
    sites: 1024,
    processes: 1024,
    stacks_per_second: 0,
    stack_bytes: 1024,
    sites_per_process: 256,
    stream_every: 0,
    hook: Hook::Count,
    perf_links: false,
};

pub(super) fn run(object: Option<&Path>) -> Result<u8, CliError> {
    let kernel = match object {
        Some(path) => Kernel::load_from(&std::fs::read(path)?, &LIMITS, false),
        None => Kernel::load(&LIMITS, false),
    }
    .map_err(CliError::failure)?;
    let multi = kernel
        .attacher
        .as_ref()
        .is_some_and(crate::bpf::Attacher::has_multi_links);
    let mut out = io::stdout().lock();
    writeln!(out, "the BPF programs load, and tasks were counted")?;
    writeln!(
        out,
        "uprobes: {}",
        if multi {
            "one link for many points"
        } else {
            "one link per point"
        }
    )?;
    Ok(SUCCESS)
}
