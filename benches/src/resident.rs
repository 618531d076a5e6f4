//! Resident memory of this process, as the kernel counts it.

use std::fs;

/// Starts the highest resident memory anew from what is resident now; its size in MB (2^20 bytes).
///
/// # Errors
/// Where there is no `/proc/self` (anything but Linux).
pub fn forget_peak() -> std::io::Result<f64> {
    // 5: reset the high-water mark (proc_pid_clear_refs(5))
    fs::write("/proc/self/clear_refs", "5")?;
    field("VmRSS:")
}

/// The highest resident memory since [`forget_peak`], in MB.
///
/// # Errors
/// Where there is no `/proc/self`.
pub fn peak() -> std::io::Result<f64> {
    field("VmHWM:")
}

fn field(name: &str) -> std::io::Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok())
        .map(|kilobytes| kilobytes / 1024.0)
        .ok_or_else(|| std::io::Error::other(format!("/proc/self/status has no {name}")))
}
