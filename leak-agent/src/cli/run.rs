//! `leak-agent run`: the service.

use super::args::{AgentArgs, RunArgs};
use super::error::CliError;
use super::{SUCCESS, signals};
use crate::agent::{self, Reconciler};
use crate::config::HttpConfig;
use crate::output::http;
use crate::report::Report;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

pub(super) fn run(agent: &AgentArgs, args: &RunArgs) -> Result<u8, CliError> {
    let mut config = agent.config(&args.filter)?;
    if let Some(node) = &args.node {
        config.notify.node = Some(node.clone());
    }
    config.record = args.record();
    let stop = signals::listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // First the address: a second agent on the node must not attach anything before it learns that it is one.
    let server = match args.http(config.interval) {
        Some(http) => Some((runtime.block_on(http::bind(http.listen))?, http)),
        None => None,
    };
    let handle = agent::start(config)?;
    let reports = handle.reports();
    let asked = runtime.block_on(async { signals::on_demand() })?;
    let reconcile = reconcile_on_demand(asked, handle.reconciler());
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = serve(server, reports, stop) => ended,
            never = reconcile => match never {},
        }
    });
    tracing::info!("stopping");
    handle.shutdown();
    ended.map(|()| SUCCESS)
}

/// Has everything compared with the runtimes' own books whenever the signal comes.
async fn reconcile_on_demand(mut asked: Signal, reconciler: Reconciler) -> Infallible {
    while asked.recv().await.is_some() {
        tracing::info!("comparing with the runtimes' own books, as asked for");
        drop(reconciler.now()); // whoever asked sees it in the reports
    }
    std::future::pending().await
}

/// Serves until a signal comes, or until the agent ends by itself, which is a failure.
async fn serve(
    server: Option<(TcpListener, HttpConfig)>,
    mut reports: watch::Receiver<Arc<Report>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), CliError> {
    let mut stop_server = stop.clone();
    let watched = reports.clone();
    let serving = async {
        match server {
            Some((listener, config)) => {
                tracing::info!(address = %config.listen, "listening");
                let stopped = async move {
                    let _ = stop_server.wait_for(|stop| *stop).await;
                };
                http::serve(listener, config, watched, stopped).await;
            }
            None => {
                let _ = stop.wait_for(|stop| *stop).await;
            }
        }
    };
    let agent_ended = async { while reports.changed().await.is_ok() {} };
    tokio::select! {
        () = serving => Ok(()),
        () = agent_ended => Err(CliError::failure("the agent has stopped by itself")
            .hint("its last words are in the log; --log-level debug tells more")),
    }
}
