//! ELF files of any bytes, through the readers below the sources: segments, pointers, functions, symbols.
#![no_main]

use leak_agent::elf::{Elf, Functions, Image, Pointers, function_symbols};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: leak_agent_fuzz::write_seeds_if_asked(leak_agent_fuzz::seed::elf_files),
    |bytes: &[u8]| {
        let elf = Elf {
            data: bytes,
            id: leak_agent_fuzz::identity(),
            debug: None,
        };
        let Ok(image) = Image::parse(&elf) else { return };
        for symbol in function_symbols(&image).take(1000) {
            let _ = image.bytes(symbol.vaddr.0, 16);
        }
        if let Ok(pointers) = Pointers::read(&image) {
            let functions = Functions::find(&image, &pointers);
            for function in functions.all() {
                assert!(function.start <= function.end, "a function ends after its start");
                let _ = functions.containing(function.start);
            }
        }
    }
);
