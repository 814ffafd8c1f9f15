//! The three programs.

use crate::{golang, programs};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Who plays a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Rust with tokio's tasks.
    Tokio,
    /// Go with its goroutines.
    Go,
    /// C with threads.
    C,
}

impl Language {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Tokio, Self::Go, Self::C];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Go => "Go",
            Self::C => "C",
        }
    }

    /// The runtime of its tasks, as reports call it.
    #[must_use]
    pub const fn runtime(self) -> &'static str {
        match self {
            Self::Tokio => "tokio",
            Self::Go => "go",
            Self::C => "thread",
        }
    }

    /// Its program; builds it if need be.
    #[must_use]
    pub fn program(self) -> PathBuf {
        match self {
            Self::Tokio => programs::corpus_tokio(),
            Self::Go => golang::corpus(),
            Self::C => programs::corpus_c(),
        }
    }

    /// Its program's copy in this folder: one that no other agent follows and no build replaces.
    #[must_use]
    pub fn copy_in(self, folder: &Path) -> PathBuf {
        folder.join(format!("corpus-{}", self.name()))
    }
}
