//! Discovery: which processes are followed, and which plans are attached to which files for them.
//!
//! ```text
//!  Notice ──► process ──► look ──────► executable ──► inspection ──► attachment ──► followed process
//!  (ring,     (pid and    (comm, exe,  (FileKey:      (Verdict:      (per file      (Action::Follow)
//!   scan,      start       executed     cached, the    plans, or      and runtime,
//!   totals)    time)       files)       negative too)  why not)       shared)
//!                │            ▲  │           │            ▲   │            ▲
//!  Discovery  ───┴── Job ─────┼──┼───────────┴── Job ─────┼───┘            │
//!  (no I/O)                   │  ▼ Done                   │   ▼ Done       │ Discovery::attached
//!  Pool (threads)        [ prompt lane ]           [ patient lane ]   caller (bpf)
//! ```
//!
//! [`Discovery`] is a state machine: notices, answers and time go in, [`Action`]s come out. It reads no clock and no file.
//! What blocks is done by [`Job`]s on the [`Pool`]. The caller's loop:
//!
//! ```text
//! discovery.notice(..) | discovery.done(..) | discovery.tick(now)
//! while let Some(action) = discovery.next_action() {
//!     match action {
//!         Action::Run(job)      => if let Err(job) = pool.submit(job) { discovery.rejected(job, now) }
//!         Action::Attach { .. } => { attach it; discovery.attached(&attachment, result, now) }
//!         ..                    => tell the engine, or detach
//!     }
//! }
//! wait until discovery.next_wake(), an answer of the pool, or a record of the ring
//! ```
//!
//! Decisions:
//!
//! - Plans, answers and attachments go by **file** ([`FileKey`]), because a probe sits on an inode and a plan is made of its bytes.
//!   The build id only names the executable: two files may share it (a stripped twin).
//! - Containers that share an image layer share the file: on overlayfs the key is what is behind it (kernel 6.6, and a layer whose
//!   file system has a UUID). Elsewhere each container's copy is attached by itself; a hit then runs the programs of each, but a
//!   process is followed in its own only, so that counts stay right. Two layers on two copies of one file system, UUID included, would
//!   be taken for one.
//! - An attachment stays for a while after its last process ([`Settings::linger`]), so that short-lived processes one after the
//!   other, and a process that executes itself anew, are followed without a gap.
//! - Processes go by (pid, start time), never by pid. One that was found in `/proc` has its start time in clock ticks only; what is to
//!   be said of it is said when a notice or a row of totals brings the exact key. One that the totals do not have by their next
//!   reading is hidden from the kernel's task list: its threads are counted by looks, once a second ([`Uncounted`]).

mod action;
mod attach;
mod bias;
mod build_id;
mod counters;
mod executable;
mod filter;
mod identity;
mod inspect;
mod job;
mod look;
mod pin;
mod pool;
mod process;
mod state;

pub use action::{Action, AttachmentKey, Notice, Uncounted};
pub use bias::bias;
pub use build_id::build_id;
pub use counters::Counters;
pub use filter::Filter;
pub use identity::{FileKey, Place};
pub use inspect::INSPECT_BYTES_MAX;
pub use job::{Done, Job, Lane};
pub use look::FILES_MAX;
pub use pin::PINNED_MAX;
pub use pool::Pool;
pub use state::{Discovery, Settings, Sizes};

#[cfg(test)]
mod tests;
