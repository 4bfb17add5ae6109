//! Maps in memory.

use std::path::{Path, PathBuf};

use super::map_file::MapFile;
use super::survey::{require_finite, require_varied};
use crate::error::Result;

/// Maps of one size in memory, from one file.
#[derive(Clone, Debug)]
pub struct MapSet {
    path: PathBuf,
    values: Vec<f32>,
    height: usize,
    width: usize,
    side_degrees: Option<f64>,
}

impl MapSet {
    /// Reads every map of a file; see [`MapFile::open`].
    ///
    /// # Errors
    /// As [`MapFile::open`].
    pub fn read(path: &Path) -> Result<Self> {
        let file = MapFile::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            values: file.read_maps(0..file.count())?,
            height: file.height(),
            width: file.width(),
            side_degrees: file.side_degrees(),
        })
    }

    /// Maps that did not come from a file of maps; `path` is what errors name.
    pub(crate) fn from_values(path: &Path, values: Vec<f32>, [height, width]: [usize; 2]) -> Self {
        debug_assert_eq!(values.len() % (height * width), 0);
        Self {
            path: path.to_owned(),
            values,
            height,
            width,
            side_degrees: None,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of maps.
    pub fn count(&self) -> usize {
        self.values.len() / (self.height * self.width)
    }

    /// Rows of a map.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of a map.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Side of a map in degrees, where the file says.
    pub fn side_degrees(&self) -> Option<f64> {
        self.side_degrees
    }

    /// All pixels, map by map, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The pixels of one map.
    ///
    /// # Panics
    /// Where there is no map of that index.
    pub fn map(&self, index: usize) -> &[f32] {
        let length = self.height * self.width;
        &self.values[index * length..(index + 1) * length]
    }

    /// The pixels of each map in turn.
    pub fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.height * self.width)
    }

    /// Refuses pixels that are not numbers.
    ///
    /// # Errors
    /// Naming the first such pixel.
    pub fn require_finite(&self) -> Result<()> {
        let mut maps = self.iter().enumerate();
        maps.try_for_each(|(index, map)| require_finite(map, &self.path, self.width, index))
    }

    /// Refuses pixels that are not numbers, and maps in which all pixels are equal: they have no standard deviation.
    ///
    /// # Errors
    /// Naming the first such pixel or map.
    pub fn require_varied(&self) -> Result<()> {
        let mut maps = self.iter().enumerate();
        maps.try_for_each(|(index, map)| require_varied(map, &self.path, self.width, index))
    }
}
