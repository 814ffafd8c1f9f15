//! The engine: pure state. Events and totals in, snapshots out; it reads no clock, file, map or thread.

pub mod snapshot;

pub use snapshot::Snapshot;
