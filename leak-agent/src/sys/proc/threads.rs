//! `/proc/PID/task/TID`: what one thread does now, as far as the kernel tells without being asked by a debugger.

use super::{ProcDir, ProcError, TEXT_MAX, errno, present};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Read;

/// Where a thread that sleeps goes on, and why it entered the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// Number of the system call; `None` = it is in none.
    pub call: Option<u32>,
    /// Stack pointer.
    pub sp: u64,
    /// Instruction pointer.
    pub ip: u64,
}

/// What `status` tells of a thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThreadStatus {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// `R`, `S`, `D`, `T`, `t`, `Z` …
    pub state: u8,
    /// How often it gave up its CPU, and how often that was taken from it.
    pub switches: (u64, u64),
}

impl ProcDir {
    /// The function of the kernel in which a thread of this process waits; `None` = it does not wait, is gone, or the kernel keeps
    /// it to itself.
    #[must_use]
    pub fn wait_channel(&self, tid: u32) -> Option<String> {
        let text = self.of_thread(tid, "wchan").ok()??;
        let text = String::from_utf8(text).ok()?;
        let text = text.trim();
        (!text.is_empty() && text != "0").then(|| text.to_owned())
    }

    /// Where a thread of this process waits; `None` = it runs, or is gone.
    ///
    /// # Errors
    ///
    /// Not permitted (needs `CAP_SYS_PTRACE` for processes of other users).
    pub fn blocked(&self, tid: u32) -> Result<Option<Blocked>, ProcError> {
        let text = self.of_thread(tid, "syscall")?;
        Ok(text.and_then(|text| blocked(std::str::from_utf8(&text).ok()?)))
    }

    /// What a thread of this process is called, does, and how often it was switched; `None` = it is gone.
    ///
    /// # Errors
    ///
    /// Not permitted, or a text that is not in the kernel's format.
    pub fn thread_status(&self, tid: u32) -> Result<Option<ThreadStatus>, ProcError> {
        let Some(text) = self.of_thread(tid, "status")? else {
            return Ok(None);
        };
        status(&String::from_utf8_lossy(&text))
            .map(Some)
            .ok_or(ProcError::Malformed {
                what: "status of a thread",
                pid: self.pid,
            })
    }

    fn of_thread(&self, tid: u32, name: &str) -> Result<Option<Vec<u8>>, ProcError> {
        const WHAT: &str = "facts of a thread";
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, format!("task/{tid}/{name}"), flags, Mode::empty());
        let Some(file) = present(file, WHAT, self.pid)? else {
            return Ok(None);
        };
        let mut text = Vec::with_capacity(128);
        let read = errno(File::from(file).take(TEXT_MAX).read_to_end(&mut text));
        Ok(present(read, WHAT, self.pid)?.map(|_| text))
    }
}

/// "202 0x7f… … 0x7ffc… 0x7f…": the number, six arguments, stack pointer, instruction pointer; or "-1 0x7ffc… 0x7f…"; or "running".
fn blocked(text: &str) -> Option<Blocked> {
    let mut fields = text.split_ascii_whitespace();
    let call: i64 = fields.next()?.parse().ok()?;
    let call = u32::try_from(call).ok();
    let mut word = |skip: usize| u64::from_str_radix(fields.nth(skip)?.strip_prefix("0x")?, 16).ok();
    let sp = word(if call.is_some() { 6 } else { 0 })?;
    Some(Blocked {
        call,
        sp,
        ip: word(0)?,
    })
}

fn status(text: &str) -> Option<ThreadStatus> {
    let value = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    };
    let number = |name: &str| value(name)?.parse().ok();
    Some(ThreadStatus {
        name: value("Name")?.to_owned(),
        state: *value("State")?.as_bytes().first()?,
        switches: (
            number("voluntary_ctxt_switches")?,
            number("nonvoluntary_ctxt_switches")?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A blocked thread, one that was interrupted in its own code, one that runs, and what is none of these.
    #[test]
    fn line_of_a_thread_is_taken_apart() {
        assert_eq!(
            blocked("202 0x1 0x80 0x0 0x0 0x0 0x0 0x7ffc10 0x7f20\n"),
            Some(Blocked {
                call: Some(202),
                sp: 0x7ffc10,
                ip: 0x7f20
            })
        );
        assert_eq!(
            blocked("-1 0x7ffc10 0x7f20\n"),
            Some(Blocked {
                call: None,
                sp: 0x7ffc10,
                ip: 0x7f20
            })
        );
        for none in ["running\n", "", "202 0x1", "202 1 2 3 4 5 6 7 8", "-1 0xz 0x1"] {
            assert_eq!(blocked(none), None, "{none}");
        }
    }

    /// The own threads are there, by all three ways.
    #[test]
    fn own_thread_that_waits_is_told() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let waiting = std::thread::Builder::new()
            .name("waits-for-ever".to_owned())
            .spawn(move || {
                tell.send(rustix::thread::gettid()).unwrap();
                let _ = receiver.recv();
            })
            .unwrap();
        let tid = told.recv().unwrap().as_raw_nonzero().get().cast_unsigned();
        let own = ProcDir::open(std::process::id()).unwrap().unwrap();
        let blocked = loop {
            if let Some(blocked) = own.blocked(tid).unwrap() {
                break blocked;
            }
            std::thread::yield_now();
        };
        let status = own.thread_status(tid).unwrap().unwrap();
        assert_eq!((status.name.as_str(), status.state), ("waits-for-ever", b'S'));
        assert_eq!(blocked.call, Some(202), "futex");
        assert!(own.blocked(u32::MAX).unwrap().is_none());
        assert_eq!(own.wait_channel(u32::MAX), None);
        drop(sender);
        waiting.join().unwrap();
    }
}
