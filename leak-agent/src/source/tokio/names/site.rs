//! What people are shown of one site, from all that was found out about it: what is a guess says so.

use super::demangle::{Pretty, pretty};
use super::known::Known;
use super::lines::Lines;
use super::place::Place;
use super::symbols::Named;
use crate::source::SiteInfo;
use crate::source::tokio::vtable::{Class, TaskVtable};
use crate::types::ExecutableId;

/// Other types that a note lists.
const MAX_RIVALS: usize = 4;

/// What a worker's loop is called where no symbol names it.
const WORKER: &str = "tokio worker thread";

/// What was found out about one vtable.
pub(super) struct Facts<'data> {
    /// By symbols.
    pub(super) named: Named,
    /// The first of its types, readable; `None` = no symbol tells.
    pub(super) pretty: Option<Pretty>,
    /// By the panics in its code.
    pub(super) place: Place<'data>,
    /// It runs on a `LocalSet`; `None` = not known.
    pub(super) local: Option<bool>,
    /// The code is that of a worker's loop.
    pub(super) worker: bool,
    /// Code was left unread.
    pub(super) unread: bool,
}

/// Where a task stands in the source.
struct Stand {
    /// "src/conn.rs:88".
    at: String,
    /// It begins there; else its code is somewhere there.
    begins: bool,
    /// What says so.
    by: Known,
}

impl Facts<'_> {
    /// The functions whose lines in the debug information may say where the task stands, where its code does
    /// not.
    pub(super) fn wanted_lines(&self) -> impl Iterator<Item = u64> {
        let wanted = !self.place.body && !self.erased();
        let starts = self
            .named
            .body
            .into_iter()
            .chain(self.named.around.iter().copied());
        starts.filter(move |_| wanted)
    }

    /// What people are shown.
    pub(super) fn site(&self, vtable: &TaskVtable, lines: &Lines, executable: &ExecutableId) -> SiteInfo {
        let id = format!("{executable}:{:#x}", vtable.vaddr.0);
        let told = self.pretty.as_ref().filter(|_| !self.named.ambiguous);
        let system = self.worker || told.is_some_and(|pretty| pretty.worker);
        let stand = self.stand(lines).filter(|_| !system);
        // Where a task begins is better than a guess at its type.
        let guessed = self.named.ambiguous && stand.as_ref().is_some_and(|stand| stand.begins);
        let name = match (&self.pretty, &stand) {
            (Some(pretty), _) if system && pretty.worker => pretty.name.clone(),
            _ if system => WORKER.to_owned(),
            (Some(pretty), _) if !guessed => pretty.name.clone(),
            (_, Some(stand)) => stand.at.clone(),
            (_, None) => id.clone(),
        };
        let kind = match (vtable.class(), self.local) {
            (Class::Async | Class::Unknown, Some(true)) => "local",
            (class, _) => class.label(),
        };
        let mut notes = Vec::new();
        if system {
            notes.push("runs the tasks of a multi-thread runtime".to_owned());
        } else {
            self.note_type(guessed, &mut notes);
            self.note_place(stand.as_ref(), &mut notes);
        }
        if self.unread {
            notes.push("the tasks of this file have more code than is read for names".to_owned());
        }
        SiteInfo {
            id,
            name,
            location: stand.map(|stand| stand.at),
            kind,
            system,
            ambiguous: self.named.ambiguous && !(system && self.worker),
            created_by: None,
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        }
    }

    /// What gives it its name; `None` = it is the runtime's own, known by what it does.
    pub(super) fn known_by(&self, lines: &Lines) -> Option<Known> {
        let told = self.pretty.as_ref().filter(|_| !self.named.ambiguous);
        if self.worker || told.is_some_and(|pretty| pretty.worker) {
            return None;
        }
        let stand = self.stand(lines);
        let guessed = self.named.ambiguous && stand.as_ref().is_some_and(|stand| stand.begins);
        Some(match (&self.pretty, stand) {
            (Some(_), _) if !guessed => Known::Symbols,
            (_, Some(stand)) => stand.by,
            (_, None) => Known::Nothing,
        })
    }

    /// What runs a boxed future tells nothing of it.
    fn erased(&self) -> bool {
        self.pretty.as_ref().is_some_and(|pretty| pretty.erased)
    }

    fn stand(&self, lines: &Lines) -> Option<Stand> {
        if self.erased() {
            return None;
        }
        let panics = self.place.at.map(|at| at.to_string());
        if self.place.body {
            return panics.map(|at| Stand {
                at,
                begins: true,
                by: Known::Panics,
            });
        }
        let own = self.named.body.filter(|_| !self.named.ambiguous);
        if let Some(entry) = own.and_then(|body| lines.get(body)?.entry.as_ref()) {
            return Some(Stand {
                at: entry.location().to_string(),
                begins: true,
                by: Known::Lines,
            });
        }
        // The innermost first: there the task's own code was inlined.
        let mut around = self.named.around.iter().rev();
        let inlined = around.find_map(|start| lines.get(*start)?.program.as_ref());
        let inlined = inlined.map(|line| (line.location().to_string(), Known::Lines));
        let (at, by) = inlined.or(panics.map(|at| (at, Known::Panics)))?;
        Some(Stand {
            at,
            begins: false,
            by,
        })
    }

    fn note_type(&self, guessed: bool, notes: &mut Vec<String>) {
        let Some(first) = &self.pretty else {
            return;
        };
        if first.erased {
            notes.push("a boxed future, whose type does not tell whose it is".to_owned());
        }
        if !first.through.is_empty() && !guessed {
            notes.push(format!("in {}", first.through.join(", ")));
        }
        if !self.named.ambiguous {
            return;
        }
        let mut types: Vec<String> = Vec::new();
        for future in &self.named.futures {
            let name = pretty(future).name;
            if (guessed || name != first.name) && !types.contains(&name) {
                types.push(name);
            }
        }
        let more = types.len().saturating_sub(MAX_RIVALS);
        types.truncate(MAX_RIVALS);
        let list = types.join(", ");
        let or = if guessed { "may be" } else { "or" };
        notes.push(match more {
            _ if types.is_empty() => {
                "tasks of equal shape share its code, and one of them has this name".to_owned()
            }
            0 => format!("{or} {list}"),
            more => format!("{or} {list}, or one of {more} more"),
        });
    }

    fn note_place(&self, stand: Option<&Stand>, notes: &mut Vec<String>) {
        if self.erased() {
            return;
        }
        let written = self.pretty.as_ref().is_some_and(|pretty| pretty.written);
        match stand {
            Some(_) if self.place.body && written => {
                notes.push("the location is that of a future which it polls".to_owned());
            }
            Some(stand) if !stand.begins => {
                notes.push("the location is somewhere in its code, not where it begins".to_owned());
            }
            None if self.pretty.is_none() => {
                notes.push("no symbol names it and its code does not say where it begins".to_owned());
            }
            _ => {}
        }
        if self.pretty.is_none() && !self.place.others.is_empty() {
            let others: Vec<String> = self.place.others.iter().map(ToString::to_string).collect();
            notes.push(format!("its code names {}", others.join(", ")));
        }
    }
}
