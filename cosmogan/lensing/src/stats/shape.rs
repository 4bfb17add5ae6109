//! Shape statistics: independent of a map's amplitude and pixel size.
//!
//! They are measured in units of the map's own standard deviation, after smoothing on a fixed angular scale.

use super::bins::{Thresholds, linear_edges, middles};
use super::minkowski::Minkowski;
use super::pixels::{Moments, PixelBins};
use super::smoothing::smoothed;
use cosmogan_base::{Error, Result};

/// Estimator of shape statistics for one smoothing scale.
#[derive(Clone, Debug)]
pub struct ShapeEstimator {
    smoothing: f64,
    edges: Vec<f64>,
    minkowski: Minkowski,
}

/// Shape statistics of one map.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Moments of the original map.
    pub unsmoothed: Moments,
    /// Moments of the smoothed map.
    pub smoothed: Moments,
    /// Probability density of (κ − ⟨κ⟩)/σ in each bin.
    pub density: Vec<f64>,
    /// Minkowski functionals for thresholds in σ, all dimensionless.
    ///
    /// V0, V1 times the smoothing scale, V2 times its square.
    pub functionals: [Vec<f64>; 3],
}

impl ShapeEstimator {
    /// Creates an estimator with Gaussian smoothing.
    ///
    /// `smoothing` is the standard deviation in arcminutes; thresholds run from −3σ to 6σ.
    ///
    /// # Errors
    /// If `smoothing` is not above 0 and at most 60.
    pub fn new(smoothing: f64) -> Result<Self> {
        if !(smoothing > 0.0 && smoothing <= 60.0) {
            return Err(Error::usage(
                "--smoothing",
                format!("{smoothing} is out of range"),
                "give arcminutes, above 0 and up to 60",
            ));
        }
        let edges = linear_edges(-3.0, 6.0, 37);
        Ok(Self {
            smoothing,
            minkowski: Minkowski::new(edges.clone(), Thresholds::Absolute)?,
            edges,
        })
    }

    /// Bin midpoints in standard deviations.
    pub fn thresholds(&self) -> Vec<f64> {
        middles(&self.edges)
    }

    /// Measures a square map of `pixels`² with a side of `side_degrees`.
    ///
    /// Returns `None` if the smoothed map keeps less than a quarter of the side or fewer than 8 pixels, if the
    /// smoothing scale is below one pixel (gradients would depend on the pixel size), or if the smoothed map is
    /// constant.
    pub fn measure(&self, map: &[f32], pixels: usize, side_degrees: f64) -> Option<Shape> {
        let scale = self.smoothing / (60.0 * side_degrees / pixels as f64);
        let (mut inner, side) = smoothed(map, pixels, scale);
        if 4 * side < pixels || side < 8 || scale < 1.0 {
            return None;
        }
        let moments = Moments::of(&inner);
        let (mean, deviation) = (moments.mean(), moments.standard_deviation());
        if deviation == 0.0 {
            return None;
        }
        for value in &mut inner {
            *value = ((f64::from(*value) - mean) / deviation) as f32;
        }
        let bins = PixelBins::new(self.edges.clone()).ok()?;
        let counts = bins.count(&inner);
        let density = (self.edges.windows(2).zip(&counts[1..]))
            .map(|(edges, &count)| f64::from(count) / (inner.len() as f64 * (edges[1] - edges[0])))
            .collect();
        let mut functionals = self.minkowski.measure(&mirrored(&inner, side), 2 * side);
        for (values, factor) in functionals.iter_mut().zip([1.0, scale, scale * scale]) {
            for value in values {
                *value *= factor;
            }
        }
        Some(Shape {
            unsmoothed: Moments::of(map),
            smoothed: moments,
            density,
            functionals,
        })
    }
}

