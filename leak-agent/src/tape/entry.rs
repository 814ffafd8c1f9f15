//! What a tape holds, one by one.

use super::rows::{self, Row};
use super::varint::{put, take};
use crate::detect::Facts;
use crate::engine::{Engine, Input, Totals};
use crate::report::AgentFacts;
use crate::types::BootTime;
use serde::{Deserialize, Serialize};

/// What a tape begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the agent that made it.
    pub agent: String,
    /// How threads were followed, for people.
    pub evidence: String,
    /// Processes that were followed at most.
    pub max_processes: u64,
}

/// One of the things that happened.
#[derive(Debug)]
pub enum Entry {
    /// Something reached the engine.
    Input(Input),
    /// A report was made.
    Tick {
        /// Of the engine's state at this moment.
        at: BootTime,
        /// And of what the agent said of itself.
        facts: Box<AgentFacts>,
        /// And of what the detectors were told besides.
        told: Facts,
    },
    /// All that the engine knows: the first entry of a file that goes on with another.
    State(Box<Engine>),
}

const INPUT: u8 = 1;
const TOTALS: u8 = 2;
const TICK: u8 = 3;
const STATE: u8 = 4;

/// The body of a tick.
#[derive(Serialize)]
struct TickRef<'a> {
    at: BootTime,
    facts: &'a AgentFacts,
    told: &'a Facts,
}

/// The same, as it is read.
#[derive(Deserialize)]
struct TickBody {
    at: BootTime,
    facts: Box<AgentFacts>,
    #[serde(default)]
    told: Facts,
}

/// Why an entry cannot be written or read: what does not fit, as half a sentence.
pub(super) type Misfit = String;

/// Writes entries. Remembers the rows that the next ones are changes of.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    rows: Vec<Row>,
}

impl Encoder {
    /// An input, with its kind before it.
    pub(super) fn input(&mut self, input: &Input) -> Result<Vec<u8>, Misfit> {
        let Input::Totals(totals) = input else {
            return packed(INPUT, input);
        };
        let Totals {
            rows,
            lost_counts,
            at,
        } = totals;
        let mut body = vec![TOTALS];
        put(&mut body, *lost_counts);
        put(&mut body, at.0);
        rows::write(&self.rows, rows, &mut body);
        self.rows.clone_from(rows);
        Ok(body)
    }

    /// A tick.
    pub(super) fn tick(at: BootTime, facts: &AgentFacts, told: &Facts) -> Result<Vec<u8>, Misfit> {
        packed(TICK, &TickRef { at, facts, told })
    }

    /// The engine's state. What follows is written as if nothing had been before.
    pub(super) fn state(&mut self, engine: &Engine) -> Result<Vec<u8>, Misfit> {
        self.rows.clear();
        packed(STATE, engine)
    }
}

fn packed(kind: u8, body: &impl Serialize) -> Result<Vec<u8>, Misfit> {
    let mut out = vec![kind];
    rmp_serde::encode::write_named(&mut out, body).map_err(|error| error.to_string())?;
    Ok(out)
}

pub(super) fn pack_header(header: &Header) -> Result<Vec<u8>, Misfit> {
    rmp_serde::to_vec_named(header).map_err(|error| error.to_string())
}

pub(super) fn unpack_header(body: &[u8]) -> Result<Header, Misfit> {
    rmp_serde::from_slice(body).map_err(|error| error.to_string())
}

/// Reads entries.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    rows: Vec<Row>,
}

impl Decoder {
    /// What an [`Encoder`] has written.
    pub(super) fn entry(&mut self, entry: &[u8]) -> Result<Entry, Misfit> {
        let Some((kind, mut body)) = entry.split_first() else {
            return Err("an entry is empty".to_owned());
        };
        match *kind {
            INPUT => Ok(Entry::Input(unpacked(body)?)),
            TOTALS => {
                let misfit = || "the rows of a tick do not fit those before".to_owned();
                let lost_counts = take(&mut body).ok_or_else(misfit)?;
                let at = BootTime(take(&mut body).ok_or_else(misfit)?);
                let rows = rows::read(&self.rows, body).ok_or_else(misfit)?;
                self.rows.clone_from(&rows);
                Ok(Entry::Input(Input::Totals(Totals {
                    rows,
                    lost_counts,
                    at,
                })))
            }
            TICK => {
                let TickBody { at, facts, told } = unpacked(body)?;
                Ok(Entry::Tick { at, facts, told })
            }
            STATE => {
                self.rows.clear();
                Ok(Entry::State(Box::new(unpacked(body)?)))
            }
            other => Err(format!("an entry is of the unknown kind {other}")),
        }
    }
}

fn unpacked<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Misfit> {
    rmp_serde::from_slice(body).map_err(|error| error.to_string())
}
