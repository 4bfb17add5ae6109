//! Files of maps given on the command line: the choice of a FITS image, and the side of a map.

use std::path::Path;

use clap::Args;

use crate::data::{MapFile, MapSet};
use crate::error::{Error, Result};
use crate::help::ADVANCED;
use crate::provenance::MapRecord;

/// Relative difference up to which two sides are the same.
const SAME: f64 = 1e-3;

/// How files of maps are read, for all commands that read any.
#[derive(Clone, Debug, Args)]
pub(super) struct MapFlags {
    /// FITS image to read, if there are several: its EXTNAME or HDU number
    #[arg(long, value_name = "NAME|N", help_heading = ADVANCED)]
    hdu: Option<String>,
}

impl MapFlags {
    /// Opens a file of maps.
    pub(super) fn open(&self, path: &Path) -> Result<MapFile> {
        Ok(MapFile::open_hdu(path, self.hdu.as_deref())?)
    }

    /// Reads all maps of a file.
    pub(super) fn read(&self, path: &Path) -> Result<MapSet> {
        Ok(MapSet::read_hdu(path, self.hdu.as_deref())?)
    }
}

/// Side of a map in degrees as the file at `path` states it (`stated`), or the record beside it.
///
/// # Errors
/// If what the file states cannot be used.
pub(super) fn recorded_side(
    path: &Path,
    stated: std::result::Result<Option<f64>, String>,
    remedy: &str,
) -> Result<Option<f64>> {
    let stated = stated.map_err(|problem| Error::file(path, problem, remedy))?;
    Ok(stated.or_else(|| MapRecord::of(path).side_degrees))
}

/// Checks the value of `flag` against the side that the file of maps states.
///
/// # Errors
/// If it is not a positive angle, or contradicts the file.
pub(super) fn require_side(flag: &str, side: f64, maps: &MapSet) -> Result<()> {
    if !(side.is_finite() && side > 0.0) {
        return Err(Error::usage(
            flag,
            format!("{side} is not a positive angle"),
            "give the side of a map in degrees, e.g. 0.866",
        ));
    }
    // Where the file's statement cannot be used, the flag replaces it.
    let stated = maps.side_degrees().unwrap_or(None);
    let recorded = stated.or_else(|| MapRecord::of(maps.path()).side_degrees);
    match recorded.filter(|recorded| (recorded / side - 1.0).abs() > SAME) {
        None => Ok(()),
        Some(recorded) => Err(Error::usage(
            flag,
            format!(
                "{side} given, but {} has maps with a side of {recorded}°",
                maps.path().display()
            ),
            "give the side of the file, or correct its header",
        )),
    }
}

/// The side given by the user, or else the one that the file of maps or the record beside it states.
///
/// # Errors
/// If there is none, or the two contradict each other.
pub(super) fn side_degrees(flag: Option<f64>, maps: &MapSet) -> Result<f64> {
    const FLAG: &str = "--side-degrees";
    if let Some(side) = flag {
        require_side(FLAG, side, maps)?;
        return Ok(side);
    }
    let remedy = "give --side-degrees, or correct the header";
    recorded_side(maps.path(), maps.side_degrees(), remedy)?.ok_or_else(|| {
        Error::usage(
            FLAG,
            format!(
                "{} does not give the side of its maps",
                maps.path().display()
            ),
            "give the side of a map in degrees, e.g. 0.866",
        )
    })
}
