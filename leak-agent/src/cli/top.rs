//! `leak-agent top`: on a terminal until the person leaves, as plain text elsewhere.

use super::args::{AgentArgs, TopArgs};
use super::error::CliError;
use super::logging::Logs;
use super::{SUCCESS, notice, signals, terminal};
use crate::agent;
use crate::config::{AgentConfig, NotifyConfig};
use crate::output::table;
use crate::output::tui::model::Model;
use crate::output::tui::state::State;
use crate::output::tui::{self, Outcome, Theme};
use crate::report::Report;
use std::io::{self, Write as _};
use std::sync::Arc;
use tokio::sync::watch;

pub(super) fn run(agent: &AgentArgs, args: &TopArgs, logs: &Logs) -> Result<u8, CliError> {
    let mut config = agent.config(&args.filter)?;
    // Whoever reads this is told.
    config.notify = NotifyConfig::nobody();
    let rounds = if args.once { Some(1) } else { args.batch };
    let stop = signals::listen()?;
    let handle = agent::start(config.clone())?;
    if rounds.is_none() && terminal::is_interactive() {
        let theme = Theme {
            colours: terminal::colours(),
        };
        let hold = logs.hold();
        let outcome = tui::run(handle.reports(), &stop, State::default(), theme);
        handle.shutdown();
        drop(hold);
        return match outcome? {
            Outcome::Left => Ok(SUCCESS),
            Outcome::AgentStopped => Err(stopped()),
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let last = runtime.block_on(print(handle.reports(), stop, &config, rounds))?;
    handle.shutdown();
    let Some(report) = last else {
        return Ok(SUCCESS);
    };
    notice::tell_degraded(&report, &config);
    notice::tell_missing(&report, &args.filter);
    let filtered = !args.filter.pids.is_empty() || !args.filter.exes.is_empty();
    if rounds.is_some() && filtered && report.processes.is_empty() {
        return Ok(notice::tell_nothing(&args.filter));
    }
    Ok(SUCCESS)
}

/// Prints a table per report, `rounds` of them (`None` = until a signal). The first is printed after the second
/// report, so that it has rates. Returns the last one that was printed, with the processes that were asked for.
async fn print(
    mut reports: watch::Receiver<Arc<Report>>,
    mut stop: watch::Receiver<bool>,
    config: &AgentConfig,
    rounds: Option<u64>,
) -> Result<Option<Arc<Report>>, CliError> {
    let mut model = Model::default();
    let mut last = None;
    let mut printed = 0;
    let mut seen_ready = false;
    loop {
        if *stop.borrow() || rounds.is_some_and(|rounds| printed >= rounds) {
            return Ok(last);
        }
        tokio::select! {
            changed = reports.changed() => changed.map_err(|_| stopped())?,
            _ = stop.changed() => continue,
        }
        let report = Arc::clone(&reports.borrow_and_update());
        if !report.agent.ready {
            continue;
        }
        let mut wanted = Report::clone(&report);
        notice::keep_wanted(&mut wanted, config);
        let wanted = Arc::new(wanted);
        model.update(Arc::clone(&wanted));
        if !std::mem::replace(&mut seen_ready, true) {
            continue;
        }
        let rows = State::default().rows(&model);
        let text = table::top(&wanted, &rows, terminal::width());
        let mut out = io::stdout().lock();
        if printed > 0 {
            writeln!(out)?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        printed += 1;
        last = Some(wanted);
    }
}

fn stopped() -> CliError {
    CliError::failure("the agent has stopped by itself")
        .hint("its last words are in the log; --log-level debug tells more")
}
