//! Opening the books of one file in one process, and looking for them in its memory.

use super::session::Trouble;
use crate::discovery::{FileKey, bias};
use crate::source::books::{Budget, Found};
use crate::source::{HookPlan, ProcessBooks};
use crate::sys::memory::RemoteMemory;
use crate::sys::present::PrivateMemory;
use crate::sys::proc::ProcessId;
use crate::types::ProcessKey;

/// The process's memory, and the books in it, of which nothing is found yet.
pub(super) fn open_books(
    process: &ProcessKey,
    hooks: &HookPlan,
    file: &FileKey,
) -> Result<(RemoteMemory, Box<dyn ProcessBooks>), Trouble> {
    let memory = RemoteMemory::open(&ProcessId::of(process))?;
    let (Some(books), Some(point)) = (&hooks.books, hooks.points.first()) else {
        return Err(Trouble::Told("the runtime's books are not known".to_owned()));
    };
    let bias = bias(memory.directory(), file, point)
        .map_err(|error| Trouble::Told(error.to_string()))?
        .ok_or_else(|| Trouble::Told("the file is not found in the process's memory".to_owned()))?;
    Ok((memory, books.open(bias)))
}

/// Looks through all of the process's private memory, if these books are found in that way, in addition to what is known.
pub(super) fn find_books(memory: &RemoteMemory, books: &mut dyn ProcessBooks) -> Result<Found, Trouble> {
    let ranges = if books.searches() {
        PrivateMemory::of(memory)?.ranges
    } else {
        Vec::new()
    };
    Ok(books.find(memory, &ranges, &[], &Budget::default())?)
}
