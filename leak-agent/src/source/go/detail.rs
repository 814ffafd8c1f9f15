//! What a goroutine waits for, and what it was labelled with: read for a few, when somebody wants to know.

use super::goroutine::{self, Goroutine};
use super::layout::Layout;
use crate::source::books::{BooksError, Channel, LiveTask, TaskDetail, WaitsOn};
use crate::sys::memory::{Memory, MemoryError};

/// Channels of one `select`.
const CHANNELS_MAX: usize = 256;
/// Labels of one goroutine, and bytes of one text.
const LABELS_MAX: u64 = 64;
const TEXT_MAX: u64 = 256;

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Reads so many bytes; `None` = they are not there.
fn read(memory: &dyn Memory, at: u64, size: usize) -> Result<Option<Vec<u8>>, BooksError> {
    let mut bytes = vec![0; size];
    match memory.read(at, &mut bytes) {
        Err(MemoryError::NotMapped { .. }) => Ok(None),
        Ok(()) => Ok(Some(bytes)),
        Err(error) => Err(error.into()),
    }
}

/// What is known of a goroutine of a listing; `None` = it is another one by now.
pub(super) fn detail(
    memory: &dyn Memory,
    task: &LiveTask,
    layout: &Layout,
) -> Result<Option<TaskDetail>, BooksError> {
    let Some(bytes) = read(memory, task.header, goroutine::size(layout))? else {
        return Ok(None);
    };
    let found = Goroutine::read(&bytes, layout);
    let Some(found) = found.filter(|found| found.is_live() && Some(found.id) == task.id) else {
        return Ok(None);
    };
    let waits_on = if found.waits() {
        channels(memory, task.header, found.waiting, layout)?
    } else {
        Vec::new()
    };
    let sleeps = found.waits() && layout.word(found.reason) == Some("sleep");
    let labels = layout.labels.and_then(|at| word(&bytes, at));
    Ok(Some(TaskDetail {
        waits_on,
        wakes_at: found.wakes_at.filter(|at| sleeps && *at != 0),
        labels: match labels.filter(|at| *at != 0) {
            Some(at) => self::labels(memory, at)?,
            None => Vec::new(),
        },
    }))
}

/// What a goroutine waits with, one after the other: each stands for one channel, or for another thing to wait for.
fn channels(
    memory: &dyn Memory,
    goroutine: u64,
    first: u64,
    layout: &Layout,
) -> Result<Vec<WaitsOn>, BooksError> {
    let size = layout.sudog_channel.max(layout.sudog_link) + 8;
    let mut found = Vec::new();
    let mut at = first;
    while at != 0 && found.len() < CHANNELS_MAX {
        let Some(bytes) = read(memory, at, size)? else {
            break;
        };
        // What was given back, and taken by another one since, tells nothing any more.
        if word(&bytes, 0) != Some(goroutine) {
            break;
        }
        let channel = word(&bytes, layout.sudog_channel).filter(|channel| *channel != 0);
        let channel = match channel {
            Some(channel) => self::channel(memory, channel, layout)?,
            None => None,
        };
        found.push(WaitsOn {
            channel,
            select: bytes.get(layout.sudog_select).is_some_and(|select| *select == 1),
        });
        at = word(&bytes, layout.sudog_link).unwrap_or(0);
    }
    Ok(found)
}

fn channel(memory: &dyn Memory, at: u64, layout: &Layout) -> Result<Option<Channel>, BooksError> {
    let Some(bytes) = read(memory, at, layout.channel_closed + 4)? else {
        return Ok(None);
    };
    let closed = bytes.get(layout.channel_closed..).and_then(<[u8]>::first_chunk);
    let parts = word(&bytes, 0).zip(word(&bytes, 8)).zip(closed);
    let channel = parts.map(|((queued, capacity), closed)| Channel {
        address: at,
        queued,
        capacity,
        closed: u32::from_le_bytes(*closed) != 0,
    });
    Ok(channel.filter(|channel| channel.queued <= channel.capacity))
}

/// A slice of pairs of texts, each an address and a length.
fn labels(memory: &dyn Memory, at: u64) -> Result<Vec<(String, String)>, BooksError> {
    let Some(slice) = read(memory, at, 24)? else {
        return Ok(Vec::new());
    };
    let (begin, count, capacity) = (word(&slice, 0), word(&slice, 8), word(&slice, 16));
    let (Some(begin), Some(count)) = (begin, count.filter(|count| Some(*count) <= capacity)) else {
        return Ok(Vec::new());
    };
    let mut labels = Vec::new();
    for number in 0..count.min(LABELS_MAX) {
        let Some(pair) = read(memory, begin.wrapping_add(32 * number), 32)? else {
            break;
        };
        let key = text(memory, &pair, 0)?;
        let value = text(memory, &pair, 16)?;
        let Some(label) = key.zip(value) else {
            break;
        };
        labels.push(label);
    }
    Ok(labels)
}

/// A text whose address and length stand there; what is too long is cut.
fn text(memory: &dyn Memory, bytes: &[u8], at: usize) -> Result<Option<String>, BooksError> {
    let (Some(begin), Some(length)) = (word(bytes, at), word(bytes, at + 8)) else {
        return Ok(None);
    };
    let length = usize::try_from(length.min(TEXT_MAX)).unwrap_or(0);
    let bytes = read(memory, begin, length)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}
