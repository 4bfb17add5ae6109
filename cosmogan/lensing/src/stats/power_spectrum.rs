//! Angular power spectrum of a square map, defined as in LensTools 1.2.

use std::fmt;
use std::sync::Arc;

use cosmogan_fft::num_complex::Complex64;
use cosmogan_fft::{Fft, RealToComplex};
use rayon::prelude::*;

use super::bins::check_edges;
use cosmogan_base::{Error, Result};

/// Number of ℓ bins of the paper's spectra.
const MOST_BINS: usize = 248;

/// Estimator of C_ℓ in bins l_k < ℓ ≤ l_{k+1}.
///
/// C_ℓ is the average of |FFT|² over the half-plane of a real FFT (columns 0 … n/2, each counted once), times (θ/n²)²
/// for a side of θ radian. Empty bins give 0.
pub struct PowerSpectrum {
    pixels: usize,
    side_degrees: f64,
    edges: Vec<f64>,
    normalisation: f64,
    /// Bin of each mode in rows 0 … n/2, column by column.
    /// Modes outside all bins have one extra bin at the end.
    bins: Vec<u32>,
    counts: Vec<u32>,
    along_rows: Arc<dyn RealToComplex<f64>>,
    along_columns: Arc<dyn Fft<f64>>,
}

/// Number of rows transformed before they are stored as columns.
/// So whole cache lines are written.
const ROWS_AT_ONCE: usize = 8;

/// Buffers reused between measurements.
struct Workspace {
    input: Vec<f64>,
    /// Modes of [`ROWS_AT_ONCE`] rows.
    rows: Vec<Complex64>,
    /// Modes of all columns, column by column.
    columns: Vec<Complex64>,
    scratch: Vec<Complex64>,
}

impl PowerSpectrum {
    /// Creates an estimator for maps of `pixels`² with a side of `side_degrees`.
    ///
    /// Bins are between `edges` in ℓ.
    ///
    /// # Errors
    /// If the edges are not ascending, the side is not a positive angle, or a map has fewer than two pixels on a side.
    pub fn new(pixels: usize, side_degrees: f64, edges: Vec<f64>) -> Result<Self> {
        check_edges("l_edges", &edges)?;
        if !(side_degrees.is_finite() && side_degrees > 0.0) {
            return Err(Error::usage(
                "--side-degrees",
                format!("{side_degrees} is not a positive angle"),
                "give the side of a map in degrees",
            ));
        }
        if pixels < 2 {
            return Err(Error::usage(
                "--pixels",
                format!("a map of {pixels} pixels has no spectrum"),
                "use larger maps",
            ));
        }
        let outside = edges.len() - 1;
        let mut counts = vec![0; outside + 1];
        let mut bins = Vec::with_capacity((pixels / 2 + 1).pow(2));
        for column in 0..=pixels / 2 {
            for row in 0..=pixels / 2 {
                let ell = multipole(side_degrees, row, column);
                let bin = bin_below(&edges, ell).unwrap_or(outside);
                counts[bin] += if is_alone(row, pixels) { 1 } else { 2 };
                bins.push(bin as u32);
            }
        }
        let side = side_degrees.to_radians();
        let [along_columns, _] = cosmogan_fft::f64::complex(pixels);
        Ok(Self {
            pixels,
            side_degrees,
            edges,
            normalisation: (side / (pixels * pixels) as f64).powi(2),
            bins,
            counts,
            along_rows: cosmogan_fft::f64::real(pixels),
            along_columns,
        })
    }

