//! All maps. Sizes are defaults: the loader sets the real ones.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use leak_agent_common::{
    key::{FrameKey, Library, LibraryKey, ProcessKey, SiteKey},
    point::{PlanState, Point},
    record::StackRecord,
    settings::STACK_CAP,
    slot::{SLOTS as SLOTS_PER_CPU, Slot},
    totals::SiteTotals,
};

/// Totals per site.
#[map(name = "SITES")]
pub(crate) static SITES: PerCpuHashMap<SiteKey, SiteTotals> = PerCpuHashMap::with_max_entries(16384, 0);

/// Further totals of hooked sites: a table of slots per CPU, one after the other.
#[map(name = "SLOTS")]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(SLOTS_PER_CPU, BPF_F_MMAPABLE);

/// Totals of the `~other` site of a process and runtime: used once `SITES` is full.
#[map(name = "OTHERS")]
pub(crate) static OTHERS: PerCpuHashMap<SiteKey, SiteTotals> = PerCpuHashMap::with_max_entries(4096, 0);

/// Budgets of a process; what falls out begins anew.
#[map(name = "BUDGETS")]
pub(crate) static BUDGETS: LruHashMap<ProcessKey, Budget> = LruHashMap::with_max_entries(8192, 0);

/// What is rare.
#[map(name = "RING")]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// [`leak_agent_common::counter::Counter`]s.
#[map(name = "COUNTERS")]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(64, 0);

/// Attach points; the cookie is the index.
#[map(name = "POINTS")]
pub(crate) static POINTS: Array<Point> = Array::with_max_entries(65536, 0);

/// Plans.
#[map(name = "PLANS")]
pub(crate) static PLANS: Array<PlanState> = Array::with_max_entries(4096, 0);

/// Places in libraries that create tasks on behalf of their callers.
#[map(name = "LIBRARIES")]
pub(crate) static LIBRARIES: HashMap<LibraryKey, Library> = HashMap::with_max_entries(8192, 0);

/// Learned frame sizes.
#[map(name = "FRAMES")]
pub(crate) static FRAMES: HashMap<FrameKey, u32> = HashMap::with_max_entries(32768, 0);

/// Word 0: 1 = the baseline walk is complete.
#[map(name = "SWITCHES")]
pub(crate) static SWITCHES: Array<u32> = Array::with_max_entries(1, 0);

/// Sequence numbers per CPU: 0 = tickets, 1 = stream.
#[map(name = "SEQUENCES")]
pub(crate) static SEQUENCES: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Hooked sites whose creation stack was sent. One that falls out may be sent again.
#[map(name = "TOLD")]
pub(crate) static TOLD: LruHashMap<SiteKey, u32> = LruHashMap::with_max_entries(16384, 0);

/// Where a stack record is put together.
#[map(name = "SCRATCH")]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// A stack record in the making.
#[repr(C)]
pub(crate) struct Scratch {
    /// 1 = in use.
    pub(crate) busy: u64,
    /// The record.
    pub(crate) record: StackRecord,
    /// Its bytes.
    pub(crate) bytes: [u8; STACK_CAP],
}

/// What a process may still use.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// The second (boot time) that `stacks` belongs to.
    pub(crate) second: u64,
    /// Stacks sent in that second: of threads, and of hooked sites. The counts of threads depend on the former, nothing on
    /// the latter.
    pub(crate) stacks: [u64; 2],
    /// Rows of totals created.
    pub(crate) rows: u64,
    /// Of callers.
    pub(crate) callers: u64,
}

/// What is known of a task from its birth (or from the baseline walk) to its exit.
#[repr(C)]
pub(crate) struct Birth {
    /// [`state`].
    pub(crate) state: u64,
    /// The site it was counted under.
    pub(crate) site: u64,
}

/// Life of a task, as counted.
pub(crate) mod state {
    /// Not counted.
    pub(crate) const UNKNOWN: u64 = 0;
    /// Counted as alive.
    pub(crate) const COUNTED: u64 = 1;
    /// Has passed its exit.
    pub(crate) const GONE: u64 = 2;
}

/// Task storage, which aya-ebpf has no type for: the fields are what the kernel's BTF map loader reads.
#[repr(C)]
pub(crate) struct TaskStorage {
    r#type: *const [i32; BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const Birth,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; 1], // BPF_F_NO_PREALLOC
}

// SAFETY: never dereferenced; the loader makes a map of it.
unsafe impl Sync for TaskStorage {}

/// [`Birth`] per task.
#[unsafe(link_section = ".maps")]
#[unsafe(export_name = "TASKS")]
pub(crate) static TASKS: TaskStorage = TaskStorage {
    r#type: core::ptr::null(),
    key: core::ptr::null(),
    value: core::ptr::null(),
    max_entries: core::ptr::null(),
    map_flags: core::ptr::null(),
};
