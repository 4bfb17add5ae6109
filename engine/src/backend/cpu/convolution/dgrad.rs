//! x = convᵀ(y, w) + bias, as GEMMs followed by a scatter of patches.
//!
//! A GEMM of rows of y and the transposed weights gives patches, which are added where they overlap. No inserted zero
//! is ever multiplied.

use rayon::prelude::*;

use super::super::matmul::{Matrix, multiply};
use super::patches::{patch_length, scatter};
use super::{SCRATCH, with_scratch};
use crate::geometry::ConvGeometry;

/// Maximum number of bands of rows per image: enough for a single map to occupy several cores.
const BANDS: usize = 8;
/// Minimum number of rows of x per band: windows that straddle two bands are computed for both.
const BAND_ROWS: usize = 64;

/// Minimum number of windows per GEMM: every GEMM reads all weights, which must pay off.
const FEWEST_WINDOWS: usize = 256;

pub(super) fn dgrad(
    geometry: &ConvGeometry,
    y: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    x: &mut [f32],
) {
    let image = y.len() / geometry.batch;
    let row = geometry.input[1] * geometry.input_channels;
    let band = geometry.input[0].div_ceil(BANDS).max(BAND_ROWS);
    let tasks: Vec<_> = x
        .chunks_exact_mut(geometry.input[0] * row)
        .zip(y.chunks_exact(image))
        .flat_map(|(x, y)| {
            x.chunks_mut(band * row)
                .enumerate()
                .map(move |(task, x)| (task * band, x, y))
        })
        .collect();
    tasks.into_par_iter().for_each(|(first_row, x, y)| {
        match bias {
            Some(bias) => x
                .chunks_exact_mut(bias.len())
                .for_each(|x| x.copy_from_slice(bias)),
            None => x.fill(0.0),
        }
        add_windows(geometry, y, weight, first_row, x);
    });
}

/// Adds the patches of every window that overlaps a band of rows of one image.
fn add_windows(
    geometry: &ConvGeometry,
    y: &[f32],
    weight: &[f32],
    first_row: usize,
    band: &mut [f32],
) {
    let channels = geometry.output_channels;
    let patch = patch_length(geometry);
    let y_row = geometry.output[1] * channels;
    let last_row = first_row + band.len() / (geometry.input[1] * geometry.input_channels);
    let [stride, begin, kernel] = [
        geometry.stride[0],
        geometry.padding.begin[0],
        geometry.kernel[0],
    ];
    // Window p covers rows p·stride − begin to p·stride − begin + kernel − 1.
    let first = (first_row + begin + 1)
        .saturating_sub(kernel)
        .div_ceil(stride);
    let last = ((last_row + begin).div_ceil(stride)).min(geometry.output[0]);
    let step =
        (SCRATCH / (patch * geometry.output[1])).max(FEWEST_WINDOWS.div_ceil(geometry.output[1]));
    for start in (first..last).step_by(step) {
        let end = (start + step).min(last);
        let windows = (end - start) * geometry.output[1];
        with_scratch(windows * patch, |patches| {
            multiply(
                [windows, patch, channels],
                Matrix::row_major(&y[start * y_row..end * y_row], channels),
                Matrix::row_major(weight, channels).transposed(),
                patches,
                false,
            );
            scatter(geometry, start..end, patches, first_row, band);
        });
    }
}
