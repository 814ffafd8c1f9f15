//! Curves: how many tasks are held at a time.

use super::scenario::{Held, Shape};

/// How long a step takes: tasks are started one after the other.
const STEP: f64 = 3.0;

impl Held {
    /// How many tasks there are to be, at this time of the scenario.
    #[must_use]
    pub fn level(&self, at: f64) -> f64 {
        let time = at - self.from;
        if time < 0.0 {
            return 0.0;
        }
        let turn = time / self.time;
        let within = time - turn.floor() * self.time;
        let part = match self.shape {
            Shape::Saw => turn.fract(),
            Shape::Sine => (1.0 - (std::f64::consts::TAU * turn).cos()) / 2.0,
            Shape::Plateau => 1.0 - (-turn).exp(),
            Shape::Pool => turn.min(1.0),
            Shape::Step => (time / STEP).min(1.0),
            Shape::Stairs if turn >= self.stays => self.stays,
            Shape::Stairs => turn.floor() + (within / STEP).min(1.0),
            Shape::Batch if within < STEP => within / STEP,
            Shape::Batch => (1.0 - (within - STEP) / self.stays).max(0.0),
            Shape::Spikes => f64::from(within < self.stays),
            Shape::Drain => (1.0 - turn).max(0.0),
        };
        self.size * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(shape: Shape, at: [f64; 4]) -> [f64; 4] {
        let held = Held {
            site: String::new(),
            shape,
            size: 100.0,
            time: 60.0,
            from: 30.0,
            stays: 20.0,
            churn: 0.0,
        };
        at.map(|at| held.level(at).round())
    }

    /// Each curve goes through its points.
    #[test]
    fn curves_go_through_their_points() {
        let at = [29.0, 60.0, 89.9, 95.0];
        assert_eq!(levels(Shape::Saw, at), [0.0, 50.0, 100.0, 8.0]);
        assert_eq!(levels(Shape::Sine, at), [0.0, 100.0, 0.0, 7.0]);
        assert_eq!(levels(Shape::Plateau, at), [0.0, 39.0, 63.0, 66.0]);
        assert_eq!(levels(Shape::Pool, at), [0.0, 50.0, 100.0, 100.0]);
        assert_eq!(levels(Shape::Step, at), [0.0, 100.0, 100.0, 100.0]);
        assert_eq!(levels(Shape::Stairs, at), [0.0, 100.0, 100.0, 200.0]);
        assert_eq!(
            levels(Shape::Batch, [31.5, 33.0, 43.0, 60.0]),
            [50.0, 100.0, 50.0, 0.0]
        );
        assert_eq!(
            levels(Shape::Spikes, [30.0, 49.0, 51.0, 95.0]),
            [100.0, 100.0, 0.0, 100.0]
        );
        assert_eq!(levels(Shape::Drain, at), [0.0, 50.0, 0.0, 0.0]);
    }
}
