//! Tasks with stacks of their own: as the runtime's books have them.

use super::group::{Groups, Key, StackNumber};
use super::process::{Executable, Opened};
use super::{Request, TASKS_MAX};
use crate::source::books::{BooksError, LiveTask};
use crate::source::{HookPlan, SiteInfo, TaskStacks};
use crate::sys::clock;
use crate::types::Vaddr;
use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Tasks of one group of which it is read what they wait on.
const LOOKED_AT_MAX: usize = 64;

/// Takes the tasks of every runtime that is wanted and has books in the process.
pub(super) fn take(process: &Opened, request: &Request, groups: &mut Groups, notes: &mut Vec<String>) {
    for executable in &process.files {
        for plan in &executable.plans {
            if !request.wants(plan.runtime) {
                continue;
            }
            // The file is other people's: should reading it fail, all else is told nevertheless.
            let read = || read(process, executable, plan, request, groups);
            let said = match catch_unwind(AssertUnwindSafe(read)) {
                Ok(Ok(said)) => said,
                Ok(Err(error)) => vec![error.to_string()],
                Err(_) => vec!["reading its tasks failed (a defect of the agent)".to_owned()],
            };
            notes.extend(said.into_iter().map(|said| format!("{}: {said}", plan.runtime)));
        }
    }
}

/// Takes the tasks of one runtime; gives what is missing.
fn read(
    process: &Opened,
    executable: &Executable,
    plan: &HookPlan,
    request: &Request,
    groups: &mut Groups,
) -> Result<Vec<String>, BooksError> {
    let Some(books) = &plan.books else {
        return Ok(vec!["the runtime's books are not known".to_owned()]);
    };
    let mut books = books.open(executable.bias);
    let elf = executable.elf();
    let Some(stacks) = books.stacks(&process.memory, &elf, TASKS_MAX)? else {
        return Ok(vec!["its tasks have no stacks of their own".to_owned()]);
    };
    let mut notes = stacks.refused.clone();
    if stacks.left_out > 0 {
        notes.push(format!("{} tasks more than {TASKS_MAX}", stacks.left_out));
    }
    let sites = sites(plan, &elf, &stacks, request, groups);
    if executable.is_cut() {
        return Ok(vec!["its file was cut off while it was read".to_owned()]);
    }
    let numbers: Vec<StackNumber> = stacks.stacks.iter().map(|stack| groups.stack(stack)).collect();
    let now = clock::monotonic();
    let mut looked_at: HashMap<usize, Vec<LiveTask>> = HashMap::new();
    for stacked in &stacks.tasks {
        let Some(site) = sites.get(&stacked.task.site.0) else {
            continue;
        };
        let stack = stacked.stack.and_then(|stack| usize::try_from(stack).ok());
        let key = Key {
            runtime: plan.runtime.label,
            site: *site,
            state: stacked.state,
            reason: stacked.task.waits_for.map(Into::into),
            stack: stack.and_then(|stack| numbers.get(stack)).copied(),
        };
        let since = stacked.task.waits_since;
        let age = since.map(|since| now.saturating_sub(since) / 1_000_000_000);
        let group = groups.take(key, stacked.task.pinned, age);
        let tasks = looked_at.entry(group).or_default();
        if tasks.len() < LOOKED_AT_MAX {
            tasks.push(stacked.task);
        }
    }
    for (group, tasks) in looked_at {
        // That it has ended meanwhile is told by others.
        let details = books.details(&process.memory, &tasks).unwrap_or_default();
        for detail in details.into_iter().flatten() {
            groups.detail(group, detail);
        }
    }
    Ok(notes)
}

/// The sites that are wanted, by number.
fn sites(
    plan: &HookPlan,
    elf: &crate::elf::Elf<'_>,
    stacks: &TaskStacks,
    request: &Request,
    groups: &mut Groups,
) -> HashMap<u64, usize> {
    let seen: BTreeSet<Vaddr> = stacks.tasks.iter().map(|stacked| stacked.task.site).collect();
    let numbers: Vec<u64> = seen.iter().map(|site| site.0).collect();
    let named: HashMap<u64, SiteInfo> = match &plan.names {
        Some(names) => names.names(elf, &numbers).into_iter().collect(),
        None => HashMap::new(),
    };
    let mut sites = HashMap::new();
    for number in numbers {
        let Some(info) = named.get(&number) else { continue };
        let location = info.location.as_deref().unwrap_or_default();
        if request.wants_site(&[&info.name, &info.id, location]) {
            sites.insert(number, groups.site(info.clone()));
        }
    }
    sites
}
