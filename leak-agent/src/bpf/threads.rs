//! The threads of one process and their registers, by a walk in the kernel: a program of its own, which counts nothing and is gone
//! when this is dropped.

use super::{BpfError, fields, object};
use aya::programs::{Iter, ProgramError};
use aya::{Btf, Ebpf, EbpfLoader};
use leak_agent_common::thread::{ONLY_PROCESS_SYMBOL, ThreadState};
use std::io::Read;
use zerocopy::FromBytes;

const NAME: &str = "task_regs";
/// Threads of which records are read.
const THREADS_MAX: u64 = 1 << 18;

/// The loaded program.
pub struct ThreadWalk {
    programs: Ebpf,
}

impl std::fmt::Debug for ThreadWalk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThreadWalk").finish_non_exhaustive()
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BpfError {
    BpfError::AttachKernel {
        program: NAME,
        source: source.into(),
    }
}

impl ThreadWalk {
    /// For the threads of this process. Blocks for some 20 ms.
    ///
    /// # Errors
    ///
    /// Missing rights or kernel features, by the step that needed them.
    pub fn load(process: u32) -> Result<Self, BpfError> {
        let offsets = fields::offsets()?;
        let mut loader = EbpfLoader::new();
        for (symbol, offset) in &offsets {
            loader.override_global(symbol, offset, false);
        }
        loader
            .allow_unsupported_maps()
            .override_global(ONLY_PROCESS_SYMBOL, &process, true)
            .map_max_entries("RING", 4096);
        // The maps of the other programs of the object, as small as can be.
        for map in [
            "SITES", "SLOTS", "OTHERS", "BUDGETS", "FRAMES", "TOLD", "POINTS", "PLANS",
        ] {
            loader.map_max_entries(map, 1);
        }
        let mut programs = loader
            .load(object::checked(object::OBJECT)?)
            .map_err(|error| BpfError::Load {
                program: "maps of leak-agent.bpf.o",
                source: error.into(),
            })?;
        let btf = Btf::from_sys_fs().map_err(|error| BpfError::KernelTypes {
            reason: error.to_string(),
        })?;
        program(&mut programs)?
            .load("task", &btf)
            .map_err(|error| BpfError::Load {
                program: NAME,
                source: error.into(),
            })?;
        Ok(Self { programs })
    }

    /// All of them now, each as it was when the walk came by. Costs about 1 µs per task of the machine.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn read(&mut self) -> Result<Vec<ThreadState>, BpfError> {
        let program = program(&mut self.programs)?;
        let link = program.attach().map_err(failed)?;
        let link = program.take_link(link).map_err(failed)?;
        let file = link.into_file().map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(THREADS_MAX * size_of::<ThreadState>() as u64)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let records = bytes.chunks_exact(size_of::<ThreadState>());
        Ok(records
            .filter_map(|record| ThreadState::read_from_bytes(record).ok())
            .collect())
    }
}

fn program(programs: &mut Ebpf) -> Result<&mut Iter, BpfError> {
    let program = programs.program_mut(NAME).ok_or_else(|| BpfError::Object {
        reason: format!("{NAME} is not in it"),
    })?;
    program.try_into().map_err(|error: ProgramError| BpfError::Load {
        program: NAME,
        source: error.into(),
    })
}
