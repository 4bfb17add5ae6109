//! One-point statistics: moments and histograms of pixel values.

use super::{bin_of, check_edges};
use crate::error::Result;

/// Running sums of powers of κ, from which moments follow.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    count: f64,
    sums: [f64; 3],
    minimum: f32,
    maximum: f32,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            count: 0.0,
            sums: [0.0; 3],
            minimum: f32::INFINITY,
            maximum: f32::NEG_INFINITY,
        }
    }
}

impl Moments {
    /// Adds the pixels of a map.
    pub fn add(&mut self, map: &[f32]) {
        self.count += map.len() as f64;
        for &value in map {
            self.minimum = self.minimum.min(value);
            self.maximum = self.maximum.max(value);
            let value = f64::from(value);
            self.sums[0] += value;
            self.sums[1] += value * value;
            self.sums[2] += value * value * value;
        }
    }

    /// ⟨κ⟩.
    pub fn mean(&self) -> f64 {
        self.sums[0] / self.count
    }

    /// Population standard deviation.
    pub fn standard_deviation(&self) -> f64 {
        // κ has a mean near zero, so that nothing cancels here.
        (self.sums[1] / self.count - self.mean().powi(2))
            .max(0.0)
            .sqrt()
    }

    /// ⟨(κ − ⟨κ⟩)³⟩/σ³.
    pub fn skewness(&self) -> f64 {
        let (mean, second) = (self.mean(), self.sums[1] / self.count);
        let third = self.sums[2] / self.count - 3.0 * mean * second + 2.0 * mean.powi(3);
        third / self.standard_deviation().powi(3)
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

/// Counts of pixel values in bins `[edges[i], edges[i + 1])`.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    edges: Vec<f64>,
    counts: Vec<u64>,
}

impl Histogram {
    /// An empty histogram.
    ///
    /// # Errors
    /// Where the edges are out of order.
    pub fn new(edges: Vec<f64>) -> Result<Self> {
        check_edges("the histogram", &edges)?;
        let counts = vec![0; edges.len() - 1];
        Ok(Self { edges, counts })
    }

    /// Adds the pixels of a map; values outside the edges are left out.
    pub fn add(&mut self, map: &[f32]) {
        for &value in map {
            if let Some(bin) = bin_of(&self.edges, f64::from(value)) {
                self.counts[bin] += 1;
            }
        }
    }

    /// The bins' edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// Pixels in each bin.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }
}
