//! The detectors on whole programs: simulated second by second, in real time scale, with seeded chance.

mod bad_input;
mod life;
mod scenarios;
mod simulator;
