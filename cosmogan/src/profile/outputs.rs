//! Output files of a profile, and reading a profile back.

use std::fs;
use std::path::Path;

use super::measure::Measured;
use super::plot::roofline;
use super::record::Profile;
use super::trace::trace;
use crate::error::{Error, Result};
use crate::files::AtomicFile;

/// Open output files. They appear under their names only when they are complete.
#[derive(Debug)]
pub struct Outputs {
    json: Option<AtomicFile>,
    trace: Option<AtomicFile>,
    plot: Option<AtomicFile>,
}

impl Outputs {
    /// Opens all files before the work begins, so that a file that cannot be written is reported at once.
    ///
    /// # Errors
    /// If a file cannot be written, or the plot is neither `.png` nor `.svg`.
    pub fn open(json: Option<&Path>, trace: Option<&Path>, plot: Option<&Path>) -> Result<Self> {
        if let Some(path) = plot {
            is_svg(path)?;
        }
        let open = |path: Option<&Path>| path.map(AtomicFile::create).transpose();
        Ok(Self {
            json: open(json)?,
            trace: open(trace)?,
            plot: open(plot)?,
        })
    }

    /// Writes all files.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(self, measured: &Measured) -> Result<()> {
        if let Some(file) = self.json {
            finish(file, measured.profile.to_json().as_bytes())?;
        }
        if let Some(file) = self.trace {
            finish(file, trace(measured).as_bytes())?;
        }
        if let Some(file) = self.plot {
            let plot = roofline(&measured.profile)?;
            let bytes = if is_svg(file.path())? {
                plot.svg.into_bytes()
            } else {
                plot.png
            };
            finish(file, &bytes)?;
        }
        Ok(())
    }
}

fn finish(mut file: AtomicFile, bytes: &[u8]) -> Result<()> {
    file.append(bytes)?;
    Ok(file.commit()?)
}

/// Whether the name of a plot ends in `.svg` rather than `.png`.
fn is_svg(path: &Path) -> Result<bool> {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.to_str() {
        Some("svg") => Ok(true),
        Some("png") => Ok(false),
        _ => Err(Error::usage(
            "--plot",
            format!("{} is neither .png nor .svg", path.display()),
            "name a file of one of these types",
        )),
    }
}

impl Profile {
    /// Reads a profile from the file that an earlier run wrote.
    ///
    /// # Errors
    /// If the file cannot be read or does not hold a profile.
    pub fn read(path: &Path) -> Result<Self> {
        let remedy = "name a file written by `cosmogan profile --json`";
        let text = fs::read_to_string(path).map_err(|error| Error::file(path, error, remedy))?;
        Self::from_json(&text).map_err(|problem| Error::file(path, problem, remedy))
    }
}
