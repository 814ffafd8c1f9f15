//! Debug information of any bytes: where fields of structures are.
#![no_main]

use leak_agent::elf::Structures;
use libfuzzer_sys::fuzz_target;

/// Structures in structures.
const DEPTH: usize = 4;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(seeds),
    |bytes: &[u8]| {
        let [low, high, rest @ ..] = bytes else { return };
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let (abbreviations, information) = rest.split_at(length.min(rest.len()));
        let names = ["runtime.g", "runtime.p"];
        let Some(found) = Structures::of(information, abbreviations, b"runtime", &names, DEPTH) else {
            return;
        };
        for path in [&["runtime.g", "sched", "sp"][..], &["runtime.p", "id"], &["runtime.g"]] {
            let _ = found.offset(path);
        }
    }
);

/// A unit with a structure that has one of a structure within it.
fn seeds() -> Vec<Vec<u8>> {
    let abbreviations = [
        1, 0x11, 1, 0x03, 0x08, 0, 0, // unit: name
        2, 0x13, 1, 0x03, 0x08, 0, 0, // structure: name
        3, 0x0d, 0, 0x03, 0x08, 0x38, 0x0f, 0x49, 0x10, 0, 0, // field: name, place, type
        0,
    ];
    let mut entries = b"\x01runtime\0".to_vec();
    let inner = u32::try_from(entries.len() + 11).unwrap_or(0).to_le_bytes();
    entries.extend(b"\x02runtime.gobuf\0\x03sp\0\x08\0\0\0\0\0");
    entries.extend(b"\x02runtime.g\0\x03sched\0\x38");
    entries.extend(inner);
    entries.extend(b"\0\0");
    let mut seed = u16::try_from(abbreviations.len())
        .unwrap_or(0)
        .to_le_bytes()
        .to_vec();
    seed.extend(abbreviations);
    seed.extend(u32::try_from(entries.len() + 7).unwrap_or(0).to_le_bytes());
    seed.extend([4, 0, 0, 0, 0, 0, 8]);
    seed.extend(entries);
    vec![seed]
}
