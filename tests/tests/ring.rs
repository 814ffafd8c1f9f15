//! A ring that nobody reads: what is counted goes on, and what does not fit is counted.

use leak_agent::bpf::Hook;
use leak_agent_common::counter::Counter;
use leak_agent_tests::hooked::{Hooked, limits};
use leak_agent_tests::{Target, privilege, programs};

/// Two workers spawn as fast as they can while the reader stands still: every spawn and finish is in the totals,
/// and in the ring or among the lost.
#[test]
fn ring_without_a_reader_loses_records_by_count_and_no_totals() {
    if !privilege::privileged() {
        return;
    }
    const TASKS: u64 = 200_000;
    let path = programs::tokio_probe();
    let mut hooked = Hooked::load(&path, &limits(4096, 1, Hook::Count));
    hooked.attach();
    let mut target = Target::start(&path);
    let truth = target.command(&format!("storm {TASKS}"));
    target.kill();
    let counted = hooked.counted();
    let lost = hooked.counter(Counter::LostStreamRecord);
    let (received, of_tasks) = hooked.drain();
    assert!(truth.spawned >= TASKS);
    // The worker threads' own blocking tasks are tokio's, not the program's.
    assert!(
        (truth.spawned..=truth.spawned + 2).contains(&counted.spawned),
        "{counted:?} {truth:?}"
    );
    assert!(
        (truth.finished..=counted.spawned).contains(&counted.finished),
        "{counted:?} {truth:?}"
    );
    assert!(lost > 0, "the ring was not too small");
    assert_eq!(of_tasks + lost, counted.spawned + counted.finished);
    assert_eq!(received, hooked.counter(Counter::RingRecords));
    for none in [
        Counter::LostCounts,
        Counter::FoldedSites,
        Counter::UnknownPoint,
        Counter::UnreadableHeader,
    ] {
        assert_eq!(hooked.counter(none), 0, "{}", none.label());
    }
}
