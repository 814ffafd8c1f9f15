//! Creation stacks: which code asked for the tasks of a site.

use super::stacks::NamedStack;
use crate::elf::Elf;
use crate::stack::RawStack;
use crate::stack::bounded::Bounded;
use crate::types::Text;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Calls of a stack that are kept; those farther out are left out.
pub const FRAMES_MAX: usize = 24;
/// Different creation stacks that are shared by those who have the same.
const SHARED_MAX: usize = 8192;

/// A creation stack: calls, the innermost first, without what only carries the wish for a task. Shared: all processes of
/// an executable have the same few.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<CodeFrame>", into = "Vec<CodeFrame>")]
pub struct Creation(Arc<[CodeFrame]>);

impl std::ops::Deref for Creation {
    type Target = [CodeFrame];

    fn deref(&self) -> &[CodeFrame] {
        &self.0
    }
}

impl From<Vec<CodeFrame>> for Creation {
    fn from(frames: Vec<CodeFrame>) -> Self {
        Self(frames.into())
    }
}

impl From<Creation> for Vec<CodeFrame> {
    fn from(creation: Creation) -> Self {
        creation.to_vec()
    }
}

/// A call, as the source has it: an inlined function is a frame of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CodeFrame {
    /// The function; `None` = its file has no symbol for it.
    pub function: Option<Text>,
    /// The source file, as the executable says it; `None` = it does not say.
    pub file: Option<Text>,
    /// The line of the call; `None` = the executable does not say.
    pub line: Option<u32>,
    /// Its code was put into that of the next function outwards.
    pub inlined: bool,
    /// `<executable id>:<address>`, the address behind the call in the file's own numbering: stable between restarts.
    pub address: Text,
}

impl CodeFrame {
    /// A frame at an address. `location`: "src/conn.rs:88".
    #[must_use]
    pub fn new(function: Option<&str>, location: Option<&str>, inlined: bool, address: &str) -> Self {
        let place = location.map(|location| match location.rsplit_once(':') {
            Some((file, line)) => (file, line.parse().ok()),
            None => (location, None),
        });
        Self {
            function: function.map(Text::from),
            file: place.map(|(file, _)| Text::from(file)),
            line: place.and_then(|(_, line)| line),
            inlined,
            address: Text::from(address),
        }
    }
}

/// Reads the creation stacks of a runtime whose tasks have stacks of their own. Made with the plan of an executable.
pub trait CreationStacks: Send + Sync + fmt::Debug {
    /// The calls that led to a task of this site, the innermost first, at most [`FRAMES_MAX`]; with the file of the plan.
    /// `bias`: its load bias. Bounded and total: stack and file are other people's. `None` = it is not the stack of the
    /// task's creator.
    fn creation(&self, elf: &Elf<'_>, number: u64, bias: u64, stack: &RawStack) -> Option<Vec<CodeFrame>>;

    /// The stack of a thread from where it runs code of the runtime's language, which no unwind data describes: at most
    /// [`super::stacks::UNWOUND_MAX`] frames, all of them, inlined ones too. `called`: the instruction pointer is a return
    /// address. Bounded and total. `None` = there is no such code at the instruction pointer.
    fn unwind(&self, elf: &Elf<'_>, bias: u64, stack: &RawStack, called: bool) -> Option<NamedStack> {
        let _ = (elf, bias, stack, called);
        None
    }
}

/// Creation stacks that were seen before, so that equal ones are kept once.
#[derive(Debug)]
pub struct Shared(Bounded<Creation, ()>);

impl Default for Shared {
    fn default() -> Self {
        Self(Bounded::new(SHARED_MAX))
    }
}

impl Shared {
    /// The same stack, if it was seen before, else this one.
    pub fn of(&mut self, frames: Vec<CodeFrame>) -> Creation {
        let creation = Creation::from(frames);
        match self.0.key(&creation) {
            Some(known) => known.clone(),
            None => {
                self.0.insert(creation.clone(), ());
                creation
            }
        }
    }

    /// How many were dropped for want of room.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.0.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str) -> CodeFrame {
        CodeFrame::new(Some(function), Some("C:/src/a.rs:7"), false, "ab:0x10")
    }

    /// The last colon divides file and line; what has no line is a file.
    #[test]
    fn location_of_a_frame_is_taken_apart_at_its_line() {
        let of = |location| {
            let frame = CodeFrame::new(None, Some(location), true, "ab:0x10");
            (frame.file.map(String::from), frame.line)
        };
        assert_eq!(of("C:/src/a.rs:7"), (Some("C:/src/a.rs".to_owned()), Some(7)));
        assert_eq!(of("a.rs"), (Some("a.rs".to_owned()), None));
        assert_eq!(CodeFrame::new(None, None, true, "").file, None);
    }

    /// Equal stacks are one.
    #[test]
    fn equal_stacks_are_shared() {
        let mut shared = Shared::default();
        let first = shared.of(vec![frame("a"), frame("b")]);
        let second = shared.of(vec![frame("a"), frame("b")]);
        let other = shared.of(vec![frame("a")]);
        assert!(Arc::ptr_eq(&first.0, &second.0));
        assert!(!Arc::ptr_eq(&first.0, &other.0));
    }
}
