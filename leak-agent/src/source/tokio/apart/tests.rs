//! Two task types whose code shares the function that finishes.

use super::super::code::Budget;
use super::super::fixture::{self, CODE, DATA};
use super::super::scan::{Scan, Wanted};
use super::*;
use crate::elf::{Functions, Image, Pointers};
use crate::types::Vaddr;

/// `State::transition_to_complete`: the loop, and a return.
const COMPLETE: u64 = 0;
/// What the slots of the first and of the second vtable hold.
const FIRST: u64 = 0x30;
const SECOND: u64 = 0x50;
const SECOND_TABLE: u64 = DATA + 0x80;

/// The operand of a jump, a call or a `lea` that ends at the first address and means the second.
fn distance(from: u64, to: u64) -> [u8; 4] {
    *to.wrapping_sub(from).to_le_bytes().first_chunk().unwrap()
}

fn offset(at: u64) -> usize {
    usize::try_from(at).unwrap()
}

/// `push rbx; mov rbx,rdi; mov rdi,rbx; call complete; test al,8; je +1; nop; pop rbx; ret`
fn caller(at: u64) -> Vec<u8> {
    let mut code = vec![0x53, 0x48, 0x89, 0xfb, 0x48, 0x89, 0xdf, 0xe8];
    code.extend(distance(at + 12, COMPLETE));
    code.extend([0xa8, 8, 0x74, 1, 0x90, 0x5b, 0xc3]);
    code
}

/// The `je` behind the call.
fn behind_call(at: u64) -> u64 {
    CODE + at + 14
}

struct File {
    bytes: Vec<u8>,
    exported: Vec<u64>,
}

impl File {
    fn new() -> Self {
        let mut file = Self {
            bytes: fixture::executable(),
            exported: Vec::new(),
        };
        file.bytes[0x1000..0x1100].fill(0xcc);
        file.code(
            COMPLETE,
            &[
                0x48, 0x8b, 0x07, // mov rax,[rdi]
                0x48, 0x89, 0xc1, // mov rcx,rax
                0x48, 0x83, 0xf1, 0x03, // xor rcx,3
                0xf0, 0x48, 0x0f, 0xb1, 0x0f, // lock cmpxchg [rdi],rcx
                0x75, 0xf2, // jne
                0xa8, 0x01, // test al,1
                0x74, 0x01, // je +1
                0xc3, // ret
                0x0f, 0x0b, // ud2
            ],
        );
        file.code(FIRST, &caller(FIRST));
        file.code(SECOND, &caller(SECOND));
        file.table(DATA, FIRST);
        file.table(SECOND_TABLE, SECOND);
        file
    }

    fn code(&mut self, at: u64, code: &[u8]) {
        let at = 0x1000 + offset(at);
        self.bytes[at..at + code.len()].copy_from_slice(code);
    }

    /// Fills the seven slots of a vtable.
    fn table(&mut self, vaddr: u64, code: u64) {
        for slot in 0..7 {
            let at = 0x2000 + offset(vaddr - DATA) + 8 * slot;
            self.bytes[at..at + 8].copy_from_slice(&(CODE + code).to_le_bytes());
        }
    }

    /// The points, with `inside` for those of the function itself.
    fn points(&self) -> Vec<(u64, FinishSite)> {
        let elf = fixture::elf(&self.bytes);
        let image = Image::parse(&elf).unwrap();
        let pointers = Pointers::read(&image).unwrap();
        let functions = Functions::find(&image, &pointers);
        let scan = Scan::run(&image, &functions, &pointers, &Wanted::new(Vec::new()));
        let search = Search {
            image: &image,
            functions: &functions,
            pointers: &pointers,
            scan: &scan,
        };
        let vtables = [DATA, SECOND_TABLE].map(|vaddr| TaskVtable {
            vaddr: Vaddr(vaddr),
            slots: vec![Vaddr(0); 7],
            offsets: None,
        });
        let complete = u32::try_from(functions.starting(CODE + COMPLETE).unwrap()).unwrap();
        let inside = FinishPoint {
            vaddr: 1,
            site: FinishSite::Header(Register::RDI),
            emulated: true,
        };
        let finishers = BTreeMap::from([(complete, vec![inside])]);
        let mut budget = Budget::full();
        let mut points = points(&search, &vtables, Some(&self.exported), &finishers, &mut budget);
        points.sort_unstable();
        points.iter().map(|point| (point.vaddr, point.site)).collect()
    }

