//! What /proc lists.

/// Every user process, with its number of threads.
#[must_use]
pub fn threads_of_all() -> Vec<(u32, u64)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // Kernel threads have no memory map; neither have zombies.
        let has_memory =
            std::fs::read_to_string(entry.path().join("status")).is_ok_and(|text| text.contains("VmSize"));
        let Ok(tasks) = std::fs::read_dir(entry.path().join("task")) else {
            continue;
        };
        if has_memory {
            all.push((pid, tasks.flatten().count() as u64));
        }
    }
    all
}

/// Processes that the machine hides from its administrator: their executable cannot even be named.
#[must_use]
pub fn hidden() -> Vec<(u32, u64)> {
    let denied = |pid: u32| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    let mut all = threads_of_all();
    all.retain(|(pid, _)| denied(*pid));
    all
}
