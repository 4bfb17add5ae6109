//! One-point statistics: moments and histograms of pixel values.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::bins::{check_edges, count_reached, reached_from};
use cosmogan_base::Result;

/// First four moments of κ, of one map or of many.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    count: f64,
    mean: f64,
    /// Σ(κ − ⟨κ⟩)², …³ and …⁴.
    central: [f64; 3],
    minimum: f32,
    maximum: f32,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            count: 0.0,
            mean: 0.0,
            central: [0.0; 3],
            minimum: f32::INFINITY,
            maximum: f32::NEG_INFINITY,
        }
    }
}

impl Moments {
    /// Computes the moments of the pixels of one map, in two passes.
    pub fn of(map: &[f32]) -> Self {
        Arch::new().dispatch(MomentsOf(map))
    }

    /// Computes the moments of all pixels of `maps` on all cores.
    ///
    /// Maps are merged in order, so the result is deterministic.
    pub fn of_all(maps: &[&[f32]]) -> Self {
        let each: Vec<Self> = maps.par_iter().map(|map| Self::of(map)).collect();
        each.iter().fold(Self::default(), |sum, map| sum.and(map))
    }

    /// Merges the moments of two disjoint sets of pixels.
    ///
    /// P. Pébay, 2008, Sandia report SAND2008-6212, equations 2.1 and 3.1.
    pub fn and(&self, other: &Self) -> Self {
        let count = self.count + other.count;
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { *other } else { *self };
        }
        let (a, b) = (self.count / count, other.count / count);
        let step = other.mean - self.mean;
        let [second, third, fourth] = self.central;
        let [other_second, other_third, other_fourth] = other.central;
        let between = step * step * a * b * count;
        Self {
            count,
            mean: self.mean + step * b,
            central: [
                second + other_second + between,
                third
                    + other_third
                    + between * step * (a - b)
                    + 3.0 * step * (a * other_second - b * second),
                fourth
                    + other_fourth
                    + between * step * step * (a * a - a * b + b * b)
                    + 6.0 * step * step * (a * a * other_second + b * b * second)
                    + 4.0 * step * (a * other_third - b * third),
            ],
            minimum: self.minimum.min(other.minimum),
            maximum: self.maximum.max(other.maximum),
        }
    }

    /// Mean ⟨κ⟩.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Population standard deviation σ.
    pub fn standard_deviation(&self) -> f64 {
        (self.central[0] / self.count).sqrt()
    }

    /// Skewness ⟨(κ − ⟨κ⟩)³⟩/σ³; 0 if all pixels are equal.
    pub fn skewness(&self) -> f64 {
        self.standardised(self.central[1], 3)
    }

    /// Excess kurtosis ⟨(κ − ⟨κ⟩)⁴⟩/σ⁴ − 3.
    ///
    /// 0 for a Gaussian field, and if all pixels are equal.
    pub fn kurtosis(&self) -> f64 {
        if self.central[0] > 0.0 {
            self.standardised(self.central[2], 4) - 3.0
        } else {
            0.0
        }
    }

    fn standardised(&self, central: f64, power: i32) -> f64 {
        let scale = self.standard_deviation().powi(power);
        if scale > 0.0 {
            central / self.count / scale
        } else {
            0.0
        }
    }

    /// The smallest pixel.
    pub fn minimum(&self) -> f32 {
        self.minimum
    }

    /// The largest pixel.
    pub fn maximum(&self) -> f32 {
        self.maximum
    }
}

struct MomentsOf<'a>(&'a [f32]);

impl WithSimd for MomentsOf<'_> {
    type Output = Moments;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Moments {
        let Self(map) = self;
        let count = map.len() as f64;
        let mean = lane_sums(map, |value| [value])[0] / count.max(1.0);
        let central = lane_sums(map, |value| {
            let off = value - mean;
            let square = off * off;
            [square, square * off, square * square]
        });
        let (minimum, maximum) = map
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
                (low.min(value), high.max(value))
            });
        Moments {
            count,
            mean,
            central,
            minimum,
            maximum,
        }
    }
}