    fn assert_inside(&self, why: &str) {
        assert_eq!(self.points(), [(1, FinishSite::Header(Register::RDI))], "{why}");
    }
}

/// Check that each type's call is a point that stands for the type.
#[test]
fn calls_of_one_type_each_stand_for_the_type() {
    assert_eq!(
        File::new().points(),
        [
            (behind_call(FIRST), FinishSite::Constant(DATA)),
            (behind_call(SECOND), FinishSite::Constant(SECOND_TABLE)),
        ]
    );
}

/// Check that code which two types share reads the header where the call left its address.
#[test]
fn call_that_types_share_reads_the_header_from_the_register_that_is_kept() {
    let mut file = File::new();
    let shared = 0x70;
    file.code(shared, &caller(shared));
    for table in [0x2000, 0x2080] {
        file.bytes[table + 8..table + 16].copy_from_slice(&(CODE + shared).to_le_bytes());
    }
    assert_eq!(
        file.points(),
        [
            (behind_call(FIRST), FinishSite::Constant(DATA)),
            (behind_call(SECOND), FinishSite::Constant(SECOND_TABLE)),
            (behind_call(shared), FinishSite::Header(Register::RBX)),
        ]
    );
    file.code(shared + 4, &[0x90, 0x90, 0x90]); // no copy to rdi: where the header is, is not known
    file.assert_inside("a shared call without a known header");
}

/// Check that a function that another type may run by a pointer elsewhere is no type's own.
#[test]
fn caller_that_a_foreign_pointer_names_belongs_to_nobody() {
    let mut file = File::new();
    file.bytes[0x20f0..0x20f8].copy_from_slice(&(CODE + FIRST).to_le_bytes());
    assert_eq!(
        file.points(),
        [
            (behind_call(FIRST), FinishSite::Header(Register::RBX)),
            (behind_call(SECOND), FinishSite::Constant(SECOND_TABLE)),
        ]
    );
}

/// Check that the function itself is hooked where it may be entered otherwise than by the calls that are seen.
#[test]
fn function_that_may_be_entered_otherwise_is_hooked_itself() {
    let mut file = File::new();
    file.exported = vec![CODE + COMPLETE];
    file.assert_inside("exported");

    let mut file = File::new();
    file.bytes[0x20f0..0x20f8].copy_from_slice(&(CODE + COMPLETE).to_le_bytes());
    file.assert_inside("named by a pointer");

    let mut file = File::new();
    file.code(0x70, &[0x48, 0x8d, 0x05]); // lea rax,[rip+complete]
    file.code(0x73, &distance(0x77, COMPLETE));
    file.code(0x77, &[0xc3]);
    file.code(0x80, &[0xe8, 0xeb, 0xff, 0xff, 0xff, 0xc3]); // call of it, so that it is a function
    file.assert_inside("its address is loaded");

    let mut file = File::new();
    file.code(SECOND + 7, &[0xe9]); // the call becomes a jump
    file.assert_inside("a jump leads to it");
}

/// Check that a function which may return without a finish, or finish twice, is hooked itself.
#[test]
fn function_that_does_not_finish_once_is_hooked_itself() {
    let mut file = File::new();
    file.code(3, &[0xa8, 1, 0x74, 0x0e]); // test al,1; je to the last return
    file.code(
        7,
        &[
            0x48, 0x83, 0xf1, 0x03, 0xf0, 0x48, 0x0f, 0xb1, 0x0f, 0x75, 0xf5, 0x90, 0x90, 0xc3,
        ],
    );
    file.code(0x15, &[0xc3]);
    file.assert_inside("a way around the loop");

    let mut file = File::new();
    file.code(0x13, &[0x74, 0xec]); // je back to the beginning
    file.assert_inside("a way back into the loop");
}

/// Check that an instruction to which a jump leads behind the call is no point.
#[test]
fn jump_behind_the_call_spoils_the_point() {
    let mut file = File::new();
    let mut code = vec![0x74, 12]; // je behind the call
    code.extend(caller(SECOND + 2));
    file.code(SECOND, &code);
    file.assert_inside("a jump leads behind the call");
}
