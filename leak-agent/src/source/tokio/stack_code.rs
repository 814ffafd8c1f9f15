//! Which functions of a file without symbols ask tokio's pool for a thread: those that panic, in words of tokio's own, if there is
//! none to be had. They are on the stack on which a thread is made: `spawn_blocking`, or what it was inlined into.

use crate::elf::{Elf, Functions, Image, Pointers};
use crate::source::StackCode;
use memchr::memmem;
use object::elf::EM_X86_64;
use std::collections::{BTreeSet, HashSet};

/// What it panics with. Checked against `blocking/pool.rs` of tokio 1.38, 1.47 and 1.54; nothing else in tokio says it.
const PANIC: &[u8] = b"OS can't spawn worker thread: ";
/// What people call such a function.
const ASKER: &str = "tokio::runtime::blocking::pool::Spawner::spawn_blocking";
/// Copies of the text that are looked for.
const COPIES_MAX: usize = 16;
/// Functions that are remembered: one per type of closure, where they were inlined.
const ASKERS_MAX: usize = 4096;

/// Finds them; `None` = there are none.
pub(super) fn find(elf: &Elf<'_>) -> Option<StackCode> {
    let image = Image::parse(elf).ok()?;
    if image.machine() != EM_X86_64 {
        return None;
    }
    let wanted = references(&image, &texts(&image))?;
    let functions = Functions::described(&image);
    let mut askers = BTreeSet::new();
    for segment in image.segments().iter().filter(|segment| segment.executable) {
        for at in loads(segment.bytes, segment.start, &wanted) {
            askers.extend(functions.containing(at));
        }
    }
    (!askers.is_empty()).then(|| StackCode {
        askers: askers
            .into_iter()
            .take(ASKERS_MAX)
            .map(|function| (function.start..function.end, ASKER))
            .collect(),
        compiled: None,
    })
}

/// Where the text is.
fn texts(image: &Image<'_>) -> Vec<u64> {
    let data = image.segments().iter().filter(|segment| !segment.executable);
    let found = data.flat_map(|segment| {
        memmem::find_iter(segment.bytes, PANIC).map(|at| segment.start.saturating_add(at as u64))
    });
    found.take(COPIES_MAX).collect()
}

/// What code loads to say the text: its address, that of its length in front of it, or that of a pointer to it.
fn references(image: &Image<'_>, texts: &[u64]) -> Option<HashSet<u64>> {
    if texts.is_empty() {
        return None;
    }
    let pointers = Pointers::read(image).ok()?;
    let mut wanted: HashSet<u64> = texts.iter().flat_map(|at| [*at, at.saturating_sub(1)]).collect();
    let holding = pointers.all().iter().filter(|(_, target)| texts.contains(target));
    wanted.extend(holding.map(|(place, _)| *place));
    Some(wanted)
}

/// Instructions `lea r64, [rip + …]` that load one of these addresses.
fn loads(code: &[u8], start: u64, wanted: &HashSet<u64>) -> Vec<u64> {
    let mut found = Vec::new();
    for at in memchr::memchr_iter(0x8d, code) {
        let prefix = at.checked_sub(1).and_then(|at| code.get(at));
        let operand = code.get(at + 1).is_some_and(|byte| byte & 0xc7 == 5);
        if !operand || !prefix.is_some_and(|byte| matches!(byte, 0x48 | 0x4c)) {
            continue;
        }
        let Some(distance) = code.get(at + 2..).and_then(<[u8]>::first_chunk::<4>) else {
            continue;
        };
        let next = start.wrapping_add(at as u64 + 6);
        let target = next.wrapping_add_signed(i32::from_le_bytes(*distance).into());
        if wanted.contains(&target) {
            found.push(start.wrapping_add(at as u64));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ExecutableId;
    use std::path::Path;

    fn of(path: &Path) -> Option<StackCode> {
        let data = std::fs::read(path).unwrap();
        find(&Elf {
            data: &data,
            id: ExecutableId::BuildId(vec![]),
            debug: None,
        })
    }

    /// This very program has tokio in it: its functions of that name, and only those that were inlined somewhere else, are found
    /// without their names. A program without tokio has none.
    #[test]
    fn askers_of_this_program_are_found_by_what_they_say() {
        let code = of(&std::env::current_exe().unwrap()).unwrap();
        assert!(!code.askers.is_empty() && code.compiled.is_none());
        assert!(
            code.askers
                .iter()
                .all(|(code, name)| *name == ASKER && !code.is_empty())
        );
        assert_eq!(code.asker(0), None);
        assert!(!code.is_foreign(0));
        assert_eq!(of(Path::new("/bin/sh")), None);
    }

    /// Only loads of the wanted addresses are found, whatever lies around them.
    #[test]
    fn loads_of_wanted_addresses_are_found() {
        let mut code = vec![0x90; 32];
        code[4..11].copy_from_slice(&[0x48, 0x8d, 0x3d, 0x10, 0, 0, 0]); // lea rdi, [rip + 0x10]
        code[20..27].copy_from_slice(&[0x4c, 0x8d, 0x05, 1, 0, 0, 0]); // lea r8, [rip + 1]
        code[31] = 0x8d;
        let wanted = HashSet::from([0x1000 + 11 + 0x10]);
        assert_eq!(loads(&code, 0x1000, &wanted), [0x1005]);
        assert!(loads(&[0x8d], 0, &wanted).is_empty());
    }
}
