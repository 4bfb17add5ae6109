//! Random access to the maps of a file that need not fit in memory.
//!
//! Maps are read with positioned reads rather than through a memory mapping. The page cache serves both equally well,
//! but a file that is truncated while it is mapped raises SIGBUS, whereas a read returns an error that names the file.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use rayon::prelude::*;

use super::crops::Crop;
use super::layout::Layout;
use super::survey::require_pixels;
use super::{fits, foreign, npy};
use cosmogan_base::{Error, Result, memory};

/// First bytes of a gzip file.
const GZIP_SIGNATURE: &[u8] = &[0x1f, 0x8b];

/// An open file of maps. Any number of threads can read from it at once.
#[derive(Debug)]
pub struct MapFile {
    path: PathBuf,
    file: File,
    layout: Layout,
}

impl MapFile {
    /// Opens an NPY or FITS file; the format is recognised by its content.
    ///
    /// A file compressed by gzip is unpacked into an unnamed temporary file.
    ///
    /// # Errors
    /// If the file is missing, empty, truncated, in neither format, contains anything but maps of real numbers, or is a
    /// FITS file with several images.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_hdu(path, None)
    }

    /// Opens a file like [`open`](Self::open), and takes the maps of a FITS file from `hdu`: the number of an HDU,
    /// counted from 0, or the value of its EXTNAME.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if the file has no such HDU or is no FITS file.
    pub fn open_hdu(path: &Path, hdu: Option<&str>) -> Result<Self> {
        const NAME: &str = "name a .npy or FITS file of maps";
        let unreadable = |error: std::io::Error| {
            Error::file(path, error, "name a readable .npy or FITS file of maps")
        };
        if path.is_dir() {
            return Err(Error::file(path, "is a folder", NAME));
        }
        let mut opened = File::open(path).map_err(unreadable)?;
        let mut start = start_of(&mut opened).map_err(unreadable)?;
        if start.starts_with(GZIP_SIGNATURE) {
            opened = unpacked(opened).map_err(|error| {
                let problem = format!("cannot be unpacked: {error}");
                Error::file(path, problem, "unpack it with gunzip, or copy it again")
            })?;
            start = start_of(&mut opened).map_err(unreadable)?;
        }
        let length = opened.metadata().map_err(unreadable)?.len();
        if length == 0 {
            return Err(Error::file(path, "is empty", NAME));
        }
        let mut file = BufReader::new(&opened);
        let layout = if start.starts_with(npy::SIGNATURE) {
            if let Some(hdu) = hdu {
                let problem = format!(
                    "{} is an NPY file, which has no HDU `{hdu}`",
                    path.display()
                );
                return Err(Error::usage("--hdu", problem, "leave it out"));
            }
            npy::read_layout(path, &mut file, length)?
        } else if start.starts_with(fits::SIGNATURE) {
            fits::read_layout(path, &mut file, length, hdu)?
        } else {
            let (problem, remedy) = foreign::described(&start);
            return Err(Error::file(path, problem, remedy));
        };
        let is_alone = start.starts_with(npy::SIGNATURE);
        refuse_other_length(path, &layout, length, is_alone)?;
        let maps = Self {
            path: path.to_owned(),
            file: opened,
            layout,
        };
        // Every reader holds at least one map; a sparse file may have maps of any size.
        let of_map = maps.height() as f64 * maps.width() as f64;
        memory::expect_room_for_file(path, size_of::<f32>() as f64 * of_map)?;
        Ok(maps)
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of maps.
    pub fn count(&self) -> usize {
        self.layout.dims[0]
    }

    /// Rows per map.
    pub fn height(&self) -> usize {
        self.layout.dims[1]
    }

    /// Columns per map.
    pub fn width(&self) -> usize {
        self.layout.dims[2]
    }

    /// Side of a map in degrees, if the file gives it (FITS keyword `ANGLE`, or the pixel size of its coordinates).
    ///
    /// # Errors
    /// The reason why the statement of the file cannot be used.
    pub fn side_degrees(&self) -> std::result::Result<Option<f64>, String> {
        self.layout.side.clone()
    }

    /// Reads the pixels of map `index`, row by row.
    ///
    /// `values` holds height × width pixels.
    ///
    /// # Errors
    /// If the file cannot be read, or was truncated after it was opened.
    ///
    /// # Panics
    /// If `index` is out of range or `values` has another length.
    pub fn read(&self, index: usize, values: &mut [f32]) -> Result<()> {
        self.read_rows(index, 0..self.height(), values)
    }

    /// Reads a range of maps and returns their pixels, map after map.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    ///
    /// # Panics
    /// If the range is out of bounds.
    pub fn read_maps(&self, maps: Range<usize>) -> Result<Vec<f32>> {
        let length = self.height() * self.width();
        let mut values = vec![0.0; maps.len() * length];
        values
            .par_chunks_exact_mut(length)
            .zip(maps)
            .try_for_each(|(values, map)| self.read(map, values))?;
        Ok(values)
    }

    /// Reads a range of rows of map `index`.
    ///
    /// `values` holds rows × width pixels.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    ///
    /// # Panics
    /// If the range is out of bounds or `values` has another length.
    pub fn read_rows(&self, index: usize, rows: Range<usize>, values: &mut [f32]) -> Result<()> {
        let [count, height, width] = self.layout.dims;
        let bytes = self.layout.number.bytes();
        assert!(
            index < count && rows.end <= height,
            "row range out of bounds"
        );
        assert_eq!(
            values.len(),
            rows.len() * width,
            "`values` must hold one value per pixel"
        );
        let first = ((index * height + rows.start) * width * bytes) as u64;
        let mut stored = vec![0; values.len() * bytes];
        self.file
            .read_exact_at(&mut stored, self.layout.offset + first)
            .map_err(|error| {
                let problem = match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        format!("was truncated while it was being read: map {index} is missing")
                    }
                    _ => error.to_string(),
                };
                let remedy = "check the disk, and that nothing writes to the file";
                Error::file(&self.path, problem, remedy)
            })?;
        self.layout.decode(&stored, values);
        let first = rows.start * width;
        require_pixels(values, &self.path, width, (index, first))
    }

    /// Reads crops of `size`×`size` pixels in parallel and returns them one after the other.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    ///
    /// # Panics
    /// If a crop extends beyond its map.
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

    /// Checks that a model can be trained on these maps.
    ///
    /// The model generates maps of `size`×`size` pixels with `channels` channels. With `cropped`, maps may be larger
    /// than that.
    ///
    /// # Errors
    /// If the maps have an unsuitable size, or the model has several channels.
    pub fn require_extents(&self, size: usize, channels: usize, cropped: bool) -> Result<()> {
        if channels != 1 {
            return Err(Error::file(
                &self.path,
                format!("contains maps with one channel, but the model has {channels}"),
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
            format!(
                "contains maps of {height}×{width} pixels, but the model generates {size}×{size}"
            ),
            match are_large {
                true => {
                    "add --crops N to cut them to size while training, or choose another --preset"
                }
                false => "give maps that are large enough, or choose another --preset",
            },
        ))
    }
}

