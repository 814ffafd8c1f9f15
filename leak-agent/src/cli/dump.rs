//! `leak-agent dump`: the stacks of a process's tasks, once.

use super::args::{AgentArgs, DumpArgs, DumpFormat};
use super::error::CliError;
use super::{NOTHING_MATCHED, SUCCESS, terminal};
use crate::dump::{self, Dump, DumpError, Request};
use crate::output::dump as render;
use crate::source;
use crate::stack::DebugFiles;
use crate::sys::proc;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Names that are tried for the file that is written before it gets its name.
const PARTS_MAX: u32 = 16;

pub(super) fn run(agent: &AgentArgs, args: &DumpArgs) -> Result<u8, CliError> {
    let config = agent.config(&super::args::FilterArgs::default())?;
    let known: Vec<&str> = std::iter::once(source::thread::RUNTIME.label)
        .chain(source::all().iter().map(|source| source.runtime().label))
        .collect();
    if let Some(unknown) = args
        .runtimes
        .iter()
        .find(|label| !known.contains(&label.as_str()))
    {
        let error = CliError::usage(format!("unknown runtime {unknown:?}"));
        return Err(error.hint(format!("one of {}", known.join(", "))));
    }
    let request = Request {
        pid: args.pid,
        runtimes: args.runtimes.clone(),
        site: args.site.clone(),
        debug_files: DebugFiles::new(&proc::host_root(), &config.debug_dirs),
        bpf: config.bpf,
    };
    let taken = match dump::take(&request, &source::all()) {
        Err(error @ (DumpError::NoProcess { .. } | DumpError::Thread { .. })) => {
            // As where no process matches --pid.
            CliError::failure(error).tell();
            return Ok(NOTHING_MATCHED);
        }
        taken => taken?,
    };
    let text = match args.format {
        DumpFormat::Json => render::json(&taken).map_err(CliError::failure)?,
        DumpFormat::Folded => render::folded(&taken),
        DumpFormat::Text => render::text(&taken, args.output.is_none() && terminal::is_coloured()),
    };
    match &args.output {
        Some(path) => write(path, text.as_bytes()).map_err(|error| {
            CliError::failure(io::Error::new(
                error.kind(),
                format!("cannot write {}: {error}", path.display()),
            ))
        })?,
        None => {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
    }
    tell(&taken, args)
}

/// What a person must know besides, on standard error.
fn tell(dump: &Dump, args: &DumpArgs) -> Result<u8, CliError> {
    if dump.groups.is_empty() {
        let mut error = io::stderr().lock();
        // Nobody is left to be told if this fails.
        let _ = writeln!(
            error,
            "leak-agent: process {} has no task that was asked for",
            dump.pid
        );
        for note in &dump.notes {
            let _ = writeln!(error, "  {}", crate::output::text::visible(note));
        }
        return Ok(NOTHING_MATCHED);
    }
    if let (Some(path), true) = (&args.output, terminal::is_interactive()) {
        let _ = writeln!(
            io::stderr().lock(),
            "{} tasks in {} groups are in {}",
            dump.tasks,
            dump.groups.len(),
            path.display()
        );
    }
    Ok(SUCCESS)
}

/// Writes a file that only its owner may read, whole or not at all. What has the name is replaced, never followed.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (part, mut file) = create(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| std::fs::rename(&part, path));
    if renamed.is_err() {
        // What is left of it is of no use.
        let _ = std::fs::remove_file(&part);
    }
    renamed
}

/// A new file beside this one.
fn create(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut last = io::ErrorKind::AlreadyExists.into();
    for number in 0..PARTS_MAX {
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.{number}", std::process::id()));
        let part = path.with_file_name(part);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)
        {
            Ok(file) => return Ok((part, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// Only the owner may read it, also where a file or a link of that name was there.
    #[test]
    fn file_is_the_owners_alone_and_replaces_what_was_there() {
        let folder = std::env::temp_dir().join(format!("leak-agent-dump-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let (path, other) = (folder.join("dump"), folder.join("other"));
        std::fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        for text in ["first", "second"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600);
        }
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "untouched");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        assert!(write(&folder.join("none").join("dump"), b"").is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
