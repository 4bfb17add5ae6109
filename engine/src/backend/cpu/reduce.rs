//! Sums over the rows of a `[rows, channels]` array, in blocks of fixed size and in double precision.

use std::ops::Range;

use rayon::prelude::*;

/// Elements of a block, roughly: large enough to be worth a task, small enough to stay in the cache.
const BLOCK: usize = 1 << 15;

/// Several sums per channel. `accumulate` adds one block, an index range of whole rows, to sums that start at zero;
/// the blocks' sums are added in order.
pub(super) fn columns<const SUMS: usize>(
    channels: usize,
    length: usize,
    accumulate: impl Fn(Range<usize>, &mut [Vec<f64>; SUMS]) + Sync,
) -> [Vec<f64>; SUMS] {
    let zeros = || std::array::from_fn(|_| vec![0.0; channels]);
    let block = BLOCK.div_ceil(channels.max(1)) * channels.max(1);
    let partial: Vec<[Vec<f64>; SUMS]> = (0..length.div_ceil(block))
        .into_par_iter()
        .map(|index| {
            let mut sums = zeros();
            accumulate(index * block..length.min((index + 1) * block), &mut sums);
            sums
        })
        .collect();
    partial.into_iter().fold(zeros(), |mut total, sums| {
        for (total, sums) in total.iter_mut().zip(&sums) {
            for (total, sum) in total.iter_mut().zip(sums) {
                *total += sum;
            }
        }
        total
    })
}

/// Adds the rows of `values` to one sum per channel.
pub(super) fn add_rows(values: &[f32], sums: &mut [f64]) {
    for row in values.chunks_exact(sums.len()) {
        for (sum, &value) in sums.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
}

/// Rounds sums to f32.
pub(super) fn store(sums: &[f64], output: &mut [f32]) {
    for (output, &sum) in output.iter_mut().zip(sums) {
        *output = sum as f32;
    }
}

/// Σ of the squares.
pub(super) fn squares(values: &[f32]) -> f64 {
    let [sums] = columns(1, values.len(), |range, sums: &mut [Vec<f64>; 1]| {
        sums[0][0] = values[range]
            .iter()
            .map(|&value| f64::from(value).powi(2))
            .sum();
    });
    sums[0]
}
