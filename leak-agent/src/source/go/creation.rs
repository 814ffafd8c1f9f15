//! Creation stacks of goroutines: the stack of the goroutine that said `go`, unwound by the table of functions.

use super::module::Module;
use super::pclntab::Table;
use super::traceback::Traceback;
use super::unwind::{Ended, Unwinder};
use crate::elf::{Elf, Image};
use crate::source::NamedStack;
use crate::source::creation::{CodeFrame, CreationStacks, FRAMES_MAX};
use crate::stack::RawStack;

/// Frames of the runtime between the saved registers and the `go` statement: those that begin a goroutine.
const GLUE_MAX: usize = 3;

/// What is kept of a file to read the stacks of its goroutines.
#[derive(Debug)]
pub(super) struct GoStacks {
    pub(super) executable: String,
    pub(super) module: Module,
    /// How the table of functions marks wrappers.
    pub(super) wrapper: u8,
    /// The 24 of Go 1.24; 0 = not known.
    pub(super) minor: u32,
}

impl CreationStacks for GoStacks {
    fn creation(&self, elf: &Elf<'_>, number: u64, bias: u64, stack: &RawStack) -> Option<Vec<CodeFrame>> {
        let image = Image::parse(elf).ok()?;
        let table = self.module.open(&image)?;
        let statement = self.module.text.checked_add(number >> 32)?;
        let pcs = unwind(&table, bias, stack);
        // Elsewhere than behind the function that begins goroutines it is not the stack of the creator: the first goroutine
        // is made, and timers say `go`, on a thread's own stack.
        let from = pcs.iter().take(GLUE_MAX).position(|pc| *pc == statement)?;
        Some(calls(&table, &self.executable, pcs.get(from..)?))
    }

    fn unwind(&self, elf: &Elf<'_>, bias: u64, stack: &RawStack, called: bool) -> Option<NamedStack> {
        let image = Image::parse(elf).ok()?;
        let table = self.module.open(&image)?;
        let mut pcs = Vec::new();
        let ended = Unwinder::new(table, bias).walk((stack.ip, stack.sp), |at| stack.word(at), &mut pcs);
        let mut traceback = Traceback::new(table, &self.executable, self.wrapper, self.minor);
        (!pcs.is_empty()).then(|| NamedStack {
            frames: traceback.all(&pcs, called),
            complete: ended == Ended::Complete,
        })
    }
}

/// Code behind the calls on a stack, the innermost first, in the file's own numbering.
fn unwind(table: &Table<'_>, bias: u64, stack: &RawStack) -> Vec<u64> {
    let mut pcs = Vec::new();
    Unwinder::new(*table, bias).walk((stack.ip, stack.sp), |at| stack.word(at), &mut pcs);
    pcs
}

/// The calls before these addresses as the source has them, without the runtime's at the outer end.
pub(super) fn calls(table: &Table<'_>, executable: &str, pcs: &[u64]) -> Vec<CodeFrame> {
    let mut calls = Vec::new();
    for pc in pcs {
        let address = format!("{executable}:{pc:#x}");
        // The byte before a return address belongs to the call.
        let frames = table.frames(pc.saturating_sub(1));
        let outermost = frames.len().saturating_sub(1);
        calls.extend(frames.iter().enumerate().map(|(index, frame)| {
            let location = frame.location.as_deref();
            CodeFrame::new(Some(&frame.function), location, index < outermost, &address)
        }));
        if calls.len() > FRAMES_MAX {
            break;
        }
    }
    let is_glue = |frame: &CodeFrame| {
        frame
            .function
            .as_deref()
            .is_some_and(|name| name.starts_with("runtime."))
    };
    let own = calls.iter().rposition(|frame| !is_glue(frame));
    calls.truncate(own.map_or(1, |own| own + 1).min(FRAMES_MAX));
    calls
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Inspection;
    use crate::source::go::fixture::{STEP, entry, without_frames};
    use crate::source::go::plan;
    use crate::types::ExecutableId;

    const BIAS: u64 = 0x7000;
    /// `go` in main.main, of a wrapper.
    const NUMBER: u64 = ((5 * STEP + 16) << 32) | (6 * STEP);

    /// The calls that are read of a stack of these return addresses.
    fn read(callers: &[u64]) -> Option<Vec<CodeFrame>> {
        let file = without_frames();
        let elf = Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![0xab; 20]),
            debug: None,
        };
        let Inspection::Plan(plan) = plan::inspect(&elf) else {
            panic!("no plan");
        };
        let stack = RawStack {
            ip: entry(3) + BIAS,
            sp: 0x1000,
            bp: 0,
            start: 0x1000,
            bytes: callers
                .iter()
                .flat_map(|pc| pc.wrapping_add(BIAS).to_le_bytes())
                .collect(),
            cut: false,
        };
        plan.stacks.unwrap().creation(&elf, NUMBER, BIAS, &stack)
    }

    /// The calls begin with the `go` statement and end with the program's outermost function.
    #[test]
    fn stack_of_the_creator_begins_at_the_statement() {
        let statement = entry(5) + 16;
        let calls = read(&[entry(1) + 9, statement, entry(7) + 3, entry(0) + 1, 1]).unwrap();
        let told: Vec<_> = calls
            .iter()
            .map(|call| (call.function.as_deref(), call.line))
            .collect();
        assert_eq!(
            told,
            [(Some("main.main"), Some(12)), (Some("main.work"), Some(12))]
        );
        assert!(
            calls[0].address.ends_with(&format!(":{statement:#x}")),
            "{calls:?}"
        );
    }

    /// A stack without the statement near its end is another's; one that ends early, or never, is read as far as it goes.
    #[test]
    fn stack_of_another_is_refused_and_a_broken_one_ends() {
        let statement = entry(5) + 16;
        assert_eq!(read(&[entry(1) + 9, entry(7) + 3]), None);
        assert_eq!(read(&[entry(1), entry(1), entry(1), entry(1), statement]), None);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[statement]).unwrap().len(), 1);
        let endless: Vec<u64> = std::iter::once(statement).chain([entry(7) + 3; 1000]).collect();
        assert_eq!(read(&endless).unwrap().len(), FRAMES_MAX);
    }
}
