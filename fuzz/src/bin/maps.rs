//! Texts of /proc/PID/maps, whose file names other people choose.
#![no_main]

use leak_agent::{stack, sys};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(seeds),
    |bytes: &[u8]| {
        let mut mappings = stack::maps::Mappings::default();
        let _ = sys::maps::visit(bytes, |mapping| {
            let _ = mapping.path_deleted();
            mappings.push(mapping);
        });
        for address in [0, 0x1000, u64::MAX] {
            let _ = mappings.find(address);
        }
    }
);

fn seeds() -> Vec<Vec<u8>> {
    let own = std::fs::read("/proc/self/maps").unwrap_or_default();
    let crafted =
        b"55e0c0000000-55e0c0001000 r-xp 00000000 fd:01 42   /a b\\012c (deleted)\nffff-0 zz\n\n7-8 r-xp";
    vec![own, crafted.to_vec()]
}
