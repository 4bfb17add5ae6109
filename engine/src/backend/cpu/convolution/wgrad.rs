//! w = Σ patches(x)ᵀ·y over images: one partial sum per group of images, added in order.

use rayon::prelude::*;

use super::super::matmul::{Matrix, multiply};
use super::patches::{gather, patch_length};
use super::{rows_per_task, with_scratch};
use crate::geometry::ConvGeometry;

/// Number of groups of images: fixed, so that the sum does not depend on the number of threads.
const GROUPS: usize = 8;

pub(super) fn wgrad(geometry: &ConvGeometry, x: &[f32], y: &[f32], weight: &mut [f32]) {
    let (x_image, y_image) = (x.len() / geometry.batch, y.len() / geometry.batch);
    let group = geometry.batch.div_ceil(GROUPS);
    let sums: Vec<Vec<f32>> = x
        .par_chunks(group * x_image)
        .zip(y.par_chunks(group * y_image))
        .map(|(x, y)| {
            let mut sum = vec![0.0; weight.len()];
            for (x, y) in x.chunks_exact(x_image).zip(y.chunks_exact(y_image)) {
                add_image(geometry, x, y, &mut sum);
            }
            sum
        })
        .collect();
    weight
        .par_chunks_mut(1 << 14)
        .enumerate()
        .for_each(|(chunk, weight)| {
            let start = chunk << 14;
            weight.copy_from_slice(&sums[0][start..start + weight.len()]);
            for sum in &sums[1..] {
                for (weight, &value) in weight.iter_mut().zip(&sum[start..]) {
                    *weight += value;
                }
            }
        });
}

/// Adds the contribution of one image, a few rows of windows at a time.
fn add_image(geometry: &ConvGeometry, x: &[f32], y: &[f32], sum: &mut [f32]) {
    let channels = geometry.output_channels;
    let patch = patch_length(geometry);
    let rows = rows_per_task(geometry);
    let y_row = geometry.output[1] * channels;
    for (task, y) in y.chunks(rows * y_row).enumerate() {
        let windows = y.len() / channels;
        with_scratch(windows * patch, |patches| {
            let first = task * rows;
            gather(geometry, first..first + y.len() / y_row, x, patches);
            multiply(
                [patch, channels, windows],
                Matrix::row_major(patches, patch).transposed(),
                Matrix::row_major(y, channels),
                sum,
                true,
            );
        });
    }
}
