//! Which code of a Go executable starts the scheduler's threads: Go's own, or, where the file has a C part, the function of C that
//! the runtime calls for a thread through a variable.

use super::module::Module;
use super::pclntab::Table;
use crate::elf::{Elf, Function, Functions, Image, Pointers};
use crate::source::StackCode;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind};
use object::elf::EM_X86_64;
use std::collections::BTreeSet;

/// Where the runtime asks C for a thread: for the scheduler, and inside a C program for the runtime itself.
const ASKING: [&str; 2] = ["runtime.newm1", "_rt0_amd64_lib"];
/// What C calls the function that is asked.
const ASKED: &str = "x_cgo_thread_start";
/// Functions of C that the one asked goes on in, each left for the next.
const CHAIN_MAX: usize = 8;
/// Bytes of one function that are looked at.
const CODE_MAX: usize = 16 << 10;

/// Finds it; `None` = this is no Go executable.
pub(super) fn find(elf: &Elf<'_>) -> Option<StackCode> {
    let image = Image::parse(elf).ok()?;
    if image.machine() != EM_X86_64 {
        return None;
    }
    let module = Module::find(&image, 0).ok()?;
    let table = module.open(&image)?;
    let compiled = module.text..module.text_end;
    let functions = Functions::described(&image);
    let pointers = Pointers::read(&image).ok()?;
    let mut askers = Vec::new();
    for function in chain(&image, &functions, asked(&image, &table, &pointers, &compiled)) {
        askers.push((function.start..function.end, ASKED));
    }
    Some(StackCode {
        askers,
        compiled: Some(compiled),
    })
}

/// The functions of C that the runtime's variables lead to where it asks for a thread.
fn asked(
    image: &Image<'_>,
    table: &Table<'_>,
    pointers: &Pointers,
    compiled: &std::ops::Range<u64>,
) -> Vec<u64> {
    let asking = table.functions().filter(|function| {
        let is = |name: &str| table.is_named(*function, name.as_bytes());
        ASKING.iter().any(|name| is(name))
    });
    let mut found = BTreeSet::new();
    for function in asking {
        let Some(bytes) = code(image, function.entry, function.end) else {
            continue;
        };
        for instruction in Decoder::with_ip(64, bytes, function.entry, DecoderOptions::NONE) {
            if !instruction.is_ip_rel_memory_operand() {
                continue;
            }
            let variable = instruction.ip_rel_memory_address();
            let target = pointers.target(variable).or_else(|| image.u64_at(variable));
            found.extend(target.filter(|target| image.is_code(*target) && !compiled.contains(target)));
        }
    }
    found.into_iter().collect()
}

/// These functions, and those that they are left for by a jump.
fn chain(image: &Image<'_>, functions: &Functions, begin: Vec<u64>) -> Vec<Function> {
    let mut all: Vec<Function> = Vec::new();
    let mut next = begin;
    let mut seen = BTreeSet::new();
    while let Some(at) = next.pop() {
        if !seen.insert(at) {
            continue;
        }
        // Linkers leave the index of unwind tables out of files that need no other.
        let Some(function) = functions.containing(at).or_else(|| extent(image, at)) else {
            continue;
        };
        if all.contains(&function) {
            continue;
        }
        if all.len() >= CHAIN_MAX {
            break;
        }
        all.push(function);
        let Some(bytes) = code(image, function.start, function.end) else {
            continue;
        };
        for instruction in Decoder::with_ip(64, bytes, function.start, DecoderOptions::NONE) {
            let jumps = instruction.flow_control() == FlowControl::UnconditionalBranch;
            if jumps && instruction.op0_kind() == OpKind::NearBranch64 {
                next.push(instruction.near_branch64());
            }
        }
    }
    all
}

/// The function that begins here, as far as its code tells: up to where nothing goes on, or padding follows.
fn extent(image: &Image<'_>, start: u64) -> Option<Function> {
    let bytes = code(image, start, start.checked_add(CODE_MAX as u64)?)?;
    let (mut reached, mut end) = (start, start);
    for instruction in Decoder::with_ip(64, bytes, start, DecoderOptions::NONE) {
        let padding = instruction.is_invalid() || instruction.mnemonic() == Mnemonic::Nop;
        if padding && instruction.ip() >= reached {
            break;
        }
        end = instruction.next_ip();
        match instruction.flow_control() {
            FlowControl::ConditionalBranch if instruction.op0_kind() == OpKind::NearBranch64 => {
                reached = reached.max(instruction.near_branch64());
            }
            FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Return
            | FlowControl::Exception
            | FlowControl::Interrupt
                if end > reached =>
            {
                break;
            }
            _ => {}
        }
    }
    (end > start).then_some(Function { start, end })
}

fn code<'data>(image: &Image<'data>, start: u64, end: u64) -> Option<&'data [u8]> {
    let size = usize::try_from(end.checked_sub(start)?).ok()?.min(CODE_MAX);
    let bytes = image.bytes_from(start)?;
    Some(bytes.get(..size).unwrap_or(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::go::fixture::{FUNCTIONS, Parts, TEXT, entry};
    use crate::types::ExecutableId;

    /// Where Go's own code is, and that nothing outside of it asks C for threads in a program without C.
    #[test]
    fn code_of_a_go_program_without_c_is_all_there_is() {
        let file = Parts::valid().file();
        let elf = Elf {
            data: &file,
            id: ExecutableId::BuildId(vec![]),
            debug: None,
        };
        let code = find(&elf).unwrap();
        assert_eq!(code.compiled, Some(TEXT..entry(FUNCTIONS.len() as u64)));
        assert!(code.askers.is_empty() && !code.is_foreign(TEXT) && code.is_foreign(TEXT - 1));
        let elf = Elf {
            data: b"no file",
            ..elf
        };
        assert_eq!(find(&elf), None);
    }
}
