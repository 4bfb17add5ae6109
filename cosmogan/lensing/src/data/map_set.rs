//! Maps in memory.

use std::path::{Path, PathBuf};

use super::map_file::MapFile;
use super::survey::{require_finite, require_varied};
use cosmogan_base::{Result, memory};

/// Maps of one size held in memory.
#[derive(Clone, Debug)]
pub struct MapSet {
    path: PathBuf,
    values: Vec<f32>,
    height: usize,
    width: usize,
    side: std::result::Result<Option<f64>, String>,
}

impl MapSet {
    /// Reads every map of a file.
    ///
    /// # Errors
    /// See [`MapFile::open`] and [`MapFile::read`].
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_hdu(path, None)
    }

    /// Reads every map of a file, and of an HDU if it is a FITS file.
    ///
    /// # Errors
    /// See [`MapFile::open_hdu`] and [`MapFile::read`].
    pub fn read_hdu(path: &Path, hdu: Option<&str>) -> Result<Self> {
        let file = MapFile::open_hdu(path, hdu)?;
        let [count, height, width] = [file.count(), file.height(), file.width()];
        let pixels = count as f64 * height as f64 * width as f64;
        memory::expect_room_for_file(path, pixels * size_of::<f32>() as f64)?;
        Ok(Self {
            path: path.to_owned(),
            values: file.read_maps(0..count)?,
            height,
            width,
            side: file.side_degrees(),
        })
    }

    /// Wraps maps that were not read from a file; errors name `path` instead.
    pub fn from_values(path: &Path, values: Vec<f32>, [height, width]: [usize; 2]) -> Self {
        debug_assert_eq!(values.len() % (height * width), 0);
        Self {
            path: path.to_owned(),
            values,
            height,
            width,
            side: Ok(None),
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of maps.
    pub fn count(&self) -> usize {
        self.values.len() / (self.height * self.width)
    }

    /// Rows per map.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns per map.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Side of a map in degrees, if the file gives it.
    ///
    /// # Errors
    /// See [`MapFile::side_degrees`].
    pub fn side_degrees(&self) -> std::result::Result<Option<f64>, String> {
        self.side.clone()
    }

    /// Pixels of all maps, map by map, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Pixels of one map, row by row.
    ///
    /// # Panics
    /// If `index` is out of range.
    pub fn map(&self, index: usize) -> &[f32] {
        let length = self.height * self.width;
        &self.values[index * length..(index + 1) * length]
    }

    /// Iterates over the maps; each item holds the pixels of one map.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.height * self.width)
    }

    /// Checks that all pixels are finite.
    ///
    /// # Errors
    /// If a pixel is NaN or infinite; the error names the first.
    pub fn require_finite(&self) -> Result<()> {
        let mut maps = self.iter().enumerate();
        maps.try_for_each(|(index, map)| require_finite(map, &self.path, self.width, index))
    }

    /// Checks that all pixels are finite and that no map is constant.
    ///
    /// A constant map has no standard deviation.
    ///
    /// # Errors
    /// If a pixel is not finite or a map is constant; the error names the first.
    pub fn require_varied(&self) -> Result<()> {
        let mut maps = self.iter().enumerate();
        maps.try_for_each(|(index, map)| require_varied(map, &self.path, self.width, index))
    }
}
