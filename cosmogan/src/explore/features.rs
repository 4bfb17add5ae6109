//! What distances between maps are measured in, and a matrix of such features that need not fit in memory.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::cannot_write;
use crate::stats::PowerSpectrum;

/// A notion of distance: the Euclidean one between features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// κ of every pixel.
    Pixels,
    /// ln C_ℓ of every bin with power, of unit weight: a common factor of all spectra, and so the angle of a map, does
    /// not matter.
    Spectrum,
    /// What the discriminator's last convolution makes of a map, normalised and rectified.
    Activations,
}

impl Metric {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Spectrum => "spectrum",
            Self::Activations => "activations",
        }
    }
}

/// Measures ln C_ℓ in the default bins.
#[derive(Debug)]
pub struct LogSpectrum(PowerSpectrum);

impl LogSpectrum {
    /// For maps of `pixels`².
    ///
    /// # Errors
    /// Where a map has fewer than two pixels on a side.
    pub fn new(pixels: usize) -> Result<Self> {
        const ANY_SIDE: f64 = 1.0;
        let edges = PowerSpectrum::default_edges(pixels, ANY_SIDE);
        Ok(Self(PowerSpectrum::new(pixels, ANY_SIDE, edges)?))
    }

    /// One row per map; a map without power at some mode has a very negative logarithm there.
    pub fn measure(&self, maps: &[&[f32]]) -> Vec<Vec<f32>> {
        let logarithms = |row: Vec<f64>| {
            let smallest = f64::from(f32::MIN_POSITIVE);
            row.into_iter()
                .map(|power| power.max(smallest).ln() as f32)
                .collect()
        };
        let rows = self.0.measure_all(maps);
        rows.into_iter().map(logarithms).collect()
    }
}

/// Rows of features in an unnamed file, which is gone with the program however it ends.
#[derive(Debug)]
pub struct FeatureFile {
    folder: PathBuf,
    file: File,
    width: usize,
    count: usize,
}

impl FeatureFile {
    /// An empty matrix of rows of `width` values, on the disk of `folder`.
    ///
    /// # Errors
    /// Where no file can be made there.
    pub fn create(folder: &Path, width: usize) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).map_err(|error| cannot_write(folder, &error))?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            width,
            count: 0,
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Where the disk is full.
    ///
    /// # Panics
    /// Where the row has another length.
    pub fn push(&mut self, row: &[f32]) -> Result<()> {
        assert_eq!(row.len(), self.width, "all rows have one length");
        let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file
            .write_all(&bytes)
            .map_err(|error| cannot_write(&self.folder, &error))?;
        self.count += 1;
        Ok(())
    }

    /// Values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Some of the rows, one after the other.
    ///
    /// # Errors
    /// Where they cannot be read back.
    pub fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let mut bytes = vec![0; 4 * self.width * rows.len()];
        let start = 4 * (self.width * rows.start) as u64;
        self.file
            .read_exact_at(&mut bytes, start)
            .map_err(|error| {
                let problem = format!("cannot read what was written there: {error}");
                Error::file(&self.folder, problem, "check the disk")
            })?;
        let values = bytes.as_chunks::<4>().0.iter();
        Ok(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

/// The Euclidean distance of two rows, summed in double precision.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a
        .iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>().sqrt()
}
