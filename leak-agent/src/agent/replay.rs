//! The replay of tapes: the same line as in a living agent, fed by what was recorded.

use super::line::Line;
use crate::config::Policy;
use crate::report::Report;
use crate::tape::{Entry, Reader, TapeError};
use crate::types::BootTime;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

/// An event line that replays.
pub struct Replay {
    policy: Arc<Policy>,
    line: Option<Line>,
}

impl Replay {
    /// One that knows nothing yet, whose detectors have this policy.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { policy, line: None }
    }

    /// Replays a tape, or the next file of one, to its end. Gives each report to `each`, with its moment on the boot clock,
    /// until that has enough.
    ///
    /// # Errors
    ///
    /// The tape is damaged or cannot be read: after the reports that came before that.
    pub fn play<R: Read>(
        &mut self,
        tape: &mut Reader<R>,
        mut each: impl FnMut(BootTime, Report) -> ControlFlow<()>,
    ) -> Result<(), TapeError> {
        let header = tape.header();
        let evidence = super::EVIDENCES
            .into_iter()
            .find(|known| **known == header.evidence);
        let max_processes = u32::try_from(header.max_processes).unwrap_or(u32::MAX);
        let line = self
            .line
            .get_or_insert_with(|| Line::new(evidence.unwrap_or("a tape"), max_processes, &self.policy));
        while let Some(entry) = tape.entry()? {
            match entry {
                Entry::Input(input) => line.take(input),
                Entry::State(state) => line.restore(*state),
                Entry::Tick { at, facts, told } => {
                    let snapshot = line.snapshot(at);
                    let judgement = line.judge(&snapshot, told, &facts);
                    if each(at, line.report(&snapshot, &judgement, &facts)).is_break() {
                        return Ok(());
                    }
                    // The recorded agent has dealt with them.
                    let _ = (line.take_unnamed(), line.take_unknown(), line.take_garbage());
                }
            }
        }
        Ok(())
    }
}
