//! The wire contract between the BPF programs and user space: map keys and values, ring records,
//! counters and load-time settings. One file per concept; everything is plain data of fixed size.
//!
//! Rules: fixed-width integers and arrays, explicit padding, no pointers, no enums on the wire (a kind
//! is a `u32`; an unknown one is counted by the reader, never fatal), size and offsets asserted here.
//! Decoding is safe code (zerocopy) and does not allocate.
#![no_std]

pub mod counter;
pub mod key;
pub mod point;
pub mod record;
pub mod settings;
pub mod slot;
pub mod thread;
pub mod totals;

/// Version of this contract. It is compiled into the BPF object (as [`settings::WIRE_VERSION_SYMBOL`])
/// and compared when the agent loads it, so that an object and an agent of different builds never meet.
pub const WIRE_VERSION: u32 = 4;
