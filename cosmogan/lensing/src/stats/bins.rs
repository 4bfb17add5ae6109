//! Bin edges, and a vectorised search for the bins of many pixels.

use pulp::Simd;

use cosmogan_base::{Error, Result};

/// Returns `count` equally spaced bin edges from `low` to `high`.
pub fn linear_edges(low: f64, high: f64, count: usize) -> Vec<f64> {
    let step = (high - low) / (count - 1) as f64;
    (0..count).map(|index| low + step * index as f64).collect()
}

/// Returns `count` bin edges from `low` to `high`, equally spaced in the logarithm.
pub fn logarithmic_edges(low: f64, high: f64, count: usize) -> Vec<f64> {
    let logarithms = linear_edges(low.ln(), high.ln(), count);
    logarithms.into_iter().map(f64::exp).collect()
}

/// Returns the midpoints of the bins between `edges`.
pub fn middles(edges: &[f64]) -> Vec<f64> {
    edges
        .windows(2)
        .map(|pair| 0.5 * (pair[0] + pair[1]))
        .collect()
}

/// Rejects bin edges that are fewer than two, not finite, or not ascending.
/// `name` is the user's name for them.
pub(super) fn check_edges(name: &str, edges: &[f64]) -> Result<()> {
    let ascending = edges.windows(2).all(|pair| pair[0] < pair[1]);
    if edges.len() >= 2 && ascending && edges.iter().all(|edge| edge.is_finite()) {
        return Ok(());
    }
    Err(Error::usage(
        name,
        "the bin edges are fewer than two, not ascending, or not finite",
        "give at least two numbers in ascending order",
    ))
}

/// Unit of the thresholds ν.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thresholds {
    /// Thresholds in κ.
    Absolute,
    /// Thresholds in units of each map's own standard deviation.
    Deviations,
}

impl Thresholds {
    /// Name of such edges in EDGES.json.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Absolute => "nu_edges",
            Self::Deviations => "sigma_edges",
        }
    }

    /// Size in κ of one unit of ν for `map`.
    pub(super) fn unit(self, map: &[f32]) -> f64 {
        match self {
            Self::Absolute => 1.0,
            Self::Deviations => deviation(map),
        }
    }
}

/// Population standard deviation, computed in two passes.
fn deviation(map: &[f32]) -> f64 {
    let count = map.len() as f64;
    let mean = map.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
    let squares: f64 = map
        .iter()
        .map(|&value| (f64::from(value) - mean).powi(2))
        .sum();
    (squares / count).sqrt()
}

/// Returns the smallest f32 that is not below `threshold`.
/// A pixel is ≥ `threshold` exactly if it is ≥ this value, so pixels can be compared without widening them to f64.
pub(super) fn reached_from(threshold: f64) -> f32 {
    let nearest = threshold as f32;
    if f64::from(nearest) < threshold {
        nearest.next_up()
    } else {
        nearest
    }
}

/// Counts how many of the ascending `thresholds` each of `values` reaches (≥).
///
/// For a few dozen thresholds, comparing with every one is faster than a binary search: many pixels are compared at
/// once and no branch is mispredicted.
#[inline(always)]
pub(super) fn count_reached<S: Simd>(
    simd: S,
    values: &[f32],
    thresholds: &[f32],
    reached: &mut [u32],
) {
    const AT_ONCE: usize = 4;
    let (values, rest) = S::as_simd_f32s(values);
    let (reached, reached_rest) = S::as_mut_simd_u32s(reached);
    let (groups, single) = values.as_chunks::<AT_ONCE>();
    let (reached_groups, reached_single) = reached.as_chunks_mut::<AT_ONCE>();
    for (values, reached) in groups.iter().zip(reached_groups) {
        *reached = count_group(simd, *values, thresholds);
    }
    for (value, reached) in single.iter().zip(reached_single) {
        *reached = count_group(simd, [*value], thresholds)[0];
    }
    for (value, reached) in rest.iter().zip(reached_rest) {
        *reached = thresholds.iter().map(|t| u32::from(value >= t)).sum();
    }
}

#[inline(always)]
fn count_group<S: Simd, const N: usize>(
    simd: S,
    values: [S::f32s; N],
    thresholds: &[f32],
) -> [S::u32s; N] {
    let one = simd.splat_u32s(1);
    let mut counts = [simd.splat_u32s(0); N];
    for &threshold in thresholds {
        let threshold = simd.splat_f32s(threshold);
        for (count, value) in counts.iter_mut().zip(values) {
            let more = simd.add_u32s(*count, one);
            let reaches = simd.greater_than_or_equal_f32s(value, threshold);
            *count = simd.select_u32s(reaches, more, *count);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, WithSimd};

    #[test]
    fn a_pixel_reaches_a_threshold_in_either_precision() {
        for threshold in [0.1, -0.1, 0.3, 0.0, 1e-40, 0.25] {
            let limit = reached_from(threshold);
            assert!(f64::from(limit) >= threshold);
            assert!(f64::from(limit.next_down()) < threshold);
        }
    }

    struct Count<'a>(&'a [f32], &'a [f32], &'a mut [u32]);

    impl WithSimd for Count<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            count_reached(simd, self.0, self.1, self.2);
        }
    }

    #[test]
    fn counts_are_those_of_a_search() {
        let thresholds = [-1.0, -0.5, 0.0, 0.5, 1.0];
        let values: Vec<f32> = (0..137).map(|i| (i as f32 - 68.0) / 48.0).collect();
        let mut reached = vec![9; 137];
        Arch::new().dispatch(Count(&values, &thresholds, &mut reached));
        for (value, reached) in values.iter().zip(reached) {
            let expected = thresholds.partition_point(|t| t <= value);
            assert_eq!(reached as usize, expected);
        }
    }
}
