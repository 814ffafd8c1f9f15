//! Tiny executables, written by hand, for the tests of this source.

/// An executable of fixed addresses with one segment of code.
pub(super) fn executable(start: u64, code: &[u8]) -> Vec<u8> {
    let mut file = vec![0_u8; 0x78];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let size = code.len() as u64 + 128;
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(0x10, &2_u16.to_le_bytes()); // ET_EXEC
    put(0x12, &62_u16.to_le_bytes()); // x86-64
    put(0x14, &1_u32.to_le_bytes());
    put(0x20, &0x40_u64.to_le_bytes()); // program headers
    put(0x34, &64_u16.to_le_bytes());
    put(0x36, &56_u16.to_le_bytes());
    put(0x38, &1_u16.to_le_bytes());
    put(0x40, &1_u32.to_le_bytes()); // PT_LOAD
    put(0x44, &5_u32.to_le_bytes()); // readable, executable
    put(0x48, &0x78_u64.to_le_bytes());
    put(0x50, &start.to_le_bytes());
    put(0x60, &size.to_le_bytes());
    put(0x68, &size.to_le_bytes());
    file.extend(code);
    file
}
