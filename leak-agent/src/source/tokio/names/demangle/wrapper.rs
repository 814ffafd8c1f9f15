//! Which task a function of tokio belongs to: the future type `T` and the scheduler type `S` in the names of
//! `Cell<T, S>`, `raw::poll::<T, S>`, `Harness<T, S>`, `Core<T, S>`, `Stage<T>` and their drop glue.

use super::text::{inside, split};

/// The types of a task, as a function's name states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskType<'text> {
    /// The future: `app::conn::serve::{{closure}}`.
    pub(crate) future: &'text str,
    /// The scheduler: `alloc::sync::Arc<tokio::task::local::Shared>`; `None` = the name does not say.
    pub(crate) scheduler: Option<&'text str>,
}

/// What precedes the type arguments in the names of functions that exist once per task type, and whether the
/// second argument is the scheduler. Checked against tokio 1.20 – 1.54.
const MARKS: [(&str, bool); 14] = [
    ("tokio::runtime::task::core::Cell<", true),
    ("tokio::runtime::task::core::Core<", true),
    ("tokio::runtime::task::core::CoreStage<", false),
    ("tokio::runtime::task::core::Stage<", false),
    ("tokio::runtime::task::harness::Harness<", true),
    ("tokio::runtime::task::harness::poll_future::<", true),
    ("tokio::runtime::task::harness::poll_future::Guard<", true),
    ("tokio::runtime::task::harness::cancel_task::<", true),
    ("tokio::runtime::task::raw::poll::<", true),
    ("tokio::runtime::task::raw::dealloc::<", true),
    ("tokio::runtime::task::raw::shutdown::<", true),
    ("tokio::runtime::task::raw::try_read_output::<", true),
    ("tokio::runtime::task::raw::drop_join_handle_slow::<", true),
    ("tokio::runtime::task::raw::schedule::<", true),
];

/// The task that the function with this demangled name works for; `None` when the name does not tell (legacy
/// names say `Harness<T,S>` in so many letters).
pub(crate) fn task_type(demangled: &str) -> Option<TaskType<'_>> {
    let (start, scheduled) = MARKS
        .iter()
        .filter_map(|&(mark, scheduled)| Some((demangled.find(mark)?.checked_add(mark.len())?, scheduled)))
        .min()?;
    let arguments = inside(demangled, start.checked_sub(1)?)?;
    let mut parts = split(arguments, b',').into_iter();
    let future = parts
        .next()
        .filter(|future| !future.is_empty() && *future != "T")?;
    let scheduler = parts.next().filter(|_| scheduled);
    Some(TaskType { future, scheduler })
}

/// Whether a future is that of a task on the blocking pool.
pub(crate) fn is_blocking(future: &str) -> bool {
    future.starts_with("tokio::runtime::blocking::task::BlockingTask<")
}

/// Whether a scheduler is that of a `LocalSet`.
pub(crate) fn is_local(scheduler: &str) -> bool {
    scheduler.contains("tokio::task::local::")
}
