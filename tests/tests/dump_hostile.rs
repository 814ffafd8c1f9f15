//! Goroutines whose saved state and whose stacks were made to lie, while the process lives: a dump ends, soon, and tells of all
//! others.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness fails by panicking, with the reason

use leak_agent::source::books::LiveTask;
use leak_agent_tests::dumping::take_of;
use leak_agent_tests::gobooks::{inspected, reader};
use leak_agent_tests::golang::{Flavour, GoProbe};
use leak_agent_tests::{Target, privilege};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

const PARKED: u64 = 200;
/// Where a `g` of Go 1.27 has its stack's upper end, and where it goes on.
const HIGH: u64 = 8;
const SP: u64 = 56;
const PC: u64 = 64;

fn put(memory: &File, at: u64, word: u64) -> u64 {
    let mut before = [0; 8];
    memory.read_exact_at(&mut before, at).unwrap();
    memory.write_all_at(&word.to_le_bytes(), at).unwrap();
    u64::from_le_bytes(before)
}

/// A stack that is said to be all memory there is, a stack pointer at its very end, code that is none, and a stack whose words all
/// lead back to the same function.
#[test]
fn goroutine_that_lies_is_not_complete_and_costs_no_other() {
    if !privilege::privileged() {
        return;
    }
    let probe = GoProbe {
        version: "1.27.3",
        flavour: Flavour::PieStripped,
    };
    let path = probe.path();
    let mut target = Target::start(&path);
    target.command(&format!("park {PARKED}"));
    let plan = inspected(&std::fs::read(&path).unwrap()).unwrap();
    let mut reader = reader(&target, &path, &plan).unwrap();
    assert_eq!(reader.find().refused, [] as [String; 0]);
    let tasks = reader.list(usize::MAX).tasks;
    let parked = |task: &&LiveTask| task.waits_for == Some("chan receive");
    let victim = tasks.iter().rev().find(parked).unwrap();
    let stack = victim.stack.unwrap();
    let memory = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{}/mem", target.pid()))
        .unwrap();
    let g = victim.header;
    // The function it waits in, again and again.
    let cycle: Vec<(u64, u64)> = (0..(stack.high - stack.sp) / 8)
        .map(|word| (stack.sp + 8 * word, stack.pc))
        .collect();
    let lies: [(&str, Vec<(u64, u64)>); 7] = [
        ("a stack without end", vec![(g + HIGH, u64::MAX >> 17)]),
        ("a stack beyond all memory", vec![(g + HIGH, u64::MAX)]),
        ("at the end of its stack", vec![(g + SP, stack.high)]),
        ("below its stack", vec![(g + SP, 8)]),
        ("in no code", vec![(g + PC, 0x1000)]),
        ("in the kernel's code", vec![(g + PC, u64::MAX)]),
        ("a stack that leads back to itself", cycle),
    ];
    for (lie, words) in lies {
        let truth: Vec<(u64, u64)> = words
            .iter()
            .map(|(at, word)| (*at, put(&memory, *at, *word)))
            .collect();
        let dump = take_of(target.pid(), &["go"]).unwrap();
        for (at, word) in truth {
            put(&memory, at, word);
        }
        // The books may refuse it all, with the reason; never is the lie told as a whole stack.
        let whole: u64 = dump
            .groups
            .iter()
            .filter(|group| group.complete && group.site == "main.park")
            .map(|group| group.count)
            .sum();
        let harmless = lie.starts_with("a stack without") || lie.starts_with("a stack beyond");
        let refused = whole == 0 && !dump.notes.is_empty();
        assert!(
            whole == PARKED - 1 || refused || whole == PARKED && harmless,
            "{lie}: {whole} {:?}",
            dump.notes
        );
        let frames = dump.groups.iter().map(|group| group.frames.len()).max();
        assert!(frames.unwrap_or(0) <= 1024, "{lie}");
    }
    let dump = take_of(target.pid(), &["go"]).unwrap();
    assert_eq!(dump.groups[0].count, PARKED, "{:?}", dump.notes);
}
