//! The compiled programs, inside the agent's own binary: a user needs no BPF toolchain.

/// The object that `cargo xtask build-ebpf` made.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/leak-agent.bpf.o");
