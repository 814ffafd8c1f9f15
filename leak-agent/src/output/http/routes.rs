//! What is served: /metrics, /report, /healthz, /readyz and an index of them.

use crate::config::MetricsConfig;
use crate::output::metrics::{self, Format};
use crate::report::Report;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const INDEX: &str = "\
leak-agent: thread and task leaks, seen from outside

/metrics   metrics, as Prometheus text or OpenMetrics (by Accept)
/report    the whole report, as JSON
/healthz   200 while the agent works
/readyz    200 once everything found at the start is followed
";

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) fn router(
    config: MetricsConfig,
    stalled_after: Duration,
    reports: watch::Receiver<Arc<Report>>,
) -> Router {
    let shared = Arc::new(Shared {
        config,
        stalled_after,
        watched: Mutex::new(Watched {
            reports,
            newest: Instant::now(),
        }),
        rendered: Mutex::default(),
    });
    Router::new()
        .route("/", get(async || text(StatusCode::OK, INDEX)))
        .route("/metrics", get(serve_metrics))
        .route("/report", get(serve_report))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(async || text(StatusCode::NOT_FOUND, "not found; / lists what there is\n"))
        .layer(middleware::from_fn(guard))
        .with_state(shared)
}

struct Shared {
    config: MetricsConfig,
    stalled_after: Duration,
    watched: Mutex<Watched>,
    /// The newest rendering of each form, so that many requests cost no more than one per report.
    rendered: Mutex<[Option<Rendering>; 3]>,
}

/// A report and what became of it.
type Rendering = (Arc<Report>, Bytes);

struct Watched {
    reports: watch::Receiver<Arc<Report>>,
    /// When a new report was seen last.
    newest: Instant,
}

/// A form that a report is rendered in; the number is its place in [`Shared::rendered`].
#[derive(Clone, Copy)]
enum Form {
    Prometheus = 0,
    OpenMetrics = 1,
    Json = 2,
}

impl Shared {
    fn report(&self) -> Arc<Report> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.reports.has_changed().unwrap_or(false) {
            watched.newest = Instant::now();
        }
        Arc::clone(&watched.reports.borrow_and_update())
    }

    /// Why the agent does not work any more; `None` = it does.
    fn trouble(&self) -> Option<&'static str> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        match watched.reports.has_changed() {
            Err(_) => return Some("the agent has stopped\n"),
            Ok(true) => {
                watched.reports.mark_unchanged();
                watched.newest = Instant::now();
            }
            Ok(false) => {}
        }
        (watched.newest.elapsed() > self.stalled_after).then_some("no new report: the agent is stuck\n")
    }

    fn rendered(&self, form: Form) -> Result<Bytes, String> {
        let report = self.report();
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &mut rendered[form as usize];
        if let Some((of, bytes)) = place
            && Arc::ptr_eq(of, &report)
        {
            return Ok(bytes.clone());
        }
        let metrics = |format| {
            metrics::render(&report, self.config, format)
                .map(Bytes::from)
                .map_err(|error| error.to_string())
        };
        let bytes = match form {
            Form::Prometheus => metrics(Format::Prometheus)?,
            Form::OpenMetrics => metrics(Format::OpenMetrics)?,
            Form::Json => serde_json::to_vec(report.as_ref())
                .map(Bytes::from)
                .map_err(|error| error.to_string())?,
        };
        *place = Some((report, bytes.clone()));
        Ok(bytes)
    }

    fn answer(&self, form: Form, content_type: HeaderValue) -> Response {
        match self.rendered(form) {
            Ok(bytes) => ([(header::CONTENT_TYPE, content_type)], bytes).into_response(),
            Err(error) => {
                tracing::error!(%error, "cannot render the report");
                text(StatusCode::INTERNAL_SERVER_ERROR, "cannot render the report\n")
            }
        }
    }
}

async fn serve_metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    // Several fields are one list (RFC 9110, 5.3).
    let accept: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::accepted(&accept.join(","));
    let form = match format {
        Format::Prometheus => Form::Prometheus,
        Format::OpenMetrics => Form::OpenMetrics,
    };
    let mut answer = shared.answer(form, HeaderValue::from_static(format.content_type()));
    answer
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    answer
}

async fn serve_report(State(shared): State<Arc<Shared>>) -> Response {
    shared.answer(Form::Json, JSON)
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    match shared.trouble() {
        None => text(StatusCode::OK, "ok\n"),
        Some(trouble) => text(StatusCode::SERVICE_UNAVAILABLE, trouble),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    if let Some(trouble) = shared.trouble() {
        return text(StatusCode::SERVICE_UNAVAILABLE, trouble);
    }
    let agent = &shared.report().agent;
    match (&agent.waiting_for, &agent.mode_reason) {
        (Some(waiting_for), _) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: waiting for {waiting_for}\n"),
        ),
        (None, Some(reason)) => text(StatusCode::OK, format!("ready, degraded: {reason}\n")),
        (None, None) => text(StatusCode::OK, "ready\n"),
    }
}

/// Nothing here takes a body, so none is read; and no answer is for caches or to be guessed at.
async fn guard(request: Request, next: Next) -> Response {
    let mut answer = if request.body().is_end_stream() {
        next.run(request).await
    } else {
        let mut refusal = text(StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body\n");
        refusal
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        refusal
    };
    let fixed: [(HeaderName, &str); 2] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], body.into()).into_response()
}
