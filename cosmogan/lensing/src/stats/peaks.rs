//! Peak counts: pixels higher than their eight neighbours, defined as in LensTools 1.2.

use pulp::{Arch, Simd, WithSimd};

use super::bins::{Thresholds, check_edges};
use super::pixels::PixelBins;
use cosmogan_base::Result;

/// Estimator of peak counts by height, in bins [ν_i, ν_{i+1}).
#[derive(Clone, Debug)]
pub struct Peaks {
    edges: Vec<f64>,
    thresholds: Thresholds,
}

impl Peaks {
    /// Creates an estimator for the bins between `edges`.
    ///
    /// # Errors
    /// If the edges are not ascending.
    pub fn new(edges: Vec<f64>, thresholds: Thresholds) -> Result<Self> {
        check_edges(thresholds.name(), &edges)?;
        Ok(Self { edges, thresholds })
    }

    /// Bin edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Measures the peaks per unit of ν in each bin of a square map of `pixels`².
    ///
    /// A peak is strictly higher than all eight neighbours, with periodic wrapping; the count is divided by the bin
    /// width.
    pub fn measure(&self, map: &[f32], pixels: usize) -> Vec<f64> {
        let unit = self.thresholds.unit(map);
        let edges: Vec<f64> = self.edges.iter().map(|edge| edge * unit).collect();
        let heights = Arch::new().dispatch(Heights { map, pixels });
        let below_inside_above = PixelBins::from_edges(edges).count(&heights);
        let widths = self.edges.windows(2).map(|pair| pair[1] - pair[0]);
        widths
            .zip(&below_inside_above[1..])
            .map(|(width, &count)| f64::from(count) / width)
            .collect()
    }
}

/// Maximum without the NaN handling of [`f32::max`]: maps contain no NaN.
#[inline(always)]
fn higher(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Collects the heights of all peaks, in row order.
struct Heights<'a> {
    map: &'a [f32],
    pixels: usize,
}

impl WithSimd for Heights<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f32> {
        let Self { map, pixels } = self;
        let mut found = Vec::new();
        let row = |row: usize| {
            let row = row % pixels;
            &map[row * pixels..(row + 1) * pixels]
        };
        // Maximum of the three pixels of each column, padded by one wrapped column on either side.
        let mut highest = vec![0.0_f32; pixels + 2];
        let mut is_peak = vec![0_u8; pixels];
        let mut heights = vec![0.0; pixels];
        for index in 0..pixels {
            let (up, here, down) = (row(index + pixels - 1), row(index), row(index + 1));
            // Slices of equal length, so that bounds are checked once rather than per pixel.
            let (up, here, down) = (&up[..pixels], &here[..pixels], &down[..pixels]);
            for (i, highest) in highest[1..=pixels].iter_mut().enumerate() {
                *highest = higher(higher(up[i], down[i]), here[i]);
            }
            highest[0] = highest[pixels];
            highest[pixels + 1] = highest[1];
            let (left, right) = (&highest[..pixels], &highest[2..][..pixels]);
            for (i, is_peak) in is_peak[..pixels].iter_mut().enumerate() {
                let neighbours = higher(higher(up[i], down[i]), higher(left[i], right[i]));
                *is_peak = u8::from(here[i] > neighbours);
            }
            // Branch-free: every pixel is written, but only a peak advances the count.
            let mut count = 0;
            for (&height, &is_peak) in here.iter().zip(&is_peak) {
                heights[count] = height;
                count += usize::from(is_peak);
            }
            found.extend_from_slice(&heights[..count]);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_strictly_higher_than_all_eight() {
        let mut map = vec![0.0_f32; 64];
        map[0] = 2.0; // its neighbours wrap around to all four corners
        map[3 * 8 + 3] = 1.0;
        map[3 * 8 + 4] = 1.0; // a ridge of two equal pixels is not a peak
        map[6 * 8 + 5] = 3.0;
        let heights = |map: &[f32]| Arch::new().dispatch(Heights { map, pixels: 8 });
        assert_eq!(heights(&map), [2.0, 3.0]);
        map[63] = 2.0; // diagonal to the first across the corner
        assert_eq!(heights(&map), [3.0]);
        let peaks = Peaks::new(vec![0.0, 3.0, 5.0], Thresholds::Absolute).expect("edges");
        assert_eq!(peaks.measure(&map, 8), [0.0, 0.5]);
    }
}
