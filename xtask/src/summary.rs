//! What ran and how it ended: every part is run, whatever became of the others.

use crate::command::step;
use anyhow::Result;
use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// How many checks ended which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) const PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    pub(crate) const FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };
    pub(crate) const SKIPPED: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 1,
    };
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed")?;
        if *skipped > 0 {
            write!(f, ", {skipped} skipped")?;
        }
        Ok(())
    }
}

/// Something failed, and the closing line has said so.
#[derive(Debug)]
pub(crate) struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("checks failed")
    }
}

impl std::error::Error for Failed {}

/// The parts that ran so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    parts: Vec<(String, Counts, Duration)>,
    remarks: Vec<String>,
}

impl Summary {
    /// Runs a part that counts for itself; an error counts as one failure.
    pub(crate) fn part(&mut self, name: &str, run: impl FnOnce() -> Result<Counts>) {
        step(name);
        let start = Instant::now();
        let counts = run().unwrap_or_else(|error| {
            println!("error: {name}: {error:#}");
            self.remarks.push(format!("{name}: {error:#}"));
            Counts::FAILED
        });
        self.parts.push((name.to_owned(), counts, start.elapsed()));
    }

    /// Runs a part that is one check.
    pub(crate) fn check(&mut self, name: &str, run: impl FnOnce() -> Result<()>) {
        self.part(name, || run().map(|()| Counts::PASSED));
    }

    /// Notes that a part did not run, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        step(&format!("{name}: skipped"));
        self.remark(format!("{name} was skipped: {why}"));
        self.parts
            .push((name.to_owned(), Counts::SKIPPED, Duration::ZERO));
    }

    /// Something a reader of the summary should know.
    pub(crate) fn remark(&mut self, text: String) {
        println!("note: {text}");
        self.remarks.push(text);
    }

    /// The sum over all parts.
    pub(crate) fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.parts.iter().for_each(|(_, counts, _)| total += *counts);
        total
    }

    /// Prints the table of parts and the closing line, which stays the last.
    ///
    /// # Errors
    ///
    /// [`Failed`], if anything failed.
    pub(crate) fn close(&self) -> Result<()> {
        self.print();
        let total = self.total();
        println!("{total}");
        if total.failed > 0 {
            return Err(Failed.into());
        }
        Ok(())
    }

    fn print(&self) {
        step("summary");
        for (name, counts, time) in &self.parts {
            let verdict = match counts {
                Counts { failed: 1.., .. } => "FAILED",
                Counts { passed: 0, .. } => "skipped",
                _ => "ok",
            };
            println!("    {verdict:<8}{name:<44}{counts} ({} s)", time.as_secs());
        }
        for remark in &self.remarks {
            println!("    note: {remark}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part that fails is counted, and the next one still runs.
    #[test]
    fn failing_part_is_counted_and_the_next_runs() {
        let mut summary = Summary::default();
        summary.check("bad", || anyhow::bail!("broken"));
        summary.check("good", || Ok(()));
        summary.skip("absent", "no tool");
        let expected = Counts {
            passed: 1,
            failed: 1,
            skipped: 1,
        };
        assert_eq!(summary.total(), expected);
    }
}
