//! Files that pretend to be executables: cut, corrupted, huge.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Writes a collection of hostile variants of the ELF file `model` into `folder`.
#[must_use]
pub fn files(model: &Path, folder: &Path) -> Vec<PathBuf> {
    let good = fs::read(model).unwrap();
    let mut written = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        written.push(path);
    };
    write("empty", b"");
    write("magic-only", b"\x7fELF");
    write("text", b"#!/bin/sh\nexit 0\n");
    for (name, len) in [("cut-16", 16), ("cut-64", 64), ("cut-1000", 1_000)] {
        write(name, &good[..len]);
    }
    for percent in [10, 50, 90, 99] {
        write(
            &format!("cut-{percent}-percent"),
            &good[..good.len() * percent / 100],
        );
    }
    // Every field of the header in turn set to its largest value.
    for at in (16..64).step_by(2) {
        let mut bad = good.clone();
        bad[at] = 0xff;
        bad[at + 1] = 0xff;
        write(&format!("header-{at}"), &bad);
    }
    // Bytes turned over all through the file, more and more of them; the magic stays.
    for (round, every) in [100_003, 10_007, 1_009, 101, 13].into_iter().enumerate() {
        let mut bad = good.clone();
        let mut state = 0x9e37_79b9_u64 + round as u64;
        for at in (64..bad.len()).step_by(every) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bad[at] = state.to_be_bytes()[0];
        }
        write(&format!("corrupt-every-{every}"), &bad);
    }
    // Program headers that all claim the largest size.
    let mut bad = good.clone();
    let (table, size, count) = program_headers(&good);
    for number in 0..count {
        let at = table + number * size;
        bad[at + 32..at + 48].fill(0x7f);
    }
    write("segments-without-end", &bad);

    // A good beginning, then a hole of two gigabytes.
    let path = folder.join("sparse-2-gib");
    fs::write(&path, &good).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(2 << 30).unwrap();
    file.write_all_at(b"end", (2 << 30) - 3).unwrap();
    written.push(path);
    written
}

/// Writes variants of a Go executable whose build information or table of functions lies, and one of another program with the mark
/// of Go in it.
#[must_use]
pub fn go_files(go: &Path, other: &Path, folder: &Path) -> Vec<PathBuf> {
    let good = fs::read(go).unwrap();
    let mark = b"\xff Go buildinf:";
    let of_version = memchr::memmem::find(&good, mark).expect("a Go program");
    // Magic of Go 1.20 and later, no padding, one byte per instruction, eight per pointer.
    let of_table =
        memchr::memmem::find(&good, b"\xf1\xff\xff\xff\0\0\x01\x08").expect("its table of functions");
    let mut written = Vec::new();
    let mut write = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let path = folder.join(format!("go-{name}"));
        fs::write(&path, bytes).unwrap();
        written.push(path);
    };
    // The version is said to be 100 MB long, and to be without end.
    write("version-100-mb", &|bytes| {
        bytes[of_version + 32..of_version + 36].copy_from_slice(&[0x80, 0x80, 0x80, 0x30]);
    });
    write("version-without-end", &|bytes| {
        bytes[of_version + 32..of_version + 42].fill(0xff);
    });
    // Each word of the table's header in turn: nothing, and the largest.
    for word in 1..9 {
        let at = of_table + 8 * word;
        write(&format!("table-{word}-none"), &|bytes| bytes[at..at + 8].fill(0));
        write(&format!("table-{word}-all"), &|bytes| {
            bytes[at..at + 8].fill(0xff);
        });
    }
    // The table's contents: random, and cut off.
    for every in [3, 64, 1024] {
        write(&format!("functions-every-{every}"), &|bytes| {
            let mut state = 0x9e37_79b9_u64 + every as u64;
            for at in (of_table + 72..bytes.len()).step_by(every) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes[at] = state.to_be_bytes()[0];
            }
        });
    }
    write("table-cut", &|bytes| bytes.truncate(of_table + 5000));
    let mut bytes = fs::read(other).unwrap();
    let place = bytes.len() / 16 * 16 - 4096;
    bytes[place..place + 64].copy_from_slice(&good[of_version..of_version + 64]);
    let path = folder.join("go-mark-only");
    fs::write(&path, bytes).unwrap();
    written.push(path);
    written
}

/// Offset, size and number of the program headers of a 64-bit little-endian ELF file.
fn program_headers(file: &[u8]) -> (usize, usize, usize) {
    let u16_at = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let table = u64::from_le_bytes(file[32..40].try_into().unwrap());
    (usize::try_from(table).unwrap(), u16_at(54), u16_at(56))
}
