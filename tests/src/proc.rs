//! What /proc lists.

/// Every user process that we may look into, with its number of threads. One that has a privilege we lack
/// (a container's init, say) is not followed, and is none of ours.
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
        let readable = std::fs::read_link(entry.path().join("exe")).is_ok();
        if has_memory && readable {
            all.push((pid, tasks.flatten().count() as u64));
        }
    }
    all
}
