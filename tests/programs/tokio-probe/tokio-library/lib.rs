//! The same tasks in a shared library, with a tokio of its own: to be loaded by a program that has another.

#[path = "../src/app.rs"]
#[allow(dead_code)] // the program uses all of it, the library a part
mod app;
#[path = "../src/edges.rs"]
#[allow(dead_code)] // as above
mod edges;
#[path = "../src/lab.rs"]
mod lab;
#[path = "../src/truth.rs"]
mod truth;

use std::ffi::{CStr, c_char};
use std::sync::{LazyLock, Mutex};

/// `LocalSet` keeps the lab on the thread that made it; the host calls from one thread only.
struct OneThread(lab::Lab);

// SAFETY: the host calls `probe_library_run` from its main thread only.
unsafe impl Send for OneThread {}

static LAB: LazyLock<Mutex<OneThread>> = LazyLock::new(|| Mutex::new(OneThread(lab::Lab::new())));

/// Runs one command and prints the truth of this library's tasks.
///
/// # Safety
///
/// `command` is a C string. Always called from the same thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn probe_library_run(command: *const c_char, n: u64) {
    // SAFETY: the caller's promise.
    let command = unsafe { CStr::from_ptr(command) }.to_string_lossy();
    let mut lab = LAB.lock().unwrap();
    assert!(lab.0.run(&command, n, 2));
    lab.0.print_truth(&command);
}
