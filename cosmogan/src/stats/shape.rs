//! What a map looks like whatever its amplitude and its pixels: statistics in units of its own standard deviation, after
//! smoothing on a given scale.

use super::bins::{Thresholds, linear_edges, middles};
use super::minkowski::Minkowski;
use super::pixels::{Moments, PixelBins};
use super::smoothing::smoothed;
use crate::error::{Error, Result};

/// Measures shapes of maps smoothed on one scale.
#[derive(Clone, Debug)]
pub struct ShapeEstimator {
    smoothing: f64,
    edges: Vec<f64>,
    minkowski: Minkowski,
}

/// The shape of one map.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Of the map as it is.
    pub unsmoothed: Moments,
    /// Of the smoothed map.
    pub smoothed: Moments,
    /// Density of (κ − ⟨κ⟩)/σ in each bin.
    pub density: Vec<f64>,
    /// V0; V1 times the smoothing scale; V2 times its square: all without a unit, of regions above thresholds in σ.
    pub functionals: [Vec<f64>; 3],
}

impl ShapeEstimator {
    /// Gaussian smoothing with a standard deviation of `smoothing` arcminutes; thresholds from −3σ to 6σ.
    ///
    /// # Errors
    /// Where that is no scale.
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

    /// Middles of the bins in standard deviations.
    pub fn thresholds(&self) -> Vec<f64> {
        middles(&self.edges)
    }

    /// The shape of a square map of `pixels`² on `side_degrees`; none where smoothing leaves less than a quarter of its
    /// side, or is on less than a pixel, so that gradients between pixels would be those of the pixels.
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

/// A map with its mirror images beside and below it. Derivatives wrap around, and what they then meet is the map's own
/// edge.
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
    use super::*;
    use crate::rng::{Normals, Purpose, stream};

    #[test]
    fn a_gaussian_field_has_the_functionals_of_theory_on_any_pixels() {
        // White noise smoothed with a Gaussian of scale s: ⟨|∇κ|²⟩ = σ²/s², so that (Tomita 1986)
        // V1·s = e^{−ν²/2}/(8·√2) and V2·s² = ν·e^{−ν²/2}/(2π)^{3/2}/2.
        let estimator = ShapeEstimator::new(2.0).expect("a scale");
        for (pixels, side_degrees) in [(600, 5.0), (1200, 5.0)] {
            let mut normals = Normals::new(stream(1, Purpose::Simulation, pixels as u64));
            let map: Vec<f32> = (0..pixels * pixels)
                .map(|_| normals.draw() as f32)
                .collect();
            let shape = estimator.measure(&map, pixels, side_degrees).expect("room");
            assert!(shape.smoothed.skewness().abs() < 0.15);
            for (index, nu) in estimator.thresholds().into_iter().enumerate() {
                let fall = (-0.5 * nu * nu).exp();
                let density = fall / std::f64::consts::TAU.sqrt();
                let length = fall / (8.0 * std::f64::consts::SQRT_2);
                let genus = nu * fall / std::f64::consts::TAU.powf(1.5) / 2.0;
                assert!((shape.density[index] - density).abs() < 0.04, "{nu}");
                assert!((shape.functionals[1][index] - length).abs() < 0.01, "{nu}");
                assert!((shape.functionals[2][index] - genus).abs() < 0.01, "{nu}");
            }
        }
        assert!(estimator.measure(&[0.5; 64], 8, 5.0).is_none());
    }
}
