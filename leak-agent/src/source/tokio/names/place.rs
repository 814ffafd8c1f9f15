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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place<'data> {
    /// The best guess; `None` = nothing near its poll function is worth one.
    pub(super) at: Option<Location<'data>>,
    /// It is where the body of an async fn or block begins; else merely somewhere in the task's code.
    pub(super) body: bool,
    /// Other places in its code outside of tokio and std, the program's first.
    pub(super) others: Vec<Location<'data>>,
}

/// The place of the vtable's task.
pub(super) fn place<'data>(
    locations: &mut Locations<'data>,
    code: &mut Code<'_, 'data>,
    vtable: &TaskVtable,
) -> Place<'data> {
    let Some(poll) = vtable.poll() else {
        return Place::default();
    };
    let found = locations.reached(code, poll.0, MAX_CALLS, MAX_VISITS);
    choose(&found, vtable.class())
}

fn choose<'data>(found: &[Found<'data>], class: Class) -> Place<'data> {
    let mut known: Vec<&Found<'_>> = found
        .iter()
        .filter(|found| found.owner != Owner::Runtime)
        .collect();
    known.sort_by_key(|found| (found.owner, found.depth));
    // Coroutines that a closure on the blocking pool runs are not the closure.
    let bodies = || {
        known
            .iter()
            .filter(|found| found.body && class != Class::Blocking)
    };
    let nearest = bodies().map(|found| found.depth).min();
    let body = bodies()
        .filter(|found| Some(found.depth) == nearest)
        .min_by_key(|found| !found.outer);
    // Of a dependency only the beginning of a task counts: its other lines are in code that many tasks call.
    let best = body.or_else(|| known.first().filter(|found| found.owner == Owner::Program));
    let at = best.map(|found| found.location);
    let mut others: Vec<Location<'_>> = Vec::new();
    for other in known.iter().map(|found| found.location) {
        if Some(other) != at && !others.contains(&other) && others.len() < MAX_OTHERS {
            others.push(other);
        }
    }
    Place {
        at,
        body: body.is_some(),
        others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &'static str, line: u32, depth: u32, body: bool) -> Found<'static> {
        Found {
            location: Location { path, line },
            owner: Location { path, line }.owner(),
            depth,
            body,
            outer: false,
        }
    }

    const HYPER: &str = "/c/registry/src/index.crates.io-1949cf8c6b5b557f/hyper-1.6.0/src/client.rs";
    const INTERVAL: &str =
        "/c/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.1/src/time/interval.rs";
    const LOCK: &str = "registry/parking_lot_core-0.9.12/src/parking_lot.rs";

    fn line(place: &Place<'_>) -> Option<u32> {
        place.at.map(|location| location.line)
    }

    /// Check that the nearest body wins over nearer panics and deeper bodies.
    #[test]
    fn nearest_body_wins_over_other_panics() {
        let all = [
            found("src/main.rs", 9, 1, false),
            found("src/conn.rs", 2, 3, true),
            found("src/db.rs", 7, 4, true),
        ];
        let place = choose(&all, Class::Async);
        assert_eq!((line(&place), place.body), (Some(2), true));
        assert_eq!(place.others.len(), 2);
    }

    /// Check that of several bodies in one function the one that its state machine begins with wins, else the
    /// program's own.
    #[test]
    fn bodies_in_one_function_are_told_apart() {
        let mut all = [found(HYPER, 60, 3, true), found("src/db.rs", 7, 3, true)];
        assert_eq!(line(&choose(&all, Class::Async)), Some(7));
        all[0].outer = true;
        assert_eq!(line(&choose(&all, Class::Async)), Some(60));
    }

    /// Check that a closure on the blocking pool is not taken for the coroutine that it runs.
    #[test]
    fn blocking_closure_is_not_taken_for_what_it_runs() {
        let all = [
            found("src/main.rs", 113, 3, false),
            found("src/main.rs", 52, 4, true),
        ];
        let place = choose(&all, Class::Blocking);
        assert_eq!((line(&place), place.body), (Some(113), false));
    }

    /// Check that lines of tokio are no place for a task, and those of a dependency only where a body begins.
    #[test]
    fn lines_of_dependencies_are_no_place_but_for_a_body() {
        let mut all = [found(INTERVAL, 433, 1, true), found(LOCK, 363, 2, false)];
        let place = choose(&all, Class::Async);
        assert_eq!((place.at, place.others.len()), (None, 1));
        all[1].body = true;
        assert_eq!(line(&choose(&all, Class::Async)), Some(363));
    }
}
