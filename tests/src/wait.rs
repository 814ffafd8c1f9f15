//! Waiting for something to become true.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// How long a test waits before it calls what it waits for a failure. Generous: it is not a measurement.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// Polls `probe` until it gives a value. Panics with its last answer at the deadline.
pub fn until<T, E: Display>(what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(answer) if Instant::now() > end => {
                panic!("{what}: still not so after {DEADLINE:?}: {answer}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Polls `condition` until it holds. Panics at the deadline.
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || if condition() { Ok(()) } else { Err("no") });
}
