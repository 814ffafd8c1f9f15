//! What the operator wants of discovery, and its caps.

use crate::discovery::filter::Filter;
use std::path::PathBuf;
use std::time::Duration;

/// What the operator wants, and the caps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is followed.
    pub filter: Filter,
    /// What `/` means in pinned paths: the host's root as the agent sees it (`/proc/1/root` in a container).
    pub host_root: PathBuf,
    /// Folders in which separate debug files may lie, next to the usual places.
    pub debug_dirs: Vec<PathBuf>,
    /// Processes that are followed at most.
    pub processes_max: usize,
    /// Executables of which an answer is kept.
    pub executables_max: usize,
    /// Executables that may wait for their inspection; each holds a descriptor.
    pub waiting_max: usize,
    /// Plans that may be attached at one time.
    pub attachments_max: usize,
    /// Repeated looks per second.
    pub looks_per_second: u32,
    /// How often `/proc` is scanned for what notices missed, and pins are looked up again.
    pub scan_every: Duration,
    /// How long a file stays attached after its last process: the next one is then followed from its first
    /// instruction, and a process that executes itself anew is not interrupted.
    pub linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            filter: Filter::everyone_else(),
            host_root: PathBuf::from("/"),
            debug_dirs: Vec::new(),
            processes_max: 8_192,
            executables_max: 8_192,
            waiting_max: 256,
            attachments_max: 512,
            looks_per_second: 200,
            scan_every: Duration::from_secs(30),
            linger: Duration::from_secs(30),
        }
    }
}
