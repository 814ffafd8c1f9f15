//! The books of Go programs, read without the agent around them, by executables as they are and as nobody should write them.

use crate::books::{Reader, bias};
use crate::programs;
use crate::{Target, Truth};
use leak_agent::elf::Elf;
use leak_agent::source::go::Go;
use leak_agent::source::{HookPlan, Inspection, Source as _};
use leak_agent::sys::memory::RemoteMemory;
use leak_agent::sys::proc;
use leak_agent::types::ExecutableId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The plan for the bytes of an executable.
///
/// # Errors
///
/// Why it is refused.
pub fn inspected(data: &[u8]) -> Result<HookPlan, String> {
    let elf = Elf {
        data,
        id: ExecutableId::BuildId(b"books".to_vec()),
        debug: None,
    };
    match Go.inspect(&elf) {
        Inspection::Plan(plan) => Ok(*plan),
        Inspection::Unsupported { reason, .. } => Err(reason),
        Inspection::NotMine => Err("not mine".to_owned()),
    }
}

/// Opens the books of a running process by a plan, which may be that of other bytes than those it runs.
#[must_use]
pub fn reader(target: &Target, path: &Path, plan: &HookPlan) -> Option<Reader> {
    let id = proc::id_of(target.pid()).unwrap().expect("the target runs");
    Some(Reader {
        memory: RemoteMemory::open(&id).unwrap(),
        books: plan.books.as_ref()?.open(bias(target.pid(), path)),
    })
}

/// A folder for one test, and the program with it as its argument, with goroutines that wait in every way.
#[must_use]
pub fn zoo(path: &Path, name: &str) -> (PathBuf, Target, Truth) {
    let folder = programs::scratch(name);
    let mut target = Target::start_with(path, &[&folder]);
    let truth = target.command("zoo");
    (folder, target, truth)
}

/// Another version text in place of the one that the linker wrote.
#[must_use]
pub fn with_version(data: &[u8], version: &str) -> Vec<u8> {
    let mut data = data.to_vec();
    let magic = b"\xff Go buildinf:";
    let found = data
        .windows(magic.len())
        .enumerate()
        .filter(|(at, window)| at % 16 == 0 && *window == magic);
    let places: Vec<usize> = found.map(|(at, _)| at).collect();
    let mut patched = 0;
    for at in places {
        let length = usize::from(data[at + 32]);
        if data[at + 15] & 2 != 0 && data[at + 33..].starts_with(b"go1.") {
            let mut text = version.as_bytes().to_vec();
            assert!(text.len() <= length, "{version} does not fit into {length} bytes");
            text.resize(length, b' ');
            data[at + 33..at + 33 + length].copy_from_slice(&text);
            patched += 1;
        }
    }
    assert_eq!(patched, 1);
    data
}

/// How the books are known, and by site how many goroutines they have.
///
/// # Errors
///
/// Why they are refused.
pub fn counted(target: &Target, path: &Path, data: &[u8]) -> Result<(String, BTreeMap<u64, u64>), String> {
    let plan = inspected(data)?;
    let by = plan.evidence.books.clone().unwrap_or_default();
    let mut reader = reader(target, path, &plan).ok_or("no books")?;
    let mut refused = Vec::new();
    // What was torn by the process itself is right the next time.
    for _ in 0..3 {
        let found = reader.find();
        if found.groups.is_empty() {
            refused = found.refused;
            continue;
        }
        let listing = reader.list(0);
        assert_eq!(listing.refused, [] as [String; 0], "{by}");
        let sites = listing.groups[0]
            .sites
            .iter()
            .map(|site| (site.site.0, site.live))
            .collect();
        return Ok((by, sites));
    }
    Err(refused.join("; "))
}
