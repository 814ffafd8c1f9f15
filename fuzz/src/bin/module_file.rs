//! Files mapped into other processes, as the unwinder reads them.
#![no_main]

use leak_agent::stack::module::ModuleFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(leak_agent_fuzz::seed::elf_files),
    |bytes: &[u8]| {
        if let Ok(module) = ModuleFile::parse(bytes, leak_agent_fuzz::identity()) {
            for vaddr in (0..bytes.len() as u64).step_by(64) {
                let _ = module.describes(vaddr);
            }
        }
    }
);