/// Sums `terms` over all values in several independent lanes.
/// Additions then do not wait for each other.
#[inline(always)]
fn lane_sums<const N: usize>(map: &[f32], terms: impl Fn(f64) -> [f64; N]) -> [f64; N] {
    const LANES: usize = 16;
    let mut lanes = [[0.0; LANES]; N];
    let (chunks, rest) = map.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in chunk.iter().enumerate() {
            for (sums, term) in lanes.iter_mut().zip(terms(f64::from(value))) {
                sums[lane] += term;
            }
        }
    }
    for &value in rest {
        for (sums, term) in lanes.iter_mut().zip(terms(f64::from(value))) {
            sums[0] += term;
        }
    }
    lanes.map(|sums| sums.iter().sum())
}

/// Histogram bins `[edges[i], edges[i + 1])` of pixel values.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelBins {
    edges: Vec<f64>,
    thresholds: Vec<f32>,
}

impl PixelBins {
    /// Creates the bins between `edges`.
    ///
    /// # Errors
    /// If the edges are not ascending.
    pub fn new(edges: Vec<f64>) -> Result<Self> {
        check_edges("histogram edges", &edges)?;
        Ok(Self::from_edges(edges))
    }

    /// Creates bins between edges that are known to ascend.
    pub(super) fn from_edges(edges: Vec<f64>) -> Self {
        let thresholds = edges.iter().map(|&edge| reached_from(edge)).collect();
        Self { edges, thresholds }
    }

    /// Bin edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Counts the pixels of a map below all bins, in each bin, and above all bins.
    pub fn count(&self, map: &[f32]) -> Vec<u32> {
        Arch::new().dispatch(CountPixels {
            map,
            thresholds: &self.thresholds,
        })
    }

    /// Applies [`PixelBins::count`] to each map, on all cores.
    pub fn count_all(&self, maps: &[&[f32]]) -> Vec<Vec<u32>> {
        maps.par_iter().map(|map| self.count(map)).collect()
    }
}

struct CountPixels<'a> {
    map: &'a [f32],
    thresholds: &'a [f32],
}

impl WithSimd for CountPixels<'_> {
    type Output = Vec<u32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<u32> {
        let mut counts = vec![0; self.thresholds.len() + 1];
        let mut reached = [0; 1024];
        for values in self.map.chunks(reached.len()) {
            let reached = &mut reached[..values.len()];
            count_reached(simd, values, self.thresholds, reached);
            for &level in &*reached {
                counts[level as usize] += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_a_small_sample() {
        let moments = Moments::of(&[0.0, 0.0, 0.0, 4.0]);
        assert_eq!(moments.mean(), 1.0);
        assert!((moments.standard_deviation() - 3_f64.sqrt()).abs() < 1e-12);
        assert!((moments.skewness() - 6.0 / 3_f64.powf(1.5)).abs() < 1e-12);
        assert!((moments.kurtosis() - (21.0 / 9.0 - 3.0)).abs() < 1e-12);
        assert_eq!((moments.minimum(), moments.maximum()), (0.0, 4.0));
        let constant = Moments::of(&[2.0, 2.0]);
        assert_eq!((constant.skewness(), constant.kurtosis()), (0.0, 0.0));
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let values: Vec<f32> = (0..100)
            .map(|i| 5.0 + (i as f32 * 0.7).sin() + 0.01 * i as f32)
            .collect();
        let whole = Moments::of(&values);
        let parts = Moments::of_all(&[&values[..30], &values[30..31], &values[31..]]);
        for of in [
            Moments::mean,
            Moments::standard_deviation,
            Moments::skewness,
            Moments::kurtosis,
        ] {
            assert!((of(&whole) - of(&parts)).abs() < 1e-12);
        }
    }

    #[test]
    fn every_pixel_is_counted_once() {
        let bins = PixelBins::new(vec![0.0, 1.0, 2.0]).expect("edges");
        assert_eq!(bins.count(&[-1.0, 0.0, 0.5, 1.0, 2.0, 7.0]), [1, 2, 1, 2]);
    }
}
