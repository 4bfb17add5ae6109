//! Memory of this machine, and work that would need more.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

const GIB: f64 = (1_u64 << 30) as f64;

/// Total memory in bytes, if Linux reports it.
pub fn total() -> Option<u64> {
    reported("MemTotal:")
}

/// Refuses work on `bytes` bytes, for the value of `flag`, if they exceed the memory that is free.
///
/// # Errors
/// The error states both figures. There is none on a system that does not report its memory.
pub fn expect_room(flag: &str, what: &str, bytes: f64) -> Result<()> {
    match lack(what, bytes) {
        None => Ok(()),
        Some(problem) => Err(Error::usage(flag, problem, "choose a smaller number")),
    }
}

/// Refuses to read `bytes` bytes of the file at `path` into memory, like [`expect_room`].
///
/// # Errors
/// As [`expect_room`].
pub fn expect_room_for_file(path: &Path, bytes: f64) -> Result<()> {
    match lack("its maps need", bytes) {
        None => Ok(()),
        Some(problem) => Err(Error::file(
            path,
            problem,
            "use fewer or smaller maps, or a machine with more memory",
        )),
    }
}

fn lack(what: &str, bytes: f64) -> Option<String> {
    let free = reported("MemAvailable:")? as f64;
    (bytes > free).then(|| {
        format!(
            "{what} {:.1} GiB of memory, and {:.1} GiB are free",
            bytes / GIB,
            free / GIB
        )
    })
}

fn reported(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}
