//! What the programs cost, by the kernel's own run-time statistics. Without the trap that leads to a uprobe:
//! that is several times the program's own time.

use super::Kernel;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Runs and run time of one program since it was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The program.
    pub program: String,
    /// How often it ran.
    pub runs: u64,
    /// How long in all.
    pub run_time: Duration,
}

impl Kernel {
    /// Reads them, from the descriptors' entries in `/proc/self/fdinfo`; without statistics all are zero.
    #[must_use]
    pub fn prices(&self) -> Vec<Price> {
        self.programs
            .iter()
            .filter_map(|(name, fd)| {
                let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
                price(name, &text)
            })
            .collect()
    }
}

fn price(program: &str, fdinfo: &str) -> Option<Price> {
    let field = |name: &str| {
        fdinfo.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .parse::<u64>()
                .ok()
        })
    };
    Some(Price {
        program: program.to_owned(),
        runs: field("run_cnt")?,
        run_time: Duration::from_nanos(field("run_time_ns")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's text gives both numbers; a text without them gives nothing.
    #[test]
    fn price_of_fdinfo_is_read() {
        let text = "pos:\t0\nprog_type:\t2\nrun_time_ns:\t5000\nrun_cnt:\t7\nrecursion_misses:\t0\n";
        let expected = Price {
            program: "x".to_owned(),
            runs: 7,
            run_time: Duration::from_nanos(5000),
        };
        assert_eq!(price("x", text), Some(expected));
        assert_eq!(price("x", "pos:\t0\n"), None);
    }
}
