//! Writing NumPy's NPZ format: NPY arrays in an uncompressed ZIP archive.
//!
//! ZIP: PKWARE, APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.

use std::path::Path;

use super::writer::npy_header;
use crate::files::AtomicFile;
use cosmogan_base::{Error, Result};

/// An archive of float64 arrays under construction.
///
/// It appears at its name once it is [finished](Self::finish).
#[derive(Debug)]
pub struct NpzWriter {
    file: AtomicFile,
    /// Bytes written so far.
    length: u64,
    /// Central directory: one entry per array.
    directory: Vec<u8>,
    arrays: u16,
}

/// 1 January 1980 at midnight in the format of MS-DOS, so that equal arrays give equal files.
const TIME_AND_DATE: [u8; 4] = [0, 0, 0x21, 0];

/// Version 2.0 of ZIP, which is needed to read the archive.
const VERSION: [u8; 2] = [20, 0];

impl NpzWriter {
    /// Starts an archive that will appear at `path`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            file: AtomicFile::create(path)?,
            length: 0,
            directory: Vec::new(),
            arrays: 0,
        })
    }

    /// Adds the array `name` of shape `shape`, in C order.
    ///
    /// # Errors
    /// If the file cannot be written or would exceed 4 GiB.
    ///
    /// # Panics
    /// If `shape` does not match the number of values.
    pub fn add(&mut self, name: &str, shape: &[usize], values: &[f64]) -> Result<()> {
        assert_eq!(
            shape.iter().product::<usize>(),
            values.len(),
            "the shape must match the number of values"
        );
        let mut bytes = npy_header("<f8", shape);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let name = format!("{name}.npy");
        let size = u32::try_from(bytes.len()).map_err(|_| self.too_large())?;
        let offset = u32::try_from(self.length).map_err(|_| self.too_large())?;

        // Flags and method are 0: sizes come first, nothing is compressed.
        let mut entry = [VERSION, [0; 2], [0; 2]].concat();
        entry.extend(TIME_AND_DATE);
        for number in [crc32fast::hash(&bytes), size, size] {
            entry.extend(number.to_le_bytes());
        }
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend([0; 2]);

        let header = [b"PK\x03\x04", &entry[..], name.as_bytes()].concat();
        self.append(&header)?;
        self.append(&bytes)?;

        self.directory.extend(b"PK\x01\x02");
        self.directory.extend(VERSION);
        self.directory.extend(entry);
        // Comment length, disk number, internal and external attributes.
        self.directory.extend([0; 10]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.arrays += 1;
        Ok(())
    }

    /// Completes the archive and moves it to its final name.
    ///
    /// # Errors
    /// If the file cannot be written or would exceed 4 GiB.
    pub fn finish(mut self) -> Result<()> {
        let start = u32::try_from(self.length).map_err(|_| self.too_large())?;
        let mut end = std::mem::take(&mut self.directory);
        let size = end.len() as u32;
        end.extend(b"PK\x05\x06\0\0\0\0");
        end.extend(self.arrays.to_le_bytes());
        end.extend(self.arrays.to_le_bytes());
        end.extend(size.to_le_bytes());
        end.extend(start.to_le_bytes());
        end.extend([0; 2]);
        self.append(&end)?;
        self.file.commit()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        self.file.append(bytes)
    }

    fn too_large(&self) -> Error {
        Error::file(
            self.file.path(),
            "would exceed 4 GiB, the limit of a plain ZIP archive",
            "measure fewer maps at a time",
        )
    }
}
