//! The corners of a task's life: every way to begin and to end.

use crate::app;
use crate::lab::{Lab, current_thread, multi_thread};
use crate::truth::{
    self, CHILD, CONSUME, DROPPER, EXPLODE, GRANDCHILD, HASH, IDLE, IN_PLACE, LAST_WORDS, LOCAL_IDLE, MEMBER,
    PARENT, RENDER, RESIDENT, SERVE, STUCK, TICK, WAIT,
};
use std::rc::Rc;
use std::sync::Arc;
#[cfg(not(feature = "without-join-set"))]
use tokio::task::JoinSet;
use tokio::task::LocalSet;

/// Every corner once, each `n` times; leaves tasks alive on several runtimes. Where a panic ends the program, no
/// task panics.
pub fn all(lab: &mut Lab, n: u64) {
    for command in [
        "multi",
        "park",
        "current",
        "local",
        "local-never",
        "joinset",
        "blocking",
        "abort",
        "panic",
        "handles",
        "nested",
        "in-place",
        "spawn-in-drop",
        "runtimes",
        "after-shutdown",
    ] {
        if cfg!(panic = "unwind") || command != "panic" {
            lab.run(command, n, 2);
        }
    }
}

/// On a current_thread runtime: `n` that end, two that stay.
pub fn current(lab: &mut Lab, n: u64) {
    let gate = Arc::clone(&lab.gate);
    lab.current().block_on(async move {
        let mut handles = Vec::new();
        for number in 0..n {
            handles.push(tokio::spawn(app::timer::tick(TICK.guard(), (number % 3) as u32)));
        }
        for _ in 0..2 {
            tokio::spawn(app::conn::idle(IDLE.guard(), Arc::clone(&gate)));
        }
        for handle in handles {
            let _ended = handle.await;
        }
    });
}

/// On a `LocalSet`: `n` that end, two that stay.
pub fn local(lab: &mut Lab, n: u64) {
    let gate = Arc::clone(&lab.gate);
    let set = lab.local.take().unwrap_or_default();
    set.block_on(lab.current(), async move {
        let page = Rc::new(n);
        let mut handles = Vec::new();
        for _ in 0..n {
            handles.push(tokio::task::spawn_local(app::local::render(
                RENDER.guard(),
                Rc::clone(&page),
            )));
        }
        for _ in 0..2 {
            tokio::task::spawn_local(app::local::idle(
                LOCAL_IDLE.guard(),
                Rc::clone(&page),
                Arc::clone(&gate),
            ));
        }
        for handle in handles {
            let _ended = handle.await;
        }
    });
    lab.local = Some(set);
}

/// Drops the `LocalSet` with what still lives on it.
pub fn local_drop(lab: &mut Lab) {
    lab.local = None;
}

/// A `LocalSet` that gets `n` tasks, never runs, and is dropped.
pub fn local_never_run(_lab: &mut Lab, n: u64) {
    let set = LocalSet::new();
    let page = Rc::new(n);
    for _ in 0..n {
        set.spawn_local(app::local::render(RENDER.guard(), Rc::clone(&page)));
    }
    drop(set);
}

/// A `JoinSet` whose even members are awaited and whose odd members are aborted by its drop.
#[cfg(not(feature = "without-join-set"))]
pub fn join_set(lab: &mut Lab, n: u64) {
    lab.multi().block_on(async {
        let mut set = JoinSet::new();
        for number in 0..n {
            set.spawn(app::queue::member(MEMBER.guard(), number));
        }
        for _ in 0..n.div_ceil(2) {
            let _ended = set.join_next().await;
        }
        drop(set);
    });
    MEMBER.settle(0);
}

/// The same by hand: tokio before 1.21 has no `JoinSet`.
#[cfg(feature = "without-join-set")]
pub fn join_set(lab: &mut Lab, n: u64) {
    lab.multi().block_on(async {
        let spawn = |number| tokio::spawn(app::queue::member(MEMBER.guard(), number));
        let members: Vec<_> = (0..n).map(spawn).collect();
        for (number, member) in members.into_iter().enumerate() {
            if number % 2 == 1 {
                member.abort();
            }
            let _ended = member.await;
        }
    });
    MEMBER.settle(0);
}

/// `n` closures on the blocking pool that end.
pub fn blocking(lab: &mut Lab, n: u64) {
    let handle = lab.multi().handle().clone();
    for seed in 0..n {
        app::heavy::hash(&handle, seed);
    }
    HASH.settle(0);
}

/// `n` closures on the blocking pool that stay.
pub fn blocking_park(lab: &mut Lab, n: u64) {
    let gate = Arc::clone(&lab.threads_gate);
    let handle = lab.multi().handle().clone();
    for _ in 0..n {
        app::heavy::wait(&handle, Arc::clone(&gate));
    }
    assert!(WAIT.spawned() >= n);
}

