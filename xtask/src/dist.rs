//! `cargo xtask dist`: the agent as one file that runs on any x86-64 Linux, with its checksum, completions and
//! manual page.

use crate::command::{self, step};
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use object::elf::{ET_DYN, PT_INTERP};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use std::path::Path;
use std::process::Command;

/// The target; a target must be named, else build scripts and macros would be linked statically, too.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Shell, and the file name under which its completions are installed.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "leak-agent.bash"),
    ("zsh", "_leak-agent"),
    ("fish", "leak-agent.fish"),
];

/// Writes target/dist.
///
/// # Errors
///
/// The agent does not build, is not static, or does not run.
pub(crate) fn main() -> Result<()> {
    step("build a static leak-agent");
    let build = workspace::target("dist-build");
    command::run(
        command::cargo()
            // The C library is linked in: the GNU one calls no shared library as long as nothing asks for names
            // of hosts or users, which the agent does not.
            .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
            .args([
                "build",
                "--release",
                "--locked",
                "--package",
                "leak-agent",
                "--target",
                TARGET,
            ])
            .arg("--target-dir")
            .arg(&build),
    )?;
    let built = build.join(TARGET).join("release/leak-agent");
    let bytes = std::fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    static_pie(&bytes).with_context(|| format!("checking {}", built.display()))?;

    let dist = workspace::target("dist");
    std::fs::create_dir_all(&dist).with_context(|| format!("creating {}", dist.display()))?;
    let write = |name: &str, content: &[u8]| -> Result<()> {
        let path = dist.join(name);
        std::fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
        println!("    {} ({} bytes)", path.display(), content.len());
        Ok(())
    };
    std::fs::copy(&built, dist.join("leak-agent")).context("copying the agent")?;
    println!(
        "    {} ({} bytes)",
        dist.join("leak-agent").display(),
        bytes.len()
    );
    let printed = |args: &[&str]| command::output(Command::new(dist.join("leak-agent")).args(args));
    for (shell, name) in COMPLETIONS {
        write(name, printed(&["completions", shell])?.as_bytes())?;
    }
    write("leak-agent.1", printed(&["man"])?.as_bytes())?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        write(
            name,
            &std::fs::read(workspace::root().join(name)).with_context(|| format!("reading {name}"))?,
        )?;
    }
    write("SHA256SUMS", checksums(&dist)?.as_bytes())
}

/// As `sha256sum` writes and checks them.
fn checksums(dist: &Path) -> Result<String> {
    let mut lines = String::new();
    for file in workspace::files_below(dist).context("listing the distribution")? {
        let name = file
            .file_name()
            .context("a file without a name")?
            .to_string_lossy()
            .into_owned();
        if name != "SHA256SUMS" {
            let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            lines.push_str(&format!("{}  {name}\n", crate::ebpf::sha256(&bytes)));
        }
    }
    Ok(lines)
}

/// Position independent, and no loader asked for.
fn static_pie(bytes: &[u8]) -> Result<()> {
    let file = ElfFile64::<object::LittleEndian>::parse(bytes).context("it is no ELF file")?;
    let endian = file.endian();
    if file.elf_header().e_type(endian) != ET_DYN {
        bail!("it is not position independent");
    }
    if file
        .elf_program_headers()
        .iter()
        .any(|header| header.p_type(endian) == PT_INTERP)
    {
        bail!("it is not static: it asks for a loader");
    }
    Ok(())
}
