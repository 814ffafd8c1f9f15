//! Plain text tables: for `report`, and for `top` where there is no terminal.

use super::findings;
use super::known;
use super::text::{columns, fit, visible};
use super::tui::model::Row;
use crate::report::{Agent, Caller, CountedBy, Hop, Process, Report, Runtime, Site, State, Waiting};
use std::fmt::Write as _;

/// Which way a column's cells lean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// Rows of cells that become aligned lines.
struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with this heading; a name that starts with `>` leans right.
    fn new(heading: &[&str]) -> Self {
        let align = |name: &&str| {
            if name.starts_with('>') {
                Align::Right
            } else {
                Align::Left
            }
        };
        Self {
            align: heading.iter().map(align).collect(),
            rows: vec![
                heading
                    .iter()
                    .map(|name| name.trim_start_matches('>').to_owned())
                    .collect(),
            ],
        }
    }

    fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Writes the lines, each cut to `width` columns, indented by `indent`.
    fn write(&self, out: &mut String, indent: usize, width: usize) {
        let mut widths = vec![0; self.align.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = columns(cell).max(*width);
            }
        }
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for ((cell, align), width) in row.iter().zip(&self.align).zip(&widths) {
                let fill = " ".repeat(width.saturating_sub(columns(cell)));
                let _ = match align {
                    Align::Left => write!(line, "{cell}{fill}  "),
                    Align::Right => write!(line, "{fill}{cell}  "),
                };
            }
            out.push_str(&fit(line.trim_end(), width));
            out.push('\n');
        }
    }
}

/// How a report becomes text.
#[derive(Clone, Copy, Debug)]
pub struct ReportStyle {
    /// Columns of a line; what is longer is cut.
    pub width: usize,
    /// Spawn sites shown per runtime (those with the most live tasks).
    pub sites: usize,
}

/// The report as text: a line about the agent, the processes, and the sites of each runtime.
///
/// ```text
/// leak-agent 0.1.0, bpf, ready: 1 process, 52 tasks
///
/// leak  P1 red  svc (100), tokio: 412 tasks of app::serve (src/app.rs:2) have been spawned since 14:02 UTC and never ended: …
///
/// PID  NAME  RUNTIME  LIVE  SPAWNED  FINISHED  BASELINE  STATE     VERDICT  PATH
/// 100  svc   thread      4        4         1         1  followed  healthy  /opt/svc/bin/svc
/// 100  svc   tokio      48       60        12         0  followed  leak     /opt/svc/bin/svc
///
/// svc (100), tokio 1.47.1
///   points by structure; names by symbols; books by layout of tokio 1.39 and later, by its version
///   books agreed 3.1 s ago (12 comparisons)
///   LIVE  SPAWNED  FINISHED  BASELINE  VERDICT  KIND   SITE
///     40       50        10         0  leak     async  app::serve  src/app.rs:2
/// ```
#[must_use]
pub fn report(report: &Report, style: ReportStyle) -> String {
    let mut out = String::new();
    agent_lines(&mut out, report, style.width);
    findings::lines(&mut out, report, style.width);
    let mut table = Table::new(&[
        ">PID",
        "NAME",
        "RUNTIME",
        ">LIVE",
        ">SPAWNED",
        ">FINISHED",
        ">BASELINE",
        "STATE",
        "VERDICT",
        "PATH",
    ]);
    for process in &report.processes {
        for runtime in &process.runtimes {
            table.push(runtime_cells(process, runtime));
        }
    }
    out.push('\n');
    table.write(&mut out, 0, style.width);
    if style.sites > 0 {
        for process in &report.processes {
            for runtime in &process.runtimes {
                sites(&mut out, report.taken_at, process, runtime, style);
            }
        }
    }
    out
}

