//! How the numbers of a runtime are known, and whether its own books say the same: lines for people.

use crate::report::{Books, Runtime, Scheduler};

/// What led to the points, the names and the books; `None` = nothing worth a line.
///
/// ```text
/// points by structure; names by symbols; books by layout of tokio 1.39 and later, by its version
/// ```
pub(super) fn known_by(of: &Runtime) -> Option<String> {
    let names = of.names_by.as_ref()?;
    let points = of.evidence.as_ref().map(|by| format!("points by {by}; "));
    let books = of.books_by.as_ref().map(|by| format!("; books by {by}"));
    Some(format!(
        "{}names by {names}{}",
        points.unwrap_or_default(),
        books.unwrap_or_default()
    ))
}

/// What the comparison with the books came to.
///
/// ```text
/// books agreed 3.1 s ago (12 comparisons)
/// books agreed 0.4 s ago (13 comparisons); 1 repair, 0.4 s ago: the probes missed 15 spawns and 0 ends (live count +15)
/// books not read yet; the last comparison failed: cannot read memory of process 7
/// ```
pub(super) fn books(taken_at: f64, books: &Books) -> String {
    let ago = |at: f64| format!("{:.1} s ago", (taken_at - at).max(0.0));
    let mut told = vec![match books.agreed_at {
        Some(at) => format!(
            "books agreed {} ({})",
            ago(at),
            counted(books.checks, "comparison")
        ),
        None => "books did not agree yet".to_owned(),
    }];
    if let Some(trouble) = &books.trouble {
        told.push(format!("the last comparison came to nothing: {trouble}"));
    }
    if let Some(repair) = &books.repair {
        told.push(format!(
            "{}, the last {}: {} (live count {:+})",
            counted(books.repairs, "repair"),
            ago(repair.at),
            repair.reason,
            repair.drift.saturating_neg()
        ));
    }
    told.join("; ")
}

/// Tasks that ended and are still held by somebody.
///
/// ```text
/// finished but retained: 20 (18 by a JoinHandle or JoinSet), seen 3.1 s ago
/// finished but retained: not known, all memory must be searched for them
/// ```
pub(super) fn retained(taken_at: f64, books: &Books) -> String {
    let (Some(retained), Some(handles), Some(at)) =
        (books.retained, books.retained_join_handles, books.retained_at)
    else {
        return "finished but retained: not known, all memory must be searched for them".to_owned();
    };
    let ago = (taken_at - at).max(0.0);
    match retained {
        0 => format!("finished but retained: none, {ago:.1} s ago"),
        some => format!(
            "finished but retained: {some} ({handles} by a JoinHandle or JoinSet), seen {ago:.1} s ago"
        ),
    }
}

/// What a runtime's scheduler does with its threads.
///
/// ```text
/// 12 threads, 3.1 s ago: 1 running, 4 syscall, 6 idle, 1 service; 5 bound to one task
/// threads: 4 worker, 2 blocking
/// ```
pub(super) fn threads(taken_at: f64, scheduler: &Scheduler) -> String {
    let mut text = match scheduler.threads {
        Some(threads) => counted(threads, "thread"),
        None => "threads".to_owned(),
    };
    if let Some(at) = scheduler.as_of {
        text.push_str(&format!(", {:.1} s ago", (taken_at - at).max(0.0)));
    }
    let told = scheduler.activities.iter().filter(|each| each.threads > 0);
    let told: Vec<String> = told
        .map(|each| format!("{} {}", each.threads, each.activity))
        .collect();
    if !told.is_empty() {
        text.push_str(": ");
        text.push_str(&told.join(", "));
    }
    if let Some(bound) = scheduler.bound.filter(|bound| *bound > 0) {
        text.push_str(&format!("; {bound} bound to one task"));
    }
    text
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Activity;
    use crate::report::fixture::{process, report, runtime};
    use crate::source::{thread, tokio};

    /// What was found how, when the books agreed, and what was repaired, is told in two lines.
    #[test]
    fn runtime_with_books_says_how_it_is_known() {
        let report = report(
            60,
            vec![process(1, "svc", "/svc", vec![runtime(tokio::RUNTIME, vec![])])],
        );
        let of = &report.processes[0].runtimes[0];
        assert_eq!(
            known_by(of).unwrap(),
            "points by structure; names by symbols; books by layout of tokio 1.39 and later, by its version"
        );
        let mut told = of.books.clone().unwrap();
        told.agreed_at = Some(report.taken_at - 3.11);
        told.repair.as_mut().unwrap().at = report.taken_at - 61.0;
        told.trouble = Some("the memory is gone".to_owned());
        assert_eq!(
            books(report.taken_at, &told),
            "books agreed 3.1 s ago (3 comparisons); the last comparison came to nothing: the memory is gone; 1 repair, the last \
             61.0 s ago: the probes missed 1 spawns and 3 ends (live count -2)"
        );
        assert_eq!(
            retained(report.taken_at, &told),
            "finished but retained: 2 (1 by a JoinHandle or JoinSet), seen 60.0 s ago"
        );
        told.retained = None;
        assert!(retained(report.taken_at, &told).contains("not known"));
        told.agreed_at = None;
        assert!(books(report.taken_at, &told).starts_with("books did not agree yet"));
    }

    /// What threads do that have something to do, and how many of them are bound to one task.
    #[test]
    fn scheduler_says_what_its_threads_do() {
        let activities = [("running", 1), ("syscall", 4), ("cgo", 0), ("idle", 7)];
        let mut scheduler = Scheduler {
            runtime: "go".to_owned(),
            threads: Some(12),
            activities: activities
                .into_iter()
                .map(|(activity, threads)| Activity {
                    activity: activity.to_owned(),
                    threads,
                })
                .collect(),
            bound: Some(5),
            as_of: Some(100.0),
        };
        assert_eq!(
            threads(103.1, &scheduler),
            "12 threads, 3.1 s ago: 1 running, 4 syscall, 7 idle; 5 bound to one task"
        );
        (scheduler.threads, scheduler.as_of, scheduler.bound) = (None, None, None);
        assert_eq!(
            threads(103.1, &scheduler),
            "threads: 1 running, 4 syscall, 7 idle"
        );
    }

    /// Of threads nobody asks how they are known.
    #[test]
    fn runtime_without_names_has_no_line() {
        let mut threads = runtime(thread::RUNTIME, vec![]);
        threads.evidence = Some("kernel tracepoints".into());
        let report = report(60, vec![process(1, "svc", "/svc", vec![threads])]);
        assert_eq!(known_by(&report.processes[0].runtimes[0]), None);
    }
}
