//! Where fields of the runtime's structures are by the debug information of the executable itself: that of the very build, also of
//! a version that no table has.

use super::layout::Layout;
use crate::elf::{Image, Structures};

/// The compilation unit that has the types.
const UNIT: &[u8] = b"runtime";
const STRUCTURES: &[&str] = &[
    "runtime.g",
    "runtime.schedt",
    "runtime.p",
    "runtime.m",
    "runtime.sudog",
    "runtime.hchan",
    "runtime.moduledata",
];
/// Structures in structures.
const DEPTH: usize = 4;
/// None of the structures is larger.
const SIZE_MAX: u64 = 1 << 20;

/// The layout by debug information; `None` = the file has none, or not all that is needed. What is not in debug information is that
/// of `base`.
pub(super) fn layout(image: &Image<'_>, base: &Layout) -> Option<Layout> {
    let structures = Structures::read(image, UNIT, STRUCTURES, DEPTH)?;
    let at = |path: &[&str]| structures.offset(path).filter(|offset| *offset < SIZE_MAX);
    let place = |path: &[&str]| at(path).and_then(|offset| usize::try_from(offset).ok());
    let g = |field: &str| place(&["runtime.g", field]);
    let sched_g = place(&["runtime.g", "sched", "g"])?;
    let gopc = g("gopc")?;
    // What is taken for granted.
    let as_ever = place(&["runtime.g", "stack", "lo"])? == 0
        && place(&["runtime.g", "stack", "hi"])? == 8
        && place(&["runtime.g", "m"])? == super::goroutine::M
        && place(&["runtime.g", "sched", "sp"])? + 16 == sched_g
        && place(&["runtime.g", "sched", "pc"])? + 8 == sched_g
        && g("startpc")? == gopc + 16
        && g("syscallpc")? == g("syscallsp")? + 8
        && place(&["runtime.p", "id"])? == 0
        && place(&["runtime.p", "status"])? == 4
        && at(&["runtime.p", "goidcacheend"])? == at(&["runtime.p", "goidcache"])? + 8
        && place(&["runtime.sudog", "g"])? == 0
        && place(&["runtime.hchan", "qcount"])? == 0
        && place(&["runtime.hchan", "dataqsiz"])? == 8;
    if !as_ever {
        return None;
    }
    let free = |field: &[&str]| at(&[&["runtime.schedt", "gFree"], field].concat());
    let free = match free(&["n"]) {
        Some(all) => [Some(all), None],
        None => [Some(free(&["stack", "size"])?), Some(free(&["noStack", "size"])?)],
    };
    let of_processor = |field: &str| at(&["runtime.p", "gFree", field]);
    let channel = |path: &[&str]| place(&[&["runtime.sudog", "c"], path].concat());
    let layout = Layout {
        gofunc: at(&["runtime.moduledata", "gofunc"])?,
        sched_g,
        syscallsp: g("syscallsp")?,
        status: g("atomicstatus")?,
        goid: g("goid")?,
        waitsince: g("waitsince")?,
        waitreason: g("waitreason")?,
        lockedm: g("lockedm")?,
        parent: g("parentGoid"),
        gopc: u32::try_from(gopc).ok()?,
        waiting: g("waiting")?,
        labels: base.labels.and_then(|_| g("labels")),
        sleep_when: g("sleepWhen"),
        m_lockedg: at(&["runtime.m", "lockedg"])?,
        sudog_select: place(&["runtime.sudog", "isSelect"])?,
        sudog_link: place(&["runtime.sudog", "waitlink"])?,
        sudog_channel: channel(&["maybeTraceablePtr", "vu"]).or_else(|| channel(&[]))?,
        channel_closed: place(&["runtime.hchan", "closed"])?,
        goidgen: at(&["runtime.schedt", "goidgen"])?,
        ngsys: at(&["runtime.schedt", "ngsys"])?,
        free_lock: at(&["runtime.schedt", "gFree", "lock"])?,
        free,
        p_goidcache: at(&["runtime.p", "goidcache"])?,
        p_free: of_processor("n").or_else(|| of_processor("size"))?,
        ..*base
    };
    is_aligned(&layout).then_some(layout)
}

/// Whether each field is where one of its size can be.
fn is_aligned(layout: &Layout) -> bool {
    let places = [
        Some(layout.sched_g),
        Some(layout.syscallsp),
        Some(layout.goid),
        Some(layout.waitsince),
        Some(layout.lockedm),
        layout.parent,
        Some(layout.gopc as usize),
        Some(layout.waiting),
        layout.labels,
        layout.sleep_when,
        Some(layout.sudog_link),
        Some(layout.sudog_channel),
    ];
    let words = [
        layout.gofunc,
        layout.m_lockedg,
        layout.goidgen,
        layout.free_lock,
        layout.p_goidcache,
    ];
    let halves = [
        Some(layout.ngsys),
        layout.free[0],
        layout.free[1],
        Some(layout.p_free),
    ];
    places.into_iter().flatten().all(|at| at.is_multiple_of(8))
        && words.into_iter().all(|at| at.is_multiple_of(8))
        && halves.into_iter().flatten().all(|at| at.is_multiple_of(4))
        && layout.status.is_multiple_of(4)
        && layout.channel_closed.is_multiple_of(4)
}
