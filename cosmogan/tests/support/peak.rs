//! Peak memory of a test that runs alone in its process.

use std::fs;

/// Peak resident memory of this process, in MiB.
pub(crate) fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.unwrap().parse::<usize>().unwrap() / 1024
}