    /// Returns equally spaced edges from the fundamental mode to the Nyquist mode.
    ///
    /// They make the paper's 248 bins, or fewer on small maps: no bin is narrower than half the fundamental mode, so
    /// that none is empty for maps of an even number of pixels.
    ///
    /// Multiples of half the fundamental mode would coincide with the modes on the axes, whose bins would then depend on
    /// the rounding of the side. All edges are therefore larger by a factor of 1 + 2⁻³⁰: far more than a rounding error,
    /// and less than the distance between two modes of any map that fits in memory.
    pub fn default_edges(pixels: usize, side_degrees: f64) -> Vec<f64> {
        let fundamental = 360.0 / side_degrees * (1.0 + f64::powi(2.0, -30));
        let modes = (pixels / 2).max(2);
        super::linear_edges(
            fundamental,
            fundamental * modes as f64,
            (2 * (modes - 1)).min(MOST_BINS) + 1,
        )
    }

    /// Bin edges in ℓ.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Bin centres in ℓ.
    pub fn multipoles(&self) -> Vec<f64> {
        super::middles(&self.edges)
    }

    /// Number of modes in each bin.
    pub fn modes(&self) -> &[u32] {
        &self.counts[..self.edges.len() - 1]
    }

    /// Measures C_ℓ of one map, in steradian.
    ///
    /// # Panics
    /// If the map does not have `pixels`² pixels.
    pub fn measure(&self, map: &[f32]) -> Vec<f64> {
        self.measure_with(&mut self.workspace(), map)
    }

    /// Measures C_ℓ of each map, in steradian, on all cores.
    ///
    /// # Panics
    /// If a map does not have `pixels`² pixels.
    pub fn measure_all(&self, maps: &[&[f32]]) -> Vec<Vec<f64>> {
        maps.par_iter()
            .map_init(
                || self.workspace(),
                |workspace, map| self.measure_with(workspace, map),
            )
            .collect()
    }

    fn workspace(&self) -> Workspace {
        let columns = self.pixels / 2 + 1;
        let scratch =
            (self.along_rows.get_scratch_len()).max(self.along_columns.get_inplace_scratch_len());
        Workspace {
            input: vec![0.0; self.pixels],
            rows: vec![Complex64::default(); ROWS_AT_ONCE * columns],
            columns: vec![Complex64::default(); columns * self.pixels],
            scratch: vec![Complex64::default(); scratch],
        }
    }

    fn measure_with(&self, workspace: &mut Workspace, map: &[f32]) -> Vec<f64> {
        assert_eq!(
            map.len(),
            self.pixels * self.pixels,
            "the map must have the size given to PowerSpectrum::new"
        );
        let columns = self.pixels / 2 + 1;
        for (block, maps) in map.chunks(ROWS_AT_ONCE * self.pixels).enumerate() {
            let rows = maps.chunks_exact(self.pixels);
            let count = rows.len();
            for (row, modes) in rows.zip(workspace.rows.chunks_exact_mut(columns)) {
                for (input, &pixel) in workspace.input.iter_mut().zip(row) {
                    *input = f64::from(pixel);
                }
                self.along_rows
                    .process_with_scratch(&mut workspace.input, modes, &mut workspace.scratch)
                    .expect("the buffers were made for this transform");
            }
            for (column, modes) in workspace.columns.chunks_exact_mut(self.pixels).enumerate() {
                let modes = &mut modes[block * ROWS_AT_ONCE..][..count];
                for (row, mode) in modes.iter_mut().enumerate() {
                    *mode = workspace.rows[row * columns + column];
                }
            }
        }
        self.along_columns
            .process_with_scratch(&mut workspace.columns, &mut workspace.scratch);

        let half = self.pixels / 2;
        let mut sums = vec![0.0; self.counts.len()];
        let by_column = workspace.columns.chunks_exact(self.pixels);
        for (modes, bins) in by_column.zip(self.bins.chunks_exact(half + 1)) {
            for (row, &bin) in bins.iter().enumerate() {
                let mut power = modes[row].norm_sqr();
                if !is_alone(row, self.pixels) {
                    power += modes[self.pixels - row].norm_sqr();
                }
                sums[bin as usize] += power;
            }
        }
        self.averages(&sums)
            .map(|power| power * self.normalisation)
            .collect()
    }