/// Appends mirror images to the right and below.
/// Derivatives wrap around, and at the edges they then meet the map's own values.
fn mirrored(map: &[f32], side: usize) -> Vec<f32> {
    let rows: Vec<Vec<f32>> = map
        .chunks_exact(side)
        .map(|row| row.iter().chain(row.iter().rev()).copied().collect())
        .collect();
    rows.iter()
        .chain(rows.iter().rev())
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// Test map of two waves with known functionals.
    /// κ = a·cos(kr) + b·cos(kc) at pixel centres.
    struct Waves {
        /// Pixels on a side before and after smoothing.
        pixels: usize,
        side: usize,
        /// Wave number in radian per pixel.
        k: f64,
    }

    /// Squares add up to 2, so that κ has a standard deviation of 1.
    /// No pixel value lies on a threshold.
    const AMPLITUDES: [f64; 2] = [1.2, 0.748_331_477_354_788_3];

    impl Waves {
        /// Creates waves with `periods` periods over the inner pixels.
        /// The number is whole, so that the mean is 0; the waves are even about all edges, so that mirroring continues
        /// them.
        fn new(pixels: usize, side: usize, periods: usize) -> Self {
            let k = TAU * periods as f64 / side as f64;
            Self { pixels, side, k }
        }

        fn phase(&self, index: usize) -> f64 {
            let margin = (self.pixels - self.side) / 2;
            self.k * (index as f64 - margin as f64 + 0.5)
        }

        fn at(&self, row: usize, column: usize) -> f64 {
            AMPLITUDES[0] * self.phase(row).cos() + AMPLITUDES[1] * self.phase(column).cos()
        }

        fn map(&self) -> Vec<f32> {
            let indices = 0..self.pixels * self.pixels;
            let values = indices.map(|index| self.at(index / self.pixels, index % self.pixels));
            values.map(|value| value as f32).collect()
        }

        /// Returns |∇κ|/4 and the genus density at an inner pixel, with error bounds.
        /// Pixel values have an error of `error`. Central differences of a wave multiply its amplitude by sin k.
        fn densities(&self, row: usize, column: usize, error: f64) -> [[f64; 2]; 2] {
            let rate = self.k.sin();
            let [row, column] = [row, column].map(|index| self.phase(index));
            let slopes = [AMPLITUDES[0] * row.sin(), AMPLITUDES[1] * column.sin()];
            let curvatures = [AMPLITUDES[0] * row.cos(), AMPLITUDES[1] * column.cos()];
            let steepness = rate * slopes[0].hypot(slopes[1]);
            let genus = rate.powi(4) / TAU / steepness.powi(2)
                * (slopes[0].powi(2) * curvatures[1] + slopes[1].powi(2) * curvatures[0]);
            // A slope is half a difference of two values, a second derivative a quarter of a sum of four. The genus
            // density is a second derivative along the contour over 2π: with the direction off by δ, it is off by 2δ
            // times the largest second derivative, plus the errors of the second derivatives.
            let direction = 2_f64.sqrt() * error / (steepness - 2_f64.sqrt() * error);
            let largest = rate.powi(2) * AMPLITUDES[0] + 2.0 * error;
            let genus_error = (2.0 * direction * largest + 2.0 * error) / TAU;
            [
                [steepness / 4.0, 2_f64.sqrt() * error / 4.0],
                [genus, genus_error],
            ]
        }
    }

    #[test]
    fn waves_have_the_functionals_of_their_definition_on_any_pixels() {
        let estimator = ShapeEstimator::new(2.0).expect("a scale");
        // The same two waves on pixels of 1′ and 0.5′, smoothed on the same angular scale, with margins of 8 and 16
        // pixels.
        for (pixels, side, side_degrees) in [(96, 80, 1.6), (192, 160, 1.6)] {
            let scale = 2.0 / (60.0 * side_degrees / pixels as f64);
            let waves = Waves::new(pixels, side, 5);
            let shape = (estimator.measure(&waves.map(), pixels, side_degrees)).expect("room");

            // Error of a pixel: rounded to f32, summed twice over the kernel (rounded weights with sum 1), divided by
            // the standard deviation after smoothing, and rounded again. The errors of mean and standard deviation are
            // no larger than those of the values.
            let u = f64::from(f32::EPSILON) / 2.0;
            let taps = (2 * ((pixels - side) / 2) + 1) as f64;
            let size = AMPLITUDES[0] + AMPLITUDES[1];
            let left = shape.smoothed.standard_deviation();
            let smoothed = (2.0 * (taps + 2.0) + 1.0) * u * size / left;
            let error = 1.01 * (smoothed * (2.0 + size) + u * size);
            let theory = (-0.5 * (waves.k * scale).powi(2)).exp();
            // The kernel is cut off at four standard deviations: the missing weight, 1 − erf(4/√2), is redistributed.
            assert!((left - theory).abs() < 2.0 * 6.4e-5, "{left} {theory}");
            // Both margins together hold a whole wave, so that the mean of the original map is 0.
            assert!(shape.unsmoothed.mean().abs() <= 1.01 * u * size);
            let unsmoothed = shape.unsmoothed.standard_deviation();
            assert!((unsmoothed - 1.0).abs() <= 1.01 * u * size);

            let edges = linear_edges(-3.0, 6.0, 37);
            let total = (side * side) as f64;
            let mut expected = vec![[[0.0; 2]; 2]; 36];
            let (mut counts, mut above) = (vec![0.0; 36], vec![0.0; 36]);
            for index in 0..side * side {
                let [row, column] = [index / side, index % side].map(|at| at + (pixels - side) / 2);
                let value = waves.at(row, column);
                // No pixel value is so close to a bin edge or midpoint that it could fall on either side.
                let nearest = (8.0 * value).round() / 8.0;
                assert!((value - nearest).abs() > error, "{value}");
                let bin = ((value + 3.0) / 0.25) as usize;
                counts[bin] += 1.0;
                for (middle, above) in middles(&edges).into_iter().zip(&mut above) {
                    *above += f64::from(u8::from(value >= middle));
                }
                let densities = waves.densities(row, column, error);
                for (sum, density) in expected[bin].iter_mut().zip(densities) {
                    sum[0] += density[0];
                    sum[1] += density[1];
                }
            }
            // Rounding of the f64 sums, none of whose terms exceeds 1.
            let added = total * f64::EPSILON;
            for bin in 0..36 {
                let near = |found: f64, expected: f64, bound: f64| {
                    let bound = bound + added;
                    assert!(
                        (found - expected).abs() <= bound,
                        "{bin}: {found} {expected} {bound}"
                    );
                };
                near(shape.density[bin], counts[bin] / total / 0.25, 0.0);
                near(shape.functionals[0][bin], above[bin] / total, 0.0);
                for (which, unit) in [(0, scale), (1, scale * scale)] {
                    let [sum, bound] = expected[bin][which].map(|sum| unit * sum / total / 0.25);
                    near(shape.functionals[1 + which][bin], sum, bound);
                    assert!(bound <= 0.01 * unit * waves.k.powi(1 + which as i32));
                }
            }
        }
        assert!(estimator.measure(&[0.5; 64], 8, 5.0).is_none());
    }
}
