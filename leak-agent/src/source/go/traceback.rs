//! Which frames of a stack Go's own tracebacks show, and how: the rules of the runtime (`traceback.go`, the same from 1.19 to 1.27
//! but for what is said).

use super::pclntab::{Frame, Table};
use crate::source::creation::CodeFrame;
use std::collections::HashMap;
use std::rc::Rc;

/// Functions behind which the caller did not make a call: it was interrupted just there.
const INTERRUPTS: [&str; 3] = ["runtime.sigpanic", "runtime.asyncPreempt", "runtime.debugCall"];
/// Callees of wrappers that show the wrapper, too.
const SHOW_WRAPPERS: [&str; 3] = ["runtime.gopanic", "runtime.sigpanic", "runtime.panicwrap"];
/// Shown although the runtime keeps them to itself, from [`SHOWN_SINCE`] on.
const SHOWN: [&str; 2] = ["runtime.runFinalizers", "runtime.runCleanups"];
const SHOWN_SINCE: u32 = 25;

/// Names are cut here: those of instantiated generic functions and of vendored files may be long.
const TEXT_MAX: usize = 1024;
/// Addresses of which the frames are kept.
const KNOWN_MAX: usize = 1 << 16;

/// How stacks of one executable are shown.
pub(super) struct Traceback<'table> {
    table: Table<'table>,
    /// The executable's id.
    executable: &'table str,
    /// How the table marks what the compiler made to call something else.
    wrapper: u8,
    /// The 24 of Go 1.24; 0 = not known.
    minor: u32,
    /// Frames by address, the byte that is looked up.
    known: HashMap<u64, Rc<[Frame]>>,
}

impl<'table> Traceback<'table> {
    /// Of an executable with this id.
    pub(super) fn new(table: Table<'table>, executable: &'table str, wrapper: u8, minor: u32) -> Self {
        Self {
            table,
            executable,
            wrapper,
            minor,
            known: HashMap::new(),
        }
    }

    /// The frames that are shown of these addresses, the innermost first, in the file's own numbering. If that is none, all of
    /// them. `called`: the first is a return address, too, as it is where a goroutine gave up its thread.
    pub(super) fn frames(&mut self, pcs: &[u64], called: bool) -> Vec<CodeFrame> {
        let shown = self.told(pcs, called, false);
        if shown.is_empty() {
            self.all(pcs, called)
        } else {
            shown
        }
    }

    /// All frames of these addresses.
    pub(super) fn all(&mut self, pcs: &[u64], called: bool) -> Vec<CodeFrame> {
        self.told(pcs, called, true)
    }

    fn told(&mut self, pcs: &[u64], called: bool, all: bool) -> Vec<CodeFrame> {
        let mut told = Vec::new();
        let mut interrupted = !called;
        let mut callee = String::new();
        for pc in pcs {
            let Some(function) = self.table.function_of(*pc) else {
                continue;
            };
            // The byte before a return address belongs to the call; at its entry a function has not begun.
            let at = pc.saturating_sub(u64::from(!interrupted && *pc > function.entry));
            let address = format!("{}:{pc:#x}", self.executable);
            for frame in self.at(at).iter() {
                if all || self.shows(frame, told.is_empty(), &callee) {
                    told.push(code_frame(frame, &address));
                }
                callee.clone_from(&frame.function);
            }
            interrupted = INTERRUPTS.iter().any(|name| callee.starts_with(name));
        }
        told
    }

    fn at(&mut self, vaddr: u64) -> Rc<[Frame]> {
        if let Some(known) = self.known.get(&vaddr) {
            return Rc::clone(known);
        }
        let mut frames = self.table.frames(vaddr);
        for frame in &mut frames {
            cut(&mut frame.function);
            frame.location = frame.location.take().filter(|place| place.len() <= TEXT_MAX);
        }
        let frames: Rc<[Frame]> = frames.into();
        if self.known.len() < KNOWN_MAX {
            self.known.insert(vaddr, Rc::clone(&frames));
        }
        frames
    }

    /// `callee`: what this function called.
    fn shows(&self, frame: &Frame, first: bool, callee: &str) -> bool {
        let name = frame.function.as_str();
        if frame.kind == Some(self.wrapper) && !SHOW_WRAPPERS.contains(&callee) {
            return false;
        }
        if name == "runtime.gopanic" && !first {
            return true;
        }
        if self.minor >= SHOWN_SINCE && SHOWN.contains(&name) {
            return true;
        }
        match name.strip_prefix("runtime.") {
            Some(rest) => is_exported(rest),
            None => name.contains('.'),
        }
    }
}

fn cut(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(at);
    }
}

/// Whether a function of the runtime is one for everybody: `Gosched`, `(*Frames).Next`.
fn is_exported(name: &str) -> bool {
    let upper = |name: &str| name.starts_with(|first: char| first.is_ascii_uppercase());
    match name.rsplit_once('.') {
        Some((receiver, method)) => {
            let receiver = receiver
                .strip_prefix("(*")
                .and_then(|rest| rest.strip_suffix(')'))
                .unwrap_or(receiver);
            upper(receiver) && upper(method)
        }
        None => upper(name),
    }
}

fn code_frame(frame: &Frame, address: &str) -> CodeFrame {
    let name = match frame.function.as_str() {
        "runtime.gopanic" => "panic",
        name => name,
    };
    CodeFrame::new(Some(name), frame.location.as_deref(), frame.inlined, address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the runtime exports is shown, also methods of what it exports; nothing else of it.
    #[test]
    fn functions_of_the_runtime_are_shown_if_they_are_exported() {
        for name in ["Gosched", "(*Frames).Next", "Frames.Next"] {
            assert!(is_exported(name), "{name}");
        }
        for name in ["gopark", "(*mheap).Next", "(*Frames).next", "main.func1", ""] {
            assert!(!is_exported(name), "{name}");
        }
    }
}
