//! Stacks of live tasks, as they are at one moment: what a source gives for a dump whose tasks have stacks of their own.

use super::books::LiveTask;
use super::creation::CodeFrame;
use crate::types::label::Label;

/// Frames of one stack that are unwound; what is farther out is left out, and the stack is not complete.
pub const UNWOUND_MAX: usize = 512;

/// The tasks of one runtime in one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStacks {
    /// One by one.
    pub tasks: Vec<StackedTask>,
    /// Their stacks, each once.
    pub stacks: Vec<NamedStack>,
    /// Live tasks beyond as many as were asked for.
    pub left_out: u64,
    /// What could not be read, as half sentences.
    pub refused: Vec<String>,
}

/// A task and its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackedTask {
    /// What its header says.
    pub task: LiveTask,
    /// What it does, in the runtime's own word: "waiting", "runnable".
    pub state: Label,
    /// Which of [`TaskStacks::stacks`] it has; `None` = it runs, or did not hold still while it was read.
    pub stack: Option<u32>,
}

/// A stack as the source has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedStack {
    /// The calls, the innermost first. What only carries the runtime's own work is left out where the runtime's own
    /// tracebacks leave it out.
    pub frames: Vec<CodeFrame>,
    /// It was unwound to the function that nothing has called.
    pub complete: bool,
}
