//! The last layer: a transposed convolution to a single channel, and tanh.
//!
//! A GEMM computes for every input pixel the 25 values that it adds to the outputs around it. These are then added,
//! first along columns, five rows at a time, then along rows.
#![allow(unsafe_code)]

use super::image::Extents;
use crate::simd::memory::{Aligned, Shared};
use crate::simd::phases::{KERNEL, taps};
use crate::simd::product::{Ahead, RowKernel, accumulate, tile_rows, zero};
use crate::simd::tanh::tanh;
use crate::simd::{InstructionSet, Kernel, Simd};

/// Values per pixel: tap (row, column) is at 5·column + row. The rest is zero.
const VALUES: usize = 32;
/// Rows of the kernel, padded to a multiple of the vector length.
const LINES: usize = 8;
/// Input rows per task; the rows above and below are computed twice.
const ROWS: usize = 32;

/// Weights in panels of two vectors, with a row per input channel.
#[derive(Debug)]
pub(super) struct LastLayer {
    input: Extents,
    panels: Aligned,
    bias: f32,
    width: usize,
}

impl LastLayer {
    /// Packs `weight([row tap, column tap], input)`.
    pub(super) fn pack(
        set: InstructionSet,
        input: Extents,
        weight: impl Fn([usize; 2], usize) -> f32,
        bias: f32,
        inputs: usize,
    ) -> Self {
        let width = 2 * set.lanes();
        let mut panels = Aligned::zeroed(VALUES * input.channels);
        for channel in 0..inputs {
            for row in 0..KERNEL {
                for column in 0..KERNEL {
                    let value = KERNEL * column + row;
                    let (panel, lane) = (value / width, value % width);
                    panels[(panel * input.channels + channel) * width + lane] =
                        weight([row, column], channel);
                }
            }
        }
        Self {
            input,
            panels,
            bias,
            width,
        }
    }

    /// Number of tasks.
    pub(super) fn items(&self, images: usize) -> usize {
        images * self.input.size.div_ceil(ROWS)
    }

    /// Values of scratch memory per worker.
    pub(super) fn scratch(&self) -> usize {
        let size = self.input.size;
        (size + 2) * VALUES + 3 * 2 * size * LINES
    }
}

/// Computes some rows of one image.
pub(super) struct SingleKernel<'a> {
    pub(super) layer: &'a LastLayer,
    pub(super) item: usize,
    pub(super) input: &'a [f32],
    /// Scratch memory of [`LastLayer::scratch`] values.
    pub(super) scratch: &'a mut [f32],
    /// The maps of these images.
    pub(super) output: Shared<'a>,
}

impl Kernel for SingleKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let size = self.layer.input.size;
        let chunks = size.div_ceil(ROWS);
        let (image, chunk) = (self.item / chunks, self.item % chunks);
        let rows = chunk * ROWS..((chunk + 1) * ROWS).min(size);
        let (values, lines) = self.scratch.split_at_mut((size + 2) * VALUES);
        let (values, _) = values.as_chunks_mut::<VALUES>();
        let (lines, _) = lines.as_chunks_mut::<LINES>();
        let slot = |row: isize| (row + 3) as usize % 3 * 2 * size;
        for row in rows.start as isize - 1..rows.end as isize + 1 {
            let mut pixels = Pixels {
                layer: self.layer,
                input: &self.input[self.layer.input.pixel(image, row, -1)..],
                values,
            };
            tile_rows(simd, size + 2, &mut pixels);
            let line = slot(row);
            add_columns(values, &mut lines[line..line + 2 * size]);
            let done = row - 1;
            if done < rows.start as isize {
                continue;
            }
            let [above, here, below] = [done - 1, done, done + 1].map(|row| {
                let start = slot(row);
                &lines[start..start + 2 * size]
            });
            let at = (2 * size).pow(2) * image + 4 * size * done as usize;
            // SAFETY: each row of each image belongs to one task.
            let outputs = unsafe { self.output.range(at..at + 4 * size) };
            let (even, odd) = outputs.split_at_mut(2 * size);
            let of_offset = [above, here, below];
            for (phase, outputs) in [even, odd].into_iter().enumerate() {
                outputs.fill(self.layer.bias);
                for &(offset, tap) in taps(phase) {
                    let lines = of_offset[(offset + 1) as usize];
                    for (output, line) in outputs.iter_mut().zip(lines) {
                        *output += line[tap];
                    }
                }
                outputs
                    .iter_mut()
                    .for_each(|output| *output = tanh(*output));
            }
        }
    }
}

/// Adds the contributions of pixels to each column of outputs.
///
/// The first and the last pixel belong to the border.
#[inline(always)]
fn add_columns(values: &[[f32; VALUES]], lines: &mut [[f32; LINES]]) {
    for (neighbours, lines) in values.windows(3).zip(lines.as_chunks_mut::<2>().0) {
        for (phase, line) in lines.iter_mut().enumerate() {
            *line = [0.0; LINES];
            for &(offset, tap) in taps(phase) {
                // Lanes after the fifth belong to the next tap and are not used.
                let (lanes, _) = neighbours[(offset + 1) as usize][KERNEL * tap..].split_at(LINES);
                for (sum, value) in line.iter_mut().zip(lanes) {
                    *sum += value;
                }
            }
        }
    }
}

/// Computes the contributions of each pixel of a row, including the border.
struct Pixels<'a> {
    layer: &'a LastLayer,
    input: &'a [f32],
    values: &'a mut [[f32; VALUES]],
}

impl<S: Simd> RowKernel<S> for Pixels<'_> {
    #[inline(always)]
    fn run<const COUNT: usize>(&mut self, simd: S, first: usize) {
        let (channels, width) = (self.layer.input.channels, self.layer.width);
        let pixels = &self.input[first * channels..(first + COUNT) * channels];
        let panels = self.layer.panels.chunks_exact(channels * width);
        for (panel, weights) in panels.enumerate() {
            let mut sums = zero::<S, COUNT>(simd);
            // The weights stay in the cache; prefetch the next pixels.
            let ahead = Ahead::every(pixels.as_ptr().wrapping_add(pixels.len()), COUNT);
            accumulate(simd, pixels, channels, weights, ahead, &mut sums);
            for (values, sums) in self.values[first..first + COUNT].iter_mut().zip(sums) {
                let to = values[panel * width..(panel + 1) * width].as_mut_ptr();
                // SAFETY: the slice holds two vectors.
                unsafe {
                    simd.store(to, sums[0]);
                    simd.store(to.add(S::LANES), sums[1]);
                }
            }
        }
    }
}
