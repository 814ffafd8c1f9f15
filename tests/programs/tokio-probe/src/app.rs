//! The tasks: several distinct functions in named modules, each holding a guard.
//!
//! Their bodies differ on purpose, so that no linker folds two of them into one.

/// Connections.
pub mod conn {
    use crate::truth::Guard;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    /// Ends after one turn.
    pub async fn serve(guard: Guard) {
        tokio::task::yield_now().await;
        drop(guard);
    }

    /// Waits until the gate is closed.
    pub async fn idle(guard: Guard, gate: Arc<Semaphore>) {
        let _closed = gate.acquire().await;
        drop(guard);
    }
}

/// Something that takes a few turns.
pub mod timer {
    use crate::truth::Guard;

    /// Adds up `turns` over as many turns.
    pub async fn tick(guard: Guard, turns: u32) -> u32 {
        let mut sum = 0;
        for turn in 0..turns {
            sum = std::hint::black_box(sum + turn);
            tokio::task::yield_now().await;
        }
        drop(guard);
        sum
    }
}

/// Work that somebody waits for.
pub mod queue {
    use crate::truth::Guard;

    /// Returns a value that the holder of the handle keeps.
    pub async fn consume(guard: Guard, value: u64) -> Vec<u64> {
        tokio::task::yield_now().await;
        let out = vec![value; 4];
        drop(guard);
        out
    }

    /// A member of a `JoinSet`: ends if `number` is even, else waits for ever.
    pub async fn member(guard: Guard, number: u64) -> u64 {
        if number % 2 == 1 {
            std::future::pending::<()>().await;
        }
        drop(guard);
        number
    }
}

/// Tasks that never end by themselves.
pub mod stuck {
    use crate::truth::Guard;

    /// Waits for ever; to be aborted.
    pub async fn forever(guard: Guard, ballast: [u64; 9]) -> u64 {
        std::future::pending::<()>().await;
        drop(guard);
        std::hint::black_box(ballast)[0]
    }

    /// Lives as long as its runtime.
    pub async fn resident(guard: Guard, number: u64) -> u64 {
        std::future::pending::<()>().await;
        drop(guard);
        std::hint::black_box(number) << 3
    }
}

/// Tasks that panic.
pub mod broken {
    use crate::truth::Guard;

    /// Panics in its second turn.
    pub async fn explode(guard: Guard, number: u64) -> Guard {
        tokio::task::yield_now().await;
        if std::hint::black_box(number) < u64::MAX {
            panic!("a task that panics, on purpose");
        }
        guard
    }
}

/// Tasks that spawn tasks.
pub mod nested {
    use crate::truth::{CHILD, GRANDCHILD, Guard, LAST_WORDS};
    use tokio::runtime::Handle;

    /// Spawns a child and waits for it.
    pub async fn parent(guard: Guard) {
        let _ended = tokio::spawn(child(CHILD.guard())).await;
        drop(guard);
    }

    /// Spawns a grandchild and does not wait.
    pub async fn child(guard: Guard) -> u8 {
        tokio::spawn(grandchild(GRANDCHILD.guard(), [3; 7]));
        drop(guard);
        7
    }

    /// Ends at once.
    pub async fn grandchild(guard: Guard, ballast: [u32; 7]) -> u32 {
        drop(guard);
        std::hint::black_box(ballast).iter().sum()
    }

    /// Spawned by the drop of another task's future.
    pub async fn last_words(guard: Guard, words: u16) -> u16 {
        drop(guard);
        std::hint::black_box(words) * 3
    }

    /// Spawns when dropped.
    pub struct SpawnOnDrop(pub Handle);

    impl Drop for SpawnOnDrop {
        fn drop(&mut self) {
            self.0.spawn(last_words(LAST_WORDS.guard(), 11));
        }
    }

    /// Its future spawns when it is dropped.
    pub async fn dropper(guard: Guard, spawner: SpawnOnDrop) {
        std::future::pending::<()>().await;
        drop((spawner, guard));
    }
}

/// Work for the blocking pool, and work that turns a worker into one.
pub mod heavy {
    use crate::truth::{Guard, HASH, WAIT};
    use std::sync::{Arc, Condvar, Mutex};
    use tokio::runtime::Handle;
    use tokio::task::JoinHandle;

    /// A closure that ends by itself.
    pub fn hash(handle: &Handle, seed: u64) -> JoinHandle<u64> {
        let guard = HASH.guard();
        handle.spawn_blocking(move || {
            let sum = (0..64).fold(seed, |sum, n| std::hint::black_box(sum.rotate_left(5) ^ n));
            drop(guard);
            sum
        })
    }

    /// A gate for threads.
    #[derive(Default)]
    pub struct Gate {
        open: Mutex<bool>,
        opened: Condvar,
    }

    impl Gate {
        pub fn open(&self) {
            *self.open.lock().unwrap() = true;
            self.opened.notify_all();
        }

        fn pass(&self) {
            let mut open = self.open.lock().unwrap();
            while !*open {
                open = self.opened.wait(open).unwrap();
            }
        }
    }

    /// A closure that occupies its thread until the gate opens.
    pub fn wait(handle: &Handle, gate: Arc<Gate>) -> JoinHandle<()> {
        let guard = WAIT.guard();
        handle.spawn_blocking(move || {
            gate.pass();
            drop(guard);
        })
    }

    /// Blocks its worker, which hands its core to another thread.
    pub async fn in_place(guard: Guard) -> u64 {
        let sum = tokio::task::block_in_place(|| (0..999).fold(7_u64, |a, b| std::hint::black_box(a ^ b)));
        drop(guard);
        sum
    }
}

/// As fast as it goes.
pub mod storm {
    use crate::truth::{Guard, STORM};

    /// Ends in its first poll.
    pub async fn drop_of_rain(guard: Guard, number: u64) {
        std::hint::black_box(number);
        drop(guard);
    }

    /// Spawns `n` tasks, giving way now and then so that they do not pile up.
    pub async fn cloud(guard: Guard, n: u64) {
        for number in 0..n {
            tokio::spawn(drop_of_rain(STORM.guard(), number));
            if number % 64 == 63 {
                tokio::task::yield_now().await;
            }
        }
        drop(guard);
    }
}

/// A steady load.
pub mod hold {
    use crate::truth::Guard;

    /// One request of it.
    pub async fn request(guard: Guard, number: u32) -> u32 {
        let out = std::hint::black_box(number).wrapping_mul(2_654_435_761);
        drop(guard);
        out
    }
}

/// What the measurement spawns: no guard, nothing but the task.
pub mod bench {
    /// Ends in its first poll.
    pub async fn one(number: u64) -> u64 {
        std::hint::black_box(number)
    }
}

/// Tasks of a `LocalSet`.
pub mod local {
    use crate::truth::Guard;
    use std::rc::Rc;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    /// Ends after two turns.
    pub async fn render(guard: Guard, page: Rc<u64>) -> u64 {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        drop(guard);
        *page
    }

    /// Waits until the gate is closed.
    pub async fn idle(guard: Guard, page: Rc<u64>, gate: Arc<Semaphore>) -> u64 {
        let _closed = gate.acquire().await;
        drop(guard);
        *page + 1
    }
}
