//! Somebody is told: findings of the reports become notifications, and these reach their receivers or wait for them.
//!
//! ```text
//!                    ┌─ per receiver ──────────────────────────────────────────────┐
//!  Report ─► Seen ───┼─► Ledger ─► Notification ─► Queue (disk) ─► Worker ─► Sender ┼─► webhook, Alertmanager, command
//!                    │      ▲                          │              │             │
//!                    │      └── told (disk)            └─ full: oldest dropped      └─► log
//!                    └──────────────────────────────────────────────┼──────────────┘
//!                                         AlertBooks ─► Report ◄─────┘
//! ```
//!
//! All of it runs on one thread of its own; the agent's loop never waits for it. It decides nothing about leaks: verdicts,
//! severities and suppressions are those of the report.

mod backoff;
mod books;
mod bucket;
#[cfg(test)]
mod fixture;
mod intake;
mod ledger;
mod notification;
mod queue;
mod render;
mod send;
mod service;
mod trial;
mod worker;

pub use books::AlertBooks;
pub use notification::{Alert, News, Notification, Rank, Status, VERSION};
pub use render::environment::PREFIX as HOOK_PREFIX;
pub use service::{AlertHandle, Alerts};
pub use trial::{Trial, trial};

use std::io;
use std::path::PathBuf;

/// Who sends: what notifications say of us.
const SENDER: &str = concat!("leak-agent ", env!("CARGO_PKG_VERSION"));

/// Why nobody can be told: said when the agent starts.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// A receiver cannot be told anything.
    #[error("receiver {receiver:?}")]
    Receiver {
        /// Its name.
        receiver: String,
        /// Why.
        source: Box<AlertError>,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is not what it must be.
    #[error("{} {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as half a sentence.
        reason: &'static str,
    },
    /// A URL is none that can be used. It is not repeated: it may hold a token.
    #[error("{0}")]
    Url(String),
    /// TLS cannot be used.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
    /// No thread could be started.
    #[error("cannot start the thread that tells receivers")]
    Thread(#[source] io::Error),
}
