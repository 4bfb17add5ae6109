//! Memory of a test that runs alone in its process.

use std::fs;

/// Peak resident memory of this process, in MiB.
pub(crate) fn peak() -> usize {
    kibibytes("VmHWM:") / 1024
}

/// Resident memory of this process, in KiB.
#[allow(dead_code, reason = "every test file uses its own part of this")]
pub(crate) fn resident() -> usize {
    kibibytes("VmRSS:")
}

fn kibibytes(entry: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(entry));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.unwrap().parse().unwrap()
}
