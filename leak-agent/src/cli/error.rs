//! What a person is told when something cannot be done: the chain of causes, and what to do about it.

use super::{FAILURE, USAGE};
use crate::agent::StartError;
use crate::config::ConfigError;
use crate::dump::DumpError;
use crate::output::http::HttpError;
use crate::output::tui::TuiError;
use crate::sys::memory::MemoryError;
use crate::sys::proc::ProcError;
use crate::tape::TapeError;
use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// What the agent needs to use BPF.
pub(super) const BPF_NEEDS: &str = "needs root or CAP_BPF+CAP_PERFMON+CAP_SYS_PTRACE, and Linux 5.10 or newer with BTF \
(/sys/kernel/btf/vmlinux); run with sudo";

/// An error on its way to a person.
#[derive(Debug)]
pub(super) struct CliError {
    source: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
    code: u8,
}

impl CliError {
    /// Something failed.
    pub(super) fn failure(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: source.into(),
            hint: None,
            code: FAILURE,
        }
    }

    /// The command line or the environment is wrong.
    pub(super) fn usage(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            code: USAGE,
            ..Self::failure(source)
        }
    }

    /// Adds what to do about it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Whether the reader of our output has gone: not an error.
    pub(super) fn is_broken_pipe(&self) -> bool {
        let mut next: Option<&(dyn Error + 'static)> = Some(self.source.as_ref());
        while let Some(error) = next {
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            {
                return true;
            }
            next = error.source();
        }
        false
    }

    /// Says it on standard error.
    pub(super) fn tell(&self) -> ExitCode {
        // Nobody is left to be told if this fails.
        let _ = writeln!(io::stderr(), "leak-agent: {self}");
        ExitCode::from(self.code)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        let mut next = self.source.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl From<StartError> for CliError {
    fn from(error: StartError) -> Self {
        let hint = match &error {
            StartError::Bpf { .. } => Some(format!(
                "{BPF_NEEDS}; thread counts from /proc still work: --no-bpf"
            )),
            StartError::Alert(_) => {
                Some("leak-agent config check reads the configuration without starting".to_owned())
            }
            _ => None,
        };
        let error = Self::failure(error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<HttpError> for CliError {
    fn from(error: HttpError) -> Self {
        let HttpError::Bind { address, source } = &error;
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "something listens on {address} already, perhaps another leak-agent; choose another address with \
                 --listen"
            ),
            _ => "choose another address with --listen".to_owned(),
        };
        Self::failure(error).hint(hint)
    }
}

impl From<TuiError> for CliError {
    fn from(error: TuiError) -> Self {
        Self::failure(error).hint("without a terminal: leak-agent top --batch 10")
    }
}

impl From<TapeError> for CliError {
    fn from(error: TapeError) -> Self {
        let hint = match &error {
            TapeError::Newer { .. } => Some("replay it with the agent that recorded it, or a newer one"),
            TapeError::NotATape => Some("tapes are made by: leak-agent run --record FILE"),
            TapeError::Corrupt { .. } => Some("what was recorded after that cannot be read either"),
            _ => None,
        };
        let error = Self::failure(error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<DumpError> for CliError {
    fn from(error: DumpError) -> Self {
        let denied = matches!(
            error,
            DumpError::Proc(ProcError::Denied { .. }) | DumpError::Memory(MemoryError::Denied { .. })
        );
        let error = Self::failure(error);
        if denied {
            return error.hint("needs root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; run with sudo");
        }
        error
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::failure(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole chain of causes is told, then the hint.
    #[test]
    fn error_tells_its_causes_and_the_hint() {
        let source = io::Error::from(io::ErrorKind::AddrInUse);
        let address = ([127, 0, 0, 1], 9750).into();
        let text = CliError::from(HttpError::Bind { address, source }).to_string();
        assert!(
            text.starts_with("cannot listen on 127.0.0.1:9750: address in use\n  hint: "),
            "{text}"
        );
        assert!(text.contains("--listen"), "{text}");
    }

    /// A missing privilege is answered with what is needed and what works without.
    #[test]
    fn missing_privilege_is_answered_with_what_to_do() {
        let error = StartError::Bpf {
            reason: "not permitted".to_owned(),
            lacks_privilege: true,
        };
        let text = CliError::from(error).to_string();
        for part in ["not permitted", "CAP_BPF", "sudo", "--no-bpf"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    /// A broken pipe is recognised through wrappers.
    #[test]
    fn broken_pipe_is_recognised() {
        assert!(CliError::from(io::Error::from(io::ErrorKind::BrokenPipe)).is_broken_pipe());
        assert!(!CliError::from(io::Error::from(io::ErrorKind::NotFound)).is_broken_pipe());
    }
}
