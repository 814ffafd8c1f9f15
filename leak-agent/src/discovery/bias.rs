//! Where a process has a file: the distance between the addresses in the file and those in the process.

use super::identity::FileKey;
use super::look::by_path;
use crate::source::PlanPoint;
use crate::sys::file;
use crate::sys::proc::{ProcDir, ProcError};

/// Mappings of one process that are looked at.
const TRIED_MAX: usize = 1024;

/// A mapping that may be of the file.
struct Candidate {
    start: u64,
    end: u64,
    within: u64,
    path: Vec<u8>,
    dev: (u32, u32),
    inode: u64,
}

/// Run-time address minus file address, of this file in this process. `point` is any instruction of the file. `None` = the
/// process does not execute it (any more).
///
/// # Errors
///
/// What `/proc` refuses.
pub fn bias(process: &ProcDir, wanted: &FileKey, point: &PlanPoint) -> Result<Option<u64>, ProcError> {
    let mut candidates = Vec::new();
    process.mappings(|mapping| {
        let length = mapping.end - mapping.start;
        let within = point.offset.0.checked_sub(mapping.offset);
        if let Some(within) = within.filter(|within| *within < length)
            && mapping.execute
            && mapping.inode != 0
            && candidates.len() < TRIED_MAX
        {
            let (path, _) = mapping.path_deleted();
            candidates.push(Candidate {
                start: mapping.start,
                end: mapping.end,
                within,
                path: path.to_vec(),
                dev: mapping.dev,
                inode: mapping.inode,
            });
        }
    })?;
    for candidate in candidates {
        let Candidate {
            start, end, within, ..
        } = candidate;
        let located = match process.locate(&format!("map_files/{start:x}-{end:x}")) {
            // To use that takes more rights than to read the memory.
            Err(ProcError::Denied { .. }) => {
                by_path(process, &candidate.path, candidate.dev, candidate.inode)
            }
            located => located?,
        };
        let Some(located) = located else {
            continue;
        };
        let Ok(facts) = file::facts(&located) else {
            continue;
        };
        if facts.regular && FileKey::of(&located, &facts) == *wanted {
            return Ok(Some(start.wrapping_add(within).wrapping_sub(point.vaddr.0)));
        }
    }
    Ok(None)
}
