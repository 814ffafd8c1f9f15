//! A program that makes threads through the standard library from two named sites, one of which leaks, and
//! counts them itself. Commands on stdin, answers on stdout, as in the tokio program.

use std::io::BufRead;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

static POOL: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static WATCH: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Threads that somebody joins.
mod pool {
    use super::{POOL, SeqCst};
    use std::thread::JoinHandle;

    #[inline(never)]
    pub fn start_worker(job: u64) -> JoinHandle<u64> {
        POOL[0].fetch_add(1, SeqCst);
        let handle = std::thread::spawn(move || {
            POOL[1].fetch_add(1, SeqCst);
            std::hint::black_box(job) + 1
        });
        std::hint::black_box(handle)
    }
}

/// Threads that nobody joins and that never end.
mod leak {
    use super::{SeqCst, WATCH};

    #[inline(never)]
    pub fn watch_file(number: u64) {
        WATCH[0].fetch_add(1, SeqCst);
        let handle = std::thread::Builder::new()
            .name(format!("watch-{number}"))
            .spawn(move || {
                loop {
                    std::thread::park();
                    std::hint::black_box(number);
                }
            });
        drop(std::hint::black_box(handle));
    }
}

/// Waits until the kernel has as many threads as this program believes.
fn settle() {
    loop {
        let want = 1 + WATCH[0].load(SeqCst) + POOL[0].load(SeqCst) - POOL[1].load(SeqCst);
        if std::fs::read_dir("/proc/self/task").unwrap().count() as u64 == want {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn print_truth(phase: &str) {
    let sites = [("pool::start_worker", &POOL), ("leak::watch_file", &WATCH)]
        .map(|(name, [spawned, finished])| (name, spawned.load(SeqCst), finished.load(SeqCst)));
    let (spawned, finished) = sites
        .iter()
        .fold((0, 0), |sum, site| (sum.0 + site.1, sum.1 + site.2));
    let sites = sites.map(|(name, spawned, finished)| {
        format!(
            "{{\"name\":\"{name}\",\"kind\":\"thread\",\"spawned\":{spawned},\"finished\":{finished},\"live\":{}}}",
            spawned - finished
        )
    });
    println!(
        "{{\"pid\":{},\"phase\":\"{phase}\",\"spawned\":{spawned},\"finished\":{finished},\"live\":{},\"sites\":[{}]}}",
        std::process::id(),
        spawned - finished,
        sites.join(",")
    );
}

fn main() {
    print_truth("start");
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or("truth");
        let n: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
        match command {
            "truth" => {}
            "pool" => {
                for job in 0..n {
                    pool::start_worker(job).join().unwrap();
                }
            }
            "leak" => (0..n).for_each(leak::watch_file),
            _ => {
                println!("{{\"error\":\"unknown command {command}\"}}");
                continue;
            }
        }
        settle();
        print_truth(command);
    }
}
