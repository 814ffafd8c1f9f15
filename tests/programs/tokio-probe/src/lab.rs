//! The runtimes of this program, and the commands that work on them.

use crate::app;
use crate::edges;
use crate::truth::{self, HOLD, IDLE, SERVE, STORM, STORM_CLOUD, TICK};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet};

/// Everything that outlives a command.
pub struct Lab {
    pub multi: Option<Runtime>,
    pub current: Option<Runtime>,
    pub local: Option<LocalSet>,
    pub extra: Vec<Runtime>,
    pub gate: Arc<Semaphore>,
    pub threads_gate: Arc<app::heavy::Gate>,
    pub handles: Vec<JoinHandle<Vec<u64>>>,
    hold: Option<(Arc<AtomicBool>, std::thread::JoinHandle<()>)>,
}

pub fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap()
}

pub fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

impl Lab {
    pub fn new() -> Self {
        Self {
            multi: None,
            current: None,
            local: None,
            extra: Vec::new(),
            gate: Arc::new(Semaphore::new(0)),
            threads_gate: Arc::default(),
            handles: Vec::new(),
            hold: None,
        }
    }

    pub fn multi(&mut self) -> &Runtime {
        self.multi.get_or_insert_with(|| multi_thread(2))
    }

    pub fn current(&mut self) -> &Runtime {
        self.current.get_or_insert_with(current_thread)
    }

    /// What tokio itself counts, over the runtimes this program still has.
    #[cfg(feature = "alive")]
    fn alive(&self) -> Option<u64> {
        let runtimes = self.multi.iter().chain(&self.current).chain(&self.extra);
        Some(
            runtimes
                .map(|runtime| runtime.metrics().num_alive_tasks() as u64)
                .sum(),
        )
    }

    #[cfg(not(feature = "alive"))]
    fn alive(&self) -> Option<u64> {
        None
    }

    pub fn print_truth(&self, phase: &str) {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        // Nobody reads any more: end, as the end of stdin would.
        if writeln!(out, "{}", truth::line(phase, self.alive()))
            .and_then(|()| out.flush())
            .is_err()
        {
            std::process::exit(0);
        }
    }

    /// Runs one command to its standstill; `false` if there is no such command.
    pub fn run(&mut self, command: &str, n: u64, m: u64) -> bool {
        match command {
            "truth" => {}
            "all" => edges::all(self, n),
            "multi" => self.serve(n),
            "park" => self.park(n),
            "release" => self.release(),
            "storm" => self.storm(n),
            "hold" => self.hold(n),
            "stop" => self.stop(),
            "current" => edges::current(self, n),
            "local" => edges::local(self, n),
            "local-drop" => edges::local_drop(self),
            "local-never" => edges::local_never_run(self, n),
            "joinset" => edges::join_set(self, n),
            "blocking" => edges::blocking(self, n),
            "blocking-park" => edges::blocking_park(self, n),
            "abort" => edges::abort(self, n),
            "panic" => edges::panic(self, n),
            "handles" => edges::handles(self, n),
            "handles-drop" => self.handles.clear(),
            "nested" => edges::nested(self, n),
            "in-place" => edges::in_place(self, n),
            "spawn-in-drop" => edges::spawn_in_drop(self, n),
            "runtimes" => edges::runtimes(self, n, m),
            "runtimes-drop" => edges::runtimes_drop(self),
            "after-shutdown" => edges::after_shutdown(n),
            "fork" => edges::fork(n),
            "children" => edges::children(n),
            "exec" => edges::exec(),
            _ => return false,
        }
        true
    }

    /// `n` short tasks of each of two kinds, all ended.
    fn serve(&mut self, n: u64) {
        let runtime = self.multi();
        for number in 0..n {
            runtime.spawn(app::conn::serve(SERVE.guard()));
            runtime.spawn(app::timer::tick(TICK.guard(), (number % 4) as u32));
        }
        SERVE.settle(0);
        TICK.settle(0);
    }

    /// `n` more tasks that stay.
    fn park(&mut self, n: u64) {
        let gate = Arc::clone(&self.gate);
        let runtime = self.multi();
        for _ in 0..n {
            runtime.spawn(app::conn::idle(IDLE.guard(), Arc::clone(&gate)));
        }
    }

    /// Ends all parked tasks and closures that have a running scheduler.
    fn release(&mut self) {
        self.gate.close();
        self.threads_gate.open();
        if let Some(current) = &self.current {
            let turns = async {
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                }
            };
            match &self.local {
                Some(set) => set.block_on(current, turns),
                None => current.block_on(turns),
            }
        }
        self.gate = Arc::new(Semaphore::new(0));
        self.threads_gate = Arc::default();
        IDLE.settle(0);
        truth::WAIT.settle(0);
    }

    /// `n` spawns from two workers at once.
    fn storm(&mut self, n: u64) {
        let runtime = self.multi();
        runtime.spawn(app::storm::cloud(STORM_CLOUD.guard(), n / 2));
        runtime.spawn(app::storm::cloud(STORM_CLOUD.guard(), n - n / 2));
        STORM_CLOUD.settle(0);
        STORM.settle(0);
    }

    /// About `rate` tasks per second from now on, until `stop`.
    fn hold(&mut self, rate: u64) {
        self.stop();
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, handle) = (Arc::clone(&stop), self.multi().handle().clone());
        let thread = std::thread::spawn(move || {
            let begin = std::time::Instant::now();
            let mut done = 0_u64;
            while !seen.load(SeqCst) {
                let due = (begin.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64;
                // A thread that was kept from running catches up, but in slices, so that it hears `stop`.
                for number in done..due.min(done + 10_000) {
                    handle.spawn(app::hold::request(HOLD.guard(), number as u32));
                }
                done = due.min(done + 10_000);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        self.hold = Some((stop, thread));
    }

    fn stop(&mut self) {
        if let Some((stop, thread)) = self.hold.take() {
            stop.store(true, SeqCst);
            thread.join().unwrap();
        }
        HOLD.settle(0);
    }
}
