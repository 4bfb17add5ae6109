//! Feature vectors of maps, and a file-backed matrix of them.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::cannot_write;
use crate::stats::PowerSpectrum;

/// Feature space in which Euclidean distances are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// κ of every pixel.
    Pixels,
    /// ln C_ℓ of every ℓ bin, equally weighted.
    /// A common factor of all spectra, and therefore the side of the maps in degrees, does not matter.
    Spectrum,
    /// Output of the discriminator's last convolutional layer after LeakyReLU.
    Activations,
}

impl Metric {
    /// Name of the metric in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pixels => "pixels",
            Self::Spectrum => "spectrum",
            Self::Activations => "activations",
        }
    }
}

/// Estimator of ln C_ℓ in the default bins.
#[derive(Debug)]
pub struct LogSpectrum(PowerSpectrum);

impl LogSpectrum {
    /// Creates an estimator for maps of `pixels`².
    ///
    /// # Errors
    /// If a map has fewer than two pixels on a side.
    pub fn new(pixels: usize) -> Result<Self> {
        const ANY_SIDE: f64 = 1.0;
        let edges = PowerSpectrum::default_edges(pixels, ANY_SIDE);
        Ok(Self(PowerSpectrum::new(pixels, ANY_SIDE, edges)?))
    }

    /// Measures ln C_ℓ, one row per map.
    ///
    /// Zero power is replaced by the smallest positive f32.
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

/// Matrix of feature rows in an unnamed temporary file.
///
/// The file disappears when the program ends in any way.
#[derive(Debug)]
pub struct FeatureFile {
    folder: PathBuf,
    file: File,
    width: usize,
    count: usize,
}

impl FeatureFile {
    /// Creates an empty matrix with rows of `width` values, on the disk of `folder`.
    ///
    /// If the file cannot be created.
    /// If no file can be made there.
    pub fn create(folder: &Path, width: usize) -> Result<Self> {
        let file = tempfile::tempfile_in(folder).map_err(|error| cannot_write(folder, &error))?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
            width,
            count: 0,
        })
    }

    /// Appends a row.
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// # Panics
    /// If the row does not have [`width`](Self::width) values.
    pub fn push(&mut self, row: &[f32]) -> Result<()> {
        assert_eq!(row.len(), self.width, "rows must have the same length");
        let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file
            .write_all(&bytes)
            .map_err(|error| cannot_write(&self.folder, &error))?;
        self.count += 1;
        Ok(())
    }

    /// Number of values per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Reads a range of rows, one after the other.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn rows(&self, rows: Range<usize>) -> Result<Vec<f32>> {
        let mut bytes = vec![0; 4 * self.width * rows.len()];
        let start = 4 * (self.width * rows.start) as u64;
        self.file
            .read_exact_at(&mut bytes, start)
            .map_err(|error| {
                let problem = format!("cannot read back a temporary file: {error}");
                Error::file(&self.folder, problem, "check the disk")
            })?;
        let values = bytes.as_chunks::<4>().0.iter();
        Ok(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

/// Euclidean distance of two rows, summed in double precision.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a
        .iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>().sqrt()
}
