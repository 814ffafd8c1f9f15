//! Where a task stands in the source, chosen from the locations that its poll function reaches.

use super::code::Code;
use super::location::{Found, Location, Locations, Owner};
use crate::source::tokio::vtable::{Class, TaskVtable};

/// Calls between `raw::poll` and the body of the future: 1 with fat LTO, 3 without; behind wrappers more.
const MAX_CALLS: u32 = 4;

/// Functions visited per vtable.
const MAX_VISITS: usize = 300;

/// Other places that are kept.
const MAX_OTHERS: usize = 4;

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'data> {
    /// The best guess.
    pub(super) at: Location<'data>,
    /// It is where the body of an async fn or block begins; else merely somewhere in the task's code.
    pub(super) body: bool,
    /// Other places of the program in its code, nearest first.
    pub(super) others: Vec<Location<'data>>,
}

/// The place of the vtable's task; `None` if no code near its poll function names one outside tokio and std.
pub(super) fn place<'data>(
    locations: &mut Locations,
    code: &mut Code<'_, 'data>,
    vtable: &TaskVtable,
) -> Option<Place<'data>> {
    let found = locations.reached(code, vtable.poll()?.0, MAX_CALLS, MAX_VISITS);
    choose(&found, vtable.class())
}

fn choose<'data>(found: &[Found<'data>], class: Class) -> Option<Place<'data>> {
    // Coroutines that a closure on the blocking pool runs are not the closure.
    let bodies = || {
        found
            .iter()
            .filter(|found| found.body && class != Class::Blocking)
    };
    let nearest = bodies().map(|found| found.depth).min();
    let body = bodies()
        .filter(|found| Some(found.depth) == nearest)
        .min_by_key(|found| (!found.outer, found.location.owner()));
    let somewhere = || {
        found
            .iter()
            .filter(|found| found.location.owner() != Owner::Runtime)
            .min_by_key(|found| (found.location.owner(), found.depth))
    };
    let best = body.or_else(somewhere)?;
    let mut others: Vec<Location<'_>> = Vec::new();
    let program = found
        .iter()
        .filter(|found| found.location.owner() == Owner::Program);
    for other in program.map(|found| found.location) {
        if other != best.location && !others.contains(&other) && others.len() < MAX_OTHERS {
            others.push(other);
        }
    }
    Some(Place {
        at: best.location,
        body: best.body,
        others,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &'static str, line: u32, depth: u32, body: bool) -> Found<'static> {
        Found {
            location: Location { path, line },
            depth,
            body,
            outer: false,
        }
    }

    const TOKIO: &str =
        "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.1/src/signal/unix.rs";

    /// Check that the nearest body wins over nearer panics and deeper bodies.
    #[test]
    fn nearest_body_wins_over_other_panics() {
        let all = [
            found("src/main.rs", 9, 1, false),
            found("src/conn.rs", 2, 3, true),
            found("src/db.rs", 7, 4, true),
        ];
        let place = choose(&all, Class::Async).unwrap();
        assert_eq!(
            (place.at.to_string().as_str(), place.body),
            ("src/conn.rs:2", true)
        );
        assert_eq!(place.others.len(), 2);
    }

    /// Check that of several bodies in one function the one that its state machine begins with wins, else the
    /// program's own.
    #[test]
    fn bodies_in_one_function_are_told_apart() {
        let mut all = [found(TOKIO, 60, 3, true), found("src/db.rs", 7, 3, true)];
        assert_eq!(choose(&all, Class::Async).unwrap().at.line, 7);
        all[0].outer = true;
        assert_eq!(choose(&all, Class::Async).unwrap().at.line, 60);
    }

    /// Check that a closure on the blocking pool is not taken for the coroutine that it runs, and that tokio's own
    /// lines are no place for it.
    #[test]
    fn blocking_closure_is_not_taken_for_what_it_runs() {
        let all = [
            found(TOKIO, 60, 1, false),
            found("src/main.rs", 113, 3, false),
            found("src/main.rs", 52, 4, true),
        ];
        let place = choose(&all, Class::Blocking).unwrap();
        assert_eq!((place.at.line, place.body), (113, false));
        assert_eq!(choose(&all[..1], Class::Blocking), None);
    }
}