/// `n` tasks aborted by their handle; every second one before it was polled, as far as one can tell.
pub fn abort(lab: &mut Lab, n: u64) {
    let runtime = lab.multi();
    for number in 0..n {
        let handle = runtime.spawn(app::stuck::forever(STUCK.guard(), [number; 9]));
        if number % 2 == 0 {
            std::thread::yield_now();
        }
        handle.abort();
    }
    STUCK.settle(0);
}

/// `n` tasks that panic.
pub fn panic(lab: &mut Lab, n: u64) {
    let runtime = lab.multi();
    for number in 0..n {
        runtime.spawn(app::broken::explode(EXPLODE.guard(), number));
    }
    EXPLODE.settle(0);
}

/// `n` tasks that end while their handles are kept, until `handles-drop`.
pub fn handles(lab: &mut Lab, n: u64) {
    let handle = lab.multi().handle().clone();
    lab.handles
        .extend((0..n).map(|value| handle.spawn(app::queue::consume(CONSUME.guard(), value))));
    CONSUME.settle(0);
}

/// `n` tasks with a child and a grandchild each.
pub fn nested(lab: &mut Lab, n: u64) {
    let runtime = lab.multi();
    let before = GRANDCHILD.spawned();
    for _ in 0..n {
        runtime.spawn(app::nested::parent(PARENT.guard()));
    }
    PARENT.settle(0);
    CHILD.settle(0);
    GRANDCHILD.settle(0);
    assert_eq!(GRANDCHILD.spawned() - before, n);
}

/// `n` tasks that block in place.
pub fn in_place(lab: &mut Lab, n: u64) {
    let runtime = lab.multi();
    for _ in 0..n {
        runtime.spawn(app::heavy::in_place(IN_PLACE.guard()));
    }
    IN_PLACE.settle(0);
}

/// `n` aborted tasks, the drop of whose futures spawns another task.
pub fn spawn_in_drop(lab: &mut Lab, n: u64) {
    let runtime = lab.multi();
    let before = LAST_WORDS.spawned();
    for _ in 0..n {
        let spawner = app::nested::SpawnOnDrop(runtime.handle().clone());
        runtime
            .spawn(app::nested::dropper(DROPPER.guard(), spawner))
            .abort();
    }
    DROPPER.settle(0);
    while LAST_WORDS.spawned() - before < n {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    LAST_WORDS.settle(0);
}

/// `n` more runtimes, every second one of a single thread, with `m` live tasks each.
pub fn runtimes(lab: &mut Lab, n: u64, m: u64) {
    for number in 0..n {
        let runtime = if number % 2 == 0 {
            multi_thread(1)
        } else {
            current_thread()
        };
        for _ in 0..m {
            runtime.spawn(app::stuck::resident(RESIDENT.guard(), number));
        }
        lab.extra.push(runtime);
    }
}

/// Drops these runtimes with all that lives on them.
pub fn runtimes_drop(lab: &mut Lab) {
    lab.extra.clear();
    RESIDENT.settle(0);
}

/// `n` tasks spawned on a runtime that is already shut down: they end at once.
pub fn after_shutdown(n: u64) {
    let runtime = multi_thread(1);
    let handle = runtime.handle().clone();
    drop(runtime);
    for _ in 0..n {
        handle.spawn(app::conn::serve(SERVE.guard()));
    }
    SERVE.settle(0);
}

/// A child by `fork` alone, with a runtime of its own. It prints its truth and stays until it is killed or
/// this process ends.
pub fn fork(n: u64) {
    let parent = std::process::id();
    // SAFETY: fork takes no arguments; the child below uses no lock that another thread could hold, except
    // the allocator's, which glibc resets in the child.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork failed");
    if child != 0 {
        return;
    }
    // SAFETY: prctl(PR_SET_PDEATHSIG) takes plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    truth::reset();
    let mut lab = Lab::new();
    current(&mut lab, n);
    lab.print_truth("forked");
    // SAFETY: getppid takes no arguments.
    while unsafe { libc::getppid() }.unsigned_abs() == parent {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::process::exit(0);
}

/// `n` children by `fork` and `exec` of this program; see [`live_as_child`].
pub fn children(n: u64) {
    for number in 0..n {
        let path = std::env::current_exe().unwrap();
        let stdin = std::process::Stdio::null();
        let child = std::process::Command::new(path)
            .arg("child")
            .arg((number + 1).to_string())
            .stdin(stdin)
            .spawn();
        std::hint::black_box(child.unwrap());
    }
}

/// The life of such a child: 2 · `n` tasks that end and `n` that stay; then its truth, then nothing more
/// until its parent ends.
pub fn live_as_child(lab: &mut Lab, n: u64) -> ! {
    // SAFETY: prctl(PR_SET_PDEATHSIG) takes plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    lab.run("multi", n, 1);
    lab.run("park", n, 1);
    lab.print_truth("child");
    loop {
        std::thread::park();
    }
}

/// Replaces this program by itself: same process, new image, nothing alive.
pub fn exec() {
    use std::os::unix::process::CommandExt;
    let path = std::env::current_exe().unwrap();
    let error = std::process::Command::new(path).exec();
    panic!("exec: {error}");
}
