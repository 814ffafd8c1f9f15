//! Where a process has a file: the distance between the addresses in the file and those in the process.

use super::identity::FileKey;
use crate::source::PlanPoint;
use crate::sys::file;
use crate::sys::proc::{ProcDir, ProcError};

/// Mappings of one process that are looked at.
const TRIED_MAX: usize = 1024;

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
            candidates.push((mapping.start, mapping.end, within));
        }
    })?;
    for (start, end, within) in candidates {
        let Some(located) = process.locate(&format!("map_files/{start:x}-{end:x}"))? else {
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
