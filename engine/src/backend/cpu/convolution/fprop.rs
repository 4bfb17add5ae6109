//! y = conv(x, w) + bias: GEMMs of the patches of a few rows at a time and the weights.

use rayon::prelude::*;

use super::super::matmul::{Matrix, multiply};
use super::patches::{gather, patch_length};
use super::{rows_per_task, with_scratch};
use crate::geometry::ConvGeometry;

pub(super) fn fprop(
    geometry: &ConvGeometry,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let channels = geometry.output_channels;
    let patch = patch_length(geometry);
    let image = x.len() / geometry.batch;
    let row = geometry.output[1] * channels;
    let rows = rows_per_task(geometry);
    let tasks: Vec<_> = y
        .chunks_exact_mut(geometry.output[0] * row)
        .zip(x.chunks_exact(image))
        .flat_map(|(y, x)| {
            y.chunks_mut(rows * row)
                .enumerate()
                .map(move |(task, y)| (task * rows, x, y))
        })
        .collect();
    tasks.into_par_iter().for_each(|(first, x, y)| {
        let windows = y.len() / channels;
        with_scratch(windows * patch, |patches| {
            gather(geometry, first..first + y.len() / row, x, patches);
            if let Some(bias) = bias {
                for y in y.chunks_exact_mut(channels) {
                    y.copy_from_slice(bias);
                }
            }
            multiply(
                [windows, channels, patch],
                Matrix::row_major(patches, patch),
                Matrix::row_major(weight, channels),
                y,
                bias.is_some(),
            );
        });
    });
}