/// One refresh of `top` as text.
///
/// ```text
/// leak-agent 0.1.0, bpf, ready: 1 process, 52 tasks
/// PID  NAME  RUNTIME  LIVE  +/S   -/S  GROWTH  STATE     VERDICT
/// 100  svc   tokio      48  12.0  3.0     +20  followed  leak
/// ```
#[must_use]
pub fn top(report: &Report, rows: &[&Row], width: usize) -> String {
    let mut out = String::new();
    agent_lines(&mut out, report, width);
    findings::lines(&mut out, report, width);
    let mut table = Table::new(&[
        ">PID", "NAME", "RUNTIME", ">LIVE", ">+/S", ">-/S", ">GROWTH", "STATE", "VERDICT",
    ]);
    for row in rows {
        table.push(vec![
            row.key.pid.to_string(),
            visible(&row.comm).into_owned(),
            row.key.runtime.clone(),
            live(row.live, row.exact, row.state),
            rate(row.spawned_rate),
            rate(row.finished_rate),
            format!("{:+}", row.growth),
            state(row.alive, row.state, row.counted_by).to_owned(),
            findings::verdict(row.alive, row.verdict).to_owned(),
        ]);
    }
    table.write(&mut out, 0, width);
    out
}

fn agent_lines(out: &mut String, report: &Report, width: usize) {
    out.push_str(&fit(&headline(report), width));
    out.push('\n');
    if let Some(trouble) = trouble(&report.agent) {
        out.push_str(&fit(&visible(&trouble), width));
        out.push('\n');
    }
}

/// Who says this of how much.
pub(super) fn headline(report: &Report) -> String {
    let agent = &report.agent;
    let alive = || report.processes.iter().filter(|process| process.alive);
    let count = alive().count();
    let tasks: u64 = alive()
        .flat_map(|process| &process.runtimes)
        .fold(0, |sum, runtime| sum.saturating_add(runtime.live));
    format!(
        "leak-agent {}, {}, {}: {}, {}",
        agent.build.version,
        agent.mode.label(),
        if agent.ready { "ready" } else { "starting" },
        counted(count as u64, "process", "processes"),
        counted(tasks, "task", "tasks"),
    )
}

