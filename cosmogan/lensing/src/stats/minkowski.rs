//! Minkowski functionals of excursion sets, defined as in LensTools 1.2.
//!
//! V0 is the area, V1 the perimeter and V2 the genus.

use std::f64::consts::TAU;

use pulp::{Arch, Simd, WithSimd};

use super::bins::{Thresholds, check_edges, count_reached, middles, reached_from};
use cosmogan_base::Result;

/// Estimator of V0, V1 and V2 in threshold bins [ν_i, ν_{i+1}).
#[derive(Clone, Debug)]
pub struct Minkowski {
    edges: Vec<f64>,
    thresholds: Thresholds,
}

/// Number of accumulators to which adjacent pixels add.
/// Most pixels fall in the same bin, and with a single sum each addition would wait for the previous one.
const ACCUMULATORS: usize = 4;

/// Pixel count, Σ|∇κ| and Σ of the genus density.
/// The fourth number only fills a vector register.
type Sums = [f64; 4];

impl Minkowski {
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

    /// Measures V0, V1 and V2 of a square map of `pixels`².
    ///
    /// Each result has one value per bin.
    ///
    /// * V0: fraction of pixels at or above the midpoint of the bin.
    /// * V1: |∇κ|/4 summed over the pixels in the bin, over the number of pixels of the map and the bin width.
    /// * V2: likewise with (2κ_xκ_yκ_xy − κ_x²κ_yy − κ_y²κ_xx)/(2π|∇κ|²).
    ///
    /// Derivatives are central differences with periodic wrapping; x is the first array axis.
    pub fn measure(&self, map: &[f32], pixels: usize) -> [Vec<f64>; 3] {
        let unit = self.thresholds.unit(map);
        let edges: Vec<f64> = self.edges.iter().map(|edge| edge * unit).collect();
        // Bin edges, interleaved with the bins' midpoints.
        let mut levels = Vec::with_capacity(2 * edges.len());
        for (edge, middle) in edges.iter().zip(middles(&edges)) {
            levels.extend([reached_from(*edge), reached_from(middle)]);
        }
        levels.extend(edges.last().map(|&edge| reached_from(edge)));
        let sums = Arch::new().dispatch(SumsByLevel {
            map,
            pixels,
            levels: &levels,
        });

        let bins = edges.len() - 1;
        let total = map.len() as f64;
        // A pixel that reaches 2i + 1 or 2i + 2 levels is in bin i; in the second case it is above the midpoint.
        let mut area = vec![0.0; bins];
        let mut above: f64 = sums[2 * bins + 1][0];
        for bin in (0..bins).rev() {
            above += sums[2 * bin + 2][0];
            area[bin] = above / total;
            above += sums[2 * bin + 1][0];
        }
        // The width as given by the user: in standard deviations if the thresholds are.
        let density = |which: usize| {
            let widths = self.edges.windows(2).map(|pair| pair[1] - pair[0]);
            widths
                .enumerate()
                .map(|(bin, width)| {
                    let sum = sums[2 * bin + 1][which] + sums[2 * bin + 2][which];
                    sum / (total * width)
                })
                .collect::<Vec<f64>>()
        };
        let perimeter = density(1).into_iter().map(|sum| sum / 4.0).collect();
        [area, perimeter, density(2)]
    }
}

/// Copies one row as f64, padded by two wrapped columns on either side.
#[inline(always)]
fn fill_padded(padded: &mut [f64], map: &[f32], pixels: usize, row: usize) {
    let values = &map[row * pixels..(row + 1) * pixels];
    for (padded, &value) in padded[2..].iter_mut().zip(values) {
        *padded = f64::from(value);
    }
    for (index, column) in [(0, 2 * pixels - 2), (1, 2 * pixels - 1)] {
        padded[index] = f64::from(values[column % pixels]);
        padded[index + pixels + 2] = f64::from(values[index % pixels]);
    }
}

/// Computes the sums over the pixels that reach none, one, two, … of `levels`.
struct SumsByLevel<'a> {
    map: &'a [f32],
    pixels: usize,
    levels: &'a [f32],
}

impl WithSimd for SumsByLevel<'_> {
    type Output = Vec<Sums>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<Sums> {
        let Self {
            map,
            pixels,
            levels,
        } = self;
        let mut sums = vec![[Sums::default(); ACCUMULATORS]; levels.len() + 1];
        let mut rows: Vec<Vec<f64>> = vec![vec![0.0; pixels + 4]; 5];
        for (offset, padded) in rows.iter_mut().enumerate() {
            fill_padded(padded, map, pixels, (2 * pixels + offset - 2) % pixels);
        }
        let mut reached = vec![0; pixels];
        let (mut gradients, mut genera) = (vec![0.0; pixels], vec![0.0; pixels]);
        for row in 0..pixels {
            if row > 0 {
                rows.rotate_left(1);
                fill_padded(&mut rows[4], map, pixels, (row + 2) % pixels);
            }
            let five = [0, 1, 2, 3, 4].map(|row| &rows[row][..]);
            row_densities(five, &mut gradients, &mut genera);
            let values = &map[row * pixels..(row + 1) * pixels];
            count_reached(simd, values, levels, &mut reached);
            let pixels = reached.iter().zip(&gradients).zip(&genera);
            for (column, ((level, gradient), genus)) in pixels.enumerate() {
                let sums = &mut sums[*level as usize][column % ACCUMULATORS];
                let added = [1.0, *gradient, *genus, 0.0];
                for (sum, value) in sums.iter_mut().zip(added) {
                    *sum += value;
                }
            }
        }
        let total = |all: [Sums; ACCUMULATORS]| {
            std::array::from_fn(|which| all.iter().map(|sums| sums[which]).sum())
        };
        sums.into_iter().map(total).collect()
    }
}

/// Computes |∇κ| and the genus density for the middle row of five.
#[inline(always)]
fn row_densities(five: [&[f64]; 5], gradients: &mut [f64], genera: &mut [f64]) {
    let pixels = gradients.len();
    // Slices of equal length, so that bounds are checked once rather than per pixel.
    let shifted = |row: usize, columns: usize| &five[row][columns..columns + pixels];
    let genera = &mut genera[..pixels];
    let (far_up, far_down) = (shifted(0, 2), shifted(4, 2));
    let [up_left, up, up_right] = [1, 2, 3].map(|columns| shifted(1, columns));
    let [down_left, down, down_right] = [1, 2, 3].map(|columns| shifted(3, columns));
    let [far_left, left, here, right, far_right] = [0, 1, 2, 3, 4].map(|c| shifted(2, c));
    for i in 0..pixels {
        let x = (down[i] - up[i]) / 2.0;
        let y = (right[i] - left[i]) / 2.0;
        let twice = 2.0 * here[i];
        let xx = (far_down[i] + far_up[i] - twice) / 4.0;
        let yy = (far_right[i] + far_left[i] - twice) / 4.0;
        let xy = (down_right[i] + up_left[i] - up_right[i] - down_left[i]) / 4.0;
        let squared = x * x + y * y;
        let flat = squared == 0.0;
        let curved = 2.0 * x * y * xy - x * x * yy - y * y * xx;
        let numerator = if flat { 2.0 * xy - xx - yy } else { curved };
        let denominator = if flat { 2.0 } else { squared };
        gradients[i] = squared.sqrt();
        genera[i] = numerator / (denominator * TAU);
    }
}
