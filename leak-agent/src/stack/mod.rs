//! Raw user stacks: which modules they run through, how they unwind, what their frames are called, and what
//! the kernel's walk has to learn to recognise them.

pub mod bounded;
pub mod debug_file;
pub mod headers;
pub mod learn;
pub mod maps;
pub mod module;
pub mod process;
pub mod raw;
pub mod symbolize;
pub mod table;
pub mod unwind;
pub mod walk;

pub use debug_file::DebugFiles;
pub use learn::{FrameLearner, Lesson, Reach};
pub use raw::RawStack;
pub use table::{ModuleCache, ModuleTable};
pub use unwind::{End, Frame, Unwound, unwind};
