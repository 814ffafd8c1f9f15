//! How points are attached: one link for a file, or one per point where the kernel has no such links.

use leak_agent::bpf::{Hook, Limits};
use leak_agent_tests::hooked::{Hooked, limits};
use leak_agent_tests::{Target, privilege, programs};

/// A link per point counts what one link for all points counts.
#[test]
fn points_on_perf_links_count_every_task() {
    if !privilege::privileged() {
        return;
    }
    let path = programs::tokio_probe();
    let limits = Limits {
        perf_links: true,
        ..limits(1 << 20, 0, Hook::Count)
    };
    let mut hooked = Hooked::load(&path, &limits);
    assert!(!hooked.kernel.attacher.as_ref().unwrap().has_multi_links());
    hooked.attach();
    let mut target = Target::start(&path);
    let truth = target.command("multi 500");
    target.kill();
    let counted = hooked.counted();
    // The worker threads' own blocking tasks are tokio's, not the program's.
    assert!(
        (truth.spawned..=truth.spawned + 2).contains(&counted.spawned),
        "{counted:?} {truth:?}"
    );
    assert!(
        truth.finished >= 500 && counted.finished >= truth.finished,
        "{counted:?} {truth:?}"
    );
    hooked.detach();
}
