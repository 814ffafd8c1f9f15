//! Names of tokio spawn sites: from the vtable of a task type to what its programmer calls it, and where it stands
//! in the source.
//!
//! With symbols the name is the future's type; without, the place in the source that its poll function panics
//! with, as stripping leaves that; else the site's id. What is a guess is marked as one.

mod code;
mod demangle;
mod known;
mod lines;
mod local;
mod location;
mod place;
mod site;
mod symbols;
mod system;

use super::vtable::TaskVtable;
use crate::elf::{DebugFile, Elf, Functions, Image, Pointers, has_section, has_symbol_table};
use crate::source::SiteInfo;
use code::Code;
use demangle::pretty;
use known::KnownBy;
use lines::Lines;
use local::Schedulers;
use location::Locations;
use place::place;
use site::Facts;
use symbols::Symbols;
use system::Workers;

/// What people are shown of each task type, in the order of `vtables`. Reads the symbols once and decodes the code
/// around the vtables, at most 64 MiB of it; total. The second part says what named them, for people. Without symbols of its own the file's separate debug file is asked.
#[must_use]
pub fn describe(
    image: &Image<'_>,
    pointers: &Pointers,
    functions: &Functions,
    vtables: &[TaskVtable],
    elf: &Elf<'_>,
) -> (Vec<SiteInfo>, String) {
    let mut code = Code::new(image, pointers, functions);
    let missing = !has_symbol_table(image) || !has_lines(image);
    let debug_file = match elf.debug.filter(|_| missing) {
        Some(source) => source.debug_file(),
        None => DebugFile::None,
    };
    let debug = match debug_file {
        DebugFile::Found(data) => Image::parse(&Elf {
            data,
            id: elf.id.clone(),
            debug: None,
        })
        .ok(),
        DebugFile::None | DebugFile::Refused(_) => None,
    };
    let symbols_of = debug
        .as_ref()
        .filter(|_| !has_symbol_table(image))
        .unwrap_or(image);
    let lines_of = debug.as_ref().filter(|_| !has_lines(image)).unwrap_or(image);
    let mut symbols = Symbols::read(symbols_of);
    let named = symbols.name_all(&mut code, vtables);
    let workers = Workers::new(&code);
    let mut locations = Locations::new(&code);
    let mut schedulers = Schedulers::default();
    let mut facts = Vec::with_capacity(vtables.len());
    for (vtable, named) in vtables.iter().zip(named) {
        facts.push(Facts {
            pretty: named.futures.first().map(|future| pretty(future)),
            local: named
                .local
                .or_else(|| schedulers.is_local(&mut locations, &mut code, vtable)),
            place: place(&mut locations, &mut code, vtable),
            worker: workers.is_worker(&mut code, vtable),
            unread: code.exhausted(),
            named,
        });
    }
    // Debug information is asked only where the code does not say where a task begins.
    let starts = facts.iter().flat_map(Facts::wanted_lines);
    let lines = Lines::read(lines_of, functions, starts);
    let mut sites: Vec<SiteInfo> = facts
        .iter()
        .zip(vtables)
        .map(|(facts, vtable)| facts.site(vtable, &lines, &elf.id))
        .collect();
    let mut known = KnownBy::default();
    for facts in &facts {
        known.count(facts.known_by(&lines));
    }
    let known = known.text(debug.is_some(), !has_symbol_table(image), !has_lines(image));
    if let DebugFile::Refused(reason) = debug_file {
        for (site, _) in sites
            .iter_mut()
            .zip(&facts)
            .filter(|(_, facts)| facts.pretty.is_none())
        {
            let note = site.note.take();
            site.note = Some(note.map_or_else(|| reason.to_owned(), |note| format!("{note}; {reason}")));
        }
    }
    (sites, known)
}

/// Whether the file has the lines of its code.
fn has_lines(image: &Image<'_>) -> bool {
    has_section(image, b".debug_line")
}

#[cfg(test)]
mod tests;
