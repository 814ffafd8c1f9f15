//! What discovery took in, and what it dropped, by reason.

/// Declares the counters once: field, name and meaning stay together.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since the start. All only grow.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Name and value of each.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Processes that were taken up: by notice, scan or key.
    processes_seen,
    /// Processes that turned out not to be wanted (filter, kernel threads).
    processes_not_wanted,
    /// Ended before anybody had looked at them.
    vanished_before_look,
    /// Ended while one of their executables was not inspected yet.
    vanished_before_inspection,
    /// Ended while a plan for one of their executables was not attached yet: their tasks were missed.
    missed_short_lived,
    /// Ended, and a scan came before the notice, if there was one.
    exits_unnoticed,
    /// Refused: too many processes are followed.
    refused_too_many_processes,
    /// Refused: too many files are attached.
    refused_too_many_attachments,
    /// `/proc` did not tell about a process (no right, or an unknown format).
    refused_unreadable_process,
    /// Executed files that could not be opened.
    refused_unreachable_file,
    /// Executed files, or mappings, beyond the cap of one process; pinned files beyond theirs.
    refused_beyond_cap,
    /// Executables that a source knows as its own but cannot follow, or that are too large.
    refused_unsupported,
    /// Plans that could not be attached.
    refused_attach_failed,
    /// Inspections that panicked: a defect of ours.
    inspection_panics,
    /// Jobs that panicked outside of an inspection: a defect of ours.
    job_panics,
    /// Looks at a process that were made.
    looks,
    /// Looks that found nothing changed.
    looks_unchanged,
    /// Repeated looks that were put off because the budget was used up.
    looks_put_off,
    /// Scans of `/proc`.
    scans,
    /// Scans that failed.
    scans_failed,
    /// Executed files whose answer was in the cache.
    cache_hits,
    /// Executed files that had to be inspected.
    cache_misses,
    /// Answers that were dropped from the full cache.
    cache_evictions,
    /// Inspections that ended with an answer.
    inspections,
    /// Inspections that took names from a separate debug file.
    debug_files_used,
    /// Separate debug files that do not belong to their executable, or are too large.
    debug_files_refused,
    /// Inspections that were put off because too many wait; done later.
    inspections_put_off,
    /// Inspections without an answer: the file was being written to. Done later.
    inspections_file_changed,
    /// Inspections without an answer: the file could not be read. Done later.
    inspections_unreadable,
    /// Jobs that the pool did not take. Done later.
    jobs_rejected,
    /// Patterns that name no file ahead of its time.
    pins_refused,
}
