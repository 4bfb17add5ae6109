//! Memory of this machine.

use std::fs;

use crate::error::{Error, Result};

const GIB: f64 = (1_u64 << 30) as f64;

/// Total memory in bytes, if Linux reports it.
pub(crate) fn total() -> Option<u64> {
    reported("MemTotal:")
}

/// Refuses work on `bytes` bytes, for the value of `flag`, if they exceed the memory that is free.
///
/// # Errors
/// The error states both figures. There is none on a system that does not report its memory.
pub(crate) fn expect_room(flag: &str, what: &str, bytes: f64) -> Result<()> {
    match reported("MemAvailable:") {
        Some(free) if bytes > free as f64 => Err(Error::usage(
            flag,
            format_args!(
                "{what} {:.1} GiB of memory, and {:.1} GiB are free",
                bytes / GIB,
                free as f64 / GIB
            ),
            "choose a smaller size",
        )),
        _ => Ok(()),
    }
}

fn reported(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}
