//! Seeded chance: the same schedule for the same seed.

/// A stream of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Uniform, above 0 and at most 1.
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, share: f64) -> bool {
        self.uniform() <= share
    }

    /// One of so many.
    pub fn below(&mut self, number: usize) -> usize {
        usize::try_from(self.next() % (number.max(1) as u64)).unwrap_or(0)
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Normal with mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance are those of the distributions, and a seed gives the same stream again.
    #[test]
    fn numbers_are_distributed_as_they_say() {
        let mut chance = Chance::new(1);
        let mean = |mut draw: Box<dyn FnMut() -> f64>| (0..20_000).map(|_| draw()).sum::<f64>() / 20_000.0;
        let mut other = chance.clone();
        assert!((mean(Box::new(move || other.uniform())) - 0.5).abs() < 0.01);
        let mut other = chance.clone();
        assert!((mean(Box::new(move || other.exponential())) - 1.0).abs() < 0.03);
        let mut other = chance.clone();
        assert!((mean(Box::new(move || other.normal().powi(2))) - 1.0).abs() < 0.05);
        assert_eq!(Chance::new(1).uniform(), chance.uniform());
        assert_ne!(Chance::new(2).uniform(), Chance::new(1).uniform());
    }
}
