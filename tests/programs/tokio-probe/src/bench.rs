//! The price of a task: nanoseconds per spawn and finish.

use crate::app;
use crate::lab::Lab;
use std::time::{Duration, Instant};

const BATCH: u64 = 10_000;

/// Spawns and awaits tasks in batches for `seconds`; mode 1 = current_thread, else multi_thread. Prints the
/// median, the smallest and the largest batch, in nanoseconds per task.
pub fn run(lab: &mut Lab, mode: u64, seconds: u64) {
    let runtime = if mode == 1 { lab.current() } else { lab.multi() };
    let mut batches = Vec::new();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        batches.push(runtime.block_on(async { tokio::spawn(batch()).await.unwrap() }));
    }
    batches.sort_unstable();
    println!(
        "{{\"bench\":\"spawn+finish\",\"mode\":{mode},\"tasks\":{},\"ns_median\":{},\"ns_min\":{},\"ns_max\":{}}}",
        batches.len() as u64 * BATCH,
        batches[batches.len() / 2],
        batches[0],
        batches[batches.len() - 1]
    );
}

/// Nanoseconds per task of one batch, from inside a worker, as servers spawn.
async fn batch() -> u64 {
    let begin = Instant::now();
    for number in 0..BATCH {
        let value = tokio::spawn(app::bench::one(number)).await.unwrap();
        std::hint::black_box(value);
    }
    (begin.elapsed().as_nanos() / u128::from(BATCH)) as u64
}
