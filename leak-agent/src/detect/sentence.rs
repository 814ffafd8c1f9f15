//! A finding in one sentence of plain English.

use super::combine::Alternative;
use super::finding::{Finding, FindingState};
use super::verdict::Verdict;

const DAY: f64 = 86_400.0;

/// `412 tasks of app::conn::serve (src/conn.rs:88) have been spawned since 14:02 UTC and never ended: +6/min while the
/// spawn rate is steady`. Names are as the process has them: not sanitised.
pub(super) fn sentence(of: &Finding, now: f64) -> String {
    let site = match &of.location {
        Some(location) => format!("{} ({location})", of.site),
        None => of.site.clone(),
    };
    let began = of.started.unwrap_or(of.opened).unix;
    let since = since(began, now);
    let rate = rate(of.per_minute);
    let tasks = of.surplus;
    if of.state == FindingState::Resolved {
        let why = of.resolution.unwrap_or("it is over");
        return format!("{tasks} tasks of {site} had been added {since}, at {rate}: {why}");
    }
    let why = match of.evidence.alternative {
        Alternative::SomeEnd | Alternative::Load | Alternative::PartialOutage => {
            "while the spawn rate is steady and its other tasks end"
        }
        Alternative::PileUp => "and its tasks, which used to end, do not end any more",
        Alternative::WarmUp | Alternative::Batch if of.evidence.growth.spawned > 0.0 => {
            "and hardly any task of it has ended"
        }
        Alternative::WarmUp | Alternative::Batch => "and it has given none back",
    };
    match of.verdict {
        Verdict::Leak => {
            format!("{tasks} tasks of {site} have been spawned {since} and never ended: {rate} {why}")
        }
        _ => format!(
            "{tasks} more tasks of {site} live than {}: {rate}; {}",
            at(began, now),
            of.evidence.alternative.text()
        ),
    }
}

/// Tasks per minute, with as many digits as tell something.
fn rate(per_minute: f64) -> String {
    if per_minute >= 10.0 {
        format!("+{per_minute:.0}/min")
    } else if per_minute >= 0.95 {
        format!("+{per_minute:.1}/min").replace(".0/", "/")
    } else {
        format!("+{:.1}/h", per_minute * 60.0)
    }
}

/// The time of the day, or how many days ago.
fn since(began: f64, now: f64) -> String {
    if now - began < DAY {
        format!("since {}", clock(began))
    } else {
        format!("in {:.0} days", ((now - began) / DAY).round())
    }
}

fn at(began: f64, now: f64) -> String {
    if now - began < DAY {
        format!("at {}", clock(began))
    } else {
        format!("{:.0} days ago", ((now - began) / DAY).round())
    }
}

fn clock(unix: f64) -> String {
    let minutes = (unix.rem_euclid(DAY) / 60.0).floor();
    format!("{:02.0}:{:02.0} UTC", (minutes / 60.0).floor(), minutes % 60.0)
}
