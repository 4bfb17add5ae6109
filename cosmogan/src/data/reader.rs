//! Maps from a file, one at a time, so that a large file need not fit in memory.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{fits, npy};
use crate::error::{Error, Result};

/// How the numbers of a file are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumberFormat {
    /// 4 or 8 bytes.
    pub(super) bytes: usize,
    /// Whether the most significant byte comes first.
    pub(super) big_endian: bool,
}

/// What a file's header says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    /// Maps, rows, columns.
    pub(super) dims: [usize; 3],
    pub(super) format: NumberFormat,
    /// Where the first number stands.
    pub(super) offset: u64,
    /// FITS: physical = stored·scale + zero.
    pub(super) scale: f64,
    pub(super) zero: f64,
    pub(super) side_degrees: Option<f64>,
}

/// An open file of maps.
#[derive(Debug)]
pub struct MapReader {
    path: PathBuf,
    file: BufReader<File>,
    layout: Layout,
    bytes: Vec<u8>,
    read: usize,
}

impl MapReader {
    /// Opens an NPY or FITS file, recognised by its content.
    ///
    /// # Errors
    /// Where the file is missing, empty, of neither format, cut short, or holds anything but maps of real numbers.
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |error: std::io::Error| {
            Error::file(path, error, "name a readable .npy or FITS file of maps")
        };
        if path.is_dir() {
            return Err(Error::file(
                path,
                "is a folder",
                "name a .npy or FITS file of maps",
            ));
        }
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let length = file.get_ref().metadata().map_err(unreadable)?.len();
        if length == 0 {
            return Err(Error::file(
                path,
                "is empty",
                "name a .npy or FITS file of maps",
            ));
        }
        let mut start = Vec::new();
        (&mut file)
            .take(fits::SIGNATURE.len() as u64)
            .read_to_end(&mut start)
            .map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let layout = if start.starts_with(npy::SIGNATURE) {
            npy::read_layout(path, &mut file, length)?
        } else if start == fits::SIGNATURE {
            fits::read_layout(path, &mut file, length)?
        } else {
            return Err(Error::file(
                path,
                "is neither an NPY nor a FITS file",
                "convert it with NumPy or Astropy",
            ));
        };
        refuse_truncated(path, &layout, length)?;
        file.seek(SeekFrom::Start(layout.offset))
            .map_err(unreadable)?;
        let [_, height, width] = layout.dims;
        Ok(Self {
            path: path.to_owned(),
            file,
            layout,
            bytes: vec![0; height * width * layout.format.bytes],
            read: 0,
        })
    }

    /// Number of maps.
    pub fn count(&self) -> usize {
        self.layout.dims[0]
    }

    /// Rows of a map.
    pub fn height(&self) -> usize {
        self.layout.dims[1]
    }

    /// Columns of a map.
    pub fn width(&self) -> usize {
        self.layout.dims[2]
    }

    /// Side of a map in degrees, where the file says (FITS keyword `ANGLE`).
    pub fn side_degrees(&self) -> Option<f64> {
        self.layout.side_degrees
    }

    /// Appends the next map, row by row, to `values`. Call it [`MapReader::count`] times; what a file holds after its
    /// maps is left alone.
    ///
    /// # Errors
    /// Where the file cannot be read or has no further map.
    pub fn read_next(&mut self, values: &mut Vec<f32>) -> Result<()> {
        if self.read == self.count() {
            return Err(Error::file(
                &self.path,
                format!("has no map beyond its {}", self.count()),
                "report this as a defect",
            ));
        }
        self.read += 1;
        self.file.read_exact(&mut self.bytes).map_err(|error| {
            Error::file(
                &self.path,
                error,
                "check the disk, and that nothing writes to the file",
            )
        })?;
        let Layout { scale, zero, .. } = self.layout;
        let NumberFormat { bytes, big_endian } = self.layout.format;
        if bytes == 4 {
            let (chunks, _) = self.bytes.as_chunks::<4>();
            let plain = scale == 1.0 && zero == 0.0;
            values.extend(chunks.iter().map(|chunk| {
                let value = if big_endian {
                    f32::from_be_bytes(*chunk)
                } else {
                    f32::from_le_bytes(*chunk)
                };
                if plain {
                    value
                } else {
                    (f64::from(value) * scale + zero) as f32
                }
            }));
        } else {
            let (chunks, _) = self.bytes.as_chunks::<8>();
            values.extend(chunks.iter().map(|chunk| {
                let value = if big_endian {
                    f64::from_be_bytes(*chunk)
                } else {
                    f64::from_le_bytes(*chunk)
                };
                (value * scale + zero) as f32
            }));
        }
        Ok(())
    }
}

/// Compares what the header promises with what the file holds, before anything is allocated for it.
fn refuse_truncated(path: &Path, layout: &Layout, length: u64) -> Result<()> {
    let expected = layout
        .dims
        .iter()
        .try_fold(layout.format.bytes as u64, |product, &extent| {
            product.checked_mul(extent as u64)
        });
    let found = length.saturating_sub(layout.offset);
    match expected {
        Some(expected) if expected <= found => Ok(()),
        _ => Err(Error::file(
            path,
            format!(
                "is cut short: {found} bytes of data where a shape of {:?} needs {}",
                layout.dims,
                expected.map_or("far more".to_owned(), |bytes| bytes.to_string())
            ),
            "copy or make the file again",
        )),
    }
}
