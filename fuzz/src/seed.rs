//! Small, whole ELF files and pieces of large ones.

use std::io::{Read as _, Seek as _, SeekFrom};

/// ELF files to start from.
///
/// - the vDSO, a real shared library of 8 KiB, with symbols and unwind data
/// - the headers and first pages of this very program, whose sections then lie behind the end
/// - a file made by hand with code, relocated pointers to it and a dynamic section
#[must_use]
pub fn elf_files() -> Vec<Vec<u8>> {
    let mut files = vec![by_hand()];
    files.extend(vdso());
    if let Ok(program) = std::fs::read("/proc/self/exe") {
        for len in [64, 4 << 10, 64 << 10, 256 << 10] {
            files.extend(program.get(..len).map(<[u8]>::to_vec));
        }
    }
    files
}

/// This process's vDSO, out of its own memory.
fn vdso() -> Option<Vec<u8>> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let mut memory = std::fs::File::open("/proc/self/mem").ok()?;
    memory.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    memory.take(end - start).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A position-independent executable in three segments: code of several small functions, a table of pointers to them
/// with its relative relocations, and the dynamic section that leads to those.
fn by_hand() -> Vec<u8> {
    const CODE: u64 = 0x200;
    const TABLE: u64 = 0x300;
    const RELOCATIONS: u64 = 0x380;
    const DYNAMIC: u64 = 0x480;
    const END: u64 = 0x500;
    let mut file = vec![0; END as usize];
    let mut put = |at: u64, bytes: &[u8]| {
        let at = at as usize;
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let words = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };

    put(0, b"\x7fELF\x02\x01\x01");
    // e_type ET_DYN, e_machine x86-64, e_version
    put(16, &[3, 0, 62, 0, 1, 0, 0, 0]);
    put(24, &words(&[CODE, 64, 0]));
    // e_flags, e_ehsize, e_phentsize, e_phnum, no sections
    put(48, &[0, 0, 0, 0, 64, 0, 56, 0, 3, 0, 64, 0, 0, 0, 0, 0]);
    let headers = [
        // p_type | p_flags << 32, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
        [1 | 5 << 32, 0, 0, 0, TABLE, TABLE, 0x1000],
        [1 | 6 << 32, TABLE, TABLE, TABLE, END - TABLE, END - TABLE, 0x1000],
        [2 | 6 << 32, DYNAMIC, DYNAMIC, DYNAMIC, 0x50, 0x50, 8],
    ];
    for (index, header) in (0..).zip(headers) {
        put(64 + index * 56, &words(&header));
    }
    for function in 0..8 {
        // push rbp; mov rbp, rsp; call next; pop rbp; ret
        put(
            CODE + function * 16,
            &[0x55, 0x48, 0x89, 0xe5, 0xe8, 7, 0, 0, 0, 0x5d, 0xc3],
        );
    }
    // Size, alignment and offsets stand between the pointers, as in a vtable.
    put(TABLE, &words(&[0, 0, 0, 0, 0, 0, 0, 0x38, 0x30, 0x18, 0x20]));
    for entry in 0..7 {
        // r_offset, R_X86_64_RELATIVE, r_addend
        put(
            RELOCATIONS + entry * 24,
            &words(&[TABLE + entry * 8, 8, CODE + entry * 16]),
        );
    }
    // DT_RELA, DT_RELASZ, DT_RELAENT, DT_RELACOUNT, DT_NULL
    put(
        DYNAMIC,
        &words(&[7, RELOCATIONS, 8, 7 * 24, 9, 24, 0x6fff_fff9, 7, 0, 0]),
    );
    file
}
