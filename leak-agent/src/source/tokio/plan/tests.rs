//! Plans of small executables made by hand, and of damaged ones.

use super::super::fixture;
use super::*;
use proptest::prelude::*;

fn planned(data: &[u8]) -> HookPlan {
    match inspect(&fixture::elf(data)) {
        Inspection::Plan(plan) => *plan,
        other => panic!("{other:?}"),
    }
}

/// Check that the one task type of the hand-made executable gets its two points, on emulated instructions.
#[test]
fn executable_with_one_task_type_gets_a_spawn_and_a_finish_point() {
    let plan = planned(&fixture::executable());
    assert_eq!(plan.version.as_deref(), Some("1.47.1"));
    assert_eq!(plan.gaps, []);
    let sites: Vec<u64> = plan.sites.iter().map(|site| site.number).collect();
    assert_eq!(sites, [fixture::DATA]);
    let points: Vec<_> = plan
        .points
        .iter()
        .map(|point| (point.vaddr.0, point.role, point.site, point.emulated))
        .collect();
    let header = PointSite::Header {
        reg: 7,
        derefs: 0,
        field: 0x10,
    };
    assert_eq!(
        points,
        [
            (fixture::FINISH, Role::Finish, header, true),
            (
                fixture::SPAWN,
                Role::Spawn,
                PointSite::Constant(fixture::DATA),
                true
            ),
        ]
    );
    assert_eq!(
        plan.points[0].offset.0,
        0x1000 + (fixture::FINISH - fixture::CODE)
    );
}

/// Check that a header built in the frame at fixed addresses is a spawn, though its place is read again later, as
/// the spill that it then is.
#[test]
fn header_built_in_a_frame_at_fixed_addresses_is_a_spawn() {
    let mut data = fixture::executable();
    let code = [
        0x48, 0xc7, 0x44, 0x24, 0x20, 0xcc, 0, 0, 0, // mov qword [rsp+0x20],0xcc
        0x48, 0xc7, 0x44, 0x24, 0x28, 0, 0, 0, 0, // mov qword [rsp+0x28],0
        0x48, 0xc7, 0x44, 0x24, 0x30, 0x00, 0x20, 0x40, 0x00, // mov qword [rsp+0x30],vtable
        0x90, // nop: the spawn point
        0x48, 0x8b, 0x44, 0x24, 0x30, // mov rax,[rsp+0x30]
        0x48, 0x8b, 0x00, // mov rax,[rax]
        0xc3, // ret
    ];
    data[0x1040..0x1040 + code.len()].copy_from_slice(&code);
    let plan = planned(&data);
    assert_eq!(plan.gaps, []);
    let mut spawns = plan.points.iter().filter(|point| point.role == Role::Spawn);
    assert_eq!(
        spawns.next().map(|point| point.vaddr.0),
        Some(fixture::CODE + 0x40 + 27)
    );
    assert_eq!(spawns.next(), None);
}

/// Check that unoptimised code without symbols, which flips the state by a call, finishes where that call is made.
#[test]
fn state_flipped_by_a_call_is_a_finish() {
    let mut data = fixture::executable();
    let poll = [
        0xbe, 3, 0, 0, 0, // mov esi,3
        0xba, 3, 0, 0, 0, // mov edx,3
        0xe8, 0x91, 0, 0, 0,    // call fetch_xor: the first emulated instruction
        0xc3, // ret
    ];
    let fetch_xor = [
        0x48, 0x8b, 0x07, // mov rax,[rdi]
        0x48, 0x89, 0xc1, // mov rcx,rax
        0x48, 0x31, 0xf1, // xor rcx,rsi
        0xf0, 0x48, 0x0f, 0xb1, 0x0f, // lock cmpxchg [rdi],rcx
        0x75, 0xf3, // jne fetch_xor+3
        0xc3, // ret
    ];
    data[0x1000..0x1020].fill(0xcc);
    data[0x1000..0x1000 + poll.len()].copy_from_slice(&poll);
    data[0x10a0..0x10a0 + fetch_xor.len()].copy_from_slice(&fetch_xor);
    let plan = planned(&data);
    assert_eq!(plan.gaps, []);
    let finishes: Vec<_> = plan
        .points
        .iter()
        .filter(|point| point.role == Role::Finish)
        .map(|point| (point.vaddr.0, point.site))
        .collect();
    let header = PointSite::Header {
        reg: 7,
        derefs: 0,
        field: 0x10,
    };
    assert_eq!(finishes, [(fixture::CODE + 10, header)]);

    // With the state of something else than a task's end it is none.
    data[0x1001] = 1;
    assert!(matches!(
        inspect(&fixture::elf(&data)),
        Inspection::Unsupported { .. }
    ));
}

/// Check that a type whose shutdown finishes nowhere is left out and named, not guessed.
#[test]
fn type_without_a_finish_in_shutdown_becomes_a_gap() {
    let mut data = fixture::executable();
    data[0x1020] = 0x90; // the call of poll in shutdown
    match inspect(&fixture::elf(&data)) {
        Inspection::Unsupported { reason, .. } => assert!(reason.contains("end of tasks"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// Check that a tokio before 1.10 is named and refused.
#[test]
fn tokio_before_1_10_is_unsupported_by_name() {
    let mut data = fixture::executable();
    let at = data.windows(6).position(|bytes| bytes == b"1.47.1").unwrap();
    data[at..at + 6].copy_from_slice(b"1.08.1");
    data[0x2038] = 1; // no vtable of 1.23 either
    match inspect(&fixture::elf(&data)) {
        Inspection::Unsupported { reason, .. } => assert!(reason.starts_with("tokio 1.8.1"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// Check that a file that does not mention tokio is not ours, whatever its words look like.
#[test]
fn file_that_never_says_tokio_is_not_mine() {
    let mut data = fixture::executable();
    let at = data.windows(5).position(|bytes| bytes == b"tokio").unwrap();
    data[at] = b'k';
    assert!(matches!(inspect(&fixture::elf(&data)), Inspection::NotMine));
}

proptest! {
    /// Check that arbitrary bytes are inspected without a panic.
    #[test]
    fn arbitrary_bytes_never_panic(data in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = inspect(&fixture::elf(&data));
    }

    /// Check that an executable cut off anywhere is inspected without a panic.
    #[test]
    fn truncated_executable_never_panics(cut in 0_usize..0x2100) {
        let mut data = fixture::executable();
        data.truncate(cut);
        let _ = inspect(&fixture::elf(&data));
    }

    /// Check that an executable with some bytes of headers, code or data changed is inspected without a panic,
    /// and that a plan for it stays within the file.
    #[test]
    fn damaged_executable_never_panics(
        headers in proptest::collection::vec((0_usize..0xc0, any::<u8>()), 0..4),
        content in proptest::collection::vec((0x1000_usize..0x2100, any::<u8>()), 0..32),
    ) {
        let mut data = fixture::executable();
        for (at, byte) in headers.into_iter().chain(content) {
            if let Some(old) = data.get_mut(at) {
                *old = byte;
            }
        }
        if let Inspection::Plan(plan) = inspect(&fixture::elf(&data)) {
            for point in &plan.points {
                prop_assert!(point.offset.0 < data.len() as u64);
            }
        }
    }
}
