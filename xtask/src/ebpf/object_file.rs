//! The finished object: without DWARF, with BTF, without a trace of the machine that built it.

use anyhow::{Context as _, Result, bail};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;
use std::path::Path;

/// Removes the DWARF sections with their relocations; `.BTF` and `.BTF.ext` stay, with theirs.
///
/// # Errors
///
/// The object is no ELF file, or has no BTF.
pub(crate) fn without_dwarf(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(bytes).context("reading the object as ELF")?;
    for section in builder.sections.iter_mut() {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    for kept in [".BTF", ".BTF.ext"] {
        if !builder
            .sections
            .iter()
            .any(|section| section.name.as_slice() == kept.as_bytes())
        {
            bail!("the object has no {kept}: bpf-linker needs `--btf` and full debug information");
        }
    }
    // LLVM keeps the names of sections and symbols in one table, the writer wants one for each.
    if !builder
        .sections
        .iter()
        .any(|section| matches!(section.data, SectionData::SectionString))
    {
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    let mut out = Vec::new();
    builder.write(&mut out).context("writing the object")?;
    Ok(out)
}

/// The folders of the building machine that occur in the object.
pub(crate) fn machine_paths<'a>(bytes: &[u8], folders: &'a [String]) -> Vec<&'a str> {
    let occurs = |needle: &str| {
        bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    folders
        .iter()
        .map(String::as_str)
        .filter(|folder| Path::new(folder).components().count() > 1 && occurs(folder))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of the building machine in the bytes is found; `/` alone is no folder worth a finding.
    #[test]
    fn machine_paths_folder_inside_is_found() {
        let folders = [
            "/home/someone".to_owned(),
            "/elsewhere".to_owned(),
            "/".to_owned(),
        ];
        assert_eq!(
            machine_paths(b"\0/home/someone/src/main.rs\0", &folders),
            ["/home/someone"]
        );
        assert!(machine_paths(b"src/main.rs", &folders).is_empty());
    }

    /// Bytes that are no ELF file are an error, not an object.
    #[test]
    fn without_dwarf_no_elf_is_an_error() {
        assert!(without_dwarf(b"no ELF").is_err());
    }
}
