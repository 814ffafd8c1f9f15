//! A tiny executable with one tokio task type, written by hand, for the tests of the planner.

use crate::elf::Elf;
use crate::types::ExecutableId;

/// Address of the code.
pub(super) const CODE: u64 = 0x40_1000;
/// Address of the data: the vtable is its first word.
pub(super) const DATA: u64 = 0x40_2000;
/// The instruction behind the loop that flips the state.
pub(super) const FINISH: u64 = CODE + 0x14;
/// The first emulated instruction around the store of the vtable's address.
pub(super) const SPAWN: u64 = CODE + 0x61;

/// An executable of fixed addresses, without unwind tables: poll, shutdown, a spawn and its callers.
pub(super) fn executable() -> Vec<u8> {
    let mut code = vec![0xcc_u8; 0x100];
    put(
        &mut code,
        0,
        &[
            0x48, 0x8b, 0x07, // poll: mov rax,[rdi]
            0x48, 0x89, 0xc1, // mov rcx,rax
            0x48, 0x83, 0xf1, 0x03, // xor rcx,3
            0xf0, 0x48, 0x0f, 0xb1, 0x0f, // lock cmpxchg [rdi],rcx
            0x75, 0xf2, // jne poll+3
            0x48, 0xa8, 0x01, // test al,1
            0x74, 0x01, // je +1: the finish point
            0xc3, // ret
            0x0f, 0x0b, // ud2
        ],
    );
    put(&mut code, 0x20, &[0xe8, 0xdb, 0xff, 0xff, 0xff, 0xc3]); // shutdown: call poll; ret
    put(
        &mut code,
        0x40,
        &[
            0x48, 0xc7, 0x07, 0xcc, 0, 0, 0, // spawn: mov qword [rdi],0xcc
            0x48, 0xc7, 0x47, 0x08, 0, 0, 0, 0, // mov qword [rdi+8],0
            0x48, 0xc7, 0x47, 0x10, 0x00, 0x20, 0x40, 0x00, // mov qword [rdi+0x10],vtable
            0x48, 0xc7, 0x47, 0x18, 0, 0, 0, 0, // mov qword [rdi+0x18],0
            0x31, 0xc0, // xor eax,eax
            0x90, // nop: the spawn point
            0xc3, // ret
        ],
    );
    put(&mut code, 0x80, &[0xe8, 0xbb, 0xff, 0xff, 0xff, 0xc3]); // call spawn; ret
    put(&mut code, 0x90, &[0xe8, 0xab, 0xff, 0xff, 0xff, 0xc3]); // call spawn; ret
    let mut data: Vec<u8> = Vec::new();
    for slot in [0_u64, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20] {
        data.extend((CODE + slot).to_le_bytes());
    }
    for offset in [0x100_u64, 0x20, 0x28] {
        data.extend(offset.to_le_bytes());
    }
    data.extend(b"/registry/tokio-1.47.1/src/runtime/task/core.rs");
    data.resize(0x100, 0);

    let mut file = vec![0_u8; 0x1000];
    put(&mut file, 0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(&mut file, 0x10, &2_u16.to_le_bytes()); // ET_EXEC
    put(&mut file, 0x12, &62_u16.to_le_bytes()); // x86-64
    put(&mut file, 0x14, &1_u32.to_le_bytes());
    put(&mut file, 0x20, &0x40_u64.to_le_bytes()); // program headers
    put(&mut file, 0x34, &64_u16.to_le_bytes());
    put(&mut file, 0x36, &56_u16.to_le_bytes());
    put(&mut file, 0x38, &2_u16.to_le_bytes());
    segment(&mut file, 0x40, 5, 0x1000, CODE, code.len() as u64);
    segment(&mut file, 0x78, 6, 0x2000, DATA, data.len() as u64);
    code.resize(0x1000, 0);
    file.extend(code);
    file.extend(data);
    file
}

/// The file as the planner gets it.
pub(super) fn elf(data: &[u8]) -> Elf<'_> {
    Elf {
        data,
        id: ExecutableId::BuildId(vec![0xab; 20]),
        debug: None,
    }
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}

fn segment(file: &mut [u8], at: usize, flags: u32, offset: u64, vaddr: u64, size: u64) {
    put(file, at, &1_u32.to_le_bytes()); // PT_LOAD
    put(file, at + 4, &flags.to_le_bytes());
    put(file, at + 8, &offset.to_le_bytes());
    put(file, at + 16, &vaddr.to_le_bytes());
    put(file, at + 32, &size.to_le_bytes());
    put(file, at + 40, &size.to_le_bytes());
}
