//! The inspection of executables, as they are and as nobody should write them.

use super::Go;
use super::fixture::{FUNCTIONS, Parts, STEP, TEXT, entry};
use crate::elf::Elf;
use crate::source::{HookPlan, Inspection, PointSite, Role, Source as _};
use crate::types::{ExecutableId, Vaddr};
use proptest::prelude::*;

fn elf(data: &[u8]) -> Elf<'_> {
    Elf {
        data,
        id: ExecutableId::BuildId(vec![0xab; 8]),
        debug: None,
    }
}

fn planned(file: &[u8]) -> HookPlan {
    match Go.inspect(&elf(file)) {
        Inspection::Plan(plan) => *plan,
        other => panic!("no plan: {other:?}"),
    }
}

fn refused(parts: &Parts) -> String {
    match Go.inspect(&elf(&parts.file())) {
        Inspection::Unsupported { reason, .. } => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// The whole way: two points behind the stack checks, the version, books, and names of a site.
#[test]
fn executable_of_go_is_planned_and_its_sites_are_named() {
    let file = Parts::valid().file();
    let plan = planned(&file);
    assert_eq!(plan.version.as_deref(), Some("1.24.11"));
    let points: Vec<(u64, Role)> = plan
        .points
        .iter()
        .map(|point| (point.vaddr.0, point.role))
        .collect();
    assert_eq!(
        points,
        [(entry(1) + 6, Role::Spawn), (entry(2) + 6, Role::Finish)]
    );
    let base = Vaddr(TEXT);
    assert_eq!(
        plan.points[0].site,
        PointSite::Pair {
            base,
            field: 288,
            saved: (56, 104)
        }
    );
    assert!(plan.books.is_some());

    let names = plan.names.unwrap();
    let number = ((5 * STEP + 16) << 32) | (6 * STEP);
    let provisional = names.number_only(number).unwrap();
    let named = names.names(&elf(&file), &[number]);
    let [(same, info)] = named.as_slice() else {
        panic!("{named:?}");
    };
    assert_eq!(*same, number);
    assert_eq!((&info.id, info.system), (&provisional.id, false));
    assert_eq!(info.name, "main.work"); // what the compiler's wrapper calls
    assert_eq!(info.location.as_deref(), Some("main.go:12"));
    let creator = info
        .created_by
        .as_deref()
        .and_then(|calls| calls.first())
        .unwrap();
    assert_eq!(creator.function.as_deref(), Some("main.main"));
}

/// The runtime's own goroutines are told by the number alone, the main one is the user's.
#[test]
fn goroutine_of_the_runtime_is_system_before_it_is_named() {
    let names = planned(&Parts::valid().file()).names.unwrap();
    let of = |function: u64| names.number_only(((5 * STEP) << 32) | (function * STEP));
    assert!(of(4).unwrap().system);
    assert!(!of(0).unwrap().system);
    assert!(!of(7).unwrap().system);
    assert!(of(FUNCTIONS.len() as u64).is_none(), "behind the code");
}

/// A file that has the mark of Go and nothing else of it is nobody's: Go's own tools have it as data.
#[test]
fn mark_of_go_alone_is_not_mine() {
    let mut parts = Parts::valid();
    parts.table[0] = 0;
    assert!(matches!(Go.inspect(&elf(&parts.file())), Inspection::NotMine));
    parts = Parts::valid();
    parts.build_info[0] = 0;
    assert!(matches!(Go.inspect(&elf(&parts.file())), Inspection::NotMine));
}

/// What cannot be followed says why.
#[test]
fn executable_that_cannot_be_followed_says_why() {
    let changed = |change: fn(&mut Parts)| {
        let mut parts = Parts::valid();
        change(&mut parts);
        refused(&parts)
    };
    let version =
        |parts: &mut Parts, text: &[u8]| parts.build_info[33..33 + text.len()].copy_from_slice(text);
    let mut parts = Parts::valid();
    version(&mut parts, b"go1.20.11");
    let unlike = refused(&parts);
    assert!(
        unlike.contains("Go 1.20.11") && unlike.contains("not known"),
        "{unlike}"
    );
    version(&mut parts, b"go1.99.11");
    let unlike = refused(&parts);
    assert!(
        unlike.contains("Go 1.99.11") && unlike.contains("not known"),
        "{unlike}"
    );
    assert!(changed(|parts| parts.build_info[15] = 0).contains("older than 1.18"));
    assert!(changed(|parts| parts.module[0] = 0).contains("0 owners"));
    assert!(changed(|parts| parts.module.extend_from_within(..2)).contains("2 owners"));
    assert!(changed(|parts| parts.module[22] = 0).contains("not in the file"));
    // A name that is not what it was: obfuscated.
    assert!(changed(|parts| parts.table[72 + 13 + 8] = b'x').contains("runtime.newproc1"));
    // mov rax, rbx: the argument is overwritten before the first instruction that can carry a probe.
    let overwritten = changed(|parts| parts.code[0x40..0x43].copy_from_slice(&[0x48, 0x89, 0xd8]));
    assert!(overwritten.contains("begins otherwise"), "{overwritten}");
}

/// Build information that claims to be longer than the file.
#[test]
fn build_information_of_any_length_is_not_read_beyond_its_limit() {
    let mut parts = Parts::valid();
    parts.build_info.truncate(32);
    parts.build_info.extend([0x80, 0x80, 0x80, 0x30]); // 100 MB
    parts.build_info.resize(0x100, b'1');
    assert!(matches!(Go.inspect(&elf(&parts.file())), Inspection::NotMine));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is changed in the tables, there is an answer, and a plan's points are in the file.
    #[test]
    fn tables_that_lie_always_give_an_answer(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
        numbers in prop::collection::vec((0_u64..0x400, 0_u64..0x400), 4),
    ) {
        let mut parts = Parts::valid();
        for (index, value) in changes {
            let at = index.index(parts.table.len());
            parts.table[at] = value;
        }
        if let Some(cut) = cut {
            let length = cut.index(parts.table.len());
            parts.table.truncate(length);
        }
        let file = parts.file();
        if let Inspection::Plan(plan) = Go.inspect(&elf(&file)) {
            prop_assert!(plan.points.iter().all(|point| point.offset.0 < file.len() as u64));
            let numbers: Vec<u64> = numbers.iter().map(|(high, low)| (high << 32) | low).collect();
            let named = plan.names.unwrap().names(&elf(&file), &numbers);
            prop_assert!(named.len() <= numbers.len());
        }
    }
}
