//! The power spectrum of a square map, as LensTools 1.2 measures it.

use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use realfft::num_complex::Complex64;
use realfft::{RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

use super::check_edges;
use crate::error::{Error, Result};

/// Modes of the paper's spectra.
const MOST_BINS: usize = 248;

/// Measures C_ℓ in bins l_k < ℓ ≤ l_{k+1}: the average of |FFT|² over the half-plane of a real transform, columns
/// 0 … n/2 counted once each, times (θ/n²)² for a side of θ radian. Empty bins give 0.
pub struct PowerSpectrum {
    pixels: usize,
    edges: Vec<f64>,
    normalisation: f64,
    /// The bin of every mode of the half-plane, or none.
    bins: Vec<Option<u32>>,
    counts: Vec<u32>,
    along_rows: Arc<dyn RealToComplex<f64>>,
    along_columns: Arc<dyn Fft<f64>>,
}

impl PowerSpectrum {
    /// For maps of `pixels`² on `side_degrees`, in bins between `edges` in ℓ.
    ///
    /// # Errors
    /// Where the edges are out of order, the side is no angle, or a map has fewer than two pixels on a side.
    pub fn new(pixels: usize, side_degrees: f64, edges: Vec<f64>) -> Result<Self> {
        check_edges("l_edges", &edges)?;
        if !(side_degrees.is_finite() && side_degrees > 0.0) {
            return Err(Error::usage(
                "--side-degrees",
                format!("{side_degrees} is no angle"),
                "give the side of a map in degrees",
            ));
        }
        if pixels < 2 {
            return Err(Error::usage(
                "--pixels",
                format!("a map of {pixels} pixels has no spectrum"),
                "give larger maps",
            ));
        }
        let columns = pixels / 2 + 1;
        let step = 360.0 / side_degrees;
        let mut counts = vec![0; edges.len() - 1];
        let bins = (0..pixels * columns)
            .map(|index| {
                let (row, column) = (index / columns, index % columns);
                let ell = step * (row.min(pixels - row) as f64).hypot(column as f64);
                let bin = bin_below(&edges, ell)?;
                counts[bin] += 1;
                u32::try_from(bin).ok()
            })
            .collect();
        let side = side_degrees.to_radians();
        Ok(Self {
            pixels,
            edges,
            normalisation: (side / (pixels * pixels) as f64).powi(2),
            bins,
            counts,
            along_rows: RealFftPlanner::new().plan_fft_forward(pixels),
            along_columns: FftPlanner::new().plan_fft_forward(pixels),
        })
    }

    /// Edges from the fundamental mode to the Nyquist mode at equal distances, one bin per fundamental mode but no
    /// more than the paper's 248.
    pub fn default_edges(pixels: usize, side_degrees: f64) -> Vec<f64> {
        let fundamental = 360.0 / side_degrees;
        let modes = (pixels / 2).max(2);
        super::linear_edges(
            fundamental,
            fundamental * modes as f64,
            (modes - 1).min(MOST_BINS) + 1,
        )
    }

    /// The bins' edges in ℓ.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// The bins' centres in ℓ.
    pub fn multipoles(&self) -> Vec<f64> {
        self.edges
            .windows(2)
            .map(|pair| 0.5 * (pair[0] + pair[1]))
            .collect()
    }

    /// C_ℓ of one map, in steradian.
    ///
    /// # Panics
    /// Where the map has another number of pixels.
    pub fn measure(&self, map: &[f32]) -> Vec<f64> {
        assert_eq!(
            map.len(),
            self.pixels * self.pixels,
            "a map must have the size that the bins were made for"
        );
        let columns = self.pixels / 2 + 1;
        // Transposed: one row of `modes` per column of the half-plane.
        let mut modes = vec![Complex64::default(); columns * self.pixels];
        let mut input = self.along_rows.make_input_vec();
        let mut output = self.along_rows.make_output_vec();
        let mut scratch = self.along_rows.make_scratch_vec();
        for (row, pixels) in map.chunks_exact(self.pixels).enumerate() {
            for (input, &pixel) in input.iter_mut().zip(pixels) {
                *input = f64::from(pixel);
            }
            self.along_rows
                .process_with_scratch(&mut input, &mut output, &mut scratch)
                .expect("the buffers were made by this transform");
            for (column, &value) in output.iter().enumerate() {
                modes[column * self.pixels + row] = value;
            }
        }
        self.along_columns.process(&mut modes);
        self.averaged(|row, column| modes[column * self.pixels + row].norm_sqr())
            .into_iter()
            .map(|power| power * self.normalisation)
            .collect()
    }

    /// C_ℓ of each map, measured on all cores.
    pub fn measure_all(&self, maps: &[&[f32]]) -> Vec<Vec<f64>> {
        maps.par_iter().map(|map| self.measure(map)).collect()
    }

    /// What a spectrum `power`(ℓ) gives in these bins: its average over the same modes.
    pub fn binned(&self, side_degrees: f64, power: impl Fn(f64) -> f64) -> Vec<f64> {
        let step = 360.0 / side_degrees;
        self.averaged(|row, column| {
            power(step * (row.min(self.pixels - row) as f64).hypot(column as f64))
        })
    }

    fn averaged(&self, mode: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let columns = self.pixels / 2 + 1;
        let mut sums = vec![0.0; self.counts.len()];
        for (index, bin) in self.bins.iter().enumerate() {
            if let Some(bin) = bin {
                sums[*bin as usize] += mode(index / columns, index % columns);
            }
        }
        sums.iter()
            .zip(&self.counts)
            .map(|(sum, &count)| {
                if count == 0 {
                    0.0
                } else {
                    sum / f64::from(count)
                }
            })
            .collect()
    }
}

impl fmt::Debug for PowerSpectrum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "PowerSpectrum({0}×{0}, {1} bins)",
            self.pixels,
            self.counts.len()
        )
    }
}

/// The bin l_k < ℓ ≤ l_{k+1}.
fn bin_below(edges: &[f64], ell: f64) -> Option<usize> {
    let above = edges.partition_point(|&edge| edge < ell);
    (above > 0 && above < edges.len()).then(|| above - 1)
}
