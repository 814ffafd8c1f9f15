//! leak-agent: thread and task leaks, seen from outside.
//!
//! Lower levels never import higher ones (docs/ARCHITECTURE.md; a test checks it):
//! `types`, `event` < `config`, `sys`, `elf` < `source`, `stack` < `bpf`, `discovery`, `engine`, `detect` < `report`, `dump`
//! < `output`, `tape` < `agent` < `cli`.

pub mod agent;
pub mod bpf;
pub mod cli;
pub mod config;
pub mod detect;
pub mod discovery;
pub mod dump;
pub mod elf;
pub mod engine;
pub mod event;
pub mod output;
pub mod report;
pub mod source;
pub mod stack;
pub mod sys;
pub mod tape;
pub mod types;
