//! Minkowski functionals: area, perimeter and genus of the regions above a threshold, as LensTools 1.2 measures them.

use std::f64::consts::PI;

use super::{bin_of, check_edges};
use crate::error::Result;

/// What thresholds ν are measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thresholds {
    /// κ.
    Absolute,
    /// Each map's own standard deviation.
    Deviations,
}

/// Measures V0, V1 and V2 in bins [ν_i, ν_{i+1}).
#[derive(Clone, Debug)]
pub struct Minkowski {
    edges: Vec<f64>,
    thresholds: Thresholds,
}

impl Minkowski {
    /// In bins between `edges`.
    ///
    /// # Errors
    /// Where the edges are out of order.
    pub fn new(edges: Vec<f64>, thresholds: Thresholds) -> Result<Self> {
        let name = match thresholds {
            Thresholds::Absolute => "nu_edges",
            Thresholds::Deviations => "sigma_edges",
        };
        check_edges(name, &edges)?;
        Ok(Self { edges, thresholds })
    }

    /// The bins' edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// V0, V1 and V2 of a square map with `pixels` on a side: V0 is the share of pixels at or above a bin's middle; V1
    /// the mean of |∇κ|/4 and V2 that of (2κ_xκ_yκ_xy − κ_x²κ_yy − κ_y²κ_xx)/(2π|∇κ|²) over the pixels in the bin,
    /// both divided by its width. Derivatives are central differences with periodic wrapping; x is the first axis.
    pub fn measure(&self, map: &[f32], pixels: usize) -> [Vec<f64>; 3] {
        let unit = match self.thresholds {
            Thresholds::Absolute => 1.0,
            Thresholds::Deviations => deviation(map),
        };
        let edges: Vec<f64> = self.edges.iter().map(|edge| edge * unit).collect();
        let bins = edges.len() - 1;
        let total = map.len() as f64;
        let mut sorted = map.to_vec();
        sorted.sort_unstable_by(f32::total_cmp);
        let area = edges
            .windows(2)
            .map(|pair| {
                let middle = 0.5 * (pair[0] + pair[1]);
                let below = sorted.partition_point(|&value| f64::from(value) < middle);
                (map.len() - below) as f64 / total
            })
            .collect();
        let (mut perimeter, mut genus) = (vec![0.0; bins], vec![0.0; bins]);
        for row in 0..pixels {
            for column in 0..pixels {
                let value = f64::from(map[row * pixels + column]);
                let Some(bin) = bin_of(&edges, value) else {
                    continue;
                };
                let [gradient, curvature] = densities(map, pixels, row, column);
                perimeter[bin] += gradient;
                genus[bin] += curvature;
            }
        }
        // The width is that of the bin as it was given: in standard deviations where thresholds are.
        for (bin, pair) in self.edges.windows(2).enumerate() {
            let width = total * (pair[1] - pair[0]);
            perimeter[bin] /= width;
            genus[bin] /= width;
        }
        [area, perimeter, genus]
    }
}

/// The integrands of V1 and V2 at one pixel.
fn densities(map: &[f32], pixels: usize, row: usize, column: usize) -> [f64; 2] {
    let wrap = |index: usize, step: usize| (index + step) % pixels;
    let at = |row: usize, column: usize| f64::from(map[row * pixels + column]);
    let (up, down) = (wrap(row, 1), wrap(row, pixels - 1));
    let (right, left) = (wrap(column, 1), wrap(column, pixels - 1));
    let x = (at(up, column) - at(down, column)) / 2.0;
    let y = (at(row, right) - at(row, left)) / 2.0;
    let center = at(row, column);
    let xx = (at(wrap(row, 2), column) + at(wrap(row, pixels - 2), column) - 2.0 * center) / 4.0;
    let yy = (at(row, wrap(column, 2)) + at(row, wrap(column, pixels - 2)) - 2.0 * center) / 4.0;
    let xy = (at(up, right) + at(down, left) - at(down, right) - at(up, left)) / 4.0;
    let squared = x * x + y * y;
    let curvature = if squared == 0.0 {
        (2.0 * xy - xx - yy) / (4.0 * PI)
    } else {
        (2.0 * x * y * xy - x * x * yy - y * y * xx) / (squared * 2.0 * PI)
    };
    [squared.sqrt() / 4.0, curvature]
}

/// Population standard deviation, in two passes.
pub(super) fn deviation(map: &[f32]) -> f64 {
    let count = map.len() as f64;
    let mean = map.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares: f64 = map
        .iter()
        .map(|&value| (f64::from(value) - mean).powi(2))
        .sum();
    (squares / count).sqrt()
}
