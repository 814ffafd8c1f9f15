//! What can go wrong between user space and BPF.

use std::io;

/// An operation on BPF programs, maps or links that failed.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The kernel's type information cannot be used.
    #[error("kernel type information (/sys/kernel/btf/vmlinux): {reason}")]
    KernelTypes {
        /// What is wrong.
        reason: String,
    },
    /// The kernel has no such field, or calls it by a name unknown to this build.
    #[error("this kernel's {structure} has no field {field}")]
    NoField {
        /// The struct.
        structure: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The compiled programs inside the agent are unusable.
    #[error("BPF object: {reason}")]
    Object {
        /// What is wrong.
        reason: String,
    },
    /// A program was refused.
    #[error("load BPF program {program}")]
    Load {
        /// Its name.
        program: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program cannot be attached to a kernel hook.
    #[error("attach BPF program {program}")]
    AttachKernel {
        /// Its name.
        program: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The points of a plan cannot be attached.
    #[error("attach {points} probes to {file}")]
    AttachFile {
        /// The file's path.
        file: String,
        /// How many points.
        points: usize,
        /// Why.
        source: io::Error,
    },
    /// No room for more points or plans.
    #[error("no room for {points} more attach points (limit {limit}, see --help)")]
    NoRoom {
        /// How many were wanted.
        points: usize,
        /// How many there can be in all.
        limit: usize,
    },
    /// A map operation failed.
    #[error("{operation} BPF map {map}")]
    Map {
        /// What was tried.
        operation: &'static str,
        /// Which map.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl BpfError {
    /// A fixed word for counters.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::KernelTypes { .. } => "kernel_types",
            Self::NoField { .. } => "kernel_field",
            Self::Object { .. } => "object",
            Self::Load { .. } => "load",
            Self::AttachKernel { .. } => "attach_kernel",
            Self::AttachFile { .. } => "attach_file",
            Self::NoRoom { .. } => "no_room",
            Self::Map { .. } => "map",
        }
    }
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
