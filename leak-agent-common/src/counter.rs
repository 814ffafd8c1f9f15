//! Counters that the BPF programs keep: what came in, and what was dropped, by reason.

/// Declares the counters once: index, name and meaning stay together.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// A counter kept per CPU in the map `COUNTERS`, at this index.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl Counter {
            /// All counters, in the order of the map.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name used in metrics and in the report.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

counters! {
    /// A ring record was submitted.
    RingRecords = "ring_records",
    /// A process record did not fit into the ring.
    LostProcessRecord = "lost_process_record",
    /// A stack record did not fit into the ring.
    LostStackRecord = "lost_stack_record",
    /// A record of the full stream (one per spawn or finish, only on request) did not fit into the ring.
    LostStreamRecord = "lost_stream_record",
    /// A count went to the process's `~other` site because the map of totals was full.
    FoldedSites = "folded_sites",
    /// A count could be stored nowhere: the map of totals and the map of `~other` were both full.
    LostCounts = "lost_counts",
    /// Storage for a new thread could not be had: its end will not be counted as known.
    LostTaskStorage = "lost_task_storage",
    /// A creation stack was not sent because its process had used up its budget.
    StacksRateLimited = "stacks_rate_limited",
    /// A creation stack was not sent because the scratch buffer was in use.
    StackScratchBusy = "stack_scratch_busy",
    /// A probe hit carried a cookie that names no point.
    UnknownPoint = "unknown_point",
    /// A probe hit in a file whose plan is not armed (yet, or any more). Not a loss.
    UnarmedHits = "unarmed_hits",
    /// The task header could not be read at a finish: counted at the site `~other`.
    UnreadableHeader = "unreadable_header",
    /// The saved registers of a task that creates a task could not be read, or do not lead to its caller: its creation stack
    /// was not sent, or its creation not told apart.
    UnreadableCreator = "unreadable_creator",
    /// A thread ended that was alive before us and that the walk had not reached. Not a loss.
    UnknownThreadExits = "unknown_thread_exits",
}

const _: () = {
    let mut i = 0;
    while i < Counter::ALL.len() {
        assert!(Counter::ALL[i] as usize == i);
        i += 1;
    }
};
