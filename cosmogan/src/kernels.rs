//! GPU kernels by name, and the sources that they are compiled from.

use cosmogan_kernels::{Kernel, MANIFEST, SOURCES_VARIABLE, Sources};

use crate::error::{Error, Result};

/// Returns the kernel called `name`, a value of `--kernel`.
///
/// # Errors
/// If there is none; the message lists all kernels.
pub fn find(name: &str) -> Result<&'static Kernel> {
    let found = MANIFEST.into_iter().find(|kernel| kernel.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = MANIFEST.iter().map(|kernel| kernel.name).collect();
        Error::usage(
            "--kernel",
            format!("there is no kernel `{name}`"),
            format!("choose from {}", names.join(", ")),
        )
    })
}

/// Reads the kernel sources. Prints one line to stderr if they are not those embedded in the program.
///
/// # Errors
/// If the folder in `COSMOGAN_KERNELS` lacks a file, or one cannot be read.
pub fn read_sources() -> Result<()> {
    let sources =
        Sources::current().map_err(|message| Error::refused(SOURCES_VARIABLE, message))?;
    if let Some(folder) = sources.folder() {
        eprintln!(
            "kernels are read from {} ({SOURCES_VARIABLE})",
            folder.display()
        );
    }
    Ok(())
}