/// Checks that the file is as long as its header requires, before anything is allocated.
///
/// If the array `is_alone`, nothing may follow it.
fn refuse_other_length(path: &Path, layout: &Layout, length: u64, is_alone: bool) -> Result<()> {
    let bytes = layout.number.bytes() as u64;
    let expected = layout
        .dims
        .iter()
        .try_fold(bytes, |product, &extent| product.checked_mul(extent as u64));
    let found = length.saturating_sub(layout.offset);
    let needs = expected.map_or("more than any file can hold".to_owned(), |bytes| {
        format!("{bytes}")
    });
    let shape = layout.dims;
    match expected {
        Some(expected) if is_alone && found > expected => Err(Error::file(
            path,
            format!(
                "has {found} bytes of data, but its header with the shape {shape:?} describes {needs}"
            ),
            "save it again: its type or its shape is not that of its numbers",
        )),
        Some(expected) if expected <= found => Ok(()),
        _ => Err(Error::file(
            path,
            format!(
                "is truncated: it has {found} bytes of data, but the shape {shape:?} needs {needs}"
            ),
            "copy or create the file again",
        )),
    }
}

/// The first bytes of a file, which is then at its start again.
fn start_of(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(32).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start)
}

/// Unpacks a gzip file into a temporary file without a name.
fn unpacked(packed: File) -> std::io::Result<File> {
    let mut to = tempfile::tempfile()?;
    std::io::copy(&mut MultiGzDecoder::new(BufReader::new(packed)), &mut to)?;
    to.rewind()?;
    Ok(to)
}
