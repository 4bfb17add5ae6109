//! Maps from a file, by number, so that a large file need not fit in memory.
//!
//! They are read where they lie, not mapped into memory. Either way the system's page cache holds what it has room for, and
//! gives it away when others need it; but a file that is cut short under a mapping kills the program by a signal, where a read
//! ends in an error that names the file.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::crops::Crop;
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

/// An open file of maps. Any number of threads may read from it at once.
#[derive(Debug)]
pub struct MapFile {
    path: PathBuf,
    file: File,
    layout: Layout,
}

impl MapFile {
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
        let opened = File::open(path).map_err(unreadable)?;
        let length = opened.metadata().map_err(unreadable)?.len();
        if length == 0 {
            return Err(Error::file(
                path,
                "is empty",
                "name a .npy or FITS file of maps",
            ));
        }
        let mut file = BufReader::new(&opened);
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
        Ok(Self {
            path: path.to_owned(),
            file: opened,
            layout,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
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

    /// Reads the pixels of map `index`, row by row, into `values`, which has their number.
    ///
    /// # Errors
    /// Where the file cannot be read, or was cut short since it was opened.
    ///
    /// # Panics
    /// Where there is no map of that index.
    pub fn read(&self, index: usize, values: &mut [f32]) -> Result<()> {
        self.read_rows(index, 0..self.height(), values)
    }

    /// The pixels of some of the maps, one after the other.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Panics
    /// Where there are no such maps.
    pub fn read_maps(&self, maps: Range<usize>) -> Result<Vec<f32>> {
        let length = self.height() * self.width();
        let mut values = vec![0.0; maps.len() * length];
        values
            .par_chunks_exact_mut(length)
            .zip(maps)
            .try_for_each(|(values, map)| self.read(map, values))?;
        Ok(values)
    }

    /// Reads some rows of map `index`, as [`read`](Self::read) does all of them.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Panics
    /// Where there are no such rows.
    pub fn read_rows(&self, index: usize, rows: Range<usize>, values: &mut [f32]) -> Result<()> {
        let Layout {
            dims: [count, height, width],
            format: NumberFormat { bytes, big_endian },
            offset,
            scale,
            zero,
            ..
        } = self.layout;
        assert!(index < count && rows.end <= height, "no such rows");
        assert_eq!(values.len(), rows.len() * width, "as many values as pixels");
        let first = ((index * height + rows.start) * width * bytes) as u64;
        let mut stored = vec![0; values.len() * bytes];
        self.file
            .read_exact_at(&mut stored, offset + first)
            .map_err(|error| {
                let problem = match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        format!("was cut short while it was read: it has no map {index} any more")
                    }
                    _ => error.to_string(),
                };
                let remedy = "check the disk, and that nothing writes to the file";
                Error::file(&self.path, problem, remedy)
            })?;
        if bytes == 4 {
            let (chunks, _) = stored.as_chunks::<4>();
            let plain = scale == 1.0 && zero == 0.0;
            for (value, chunk) in values.iter_mut().zip(chunks) {
                let number = if big_endian {
                    f32::from_be_bytes(*chunk)
                } else {
                    f32::from_le_bytes(*chunk)
                };
                *value = if plain {
                    number
                } else {
                    (f64::from(number) * scale + zero) as f32
                };
            }
        } else {
            let (chunks, _) = stored.as_chunks::<8>();
            for (value, chunk) in values.iter_mut().zip(chunks) {
                let number = if big_endian {
                    f64::from_be_bytes(*chunk)
                } else {
                    f64::from_le_bytes(*chunk)
                };
                *value = (number * scale + zero) as f32;
            }
        }
        Ok(())
    }

    /// Reads crops of `size`² pixels, one after the other, on several threads.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Panics
    /// Where a crop does not lie in a map.
    pub fn read_crops(&self, crops: &[Crop], size: usize) -> Result<Vec<f32>> {
        let mut values = vec![0.0; crops.len() * size * size];
        values
            .par_chunks_exact_mut(size * size)
            .zip(crops)
            .try_for_each(|(values, crop)| self.read_crop(crop, size, values))?;
        Ok(values)
    }

    fn read_crop(&self, crop: &Crop, size: usize, values: &mut [f32]) -> Result<()> {
        let width = self.width();
        let rows = crop.row..crop.row + size;
        if width == size && !crop.mirrored {
            return self.read_rows(crop.map, rows, values);
        }
        let mut whole = vec![0.0; size * width];
        self.read_rows(crop.map, rows, &mut whole)?;
        for (to, row) in values.chunks_exact_mut(size).zip(whole.chunks_exact(width)) {
            to.copy_from_slice(&row[crop.column..][..size]);
            if crop.mirrored {
                to.reverse();
            }
        }
        Ok(())
    }

    /// Refuses what a model of `size`×`size` maps with `channels` channels cannot be trained on for its extents, as whole
    /// maps or, with `cropped`, in pieces.
    ///
    /// # Errors
    /// Where the maps have another size, or the model has several channels.
    pub fn require_extents(&self, size: usize, channels: usize, cropped: bool) -> Result<()> {
        if channels != 1 {
            return Err(Error::file(
                &self.path,
                format!("holds maps of one channel; the model has {channels}"),
                "train with c_dim 1",
            ));
        }
        let [height, width] = [self.height(), self.width()];
        let are_large = height >= size && width >= size;
        if [height, width] == [size; 2] || (cropped && are_large) {
            return Ok(());
        }
        Err(Error::file(
            &self.path,
            format!("holds maps of {height}×{width} pixels; the model makes {size}×{size}"),
            match are_large {
                true => {
                    "add --crops N to cut them to size while training, or choose another --preset"
                }
                false => "give maps that are large enough, or choose another --preset",
            },
        ))
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
