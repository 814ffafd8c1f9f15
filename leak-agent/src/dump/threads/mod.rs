//! The user stacks of all threads: read while they run on, and believed of a thread that slept before and after, and was not
//! switched in between. That its registers are the same proves nothing: a loop comes back to the same place.

mod look;
mod stacks;

use super::Request;
use super::group::{Groups, Key, StackNumber};
use super::process::Opened;
use crate::bpf::ThreadWalk;
use crate::source::books::TaskDetail;
use crate::source::{NamedStack, thread};
use crate::sys::proc::ProcDir;
use crate::sys::{call, clock};
use look::{Means, Seen, State, THREADS_MAX};
use stacks::{Named, Stacks};
use std::collections::BTreeMap;

/// One that was switched meanwhile is read again, so often. Then it is told as it was at one moment, not complete.
const ROUNDS: u32 = 4;
/// Threads that are read together.
const TOGETHER: usize = 256;

/// A thread whose stack is being read.
struct Reading {
    seen: Seen,
    stack: Option<usize>,
}

/// Takes the threads.
pub(super) fn take(process: &mut Opened, request: &Request, groups: &mut Groups, notes: &mut Vec<String>) {
    if !request.wants(thread::RUNTIME) {
        return;
    }
    let mut means = match means(process, request, notes) {
        Some(means) => means,
        None => return,
    };
    let mut stacks = Stacks::new(process, request);
    let read = match read(process, &mut means, &mut stacks) {
        Ok(read) => read,
        Err(error) => {
            notes.push(format!("thread: {error}"));
            return;
        }
    };
    if read.len() >= THREADS_MAX {
        notes.push(format!("thread: not more than {THREADS_MAX}"));
    }
    let directory = ProcDir::open(process.pid()).ok().flatten();
    let now = clock::now().0;
    let mut named: BTreeMap<usize, Named> = BTreeMap::new();
    let mut numbers: BTreeMap<(usize, bool, bool), (usize, Option<StackNumber>)> = BTreeMap::new();
    for reading in read {
        let Reading { seen, stack } = reading;
        let Some(place) = stacks.place(stack) else {
            continue;
        };
        let stack = named.entry(place).or_insert_with(|| stacks.name(process, place));
        let leader = seen.tid == process.pid();
        // Of one that ran it is not known that all this was so at the same moment.
        let rested = seen.state != State::Running;
        let known = numbers.entry((place, leader, rested)).or_insert_with(|| {
            let site = stack.site(leader, seen.worker);
            let wanted = request.wants_site(&[&site.name, &site.id, &seen.name]);
            let number = wanted.then(|| {
                let named = NamedStack {
                    complete: stack.stack.complete && rested,
                    frames: stack.stack.frames.clone(),
                };
                groups.stack(&named)
            });
            (groups.site(site), number)
        });
        let (site, Some(number)) = *known else { continue };
        let key = Key {
            runtime: thread::RUNTIME.label,
            site,
            state: seen.state.word(),
            reason: reason(&seen, directory.as_ref()).map(Into::into),
            stack: (!stack.stack.frames.is_empty()).then_some(number),
        };
        let age = seen.began.map(|began| now.saturating_sub(began) / 1_000_000_000);
        let group = groups.take(key, false, age);
        let detail = TaskDetail {
            labels: vec![("name".to_owned(), seen.name)],
            ..TaskDetail::default()
        };
        groups.detail(group, detail);
    }
    notes.append(&mut stacks.notes);
}

/// How the threads are looked at; says so if it is not the best way.
fn means(process: &Opened, request: &Request, notes: &mut Vec<String>) -> Option<Means> {
    let reason = if request.bpf {
        match ThreadWalk::load(process.pid()) {
            Ok(walk) => return Some(Means::Walk(Box::new(walk))),
            Err(error) => error.to_string(),
        }
    } else {
        "without BPF".to_owned()
    };
    notes.push(format!(
        "thread: registers are those of /proc, which does not tell the frame pointer: stacks may end early ({reason})"
    ));
    Some(Means::Proc(ProcDir::open(process.pid()).ok()??))
}

/// Reads the stacks of all threads.
fn read(process: &mut Opened, means: &mut Means, stacks: &mut Stacks) -> Result<Vec<Reading>, String> {
    let mut done = Vec::new();
    let mut todo = means.look()?;
    for round in 0..ROUNDS {
        let last = round + 1 == ROUNDS;
        let mut again = Vec::new();
        for part in todo.chunks(TOGETHER) {
            let read = stacks.read(process, part).map_err(|error| error.to_string())?;
            let now: BTreeMap<u32, Seen> = means.look()?.into_iter().map(|seen| (seen.tid, seen)).collect();
            for (seen, stack) in part.iter().zip(read) {
                let Some(after) = now.get(&seen.tid) else {
                    continue; // it has ended
                };
                let slept = seen.state != State::Running && after.state != State::Running;
                if slept && seen.switches == after.switches || seen.worker {
                    let seen = seen.clone();
                    done.push(Reading { seen, stack });
                } else if last {
                    let seen = Seen {
                        state: State::Running,
                        ..seen.clone()
                    };
                    done.push(Reading { seen, stack });
                } else {
                    again.push(after.clone());
                }
            }
        }
        todo = again;
    }
    Ok(done)
}

/// What a thread waits for: "futex (futex_do_wait)".
fn reason(seen: &Seen, directory: Option<&ProcDir>) -> Option<String> {
    if seen.state == State::Running {
        return None;
    }
    let channel = directory.and_then(|directory| directory.wait_channel(seen.tid));
    match (seen.call.map(call::name), channel) {
        (Some(call), Some(channel)) => Some(format!("{call} ({channel})")),
        (Some(call), None) => Some(call.into_owned()),
        (None, channel) => channel,
    }
}
