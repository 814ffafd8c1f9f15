//! The score as people read it: markdown.

use super::language::Language;
use super::scenario::Pace;
use super::score::{Judged, Score, median};
use std::fmt::Write as _;

/// The whole page: what was aimed at and reached, each play, and the wrong ones by name.
#[must_use]
pub fn page(score: &Score<'_>) -> String {
    let mut page = aims(score);
    page += &plays(score, "leaks", true);
    page += &plays(score, "busy and healthy", false);
    page += &wrong(score);
    page
}

/// Aims and what was reached.
#[must_use]
pub fn aims(score: &Score<'_>) -> String {
    use Pace::{Fast, FastPure, Slow, Storm};
    let mut table = String::from("| | aim | reached | |\n|---|---|---|---|\n");
    let mut row = |what: &str, aim: &str, reached: &str, met: Option<bool>| {
        let met = match met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        let _ = writeln!(table, "| {what} | {aim} | {reached} | {met} |");
    };
    let part = |(part, all): (usize, usize)| {
        let share = 100.0 * part as f64 / all.max(1) as f64;
        format!("{share:.1} % ({part} of {all})")
    };
    let least = |(part, all): (usize, usize), percent: usize| all == 0 || part * 100 >= all * percent;
    row(
        "leaks that were told (recall)",
        "95 % at least",
        &part(score.recall()),
        Some(least(score.recall(), 95)),
    );
    row(
        "verdicts that are right (precision)",
        "98 % at least",
        &part(score.precision()),
        Some(least(score.precision(), 98)),
    );
    let (loud, busy) = score.loud();
    row(
        "busy plays that were called a leak",
        "0",
        &format!("{loud} of {busy}"),
        Some(loud == 0),
    );
    let wrong = score.wrong_sites();
    row(
        "verdicts at another site than the one that leaks",
        "0",
        &wrong.to_string(),
        Some(wrong == 0),
    );
    let groups: [(&str, &[Pace], Option<f64>); 5] = [
        (
            "one per second and more, all: median",
            &[Fast, FastPure, Storm],
            Some(60.0),
        ),
        ("– among tasks that end", &[Fast], None),
        ("– of which none ends", &[FastPure], None),
        ("– under a storm at the same site", &[Storm], None),
        ("one per 30 s: median", &[Slow], Some(900.0)),
    ];
    for (what, paces, aim) in groups {
        let times = score.times(paces);
        let (Some(middle), Some(slowest)) = (median(&times), times.last().copied()) else {
            continue;
        };
        let reached = format!(
            "{} (slowest {}), {} plays",
            seconds(middle),
            seconds(slowest),
            times.len()
        );
        let text = aim.map_or(String::new(), |aim| format!("{aim:.0} s at most"));
        row(what, &text, &reached, aim.map(|aim| middle <= aim));
    }
    table + "\n"
}

fn seconds(time: f64) -> String {
    if time.is_finite() {
        format!("{time:.0} s")
    } else {
        "not told".to_owned()
    }
}

/// A row per scenario.
fn plays(score: &Score<'_>, title: &str, leaks: bool) -> String {
    let of: Vec<&Judged<'_>> = score
        .judged
        .iter()
        .filter(|judged| judged.played.leak.is_some() == leaks)
        .collect();
    if of.is_empty() {
        return String::new();
    }
    let mut names: Vec<&str> = Vec::new();
    for judged in &of {
        if !names.contains(&judged.played.scenario.as_str()) {
            names.push(&judged.played.scenario);
        }
    }
    let mut table = format!("| {title} |");
    for language in Language::ALL {
        let _ = write!(table, " {} |", language.name());
    }
    table += "\n|---|---|---|---|\n";
    for name in names {
        let _ = write!(table, "| {name} |");
        for language in Language::ALL {
            let mut cells: Vec<String> = of
                .iter()
                .filter(|judged| judged.played.scenario == name && judged.played.language == language)
                .map(|judged| cell(judged))
                .collect();
            cells.dedup();
            let _ = write!(table, " {} |", cells.join(", "));
        }
        table.push('\n');
    }
    table + "\n"
}

fn cell(judged: &Judged<'_>) -> String {
    let mut cell = match (judged.played.leak, judged.after) {
        (Some(_), Some(after)) => seconds(after),
        (Some(_), None) => "**not told**".to_owned(),
        (None, _) if judged.wrong.is_empty() => "silent".to_owned(),
        (None, _) => String::new(),
    };
    if !judged.wrong.is_empty() {
        cell += " **wrong**";
    }
    if judged.played.failed.is_some() {
        cell += " (failed)";
    }
    cell.trim().to_owned()
}

/// The wrong ones by name, with what the agent said.
#[must_use]
pub fn wrong(score: &Score<'_>) -> String {
    let mut list = String::new();
    for judged in &score.judged {
        let (name, language) = (&judged.played.scenario, judged.played.language.name());
        if judged.played.leak.is_some() && judged.after.is_none() {
            let _ = writeln!(list, "- {name}, {language}: not told");
        }
        for told in &judged.wrong {
            let _ = writeln!(list, "- {name}, {language}: called a leak: {}", told.sentence);
        }
        if let Some(why) = &judged.played.failed {
            let _ = writeln!(list, "- {name}, {language}: the program ended too early: {why}");
        }
    }
    list
}
