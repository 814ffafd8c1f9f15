//! For people: one paragraph per group.
//!
//! ```text
//! pid 4341, /opt/app/server: 117 tasks in 14 groups, taken in 4 ms
//!
//! 100 × go goroutine waiting: chan receive, oldest 3 min
//!     main.parked, started at /src/main.go:88 by main.park
//!     on channel 0xc000014060 (0 of 0 values): all 64 looked at
//!       main.parked.func1      /src/main.go:90
//!       main.parked            /src/main.go:91
//! ```

use super::place;
use crate::dump::{Dump, Frame, Group, LabelSet, WaitPlace};
use crate::output::text::{columns, visible};
use std::fmt::Write as _;

/// Columns of the functions' names, at most: a longer one pushes its line's place to the right.
const NAMES_MAX: usize = 60;
/// Labels and channels are told only so far.
const TEXT_MAX: usize = 120;

/// What is written around words to colour them.
struct Paint {
    count: &'static str,
    state: &'static str,
    name: &'static str,
    dim: &'static str,
    end: &'static str,
}

const PLAIN: Paint = Paint {
    count: "",
    state: "",
    name: "",
    dim: "",
    end: "",
};
const COLOURED: Paint = Paint {
    count: "\x1b[1m",
    state: "\x1b[33m",
    name: "\x1b[36m",
    dim: "\x1b[2m",
    end: "\x1b[0m",
};

/// The dump for people; with colours, if they are wanted.
#[must_use]
pub fn text(dump: &Dump, colours: bool) -> String {
    let paint = if colours { &COLOURED } else { &PLAIN };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(dump, paint, &mut out);
    out
}

fn write(dump: &Dump, paint: &Paint, out: &mut String) -> std::fmt::Result {
    let executable = dump.executable.as_deref().unwrap_or("an unknown executable");
    writeln!(
        out,
        "pid {}, {}: {} in {}, taken in {:.0} ms",
        dump.pid,
        visible(executable),
        plural(dump.tasks, "task"),
        plural(dump.groups.len() as u64, "group"),
        dump.took_s * 1e3
    )?;
    for note in &dump.notes {
        writeln!(out, "note: {}", visible(note))?;
    }
    for group in &dump.groups {
        writeln!(out)?;
        self::group(group, paint, out)?;
    }
    Ok(())
}

fn group(group: &Group, paint: &Paint, out: &mut String) -> std::fmt::Result {
    let Paint {
        count,
        state,
        name,
        dim,
        end,
    } = paint;
    write!(
        out,
        "{count}{}{end} × {} {} {state}{}",
        group.count,
        group.runtime,
        group.kind,
        visible(&group.state)
    )?;
    if let Some(reason) = &group.reason {
        write!(out, ": {}", visible(reason))?;
    }
    write!(out, "{end}")?;
    if let Some(oldest) = group.oldest_s {
        write!(out, ", oldest {}", duration(oldest))?;
    }
    match group.bound {
        0 => {}
        bound if bound == group.count => write!(out, ", locked to thread")?,
        bound => write!(out, ", {bound} locked to thread")?,
    }
    if !group.complete && !group.frames.is_empty() {
        write!(out, ", stack not complete")?;
    }
    writeln!(out)?;
    write!(out, "    {name}{}{end}", visible(&group.site))?;
    if let Some(location) = &group.location {
        write!(out, ", started at {}", visible(location))?;
    }
    if let Some(creator) = group.created_by.first() {
        write!(out, " by {}", visible(&creator.function))?;
    }
    writeln!(out)?;
    for place in &group.waits_on {
        writeln!(out, "    {dim}{}{end}", waits(place, group))?;
    }
    for labels in &group.labels {
        writeln!(out, "    {dim}{}{end}", self::labels(labels, group))?;
    }
    if group.frames.is_empty() {
        return writeln!(out, "      {dim}no stack: it was not at rest{end}");
    }
    frames(&group.frames, paint, out)
}

fn frames(frames: &[Frame], paint: &Paint, out: &mut String) -> std::fmt::Result {
    let Paint { name, dim, end, .. } = paint;
    let width = frames.iter().map(|frame| columns(&visible(&frame.function)));
    let width = width.filter(|width| *width <= NAMES_MAX).max().unwrap_or(0);
    for (frame, times) in runs(frames) {
        let function = visible(&frame.function);
        write!(out, "      {name}{function}{end}")?;
        let place = place(frame);
        if place.is_some() || frame.inlined {
            let gap = width.saturating_sub(columns(&function)) + 2;
            write!(
                out,
                "{:gap$}{dim}{}{}{end}",
                "",
                visible(place.as_deref().unwrap_or("?")),
                if frame.inlined { " (inlined)" } else { "" }
            )?;
        }
        writeln!(out)?;
        if times > 1 {
            writeln!(out, "      {dim}… {} times more{end}", times - 1)?;
        }
    }
    Ok(())
}

/// Frames, and how often each stands there in a row: recursion.
fn runs(frames: &[Frame]) -> Vec<(&Frame, usize)> {
    let mut runs: Vec<(&Frame, usize)> = Vec::new();
    for frame in frames {
        match runs.last_mut() {
            Some((last, times)) if *last == frame => *times += 1,
            _ => runs.push((frame, 1)),
        }
    }
    runs
}

/// How many of those that were looked at, of all.
fn share(tasks: u64, group: &Group) -> String {
    match (tasks, group.looked_at) {
        (_, 1) => String::new(),
        (tasks, looked_at) if tasks == looked_at && looked_at == group.count => ": all of them".to_owned(),
        (tasks, looked_at) if tasks == looked_at => format!(": all {looked_at} looked at"),
        (tasks, looked_at) => format!(": {tasks} of {looked_at} looked at"),
    }
}

fn waits(place: &WaitPlace, group: &Group) -> String {
    format!(
        "{} channel {} ({} of {} values{}){}",
        if place.select { "selects on" } else { "on" },
        place.channel,
        place.queued,
        place.capacity,
        if place.closed { ", closed" } else { "" },
        share(place.tasks, group)
    )
}

fn labels(set: &LabelSet, group: &Group) -> String {
    let pairs: Vec<String> = set
        .labels
        .iter()
        .map(|(key, value)| format!("{}={}", visible(key), visible(value)))
        .collect();
    let pairs = pairs.join(" ");
    format!(
        "labels {}{}",
        crate::output::text::capped(&pairs, TEXT_MAX),
        share(set.tasks, group)
    )
}

fn plural(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// "45 s", "3 min", "2 h 5 min", "4 d 2 h".
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}
