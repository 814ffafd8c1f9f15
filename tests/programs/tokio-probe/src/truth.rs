//! What the program knows about itself: how many tasks of each kind it made, and how many of them ended.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// One spawn site: the function whose future (or closure) is the task.
pub struct Site {
    /// Path of the function, without the crate.
    pub name: &'static str,
    /// `async`, `local` or `blocking`.
    pub kind: &'static str,
    spawned: AtomicU64,
    finished: AtomicU64,
}

impl Site {
    const fn new(name: &'static str, kind: &'static str) -> Self {
        Self {
            name,
            kind,
            spawned: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        }
    }

    pub fn spawned(&self) -> u64 {
        self.spawned.load(SeqCst)
    }

    pub fn finished(&self) -> u64 {
        self.finished.load(SeqCst)
    }

    /// Counts a task of this site. Call it where the future is made; the future owns the guard.
    pub fn guard(&'static self) -> Guard {
        self.spawned.fetch_add(1, SeqCst);
        Guard(self)
    }

    /// Waits until no more than `left` of its tasks are alive.
    pub fn settle(&self, left: u64) {
        while self.spawned() - self.finished() > left {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

/// Lives as long as the future that owns it.
pub struct Guard(&'static Site);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, SeqCst);
    }
}

macro_rules! sites {
    ($($name:ident = $path:literal $kind:literal,)*) => {
        $(pub static $name: Site = Site::new($path, $kind);)*
        static ALL: &[&Site] = &[$(&$name,)*];
    };
}

sites! {
    SERVE = "app::conn::serve" "async",
    IDLE = "app::conn::idle" "async",
    TICK = "app::timer::tick" "async",
    CONSUME = "app::queue::consume" "async",
    MEMBER = "app::queue::member" "async",
    STUCK = "app::stuck::forever" "async",
    RESIDENT = "app::stuck::resident" "async",
    EXPLODE = "app::broken::explode" "async",
    PARENT = "app::nested::parent" "async",
    CHILD = "app::nested::child" "async",
    GRANDCHILD = "app::nested::grandchild" "async",
    LAST_WORDS = "app::nested::last_words" "async",
    DROPPER = "app::nested::dropper" "async",
    IN_PLACE = "app::heavy::in_place" "async",
    STORM = "app::storm::drop_of_rain" "async",
    STORM_CLOUD = "app::storm::cloud" "async",
    HOLD = "app::hold::request" "async",
    BENCH = "app::bench::one" "async",
    RENDER = "app::local::render" "local",
    LOCAL_IDLE = "app::local::idle" "local",
    HASH = "app::heavy::hash" "blocking",
    WAIT = "app::heavy::wait" "blocking",
}

/// Forgets everything: for a child after `fork`.
pub fn reset() {
    for site in ALL {
        site.spawned.store(0, SeqCst);
        site.finished.store(0, SeqCst);
    }
}

/// The truth as one line of JSON. `alive` is tokio's own number of owned tasks, if this version offers it.
pub fn line(phase: &str, alive: Option<u64>) -> String {
    let mut total = (0, 0);
    let mut sites = Vec::new();
    for site in ALL {
        let (spawned, finished) = (site.spawned(), site.finished());
        if spawned == 0 {
            continue;
        }
        total = (total.0 + spawned, total.1 + finished);
        sites.push(format!(
            "{{\"name\":\"{}\",\"kind\":\"{}\",\"spawned\":{spawned},\"finished\":{finished},\"live\":{}}}",
            site.name,
            site.kind,
            spawned - finished
        ));
    }
    format!(
        "{{\"pid\":{},\"phase\":\"{phase}\",\"spawned\":{},\"finished\":{},\"live\":{},\"alive\":{},\"sites\":[{}]}}",
        std::process::id(),
        total.0,
        total.1,
        total.0 - total.1,
        alive.map_or_else(|| "null".into(), |n| n.to_string()),
        sites.join(",")
    )
}