    /// Averages a theoretical spectrum `power`(ℓ) over the modes of each bin.
    pub fn binned(&self, power: impl Fn(f64) -> f64) -> Vec<f64> {
        let half = self.pixels / 2;
        let mut sums = vec![0.0; self.counts.len()];
        for (index, &bin) in self.bins.iter().enumerate() {
            let (column, row) = (index / (half + 1), index % (half + 1));
            let share = if is_alone(row, self.pixels) { 1.0 } else { 2.0 };
            sums[bin as usize] += share * power(multipole(self.side_degrees, row, column));
        }
        self.averages(&sums).collect()
    }

    fn averages<'a>(&'a self, sums: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        let inside = sums.iter().zip(self.modes());
        inside.map(|(sum, &count)| {
            if count == 0 {
                0.0
            } else {
                sum / f64::from(count)
            }
        })
    }
}

/// Multipole ℓ of the mode at `row` and `column` of the FFT of a map.
fn multipole(side_degrees: f64, row: usize, column: usize) -> f64 {
    360.0 / side_degrees * (row as f64).hypot(column as f64)
}

/// Whether no other row has the same distance from row 0: rows 0 and n/2.
fn is_alone(row: usize, pixels: usize) -> bool {
    row == 0 || 2 * row == pixels
}

impl fmt::Debug for PowerSpectrum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "PowerSpectrum({0}×{0}, {1} bins)",
            self.pixels,
            self.edges.len() - 1
        )
    }
}

/// Returns the bin with l_k < ℓ ≤ l_{k+1}.
fn bin_below(edges: &[f64], ell: f64) -> Option<usize> {
    let above = edges.partition_point(|&edge| edge < ell);
    (above > 0 && above < edges.len()).then(|| above - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The side only scales ℓ: the modes of a bin are those of integer arithmetic, 4(i² + j²) against k², for any side.
    #[test]
    fn default_bins_hold_the_same_modes_for_every_side() {
        let sides = [
            0.433,
            0.866,
            1.0,
            1.95,
            3.4641016151377544,
            3.5,
            4.0,
            4.1,
            5.0,
            10.0,
        ];
        for pixels in (4..=250).step_by(2) {
            let expected: Vec<u32> = (0..=pixels / 2)
                .flat_map(|column| {
                    (0..=pixels / 2).map(move |row| 4 * (row * row + column * column))
                })
                .map(|square| {
                    // Edge k is at k / 2 fundamental modes, from k = 2 to k = pixels.
                    let below = (2..=pixels).take_while(|k| k * k < square).count();
                    let bins = pixels - 2;
                    match below {
                        0 => bins,
                        below if below > bins => bins,
                        below => below - 1,
                    }
                })
                .map(|bin| bin as u32)
                .collect();
            for side in sides {
                let edges = PowerSpectrum::default_edges(pixels, side);
                let spectrum = PowerSpectrum::new(pixels, side, edges).expect("ascending edges");
                assert_eq!(spectrum.bins, expected, "{pixels} pixels, {side}°");
                assert!(spectrum.modes().iter().all(|&count| count > 0));
            }
        }
    }

    #[test]
    fn the_spectrum_over_the_squared_side_does_not_depend_on_the_side() {
        let pixels = 128;
        let map: Vec<f32> = (0..pixels * pixels)
            .map(|index| ((index * 7919) % 1009) as f32 / 1009.0 - 0.5)
            .collect();
        let measured = |side: f64| -> Vec<f64> {
            let edges = PowerSpectrum::default_edges(pixels, side);
            let spectrum = PowerSpectrum::new(pixels, side, edges).expect("ascending edges");
            let power = spectrum.measure(&map);
            power.iter().map(|power| power / side.powi(2)).collect()
        };
        let expected = measured(4.0);
        for side in [0.433, 0.866, 3.4641016151377544, 3.5] {
            for (found, expected) in measured(side).iter().zip(&expected) {
                assert!((found / expected - 1.0).abs() < 1e-12, "{side}°");
            }
        }
    }
}
