//! Summary statistics of maps, with LensTools' definitions.

mod minkowski;
mod pixels;
mod power_spectrum;

pub use minkowski::{Minkowski, Thresholds};
pub use pixels::{Histogram, Moments};
pub use power_spectrum::PowerSpectrum;

use crate::error::{Error, Result};

/// `count` bin edges at equal distances.
pub fn linear_edges(low: f64, high: f64, count: usize) -> Vec<f64> {
    let step = (high - low) / (count - 1) as f64;
    (0..count).map(|index| low + step * index as f64).collect()
}

/// Refuses bin edges that are too few, not finite, or not ascending; `name` is what the user calls them.
fn check_edges(name: &str, edges: &[f64]) -> Result<()> {
    let ascending = edges.windows(2).all(|pair| pair[0] < pair[1]);
    if edges.len() >= 2 && ascending && edges.iter().all(|edge| edge.is_finite()) {
        return Ok(());
    }
    Err(Error::usage(
        name,
        "the bin edges are fewer than two, out of order, or not finite",
        "give at least two numbers in ascending order",
    ))
}

/// The bin [edges[i], edges[i + 1]) that holds `value`.
fn bin_of(edges: &[f64], value: f64) -> Option<usize> {
    let above = edges.partition_point(|&edge| edge <= value);
    (above > 0 && above < edges.len()).then(|| above - 1)
}
