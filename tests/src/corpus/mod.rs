//! The corpus: what leaks and what is only busy, as scenarios; three programs that play them, with real tasks, goroutines and
//! threads; one agent that watches all of them; and how well it judged.
//!
//! A scenario is data (`tests/corpus`). `timeline` makes a schedule of it, spawn by spawn, with chance; the programs
//! (`tests/programs/corpus-*`) do what the schedule says and tell when they began to leak, and `run` compares.

pub mod chance;
pub mod curve;
pub mod language;
pub mod play;
pub mod run;
pub mod scenario;
pub mod score;
pub mod table;
pub mod timeline;
pub mod told;
