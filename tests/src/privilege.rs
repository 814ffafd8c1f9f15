//! Whether the tests may use BPF here, and what to do if not: fail loudly, never pass in silence.

use std::sync::OnceLock;

/// With this variable set to 1, tests that need privileges are skipped where there are none, and say so.
pub const UNPRIVILEGED: &str = "LEAK_TESTS_UNPRIVILEGED";

/// `true` = go on. `false` = skip this test (the reason has been printed).
///
/// Panics when privileges are missing and nobody has said that this is to be expected.
#[must_use]
pub fn privileged() -> bool {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let Some(missing) = MISSING.get_or_init(missing) else {
        return true;
    };
    assert!(
        std::env::var(UNPRIVILEGED).as_deref() == Ok("1"),
        "this test needs {missing}; run it as root, or set {UNPRIVILEGED}=1 to have such tests skipped"
    );
    skip(missing);
    false
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
fn skip(missing: &str) {
    eprintln!("SKIPPED: this test needs {missing}");
}

/// What is missing, by trying: CAP_BPF and friends in the effective set, and the kernel's own description.
fn missing() -> Option<String> {
    const SYS_ADMIN: u32 = 21;
    const BPF: u32 = 39;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap();
    let has = |capability: u32| effective & (1 << capability) != 0;
    if !has(SYS_ADMIN) && !has(BPF) {
        return Some("CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN".to_owned());
    }
    if !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("a kernel with BTF (/sys/kernel/btf/vmlinux)".to_owned());
    }
    None
}
