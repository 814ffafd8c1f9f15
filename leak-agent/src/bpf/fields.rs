//! Where this kernel keeps the fields that the programs read: from its own type information, at run time.

use super::{BpfError, btf::Btf};
use leak_agent_common::settings::{FIELDS, NO_FIELD};

/// Fields without which the programs make no sense; the others may be missing.
const OPTIONAL: &[&str] = &["O_EXEC_ID"];

/// The values of the load-time settings of [`FIELDS`].
///
/// # Errors
///
/// No type information, or a kernel that lacks a needed field.
pub(super) fn offsets() -> Result<Vec<(&'static str, u32)>, BpfError> {
    let unusable = |reason: String| BpfError::KernelTypes { reason };
    let data = std::fs::read("/sys/kernel/btf/vmlinux").map_err(|error| unusable(error.to_string()))?;
    let btf = Btf::parse(&data).ok_or_else(|| unusable("not readable by this version".to_owned()))?;
    FIELDS
        .iter()
        .map(|(symbol, structure, names)| {
            let found = names.iter().find_map(|name| btf.field(structure, name));
            match found {
                Some(offset) => Ok((*symbol, offset)),
                None if OPTIONAL.contains(symbol) => Ok((*symbol, NO_FIELD)),
                None => Err(BpfError::NoField {
                    structure,
                    field: names[0],
                }),
            }
        })
        .collect()
}