/// A number with its noun.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What keeps the counts from being complete; `None` = nothing.
pub(super) fn trouble(agent: &Agent) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(reason) = &agent.mode_reason {
        parts.push(reason.clone());
    }
    if let Some(waiting_for) = &agent.waiting_for {
        parts.push(format!("waiting for {waiting_for}"));
    }
    let sum = |hops: &mut dyn Iterator<Item = &Hop>| {
        hops.flat_map(|hop| hop.dropped.values())
            .fold(0, |a: u64, b| a.saturating_add(*b))
    };
    let dropped = sum(&mut agent.hops.iter().filter(|hop| hop.name != Hop::NOTIFY));
    let untold = sum(&mut agent.hops.iter().filter(|hop| hop.name == Hop::NOTIFY));
    let failed = agent
        .attach_failures
        .values()
        .fold(0, |a: u64, b| a.saturating_add(*b));
    if dropped > 0 {
        parts.push(counted(dropped, "record dropped", "records dropped"));
    }
    if untold > 0 {
        parts.push(counted(untold, "notification dropped", "notifications dropped"));
    }
    parts.extend(not_followed(agent));
    let short_lived = agent.too_short_lived();
    if short_lived > 0 {
        parts.push(format!("{short_lived} too short-lived to follow"));
    }
    if failed > 0 {
        parts.push(counted(failed, "attachment failed", "attachments failed"));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// How many processes and files are not followed, and the most frequent reasons.
///
/// ```text
/// 4 not followed (unreachable file 3, attach failed 1)
/// ```
fn not_followed(agent: &Agent) -> Option<String> {
    const REASONS_SHOWN: usize = 3;
    let reasons = agent.not_followed();
    let all = reasons
        .iter()
        .fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
    let word = |reason: &str| reason.trim_start_matches("refused_").replace('_', " ");
    let told = match reasons.as_slice() {
        [] => return None,
        [(reason, _)] => word(reason),
        several => {
            let shown = several.iter().take(REASONS_SHOWN);
            let mut told: Vec<String> = shown
                .map(|(reason, count)| format!("{} {count}", word(reason)))
                .collect();
            if several.len() > REASONS_SHOWN {
                told.push("…".to_owned());
            }
            told.join(", ")
        }
    };
    Some(format!("{all} not followed ({told})"))
}

fn runtime_cells(process: &Process, runtime: &Runtime) -> Vec<String> {
    let number = |count: u64| event_count(count, runtime);
    vec![
        process.pid.to_string(),
        visible(&process.comm).into_owned(),
        runtime.runtime.clone(),
        live(runtime.live, runtime.exact, runtime.state),
        number(runtime.spawned),
        number(runtime.finished),
        number(runtime.baseline),
        state(process.alive, runtime.state, runtime.counted_by).to_owned(),
        findings::verdict(process.alive, runtime.verdict).to_owned(),
        visible(process.exe.as_deref().unwrap_or("?")).into_owned(),
    ]
}

fn sites(out: &mut String, taken_at: f64, process: &Process, runtime: &Runtime, style: ReportStyle) {
    // Nothing to tell of a site that has never had a task.
    let told: Vec<&Site> = runtime
        .sites
        .iter()
        .filter(|site| site.live > 0 || site.spawned > 0 || site.baseline > 0 || site.retained > Some(0))
        .collect();
    if told.is_empty() && runtime.reason.is_none() {
        return;
    }
    let _ = write!(
        out,
        "\n{} ({}), {}",
        visible(&process.comm),
        process.pid,
        runtime.runtime
    );
    if let Some(version) = &runtime.version {
        let _ = write!(out, " {}", visible(version));
    }
    if let Some(how) = counted_how(taken_at, runtime) {
        let _ = write!(out, ", {}", visible(&how));
    }
    if let Some(reason) = &runtime.reason {
        let _ = write!(out, ", {}: {}", runtime.state.label(), visible(reason));
    }
    out.push('\n');
    if let Some(known_by) = known::known_by(runtime) {
        let books = runtime.books.as_ref();
        let books = books.map(|books| known::books(taken_at, books));
        let retained = runtime
            .books
            .as_ref()
            .map(|books| known::retained(taken_at, books));
        for line in std::iter::once(known_by).chain(books).chain(retained) {
            out.push_str(&fit(&visible(&format!("  {line}")), style.width));
            out.push('\n');
        }
    }
    for scheduler in process
        .schedulers
        .iter()
        .filter(|each| each.runtime == runtime.runtime)
    {
        let line = format!("  {}", known::threads(taken_at, scheduler));
        out.push_str(&fit(&visible(&line), style.width));
        out.push('\n');
    }
    if told.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        ">LIVE",
        ">SPAWNED",
        ">FINISHED",
        ">BASELINE",
        "VERDICT",
        "KIND",
        "SITE",
    ]);
    for site in told.iter().take(style.sites) {
        table.push(vec![
            site.live.to_string(),
            event_count(site.spawned, runtime),
            event_count(site.finished, runtime),
            event_count(site.baseline, runtime),
            findings::verdict(process.alive, site.verdict).to_owned(),
            visible(&site.kind).into_owned(),
            site_name(site),
        ]);
    }
    table.write(out, 2, style.width);
    if told.len() > style.sites {
        let rest = told[style.sites..]
            .iter()
            .fold(0, |sum: u64, site| sum.saturating_add(site.live));
        let more = counted((told.len() - style.sites) as u64, "more site", "more sites");
        let _ = writeln!(out, "  {rest} more in {more}");
    }
}

