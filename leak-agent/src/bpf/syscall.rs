//! The `bpf(2)` calls that aya 0.14 does not offer. Numbers and layouts: `include/uapi/linux/bpf.h`, 6.18.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use zerocopy::{FromZeros, Immutable, IntoBytes};

const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_MAP_DELETE_ELEM: i32 = 3;
const BPF_PROG_LOAD: i32 = 5;
const BPF_MAP_LOOKUP_BATCH: i32 = 24;
const BPF_LINK_CREATE: i32 = 28;
const BPF_ENABLE_STATS: i32 = 32;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
/// Room for the verifier's words.
const LOG_BYTES: u32 = 1 << 16;

fn bpf<T: IntoBytes + Immutable>(command: i32, attr: &mut T) -> io::Result<RawFd> {
    // SAFETY: `attr` lives through the call and the kernel is told its size; the kernel checks the content
    // and never reads or writes beyond the buffers named in it, which the callers below keep alive.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        RawFd::try_from(result).map_err(io::Error::other)
    }
}

fn address<T: ?Sized>(value: *const T) -> u64 {
    value.cast::<u8>() as u64
}

#[repr(C)]
#[derive(FromZeros, IntoBytes, Immutable)]
struct ElementAttr {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Reads one element into `value`, whose length must be the map's value size (times the number of possible
/// CPUs, each rounded up to 8 bytes, for a per-CPU map). `false`: no such element.
pub(super) fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr = ElementAttr {
        map: map.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: address(key),
        value: address(value.as_mut_ptr()),
        flags: 0,
    };
    match bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes one element.
pub(super) fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map: map.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: address(key),
        value: address(value),
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Deletes one element; one that is not there is deleted already.
pub(super) fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map: map.as_raw_fd().cast_unsigned(),
        pad: 0,
        key: address(key),
        value: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_DELETE_ELEM, &mut attr) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

#[repr(C)]
#[derive(FromZeros, IntoBytes, Immutable)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    elem_flags: u64,
    flags: u64,
}

/// Where a batched read goes on.
#[derive(Default)]
pub(super) struct Cursor {
    position: u64,
    started: bool,
}

/// Reads up to as many elements as `keys` and `values` have room for. Returns how many, and whether there is
/// more. `Err(ENOSPC)`: one hash bucket alone needs more room.
pub(super) fn lookup_batch(
    map: BorrowedFd<'_>,
    cursor: &mut Cursor,
    (keys, key_size): (&mut [u8], usize),
    (values, value_size): (&mut [u8], usize),
) -> io::Result<(usize, bool)> {
    let room = (keys.len() / key_size).min(values.len() / value_size);
    let mut next = cursor.position;
    let mut attr = BatchAttr {
        in_batch: if cursor.started {
            address(&raw const cursor.position)
        } else {
            0
        },
        out_batch: address(&raw mut next),
        keys: address(keys.as_mut_ptr()),
        values: address(values.as_mut_ptr()),
        count: u32::try_from(room).unwrap_or(u32::MAX),
        map: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    let more = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => true,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => false,
        Err(error) => return Err(error),
    };
    cursor.started = true;
    cursor.position = next;
    Ok(((attr.count as usize).min(room), more))
}

#[repr(C)]
#[derive(FromZeros, IntoBytes, Immutable)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// Loads a uprobe program for multi links. `instructions` are those of `struct bpf_insn`, 8 bytes each.
pub(super) fn load_multi_uprobe(name: &str, instructions: &[u8], license: &CStr) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    for (to, from) in prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let mut log = vec![0u8; LOG_BYTES as usize];
    let mut attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_KPROBE,
        insn_cnt: u32::try_from(instructions.len() / 8).unwrap_or(u32::MAX),
        insns: address(instructions),
        license: address(license.as_ptr()),
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI,
    };
    let fd = match bpf(BPF_PROG_LOAD, &mut attr) {
        Ok(fd) => fd,
        Err(error) => {
            // Once more, with the verifier's last words.
            attr.log_level = 1;
            attr.log_size = LOG_BYTES;
            attr.log_buf = address(log.as_mut_ptr());
            match bpf(BPF_PROG_LOAD, &mut attr) {
                Ok(fd) => fd,
                Err(_) => {
                    let text = String::from_utf8_lossy(&log);
                    let last = text.trim_end_matches('\0').trim_end().lines().rev().take(8);
                    let last: Vec<_> = last.collect::<Vec<_>>().into_iter().rev().collect();
                    return Err(io::Error::new(
                        error.kind(),
                        format!("{error}: {}", last.join(" | ")),
                    ));
                }
            }
        }
    };
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[repr(C)]
#[derive(FromZeros, IntoBytes, Immutable)]
struct MultiLinkAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    cnt: u32,
    multi_flags: u32,
    pid: u32,
    pad: u32,
}

/// Attaches a program at many offsets of one file, with a cookie each, in every process that maps it.
pub(super) fn link_multi_uprobe(
    program: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    let mut attr = MultiLinkAttr {
        prog_fd: program.as_raw_fd().cast_unsigned(),
        target_fd: 0,
        attach_type: BPF_TRACE_UPROBE_MULTI,
        flags: 0,
        path: address(path.as_ptr()),
        offsets: address(offsets),
        ref_ctr_offsets: 0,
        cookies: address(cookies),
        cnt: u32::try_from(offsets.len().min(cookies.len())).unwrap_or(u32::MAX),
        multi_flags: 0,
        pid: 0,
        pad: 0,
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether the kernel has multi links for uprobes (6.6). Older kernels may load the program and refuse the link:
/// one on a directory is refused as such (`EBADF`) only by a kernel that knows the link.
pub(super) fn has_multi_uprobe(program: BorrowedFd<'_>) -> bool {
    matches!(link_multi_uprobe(program, c"/", &[0], &[0]), Err(error) if error.raw_os_error() == Some(libc::EBADF))
}

#[repr(C)]
#[derive(FromZeros, IntoBytes, Immutable)]
struct StatsAttr {
    kind: u32,
}

/// Turns the kernel's run-time statistics of programs on, for as long as the descriptor is open (5.8).
pub(super) fn enable_stats() -> io::Result<OwnedFd> {
    let fd = bpf(BPF_ENABLE_STATS, &mut StatsAttr { kind: 0 })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The machine form of instructions: `struct bpf_insn` as it lies in memory.
pub(super) fn instruction_bytes(instructions: &[aya_obj::generated::bpf_insn]) -> Vec<u8> {
    // SAFETY: `bpf_insn` is `repr(C)`, 8 bytes, of integers only and without padding.
    let bytes =
        unsafe { std::slice::from_raw_parts(instructions.as_ptr().cast::<u8>(), size_of_val(instructions)) };
    bytes.to_vec()
}
