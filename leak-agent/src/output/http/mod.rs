//! The HTTP server: few connections, each bounded in time and size, whatever its client does.

mod routes;

use crate::config::HttpConfig;
use crate::report::Report;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// The head of a request may have so many bytes (hyper's least is 8 KiB) …
const HEAD_BYTES: usize = 16 * 1024;
/// … and so many header fields.
const HEAD_FIELDS: usize = 64;
/// At shutdown, requests in flight get this long: whoever told the agent to end waits for it.
const GRACE: Duration = Duration::from_millis(500);
/// When the kernel refuses to accept (out of descriptors), wait this long before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Listens on the configured address. Done before anything else starts, so that a second agent on the node is told
/// at once.
///
/// # Errors
///
/// [`HttpError::Bind`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| HttpError::Bind { address, source })
}

/// Serves until `shutdown` is done; requests in flight are finished within a grace time.
///
/// One task per connection, at most [`HttpConfig::max_connections`]; the next ones wait in the kernel's queue.
pub async fn serve(
    listener: TcpListener,
    config: HttpConfig,
    reports: watch::Receiver<Arc<Report>>,
    shutdown: impl Future<Output = ()>,
) {
    let app = routes::router(config.metrics, config.stalled_after, reports);
    let slots = Arc::new(Semaphore::new(config.max_connections.max(1)));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            () = &mut shutdown => break,
            (slot, stream) = accepted => (slot, stream),
        };
        let stream: TcpStream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(config.head_timeout)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEAD_FIELDS)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app.clone()));
        let connection = graceful.watch(connection);
        let timeout = config.connection_timeout;
        tokio::spawn(async move {
            // Errors and time-outs are the client's business: it sees its connection closed.
            match tokio::time::timeout(timeout, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "connection failed"),
                Err(_) => tracing::debug!("connection timed out"),
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::debug!("connections were cut at shutdown");
    }
}

#[cfg(test)]
mod tests;