/// Name, place and marks of a site, in one line.
pub(super) fn site_name(site: &Site) -> String {
    let mut name = visible(&site.name).into_owned();
    if let Some(location) = &site.location {
        let _ = write!(name, "  {}", visible(location));
    }
    if site.system {
        name.push_str("  [runtime's own]");
    }
    if let Some(retained) = site.retained.filter(|retained| *retained > 0) {
        let _ = write!(name, "  [{retained} finished but retained]");
    }
    if let Some(leaked) = site.leaked.filter(|leaked| *leaked > 0) {
        let _ = write!(name, "  [{leaked} can never be woken]");
    }
    if !site.waiting.is_empty() {
        let _ = write!(name, "  [{}]", visible(&waiting(&site.waiting)));
    }
    if site.ambiguous {
        name.push_str("  [or one with equal code]");
    }
    if let Some(note) = &site.note {
        let _ = write!(name, "  ({})", visible(note));
    }
    if let Some(callers) = callers(&site.callers) {
        let _ = write!(name, "  (asked for by {callers})");
    }
    if let Some(chain) = created_by(site) {
        let _ = write!(name, "  ({chain})");
    }
    name
}

/// Who asks for a site's tasks, in one line; `None` = no name is known.
///
/// ```text
/// created by app::conn::accept < app::serve < app::main
/// ```
fn created_by(site: &Site) -> Option<String> {
    const CALLS_SHOWN: usize = 3;
    let named = site
        .created_by
        .iter()
        .flatten()
        .filter_map(|call| call.function.as_deref());
    // The site of a thread is the innermost call.
    let mut named = named.skip_while(|function| *function == site.name);
    let shown: Vec<_> = named.by_ref().take(CALLS_SHOWN).map(visible).collect();
    let more = if named.next().is_some() { " < …" } else { "" };
    (!shown.is_empty()).then(|| format!("created by {}{more}", shown.join(" < ")))
}

/// Who asked a library for tasks, with how many were created for each; `None` = it is no library's site.
///
/// ```text
/// main.crawl crawl.go:17 40, main.index 2, …
/// ```
fn callers(callers: &[Caller]) -> Option<String> {
    const SHOWN: usize = 3;
    let told = callers.iter().take(SHOWN).map(|caller| {
        let name = match &caller.function {
            Some(function) => visible(function),
            None => "others".into(),
        };
        match &caller.location {
            Some(location) => format!("{name} {} {}", visible(location), caller.spawned),
            None => format!("{name} {}", caller.spawned),
        }
    });
    let told = told.collect::<Vec<_>>().join(", ");
    let more = if callers.len() > SHOWN { ", …" } else { "" };
    (!told.is_empty()).then(|| format!("{told}{more}"))
}

/// What the tasks of a site waited for when they were last listed.
///
/// ```text
/// chan receive 40, select 2, …
/// ```
fn waiting(waiting: &[Waiting]) -> String {
    const SHOWN: usize = 3;
    let mut told: Vec<String> = waiting
        .iter()
        .take(SHOWN)
        .map(|each| format!("{} {}", each.reason, each.count))
        .collect();
    if waiting.len() > SHOWN {
        told.push("…".to_owned());
    }
    told.join(", ")
}

/// A live count with its mark: `≥` = a lower bound, `-` = not counted.
pub(super) fn live(live: u64, exact: bool, state: State) -> String {
    match (state, exact) {
        (State::Unsupported, _) => "-".to_owned(),
        (_, true) => live.to_string(),
        (_, false) => format!("≥{live}"),
    }
}

/// A count of what happened since we began to count; `-` = that is not known: nobody counts, or only what lives.
pub(super) fn event_count(count: u64, of: &Runtime) -> String {
    let known = of.counted_by.is_some_and(CountedBy::counts_events);
    if known && of.state != State::Unsupported {
        count.to_string()
    } else {
        "-".to_owned()
    }
}

