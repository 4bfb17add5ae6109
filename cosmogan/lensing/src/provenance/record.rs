//! Record beside a file of maps: the simulation method, and the side that NPY files cannot hold.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::files::{sha256, write_json};
use cosmogan_base::{Error, Result};

const FORMAT: &str = "cosmogan maps 1";
/// Bytes at the start of a file of maps that identify it, together with its length.
const HEAD: u64 = 64 << 10;

/// Simulation method of maps, or of the training maps of their generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Shifted-lognormal random fields.
    Lognormal,
    /// N-body simulations.
    Nbody,
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lognormal => "lognormal",
            Self::Nbody => "N-body",
        })
    }
}

/// Method and side of the maps in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapRecord {
    /// Simulation method, if known.
    pub method: Option<Method>,
    /// Side of a map in degrees, if known.
    pub side_degrees: Option<f64>,
}

/// Content of the file.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: String,
    #[serde(flatten)]
    record: MapRecord,
    /// Length of the file of maps.
    bytes: u64,
    /// SHA-256 of its first [`HEAD`] bytes, in hexadecimal.
    head_sha256: String,
}

impl MapRecord {
    /// Writes the record of the file of maps at `path` to `path` with `.json` appended.
    ///
    /// # Errors
    /// If the maps cannot be read, or the record cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let unreadable = |error| Error::file(path, error, "choose another --out");
        let (bytes, head_sha256) = identity(path).map_err(unreadable)?;
        let stored = Stored {
            format: FORMAT.to_owned(),
            record: *self,
            bytes,
            head_sha256,
        };
        write_json(beside(path), &stored)
    }

    /// Reads the record of the file of maps at `path`.
    ///
    /// All fields are unknown if there is no record, or if it is that of another file, such as an overwritten one.
    pub fn of(path: &Path) -> Self {
        let read = || {
            let stored: Stored = serde_json::from_slice(&fs::read(beside(path)).ok()?).ok()?;
            let is_of_file = stored.format == FORMAT
                && identity(path).ok()? == (stored.bytes, stored.head_sha256);
            is_of_file.then_some(stored.record)
        };
        read().unwrap_or_default()
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Length of a file, and the SHA-256 of its head.
fn identity(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok((bytes, sha256(&head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_for_the_file_it_was_written_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("maps.npy");
        let write = |content: &str| fs::write(&path, content).expect("a file");
        write("maps");
        let record = MapRecord {
            method: Some(Method::Nbody),
            side_degrees: Some(0.866),
        };
        record.write(&path).expect("a record");
        assert_eq!(MapRecord::of(&path), record);
        write("other maps");
        assert_eq!(MapRecord::of(&path), MapRecord::default());
        assert_eq!(
            MapRecord::of(&folder.path().join("none.npy")),
            MapRecord::default()
        );
    }
}
