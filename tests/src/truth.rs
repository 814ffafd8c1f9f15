//! What a target program says about itself.

use serde::Deserialize;

/// One answer of a target program: its own counts, at a standstill.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Truth {
    /// Who says so.
    pub pid: u32,
    /// The command that this answers.
    pub phase: String,
    /// Tasks (threads without the main one) created since its image began.
    pub spawned: u64,
    /// Of them: ended.
    pub finished: u64,
    /// Of them: alive.
    pub live: u64,
    /// What tokio counts as alive: owned tasks on the program's present runtimes.
    #[serde(default)]
    pub alive: Option<u64>,
    /// Of `live`, and in no other number: goroutines of callbacks from C.
    #[serde(default)]
    pub callbacks: u64,
    /// The same by function.
    #[serde(default)]
    pub sites: Vec<TruthSite>,
    /// C program: threads created by `spawn_alpha`.
    #[serde(default)]
    pub alpha: u64,
    /// C program: threads created by `spawn_beta`.
    #[serde(default)]
    pub beta: u64,
}

/// The tasks of one function.
#[derive(Clone, Debug, Deserialize)]
pub struct TruthSite {
    /// Path of the function without its crate: "app::conn::serve".
    pub name: String,
    /// "async", "local", "blocking", "thread".
    pub kind: String,
    /// Created.
    pub spawned: u64,
    /// Ended.
    pub finished: u64,
    /// Alive.
    pub live: u64,
}

/// Spawned and finished since some moment, and alive now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Created since.
    pub spawned: u64,
    /// Ended since.
    pub finished: u64,
    /// Alive now.
    pub live: u64,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            spawned: self.spawned + other.spawned,
            finished: self.finished + other.finished,
            live: self.live + other.live,
        }
    }
}

impl Truth {
    /// All of it.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            spawned: self.spawned,
            finished: self.finished,
            live: self.live,
        }
    }

    /// What happened since `earlier`; `live` is that of now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Counts {
        Counts {
            spawned: self.spawned - earlier.spawned,
            finished: self.finished - earlier.finished,
            live: self.live,
        }
    }

    /// The tasks of one function; zero if there were none.
    #[must_use]
    pub fn site(&self, name: &str) -> Counts {
        self.sites
            .iter()
            .filter(|site| site.name == name)
            .fold(Counts::default(), |sum, site| {
                sum + Counts {
                    spawned: site.spawned,
                    finished: site.finished,
                    live: site.live,
                }
            })
    }
}
