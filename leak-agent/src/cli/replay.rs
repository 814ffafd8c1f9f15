//! `leak-agent replay`: a tape in, reports out.

use super::args::{AgentArgs, ReplayArgs, ReplayFormat, Speed};
use super::error::CliError;
use super::{SUCCESS, notice, terminal};
use crate::agent::Replay;
use crate::output::table::{self, ReportStyle};
use crate::report::Report;
use crate::tape::{End, Reader};
use crate::types::BootTime;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::Path;

pub(super) fn run(agent: &AgentArgs, args: &ReplayArgs) -> Result<u8, CliError> {
    let config = agent.config(&args.filter)?;
    let mut out = Output {
        args,
        out: BufWriter::new(io::stdout().lock()),
    };
    let mut replay = Replay::new(std::sync::Arc::clone(&config.policy));
    let mut last: Option<Report> = None;
    // When the report before came, and when one was printed.
    let (mut before, mut printed) = (None::<BootTime>, None::<BootTime>);
    for path in &args.files {
        let mut tape = Reader::open(path)?;
        let mut failed = None;
        let played = replay.play(&mut tape, |at, mut report| {
            if let (Speed::Times(times), Some(before)) = (args.speed, before.replace(at)) {
                std::thread::sleep(at.since(before).div_f64(times));
            }
            notice::keep_wanted(&mut report, &config);
            let due = match (args.every, args.format, printed) {
                (Some(every), _, Some(printed)) => at.since(printed) >= every,
                (Some(_), _, None) | (None, ReplayFormat::JsonLines, _) => true,
                (None, ..) => false,
            };
            if due {
                printed = Some(at);
                if let Err(error) = out.print(&report) {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            last = Some(report);
            ControlFlow::Continue(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        if let Err(error) = played {
            // What came before the damage is worth as much as ever.
            out.finish(last.as_ref(), before == printed)?;
            return Err(error.into());
        }
        tell(path, tape.end());
    }
    let Some(last) = last else {
        return Err(CliError::failure(
            "there is no report on the tape: it ends before the first tick",
        ));
    };
    let nothing = last.processes.is_empty();
    out.finish(Some(&last), before == printed)?;
    Ok(if nothing {
        notice::tell_nothing(&args.filter)
    } else {
        SUCCESS
    })
}

/// Says how a tape ended, if it did not end well.
fn tell(path: &Path, end: Option<End>) {
    let path = path.display();
    match end {
        Some(End::Cut { offset }) => {
            tracing::warn!("{path} is cut off at byte {offset}: this is what came before");
        }
        Some(End::Open) => {
            tracing::warn!("{path} has no end mark: its agent was killed, or is still recording");
        }
        Some(End::Whole) | None => {}
    }
}

/// Where reports are printed.
struct Output<'a> {
    args: &'a ReplayArgs,
    out: BufWriter<io::StdoutLock<'static>>,
}

impl Output<'_> {
    fn print(&mut self, report: &Report) -> Result<(), CliError> {
        let text = match self.args.format {
            ReplayFormat::Table => {
                let style = ReportStyle {
                    width: terminal::width(),
                    sites: self.args.sites,
                };
                table::report(report, style)
            }
            ReplayFormat::Json => serde_json::to_string_pretty(report).map_err(CliError::failure)? + "\n",
            ReplayFormat::JsonLines => serde_json::to_string(report).map_err(CliError::failure)? + "\n",
        };
        self.out.write_all(text.as_bytes())?;
        if self.args.speed != Speed::Max {
            self.out.flush()?;
        }
        Ok(())
    }

    /// Prints the last report, unless it was printed already.
    fn finish(&mut self, last: Option<&Report>, printed: bool) -> Result<(), CliError> {
        if let Some(last) = last.filter(|_| !printed) {
            self.print(last)?;
        }
        Ok(self.out.flush()?)
    }
}
