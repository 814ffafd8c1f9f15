//! Executables of any bytes, seen by every source: a plan, a refusal, or nothing.
#![no_main]

use leak_agent::elf::Elf;
use leak_agent::source::{self, Inspection};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(leak_agent_fuzz::seed::elf_files),
    |bytes: &[u8]| {
        let elf = Elf {
            data: bytes,
            id: leak_agent_fuzz::identity(),
            debug: None,
        };
        for source in source::all() {
            let _ = source.stack_code(&elf);
            if let Inspection::Plan(plan) = source.inspect(&elf) {
                let offsets: Vec<u64> = plan.points.iter().map(|point| point.offset.0).collect();
                assert!(offsets.is_sorted_by(|a, b| a < b), "no two points at one offset");
                let len = bytes.len() as u64;
                assert!(offsets.iter().all(|offset| *offset < len), "points are in the file");
            }
        }
    }
);
