//! Metrics: a report as families of series, in the text formats of Prometheus and OpenMetrics.

mod books;
mod catalogue;
mod collect;
mod family;
mod findings;
mod negotiate;
mod openmetrics;
mod prometheus;
mod receivers;
mod schedulers;
mod watch;

pub use catalogue::{Definition, Kind, MetricUnit, catalogue_markdown};
pub use family::{Family, Series, Value};
pub use negotiate::Format;

use crate::config::MetricsConfig;
use crate::report::Report;

/// Why a report cannot be rendered: a bug in the catalogue, for no report can cause it.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The Prometheus encoder refused a family.
    #[error("cannot encode metrics as prometheus text")]
    Prometheus(#[source] ::prometheus::Error),
    /// The OpenMetrics encoder refused a family.
    #[error("cannot encode metrics as openmetrics text")]
    OpenMetrics(#[source] std::fmt::Error),
}

/// Renders the report. Cost is linear in the number of series, which `config` bounds.
///
/// # Errors
///
/// See [`MetricsError`].
pub fn render(report: &Report, config: MetricsConfig, format: Format) -> Result<String, MetricsError> {
    let families = collect::families(report, config);
    match format {
        Format::Prometheus => prometheus::encode(&families),
        Format::OpenMetrics => openmetrics::encode(families),
    }
}

#[cfg(test)]
mod tests;
