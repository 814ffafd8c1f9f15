//! What was found out so far: a row is checked again when the agent or its program changed.

use crate::check::Outcome;
use crate::row::Row;
use leak_agent_tests::agent;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

/// One result.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// What was checked with what.
    key: String,
    #[serde(flatten)]
    outcome: Outcome,
}

/// All results, kept in a file.
#[derive(Debug)]
pub(crate) struct Results {
    path: PathBuf,
    /// Hash of the agent's bytes.
    agent: u64,
    rows: BTreeMap<String, Entry>,
}

impl Results {
    /// Those of earlier runs; none if there was none.
    pub(crate) fn load(path: &Path) -> Self {
        let rows = std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut hasher = DefaultHasher::new();
        std::fs::read(agent::binary()).unwrap().hash(&mut hasher);
        Self {
            path: path.to_owned(),
            agent: hasher.finish(),
            rows: rows.unwrap_or_default(),
        }
    }

    /// What is checked with what: the agent, and the program, whose file's name says what it was built from.
    pub(crate) fn key(&self, program: &Path) -> String {
        let program = program.file_name().unwrap().to_string_lossy();
        format!("{:016x} {program}", self.agent)
    }

    /// The result of a row with this agent and program.
    pub(crate) fn get(&self, row: Row, key: &str) -> Option<&Outcome> {
        let entry = self.rows.get(&row.name()).filter(|entry| entry.key == key)?;
        Some(&entry.outcome)
    }

    /// The newest result of a row.
    pub(crate) fn newest(&self, row: Row) -> Option<&Outcome> {
        self.rows.get(&row.name()).map(|entry| &entry.outcome)
    }

    /// Notes a result, in the file too.
    pub(crate) fn put(&mut self, row: Row, key: &str, outcome: Outcome) {
        let key = key.to_owned();
        self.rows.insert(row.name(), Entry { key, outcome });
        let part = self.path.with_extension("part");
        std::fs::write(&part, serde_json::to_vec_pretty(&self.rows).unwrap()).unwrap();
        std::fs::rename(part, &self.path).unwrap();
    }
}