/// How far a runtime is followed, in one word.
pub(super) fn state(alive: bool, state: State, by: Option<CountedBy>) -> &'static str {
    match (alive, by) {
        (false, _) => "ended",
        (true, Some(CountedBy::Memory)) => "watched",
        (true, _) => state.label(),
    }
}

/// Where the counts come from, if that is not as the operator of `--mode trace` expects it.
///
/// ```text
/// from memory 2.4 s ago, 5120 spawned so far
/// by probes for 42 s: its tasks grew from 100 to 180 in 80 s
/// ```
pub(super) fn counted_how(taken_at: f64, of: &Runtime) -> Option<String> {
    let ago = |at: f64| (taken_at - at).max(0.0);
    if let Some(watch) = &of.watch {
        let mut text = match watch.as_of {
            Some(at) => format!("from memory {:.1} s ago", ago(at)),
            None => "from memory, which was not read yet".to_owned(),
        };
        if let Some(added) = watch.added {
            let _ = write!(text, ", {added} spawned so far");
        }
        return Some(text);
    }
    let probes = of.probes.as_ref()?;
    let reason = probes.reason.as_ref()?;
    Some(format!("by probes for {:.0} s: {reason}", ago(probes.since)))
}

/// A rate per second; `-` = not known yet.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate >= 1_000.0 => format!("{rate:.0}"),
        Some(rate) => format!("{rate:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::snapshot::{CallerSnapshot, SiteSnapshot};
    use crate::output::tui::model::Model;
    use crate::report::fixture::{
        finding, hostile_report, judged, judgement, process, report as report_of, runtime, scheduler, site,
        watched,
    };
    use crate::source::books::Wait;
    use crate::source::{CodeFrame, thread, tokio};
    use std::sync::Arc;

    const WIDE: ReportStyle = ReportStyle { width: 120, sites: 2 };

    /// The columns line up, sites come under their runtime, and what is not shown is summed up.
    #[test]
    fn report_as_text_has_aligned_columns() {
        let sites = vec![
            site(2, "app::serve", 0, 50, 10),
            site(3, "app::flush", 0, 9, 2),
            site(4, "app::poll", 0, 1, 0),
        ];
        let runtimes = vec![
            runtime(thread::RUNTIME, vec![site(1, "main", 1, 0, 0)]),
            runtime(tokio::RUNTIME, sites),
        ];
        let mut told = process(100, "svc", "/opt/svc", runtimes);
        told.schedulers.push(scheduler(tokio::RUNTIME));
        told.schedulers[0].as_of = None;
        let processes = vec![told];
        let judgement = judgement(vec![finding(&processes[0], tokio::RUNTIME, 2, "app::serve")]);
        let text = report(&judged(9, processes, &judgement), WIDE);
        let expected = "\
leak-agent 0.1.0, bpf, ready: 1 process, 49 tasks
3 records dropped; 8 notifications dropped; 3 not followed (unsupported); 7 too short-lived to follow; 1 attachment fai…
leak P0 red  svc (100), tokio: 38 tasks of app::serve have been spawned since 14:02 UTC and never ended: +60/min

PID  NAME  RUNTIME  LIVE  SPAWNED  FINISHED  BASELINE  STATE     VERDICT    PATH
100  svc   thread      1        0         0         1  followed  undecided  /opt/svc
100  svc   tokio      48       60        12         0  followed  leak       /opt/svc

svc (100), thread
  LIVE  SPAWNED  FINISHED  BASELINE  VERDICT    KIND   SITE
     1        0         0         1  undecided  async  main  src/app.rs:1

svc (100), tokio
  points by structure; names by symbols; books by layout of tokio 1.39 and later, by its version
  books agreed 9.0 s ago (3 comparisons); 1 repair, the last 8.0 s ago: the probes missed 1 spawns and 3 ends (live cou…
  finished but retained: 2 (1 by a JoinHandle or JoinSet), seen 9.0 s ago
  12 threads: 1 running, 4 syscall, 7 idle; 5 bound to one task
  LIVE  SPAWNED  FINISHED  BASELINE  VERDICT  KIND   SITE
    40       50        10         0  leak     async  app::serve  src/app.rs:2
     7        9         2         0  healthy  async  app::flush  src/app.rs:3
  1 more in 1 more site
";
        assert_eq!(text, expected);
    }

    /// Who asks for a site's tasks is told by the innermost calls that have a name; of a file without any there is nothing to
    /// tell in a line.
    #[test]
    fn site_with_a_creation_stack_names_its_innermost_calls() {
        let with = |functions: &[Option<&str>]| {
            let frame = |function: &Option<&str>| CodeFrame::new(*function, None, false, "ab:0x1");
            let mut snapshot = site(2, "app::serve", 0, 50, 10);
            snapshot.more_mut().created_by = Some(functions.iter().map(frame).collect::<Vec<_>>().into());
            let runtimes = vec![runtime(tokio::RUNTIME, vec![snapshot])];
            let report = report_of(9, vec![process(100, "svc", "/opt/svc", runtimes)]);
            site_name(&report.processes[0].runtimes[0].sites[0])
        };
        let plain = "app::serve  src/app.rs:2";
        assert_eq!(with(&[None, None]), plain);
        assert_eq!(
            with(&[Some("a"), None, Some("b\u{7}")]),
            format!("{plain}  (created by a < b\u{fffd})")
        );
        let deep = with(&[Some("a"), Some("b"), Some("c"), Some("d")]);
        assert_eq!(deep, format!("{plain}  (created by a < b < c < …)"));
        let named = with(&[Some("app::serve"), Some("a")]);
        assert_eq!(named, format!("{plain}  (created by a)"));
    }

    /// What was read from memory is live tasks at a moment: the moment is said, and nothing of spawns and ends.
    #[test]
    fn watched_runtime_as_text_has_its_moment_and_no_events() {
        let mut watched = watched(tokio::RUNTIME, vec![site(2, "app::serve", 40, 0, 0)]);
        watched.exact = false;
        let text = report(
            &report_of(60, vec![process(100, "svc", "/opt/svc", vec![watched])]),
            WIDE,
        );
        let lines: Vec<&str> = text.lines().skip(3).collect();
        let expected = [
            "PID  NAME  RUNTIME  LIVE  SPAWNED  FINISHED  BASELINE  STATE    VERDICT    PATH",
            "100  svc   tokio     ≥40        -         -         -  watched  undecided  /opt/svc",
            "",
            "svc (100), tokio, from memory 5.0 s ago, 1000 spawned so far",
            "  points by structure; names by symbols; books by layout of tokio 1.39 and later, by its version",
            "  LIVE  SPAWNED  FINISHED  BASELINE  VERDICT    KIND   SITE",
            "    40        -         -         -  undecided  async  app::serve  src/app.rs:2",
        ];
        assert_eq!(lines, expected);
    }

    /// A runtime that is not followed shows no number, one that is not exact a lower bound.
    #[test]
    fn counts_that_are_not_exact_are_marked() {
        assert_eq!(live(7, true, State::Partial), "7");
        assert_eq!(live(7, false, State::Followed), "≥7");
        assert_eq!(live(0, false, State::Unsupported), "-");
        assert_eq!(
            (rate(None), rate(Some(0.25)), rate(Some(123_456.7))),
            ("-".into(), "0.2".into(), "123457".into())
        );
    }

    /// What tasks wait for, and how many can never be woken, stands behind their site's name; of many reasons the first three.
    #[test]
    fn site_with_waiting_tasks_tells_what_they_wait_for() {
        let mut told = runtime(tokio::RUNTIME, vec![site(2, "app::serve", 0, 50, 10)]);
        told.sites[0].more_mut().leaked = Some(7);
        let reasons = [("chan receive", 20), ("select", 10), ("sleep", 3), ("IO wait", 1)];
        told.sites[0].more_mut().waiting = reasons.map(|(reason, tasks)| Wait { reason, tasks }).to_vec();
        let report = report_of(1, vec![process(100, "svc", "/opt/svc", vec![told])]);
        let site = &report.processes[0].runtimes[0].sites[0];
        let expected = "[7 can never be woken]  [chan receive 20, select 10, sleep 3, …]";
        assert!(site_name(site).contains(expected), "{}", site_name(site));
        assert_eq!(report.processes[0].runtimes[0].leaked, Some(7));
    }

    /// Who asked a library for tasks stands behind its site's name, and who is not told apart is told together; counts that are
    /// read before those of their callers never add up to more than they are.
    #[test]
    fn site_of_a_library_tells_who_asked_for_its_tasks() {
        let caller = |name: &str, location: Option<&str>, spawned| {
            let mut info = Arc::unwrap_or_clone(site(9, name, 0, 0, 0).info);
            info.location = location.map(ToOwned::to_owned);
            CallerSnapshot {
                info: Arc::new(info),
                spawned,
            }
        };
        let mut snapshot = site(2, "sync.(*WaitGroup).Go.func1", 0, 50, 10);
        snapshot.more_mut().callers = vec![
            caller("main.crawl", Some("crawl.go:17"), 40),
            caller("main.index", None, 2),
        ];
        let told = |snapshot: &SiteSnapshot| {
            let runtimes = vec![runtime(tokio::RUNTIME, vec![snapshot.clone()])];
            let report = report_of(9, vec![process(100, "svc", "/opt/svc", runtimes)]);
            site_name(&report.processes[0].runtimes[0].sites[0])
        };
        let expected = "(asked for by main.crawl crawl.go:17 40, main.index 2, others 8)";
        assert!(told(&snapshot).ends_with(expected), "{}", told(&snapshot));
        snapshot.more_mut().callers[1].spawned = 12;
        assert!(told(&snapshot).ends_with("main.index 10)"), "{}", told(&snapshot));
    }

    /// What ended too soon is told apart from what is not followed, and of that the most frequent reasons are named.
    #[test]
    fn processes_that_are_not_followed_are_told_with_the_reason() {
        let mut agent = report_of(1, Vec::new()).agent;
        agent.hops.clear();
        agent.attach_failures.clear();
        let mut told = |missed: &[(&str, u64)]| {
            let missed = missed
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count));
            agent.missed_processes = missed.collect();
            trouble(&agent)
        };
        assert_eq!(
            told(&[("refused_unsupported", 0), ("vanished_before_look", 0)]),
            None
        );
        let short = told(&[("vanished_before_look", 5), ("missed_short_lived", 2)]);
        assert_eq!(short.as_deref(), Some("7 too short-lived to follow"));
        let several = told(&[("refused_a", 1), ("b_c", 9), ("refused_d", 3), ("refused_e", 2)]);
        assert_eq!(several.as_deref(), Some("15 not followed (b c 9, d 3, e 2, …)"));
    }

    /// Hostile strings come out harmless, in lines of the given width.
    #[test]
    fn hostile_strings_are_harmless_in_text() {
        let hostile = hostile_report();
        let mut model = Model::default();
        model.update(Arc::new(hostile.clone()));
        let rows: Vec<&Row> = model.rows().iter().collect();
        for width in [20, 80, 200] {
            let style = ReportStyle { width, sites: 5 };
            for text in [report(&hostile, style), top(&hostile, &rows, width)] {
                for line in text.lines() {
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                    assert!(!line.contains('\u{202e}'), "{line:?}");
                }
                assert!(text.lines().filter(|line| line.contains("thread")).count() >= 6 || width == 20);
                let table = text
                    .lines()
                    .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
                for line in table {
                    assert!(columns(line) <= width, "{line:?}");
                }
            }
        }
    }
}
