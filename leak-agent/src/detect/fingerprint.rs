//! The name of a finding: the same for every process of an image, whenever and wherever it runs.

use sha2::{Digest, Sha256};

/// Bytes of the digest that are told.
const BYTES: usize = 8;

/// Made of the runtime, the site (its id has the identity of the file that it is in) and the executable's path; of no
/// pid, no time and no name.
#[must_use]
pub fn fingerprint(runtime: &str, site: &str, exe: Option<&str>) -> String {
    let mut digest = Sha256::new();
    for part in [runtime, site, exe.unwrap_or("")] {
        // The length keeps the parts apart.
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    let digest = digest.finalize();
    digest
        .iter()
        .take(BYTES)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts cannot be shifted into each other, and the name never changes.
    #[test]
    fn fingerprint_is_stable_and_keeps_its_parts_apart() {
        let name = fingerprint("tokio", "abcd:0x1", Some("/srv/app"));
        assert_eq!(name, fingerprint("tokio", "abcd:0x1", Some("/srv/app")));
        assert_eq!(name, "60b7d9884df58862");
        for other in [
            fingerprint("tokioa", "bcd:0x1", Some("/srv/app")),
            fingerprint("thread", "abcd:0x1", Some("/srv/app")),
            fingerprint("tokio", "abcd:0x1", Some("/srv/app2")),
            fingerprint("tokio", "abcd:0x1", None),
        ] {
            assert_ne!(name, other);
        }
    }
}
