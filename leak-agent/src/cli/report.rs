//! `leak-agent report`: follow for a while, print one report, end.

use super::args::{AgentArgs, ReportArgs, ReportFormat};
use super::error::CliError;
use super::{SUCCESS, notice, signals, terminal};
use crate::agent::{self, Reconciler};
use crate::config::{AgentConfig, NotifyConfig};
use crate::output::table::{self, ReportStyle};
use crate::report::{Process, Report};
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// After this long the report is made of what is attached by then, and says so.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// And after this long, what is not compared with the books by then stays so.
const COMPARED_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(agent: &AgentArgs, args: &ReportArgs) -> Result<u8, CliError> {
    let mut config = agent.config(&args.filter)?;
    // Whoever reads this is told.
    config.notify = NotifyConfig::nobody();
    let stop = signals::listen()?;
    let handle = agent::start(config.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let reconciler = args.reconcile_now.then(|| handle.reconciler());
    let report = runtime.block_on(collect(
        handle.reports(),
        stop,
        &config,
        args.duration,
        reconciler,
    ))?;
    handle.shutdown();
    notice::tell_degraded(&report, &config);
    notice::tell_missing(&report, &args.filter);
    if report.processes.is_empty() {
        return Ok(notice::tell_nothing(&args.filter));
    }
    let text = match args.format {
        ReportFormat::Json => {
            let mut text = serde_json::to_string_pretty(&report).map_err(CliError::failure)?;
            text.push('\n');
            text
        }
        ReportFormat::Table => {
            let style = ReportStyle {
                width: terminal::width(),
                sites: args.sites,
            };
            table::report(&report, style)
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(SUCCESS)
}

/// The last report of the given time, with the processes that ended during it; with a reconciler, the first one after
/// everything was compared at the end of that time. A signal ends the time early.
async fn collect(
    mut reports: watch::Receiver<Arc<Report>>,
    mut stop: watch::Receiver<bool>,
    config: &AgentConfig,
    duration: Duration,
    reconciler: Option<Reconciler>,
) -> Result<Report, CliError> {
    let mut ended = Ended::default();
    let first = tokio::select! {
        ready = tokio::time::timeout(READY_WITHIN, reports.wait_for(|report| report.agent.ready)) => match ready {
            Ok(Ok(ready)) => Some(Arc::clone(&ready)),
            Ok(Err(_)) => return Err(stopped()),
            Err(_) => None,
        },
        _ = stop.wait_for(|stop| *stop) => return Err(CliError::failure("interrupted before everything was attached")),
    };
    let mut last = match first {
        Some(first) => first,
        None => {
            tracing::warn!("not everything is attached yet: the report is not complete");
            Arc::clone(&reports.borrow_and_update())
        }
    };
    let reconciles = reconciler.is_some();
    let mut over = duration.is_zero() && !reconciles;
    let end = async {
        tokio::time::sleep(duration).await;
        if let Some(reconciler) = reconciler
            && tokio::time::timeout(COMPARED_WITHIN, reconciler.now().done())
                .await
                .is_err()
        {
            tracing::warn!("not everything is compared yet: the report says when it was last");
        }
    };
    tokio::pin!(end);
    loop {
        let mut wanted = Report::clone(&last);
        notice::keep_wanted(&mut wanted, config);
        ended.take(&wanted);
        // Who asked for processes that are not there need not wait for them.
        let nobody = wanted.processes.is_empty() && ended.is_empty() && !config.pids.is_empty();
        if nobody || over || *stop.borrow() {
            return Ok(ended.join(wanted));
        }
        tokio::select! {
            changed = reports.changed() => changed.map_err(|_| stopped())?,
            () = &mut end => {
                over = true;
                if reconciles {
                    reports.changed().await.map_err(|_| stopped())?;
                }
            }
            _ = stop.changed() => {}
        }
        last = Arc::clone(&reports.borrow_and_update());
    }
}

fn stopped() -> CliError {
    CliError::failure("the agent has stopped by itself")
        .hint("its last words are in the log; --log-level debug tells more")
}

/// Processes that ended while we followed: each is in one report only.
#[derive(Default)]
struct Ended(BTreeMap<(u32, u64), Process>);

impl Ended {
    fn take(&mut self, report: &Report) {
        for process in report.processes.iter().filter(|process| !process.alive) {
            self.0
                .insert((process.pid, process.start_boottime), process.clone());
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The report with all of them.
    fn join(mut self, mut report: Report) -> Report {
        for process in &report.processes {
            self.0.remove(&(process.pid, process.start_boottime));
        }
        report.processes.extend(self.0.into_values());
        report
            .processes
            .sort_by_key(|process| (process.pid, process.start_boottime));
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{process, report, runtime};
    use crate::source::thread;

    fn with(pids: &[u32], dead: &[u32]) -> Arc<Report> {
        let processes = pids.iter().map(|pid| {
            let mut process = process(*pid, "svc", "/svc", vec![runtime(thread::RUNTIME, vec![])]);
            process.alive = !dead.contains(pid);
            process
        });
        Arc::new(report(1, processes.collect()))
    }

    async fn collected(sent: Vec<Arc<Report>>, pids: Vec<u32>, duration: Duration) -> Vec<(u32, bool)> {
        let (reports, receiver) = watch::channel(with(&[], &[]));
        let (_stop, stop) = watch::channel(false);
        let config = AgentConfig {
            pids,
            ..AgentConfig::default()
        };
        let sender = async {
            for report in sent {
                reports.send_replace(report);
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            report = collect(receiver, stop, &config, duration, None) => {
                report.unwrap().processes.iter().map(|process| (process.pid, process.alive)).collect()
            }
            () = sender => unreachable!("the sender waits for ever"),
        }
    }

    /// A process that ends during the time is in the report, as ended, though the last report has forgotten it.
    #[tokio::test]
    async fn process_that_ended_meanwhile_is_reported() {
        let sent = vec![with(&[1, 2], &[]), with(&[1, 2], &[2]), with(&[1], &[])];
        // The first report, from before the sender begins, has nobody: all processes are asked for.
        let found = collected(sent, vec![], Duration::from_millis(200)).await;
        assert_eq!(found, [(1, true), (2, false)]);
    }

    /// Who asks for a pid that nobody has is answered at once, not after the time.
    #[tokio::test]
    async fn absent_process_is_not_waited_for() {
        let hour = Duration::from_secs(3600);
        assert_eq!(collected(vec![], vec![77], hour).await, []);
    }

    /// When the agent ends, the report is an error, not a wait.
    #[tokio::test]
    async fn end_of_the_agent_is_an_error() {
        let (reports, receiver) = watch::channel(with(&[1], &[]));
        drop(reports);
        let (_stop, stop) = watch::channel(false);
        let config = AgentConfig::default();
        let error = collect(receiver, stop, &config, Duration::from_secs(3600), None)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("stopped"), "{error}");
    }
}
