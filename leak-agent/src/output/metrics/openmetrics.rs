//! The OpenMetrics text format, version 1.0.

use super::MetricsError;
use super::catalogue::{Kind, MetricUnit};
use super::family::{Family, Series, Value};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet,
    GaugeValueEncoder, LabelSetEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::fmt::Write as _;

pub(super) fn encode(families: Vec<Family>) -> Result<String, MetricsError> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut out = String::new();
    text::encode(&mut out, &registry).map_err(MetricsError::OpenMetrics)?;
    Ok(out)
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.iter().filter(|family| !family.series.is_empty()) {
            let metric = &family.metric;
            let unit = metric.unit.map(|unit| match unit {
                MetricUnit::Seconds => Unit::Seconds,
                MetricUnit::Bytes => Unit::Bytes,
            });
            let kind = match metric.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Info => MetricType::Info,
            };
            let mut samples = encoder.encode_descriptor(metric.stem(), metric.help, unit.as_ref(), kind)?;
            for series in &family.series {
                let labels = Labels {
                    names: metric.labels,
                    series,
                };
                match metric.kind {
                    Kind::Info => samples.encode_info(&labels)?,
                    Kind::Gauge if metric.labels.is_empty() => samples.encode_gauge(&series.value)?,
                    Kind::Gauge => samples.encode_family(&labels)?.encode_gauge(&series.value)?,
                    Kind::Counter if metric.labels.is_empty() => {
                        samples.encode_counter::<NoLabelSet, _, u64>(&series.value, None)?;
                    }
                    Kind::Counter => {
                        samples
                            .encode_family(&labels)?
                            .encode_counter::<NoLabelSet, _, u64>(&series.value, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

struct Labels<'a> {
    names: &'static [&'static str],
    series: &'a Series,
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, value) in self.names.iter().zip(&self.series.labels) {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut text = key.encode_label_value()?;
            text.write_str(value)?;
            text.finish()?;
        }
        Ok(())
    }
}

impl EncodeGaugeValue for Value {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Whole(value) => EncodeGaugeValue::encode(value, encoder),
            Self::Real(value) => EncodeGaugeValue::encode(value, encoder),
        }
    }
}

impl EncodeCounterValue for Value {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Whole(value) => EncodeCounterValue::encode(value, encoder),
            Self::Real(value) => EncodeCounterValue::encode(value, encoder),
        }
    }
}
