//! Logs: to standard error, or held back while something else has the terminal.

use super::args::{LogArgs, LogFormat};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Held lines beyond this push out the oldest.
const HELD_LINES: usize = 200;

/// The way of all log lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Logs(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    holding: bool,
    lines: VecDeque<Vec<u8>>,
    lost: u64,
}

/// Holds lines back until it goes.
#[derive(Debug)]
pub(super) struct Hold(Logs);

/// Starts logging. The first call counts.
pub(super) fn init(args: &LogArgs) -> Logs {
    let logs = Logs::default();
    let filter = EnvFilter::new(&args.log_level.0);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(logs.clone());
    // Without a terminal (or with NO_COLOR) there are no colours.
    let colours = io::IsTerminal::is_terminal(&io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let done = match args.log_format {
        LogFormat::Text => builder.with_ansi(colours).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // Only a second call can fail, and then there is a subscriber.
    drop(done);
    logs
}

impl Logs {
    /// From now on lines are held back; they are written when the returned value goes.
    pub(super) fn hold(&self) -> Hold {
        self.held(|held| held.holding = true);
        Hold(self.clone())
    }

    fn held<T>(&self, work: impl FnOnce(&mut Held) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let (lines, lost) = self.0.held(|held| {
            held.holding = false;
            (std::mem::take(&mut held.lines), std::mem::take(&mut held.lost))
        });
        let mut out = io::stderr().lock();
        if lost > 0 {
            let _ = writeln!(out, "({lost} older log lines were dropped)");
        }
        for line in lines {
            let _ = out.write_all(&line);
        }
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Logs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let kept = self.held(|held| {
            if held.holding {
                if held.lines.len() >= HELD_LINES {
                    held.lines.pop_front();
                    held.lost += 1;
                }
                held.lines.push_back(line.to_vec());
            }
            held.holding
        });
        // A log that cannot be written must not stop the agent.
        if !kept {
            let _ = io::stderr().write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Held lines are bounded, and the newest are kept.
    #[test]
    fn held_lines_are_bounded() {
        let mut logs = Logs::default();
        let hold = logs.hold();
        for number in 0..HELD_LINES + 5 {
            logs.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let (first, count, lost) = logs.held(|held| (held.lines[0].clone(), held.lines.len(), held.lost));
        assert_eq!(
            (first.as_slice(), count, lost),
            (b"5\n".as_slice(), HELD_LINES, 5)
        );
        logs.held(|held| held.lines.clear());
        logs.held(|held| held.lost = 0);
        drop(hold);
        assert!(logs.held(|held| !held.holding));
    }
}
