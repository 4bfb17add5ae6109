//! Maps in memory.

use std::path::{Path, PathBuf};

use super::reader::MapReader;
use crate::error::{Error, Result};

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
    /// Reads every map of a file; see [`MapReader::open`].
    ///
    /// # Errors
    /// As [`MapReader::open`].
    pub fn read(path: &Path) -> Result<Self> {
        let mut reader = MapReader::open(path)?;
        let mut values = Vec::with_capacity(reader.count() * reader.height() * reader.width());
        for _ in 0..reader.count() {
            reader.read_next(&mut values)?;
        }
        Ok(Self {
            path: path.to_owned(),
            values,
            height: reader.height(),
            width: reader.width(),
            side_degrees: reader.side_degrees(),
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
        match self.values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(index) => Err(not_finite(
                &self.path,
                self.width,
                self.height,
                index,
                self.values[index],
            )),
        }
    }

    /// Refuses pixels that are not numbers, and maps in which all pixels are equal: they have no standard deviation.
    ///
    /// # Errors
    /// Naming the first such pixel or map.
    pub fn require_varied(&self) -> Result<()> {
        self.require_finite()?;
        match self.iter().position(is_constant) {
            None => Ok(()),
            Some(index) => Err(Error::file(
                &self.path,
                format!("map {index} is constant"),
                "remove it: there is nothing to measure or learn in it",
            )),
        }
    }

    /// Refuses what a model of `size`×`size` maps with `channels` channels cannot be trained on, and warns of values
    /// that its tanh cannot reach.
    ///
    /// # Errors
    /// Where the maps have another size, a pixel is not finite, or a map is constant.
    pub fn require_trainable(&self, size: usize, channels: usize) -> Result<()> {
        if channels != 1 {
            return Err(Error::file(
                &self.path,
                format!("holds maps of one channel; the model has {channels}"),
                "train with c_dim 1",
            ));
        }
        if self.height != size || self.width != size {
            return Err(Error::file(
                &self.path,
                format!(
                    "holds maps of {}×{} pixels; the model makes {size}×{size}",
                    self.height, self.width
                ),
                "cut maps to size with `cosmogan crop`, or choose another --preset",
            ));
        }
        self.require_varied()?;
        let beyond = self
            .iter()
            .filter(|map| map.iter().any(|value| value.abs() > 1.0))
            .count();
        if beyond > 0 {
            eprintln!(
                "warning: {} of {} maps have a pixel outside [-1, 1], which the generator's tanh cannot reach",
                beyond,
                self.count()
            );
        }
        Ok(())
    }
}

fn is_constant(map: &[f32]) -> bool {
    map.iter().all(|&value| value == map[0])
}

/// The complaint about a pixel, by map, row and column; `index` counts from the first pixel of the file.
pub(crate) fn not_finite(
    path: &Path,
    width: usize,
    height: usize,
    index: usize,
    value: f32,
) -> Error {
    let (map, pixel) = (index / (height * width), index % (height * width));
    Error::file(
        path,
        format!(
            "map {map} has the value {value} at row {}, column {}",
            pixel / width,
            pixel % width
        ),
        "mask or remove what is not a finite number",
    )
}
