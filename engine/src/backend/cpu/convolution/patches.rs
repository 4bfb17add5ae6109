//! Conversion between an image and the matrix of its patches.
//!
//! The matrix has one row `[R, S, C]` per window.

use std::ops::Range;

use crate::geometry::ConvGeometry;

/// Copies the patches of the windows in `rows` of y, all of one image x `[H, W, C]`, to a matrix; padding is zero.
pub(super) fn gather(
    geometry: &ConvGeometry,
    rows: Range<usize>,
    image: &[f32],
    patches: &mut [f32],
) {
    let patch = patch_length(geometry);
    let mut windows = patches.chunks_exact_mut(patch);
    for p in rows {
        for q in 0..geometry.output[1] {
            let Some(window) = windows.next() else {
                return;
            };
            for_each_run(geometry, p, q, |run| {
                let window = &mut window[run.row_of_patch.clone()];
                match run.pixels {
                    None => window.fill(0.0),
                    Some(pixels) => {
                        let (before, rest) = window.split_at_mut(run.zeros_before);
                        let (inside, after) = rest.split_at_mut(pixels.len());
                        before.fill(0.0);
                        inside.copy_from_slice(&image[pixels]);
                        after.fill(0.0);
                    }
                }
            });
        }
    }
}

/// Adds a matrix of patches, of the windows in `rows` of y, to the rows of an image from `first_row` on: the adjoint
/// of [`gather`]. Elements on padding or outside the given rows are dropped.
pub(super) fn scatter(
    geometry: &ConvGeometry,
    rows: Range<usize>,
    patches: &[f32],
    first_row: usize,
    image: &mut [f32],
) {
    let patch = patch_length(geometry);
    let offset = first_row * geometry.input[1] * geometry.input_channels;
    let mut windows = patches.chunks_exact(patch);
    for p in rows {
        for q in 0..geometry.output[1] {
            let Some(window) = windows.next() else {
                return;
            };
            for_each_run(geometry, p, q, |run| {
                let Some(pixels) = run.pixels else {
                    return;
                };
                if pixels.start < offset || pixels.end > offset + image.len() {
                    return;
                }
                let inside = &window[run.row_of_patch][run.zeros_before..];
                let image = &mut image[pixels.start - offset..pixels.end - offset];
                for (pixel, &value) in image.iter_mut().zip(inside) {
                    *pixel += value;
                }
            });
        }
    }
}

/// Elements per patch.
pub(super) fn patch_length(geometry: &ConvGeometry) -> usize {
    geometry.kernel[0] * geometry.kernel[1] * geometry.input_channels
}

/// One row of a patch: contiguous in the patch and, between its zeros, in the image.
struct Run {
    /// Position of the row in the patch.
    row_of_patch: Range<usize>,
    /// Elements in the padding on the left.
    zeros_before: usize,
    /// Elements of the image under the row; `None` if the whole row lies in the padding.
    pixels: Option<Range<usize>>,
}

fn for_each_run(geometry: &ConvGeometry, p: usize, q: usize, mut visit: impl FnMut(Run)) {
    let [height, width] = geometry.input;
    let channels = geometry.input_channels;
    let row_length = geometry.kernel[1] * channels;
    let left = q * geometry.stride[1];
    let begin = geometry.padding.begin[1];
    // Columns of the kernel that overlap the image.
    let first = begin.saturating_sub(left).min(geometry.kernel[1]);
    let last = (width + begin).saturating_sub(left).min(geometry.kernel[1]);
    for r in 0..geometry.kernel[0] {
        let row = (p * geometry.stride[0] + r)
            .checked_sub(geometry.padding.begin[0])
            .filter(|&row| row < height && first < last);
        let pixels = row.map(|row| {
            let start = (row * width + left + first - begin) * channels;
            start..start + (last - first) * channels
        });
        visit(Run {
            row_of_patch: r * row_length..(r + 1) * row_length,
            zeros_before: first * channels,
            pixels,
        });
    }
}
