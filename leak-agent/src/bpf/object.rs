//! The compiled programs, inside the agent's own binary: a user needs no BPF toolchain.

use super::BpfError;
use leak_agent_common::{WIRE_VERSION, settings::WIRE_VERSION_SYMBOL};
use object::{Object, ObjectSection, ObjectSymbol};

/// The object that `cargo xtask build-ebpf` made.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/leak-agent.bpf.o");

/// An object, if it speaks this agent's version of the wire contract.
///
/// # Errors
///
/// It is of another build.
pub(super) fn checked(object: &[u8]) -> Result<&[u8], BpfError> {
    match wire_version(object) {
        Some(WIRE_VERSION) => Ok(object),
        other => Err(BpfError::Object {
            reason: format!(
                "it speaks version {other:?} of the wire contract, the agent {WIRE_VERSION}: \
                 run cargo xtask build-ebpf"
            ),
        }),
    }
}

fn wire_version(data: &[u8]) -> Option<u32> {
    let file = object::File::parse(data).ok()?;
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok(WIRE_VERSION_SYMBOL))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let at = usize::try_from(symbol.address().checked_sub(section.address())?).ok()?;
    let bytes = section.data().ok()?.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed object and this agent were built from the same contract.
    #[test]
    fn object_speaks_the_agents_wire_version() {
        assert_eq!(wire_version(OBJECT), Some(WIRE_VERSION));
        assert!(checked(OBJECT).is_ok());
    }

    /// An object without a version, or no object at all, has none.
    #[test]
    fn wire_version_of_foreign_bytes_is_none() {
        assert_eq!(wire_version(b""), None);
        assert_eq!(wire_version(&OBJECT[..64]), None);
    }
}
