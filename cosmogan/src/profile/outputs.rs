//! The files that a profile is written to and read from.

use std::fs;
use std::path::Path;

use super::measure::Measured;
use super::plot::roofline;
use super::record::Profile;
use super::trace::trace;
use crate::error::{Error, Result};
use crate::files::AtomicFile;

/// Files that are open, and appear when they are whole.
#[derive(Debug)]
pub struct Outputs {
    json: Option<AtomicFile>,
    trace: Option<AtomicFile>,
    plot: Option<AtomicFile>,
}

impl Outputs {
    /// Opens all of them, before the work begins: what cannot be written is said now and not after minutes.
    ///
    /// # Errors
    /// Where one cannot be written, or the plot is neither `.png` nor `.svg`.
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

    /// Writes all of them.
    ///
    /// # Errors
    /// Where the disk does not take one.
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
    file.commit()
}

/// Whether a picture is SVG, by its name; otherwise it is PNG.
fn is_svg(path: &Path) -> Result<bool> {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    match extension.to_str() {
        Some("svg") => Ok(true),
        Some("png") => Ok(false),
        _ => Err(Error::usage(
            "--plot",
            format!("{} is neither .png nor .svg", path.display()),
            "name one of the two",
        )),
    }
}

impl Profile {
    /// From the file that an earlier run wrote.
    ///
    /// # Errors
    /// Where it cannot be read, or holds no profile.
    pub fn read(path: &Path) -> Result<Self> {
        let remedy = "name a file that `cosmogan profile --json` wrote";
        let text = fs::read_to_string(path).map_err(|error| Error::file(path, error, remedy))?;
        Self::from_json(&text).map_err(|problem| Error::file(path, problem, remedy))
    }
}
