//! Slices of time that the variants of a measurement take in turn, so that what else happens on the machine hits
//! all of them alike; and what is said of them in the end.

/// What all slices of one variant gave, in the order in which they were run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        quantile(&self.0, 2)
    }

    /// The median, over the rounds, of what this variant has above `base` in the same round.
    pub(crate) fn above(&self, base: &Self) -> f64 {
        let above: Vec<f64> = self.0.iter().zip(&base.0).map(|(one, base)| one - base).collect();
        quantile(&above, 2)
    }

    /// (self − base) / (other − base) of each round: first quartile, median, third quartile.
    pub(crate) fn added_to(&self, other: &Self, base: &Self) -> [f64; 3] {
        let ratios: Vec<f64> = self
            .0
            .iter()
            .zip(&other.0)
            .zip(&base.0)
            .map(|((one, other), base)| (one - base) / (other - base))
            .collect();
        [1, 2, 3].map(|quarter| quantile(&ratios, quarter))
    }

    /// self / base of each round: first quartile, median, third quartile.
    pub(crate) fn times(&self, base: &Self) -> [f64; 3] {
        let ratios: Vec<f64> = self.0.iter().zip(&base.0).map(|(one, base)| one / base).collect();
        [1, 2, 3].map(|quarter| quantile(&ratios, quarter))
    }
}

fn quantile(samples: &[f64], quarter: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .get((sorted.len().saturating_sub(1) * quarter + 2) / 4)
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples(values.to_vec())
    }

    /// A round that was slow for all variants changes no ratio.
    #[test]
    fn ratios_of_rounds_of_different_speed_are_those_of_each_round() {
        let base = samples(&[100.0, 500.0, 120.0]);
        let one = samples(&[300.0, 1500.0, 360.0]);
        let two = samples(&[500.0, 2500.0, 600.0]);
        assert_eq!(one.times(&base), [3.0; 3]);
        assert_eq!(two.added_to(&one, &base), [2.0; 3]);
        assert_eq!(one.median(), 360.0);
        assert_eq!(one.above(&base), 240.0);
    }
}
