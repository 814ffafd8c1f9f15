//! The Prometheus text format, version 0.0.4.

use super::MetricsError;
use super::catalogue::Kind;
use super::family::{Family, Value};
use prometheus::TextEncoder;
use prometheus::proto;

pub(super) fn encode(families: &[Family]) -> Result<String, MetricsError> {
    // The encoder refuses a family without series.
    let families: Vec<_> = families
        .iter()
        .filter(|family| !family.series.is_empty())
        .map(to_proto)
        .collect();
    TextEncoder::new()
        .encode_to_string(&families)
        .map_err(MetricsError::Prometheus)
}

fn to_proto(family: &Family) -> proto::MetricFamily {
    let metric = &family.metric;
    let mut out = proto::MetricFamily::default();
    out.set_name(metric.name.to_owned());
    out.set_help(metric.help.to_owned());
    out.set_field_type(match metric.kind {
        Kind::Counter => proto::MetricType::COUNTER,
        Kind::Gauge | Kind::Info => proto::MetricType::GAUGE,
    });
    let series = family.series.iter().map(|series| {
        let labels = metric.labels.iter().zip(&series.labels).map(|(name, value)| {
            let mut label = proto::LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value(value.clone());
            label
        });
        let mut sample = proto::Metric::from_label(labels.collect());
        match metric.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(float(series.value));
                sample.set_counter(counter);
            }
            Kind::Gauge | Kind::Info => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(float(series.value));
                sample.set_gauge(gauge);
            }
        }
        sample
    });
    out.set_metric(series.collect());
    out
}

/// The format knows floats only: counts above 2⁵³ are rounded.
fn float(value: Value) -> f64 {
    match value {
        Value::Whole(value) => value as f64,
        Value::Real(value) => value,
    }
}
