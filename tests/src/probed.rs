//! Whether there are probes in a process: its code in memory against the file it came from.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How many bytes of the code of `file` differ in the process from those in the file. A probe that is in
/// place is at least one such byte; position independent code has no others.
#[must_use]
pub fn altered_bytes(pid: u32, file: &Path) -> usize {
    let path = fs::canonicalize(file).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let disk = fs::read(&path).unwrap();
    let mut altered = 0;
    for line in maps.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if fields.get(5).map(Path::new) != Some(&path) || !fields[1].contains('x') {
            continue;
        }
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = fields[0].split_once('-').unwrap();
        let (from, to, offset) = (hex(from), hex(to), usize::try_from(hex(fields[2])).unwrap());
        let mut code = vec![0; usize::try_from(to - from).unwrap()];
        memory.read_exact_at(&mut code, from).unwrap();
        let len = code.len().min(disk.len() - offset);
        altered += (0..len).filter(|&at| code[at] != disk[offset + at]).count();
    }
    altered
}
