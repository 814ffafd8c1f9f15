//! Families of series, in no exposition format yet: what both encoders are fed with.

use super::catalogue::Definition;

/// One metric with its series.
#[derive(Clone, Debug)]
pub struct Family {
    /// Which metric.
    pub metric: Definition,
    /// Its series; no two with the same labels.
    pub series: Vec<Series>,
}

/// One series of a family.
#[derive(Clone, Debug)]
pub struct Series {
    /// Values of the metric's labels, in their order.
    pub labels: Vec<String>,
    /// Its value now.
    pub value: Value,
}

/// A value: whole numbers stay whole up to 2⁶⁴ where the format can say them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// A measure.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl Family {
    /// A family without series.
    pub(super) fn new(metric: Definition) -> Self {
        Self {
            metric,
            series: Vec::new(),
        }
    }

    /// Adds a series. The labels' values come in the order of the metric's labels.
    pub(super) fn push<const N: usize>(&mut self, labels: [&str; N], value: impl Into<Value>) {
        debug_assert_eq!(N, self.metric.labels.len(), "labels of {}", self.metric.name);
        self.series.push(Series {
            labels: labels.map(str::to_owned).into(),
            value: value.into(),
        });
    }
}
