//! leak-agent's BPF programs: exact counts in maps, a ring buffer for what is rare.
//!
//! An outer program of two lines, an inner function whose error is the counter to bump. Hot paths never
//! log. Map and program names have at most 15 characters, so that `bpftool` shows them whole.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features)] // the BPF target has no `AtomicU32` and no `fetch_add`; the intrinsics work
#![allow(clippy::needless_borrows_for_generic_args)] // a key by value is copied onto a stack of 512 bytes

mod atomic;
mod count;
mod kernel;
mod maps;
mod probes;
mod ring;
mod settings;
mod stack;
mod walk;

/// The verifier rejects a reachable endless loop, so a panic that could happen does not load.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Needed by the kernel: some helpers are GPL-only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
