//! Peak memory of a part of the program.

use std::fs;

/// Forgets the peak so far, where the system allows it.
pub fn reset_peak() {
    // Linux takes this as the order to reset `VmHWM`. Elsewhere there is no such file.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Returns the peak resident memory in MiB since the last reset; `None` on systems other than Linux.
pub fn peak() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}
