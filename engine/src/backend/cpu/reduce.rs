//! Sums over the rows of a `[rows, channels]` array, in blocks of fixed size and in double precision.

use std::ops::Range;

use rayon::prelude::*;

use crate::simd::{InstructionSet, Kernel, Simd};

/// Approximate number of elements per block.
///
/// Large enough to be worth a task, small enough to stay in the cache.
const BLOCK: usize = 1 << 15;

/// Elements of a block of whole rows.
pub(super) fn block(channels: usize) -> usize {
    BLOCK.div_ceil(channels.max(1)) * channels.max(1)
}

/// Blocks of whole rows, as ranges of elements of an array of `length`.
pub(super) fn blocks(
    channels: usize,
    length: usize,
) -> impl IndexedParallelIterator<Item = Range<usize>> {
    let block = block(channels);
    (0..length.div_ceil(block))
        .into_par_iter()
        .map(move |index| index * block..length.min((index + 1) * block))
}

/// Sum of every channel.
pub(super) fn column_sums(set: InstructionSet, values: &[f32], channels: usize) -> Vec<f64> {
    let partial: Vec<Vec<f64>> = blocks(channels, values.len())
        .map(|range| {
            set.dispatch(Columns {
                values: &values[range],
                channels,
            })
        })
        .collect();
    total(channels, partial.iter().map(Vec::as_slice))
}

/// Adds partial sums in order.
pub(super) fn total<'a>(channels: usize, partial: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
    let mut total = vec![0.0; channels];
    for sums in partial {
        for (total, sum) in total.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    total
}

/// Sum of every channel of one block.
pub(super) struct Columns<'a> {
    pub(super) values: &'a [f32],
    pub(super) channels: usize,
}

impl Kernel for Columns<'_> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Vec<f64> {
        let mut sums = vec![0.0; self.channels];
        if self.channels == 1 {
            sums[0] = sum_of(self.values, |value| value);
            return sums;
        }
        for row in self.values.chunks_exact(self.channels) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += f64::from(value);
            }
        }
        sums
    }
}

/// Rounds sums to f32.
pub(super) fn store(sums: &[f64], output: &mut [f32]) {
    for (output, &sum) in output.iter_mut().zip(sums) {
        *output = sum as f32;
    }
}

/// Σ of the squares.
pub(super) fn squares(set: InstructionSet, values: &[f32]) -> f64 {
    let partial: Vec<f64> = blocks(1, values.len())
        .map(|range| set.dispatch(Squares(&values[range])))
        .collect();
    partial.iter().sum()
}

struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        sum_of(self.0, |value| value * value)
    }
}

/// Σ of a function of all values, in eight independent chains.
///
/// A single chain would wait for each of its additions.
#[inline(always)]
fn sum_of(values: &[f32], function: impl Fn(f64) -> f64) -> f64 {
    let (eights, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0_f64; 8];
    for eight in eights {
        for (lane, &value) in lanes.iter_mut().zip(eight) {
            *lane += function(value.into());
        }
    }
    let rest: f64 = rest.iter().map(|&value| function(value.into())).sum();
    lanes.iter().sum::<f64>() + rest
}
