//! The books of a runtime whose layout is not known for certain: those of every layout that may be, of which the process itself
//! says which one it is.

use super::books::{GoBooks, Process};
use crate::elf::Elf;
use crate::source::books::{
    Books, BooksError, Budget, Candidates, Counters, Found, Listing, LiveTask, ProcessBooks, SiteCount,
    TaskDetail,
};
use crate::source::stacks::TaskStacks;
use crate::sys::memory::Memory;
use std::ops::Range;

/// What is said until some layout has proved itself.
const UNPROVEN: &str = "no layout of its runtime has proved itself";

/// How the books of one executable are read: one for each layout that may be.
#[derive(Clone, Debug)]
pub(super) struct Inferred(Vec<GoBooks>);

impl Inferred {
    pub(super) fn new(all: Vec<GoBooks>) -> Self {
        Self(all)
    }
}

impl Books for Inferred {
    fn open(&self, bias: u64) -> Box<dyn ProcessBooks> {
        let all = self.0.iter().map(|books| Process::new(books.clone(), bias));
        Box::new(Attempts {
            all: all.collect(),
            proven: None,
        })
    }

    fn has_unprobed(&self) -> bool {
        self.0.iter().any(Books::has_unprobed)
    }
}

/// The books of one process.
struct Attempts {
    /// One for each layout that may be.
    all: Vec<Process>,
    /// The one that proved itself.
    proven: Option<Process>,
}

impl ProcessBooks for Attempts {
    fn searches(&self) -> bool {
        false
    }

    fn find(
        &mut self,
        memory: &dyn Memory,
        ranges: &[Range<u64>],
        hints: &[u64],
        budget: &Budget,
    ) -> Result<Found, BooksError> {
        if let Some(proven) = &mut self.proven {
            return proven.find(memory, ranges, hints, budget);
        }
        let mut refused = None;
        let mut fitting: Vec<&Process> = Vec::new();
        for process in &mut self.all {
            let found = process.find(memory, ranges, hints, budget)?;
            if found.groups.is_empty() {
                refused = refused.or(found.refused.into_iter().next());
            } else {
                fitting.push(process);
            }
        }
        let mut found = Found {
            complete: true,
            ..Found::default()
        };
        let agreed = Process::agreed(&fitting);
        match (fitting.is_empty(), agreed) {
            (true, _) => {
                let why = refused.unwrap_or_else(|| "none is like it".to_owned());
                found.refused.push(format!("{UNPROVEN}: {why}"));
            }
            (false, None) => {
                found
                    .refused
                    .push(format!("{UNPROVEN}: several fit, and they differ"));
            }
            (false, Some(process)) => {
                let mut process = process;
                found = process.find(memory, ranges, hints, budget)?;
                self.proven = Some(process);
            }
        }
        Ok(found)
    }

    fn counters(&mut self, memory: &dyn Memory) -> Result<Vec<Counters>, BooksError> {
        match &mut self.proven {
            Some(proven) => proven.counters(memory),
            None => Ok(Vec::new()),
        }
    }

    fn list(&mut self, memory: &dyn Memory, limit: usize) -> Result<Listing, BooksError> {
        match &mut self.proven {
            Some(proven) => proven.list(memory, limit),
            None => Ok(Listing {
                blocking: Candidates {
                    complete: true,
                    ..Candidates::default()
                },
                refused: vec![UNPROVEN.to_owned()],
                ..Listing::default()
            }),
        }
    }

    fn details(
        &mut self,
        memory: &dyn Memory,
        tasks: &[LiveTask],
    ) -> Result<Vec<Option<TaskDetail>>, BooksError> {
        match &mut self.proven {
            Some(proven) => proven.details(memory, tasks),
            None => Ok(vec![None; tasks.len()]),
        }
    }

    fn stacks(
        &mut self,
        memory: &dyn Memory,
        elf: &Elf<'_>,
        limit: usize,
    ) -> Result<Option<TaskStacks>, BooksError> {
        let found = self.find(memory, &[], &[], &Budget::default())?;
        match &mut self.proven {
            Some(proven) => proven.stacks(memory, elf, limit),
            None => Ok(Some(TaskStacks {
                refused: found.refused,
                ..TaskStacks::default()
            })),
        }
    }

    fn unprobed(&mut self, memory: &dyn Memory) -> Result<Vec<SiteCount>, BooksError> {
        match &mut self.proven {
            Some(proven) => proven.unprobed(memory),
            None => Ok(Vec::new()),
        }
    }
}
