//! A transposed convolution as four implicit GEMMs, one per sub-pixel phase.
//!
//! A phase has one parity of output rows and columns. The rows of the GEMM are pixels, the columns output channels,
//! and the depth runs over taps and input channels. There is no im2col copy and no scatter: every output is written
//! once.
#![allow(unsafe_code)]

use super::image::Extents;
use crate::simd::memory::{Aligned, Shared};
use crate::simd::phases::taps;
use crate::simd::product::{Ahead, RowKernel, accumulate, tile_rows, zero};
use crate::simd::{InstructionSet, Kernel, Simd};

/// Weights in panels of two vectors of output channels, with one matrix per tap for each phase and panel.
#[derive(Debug)]
pub(super) struct Direct {
    input: Extents,
    output: Extents,
    /// Phases by row parity and column parity.
    phases: Vec<Phase>,
    bias: Aligned,
    width: usize,
    panels: usize,
}

/// Convolution of one parity.
#[derive(Debug)]
struct Phase {
    taps: Vec<Tap>,
    panels: Aligned,
}

/// Approximate number of pixels per task.
const PIXELS: usize = 256;

impl Direct {
    /// Packs `weight([row tap, column tap], input, output)` and a bias per output.
    pub(super) fn pack(
        set: InstructionSet,
        [input, output]: [Extents; 2],
        weight: impl Fn([usize; 2], usize, usize) -> f32,
        bias: &[f32],
        inputs: usize,
    ) -> Self {
        let width = 2 * set.lanes();
        let outputs = bias.len();
        let panels = output.channels.div_ceil(width);
        let phases = (0..4).map(|phase| {
            let taps = phase_taps(phase);
            let mut packed = Aligned::zeroed(panels * taps.len() * input.channels * width);
            let matrices = packed.chunks_exact_mut(input.channels * width);
            for (index, matrix) in matrices.enumerate() {
                let (panel, tap) = (index / taps.len(), taps[index % taps.len()].1);
                for channel in 0..inputs {
                    for lane in 0..width.min(outputs.saturating_sub(panel * width)) {
                        matrix[channel * width + lane] = weight(tap, channel, panel * width + lane);
                    }
                }
            }
            Phase {
                taps,
                panels: packed,
            }
        });
        let mut packed_bias = Aligned::zeroed(panels * width);
        packed_bias[..outputs].copy_from_slice(bias);
        Self {
            input,
            output,
            phases: phases.collect(),
            bias: packed_bias,
            width,
            panels,
        }
    }

    /// Rows of the input per task.
    fn rows(&self) -> usize {
        PIXELS.div_ceil(self.input.size).min(self.input.size)
    }

    /// Number of tasks for `images` images.
    pub(super) fn items(&self, images: usize) -> usize {
        4 * self.panels * images * self.input.size.div_ceil(self.rows())
    }
}

/// Offset in the input (row, column), and tap (row, column).
type Tap = ([isize; 2], [usize; 2]);

fn phase_taps(phase: usize) -> Vec<Tap> {
    let rows = taps(phase / 2).iter();
    rows.flat_map(|&(y, row)| {
        taps(phase % 2)
            .iter()
            .map(move |&(x, column)| ([y, x], [row, column]))
    })
    .collect()
}

/// Computes some rows of one phase and panel of one image.
pub(super) struct DirectKernel<'a> {
    pub(super) layer: &'a Direct,
    pub(super) images: usize,
    pub(super) item: usize,
    pub(super) input: &'a [f32],
    pub(super) output: Shared<'a>,
}

impl Kernel for DirectKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let layer = self.layer;
        let rows = layer.rows();
        let chunks = self.images * layer.input.size.div_ceil(rows);
        // Tasks that share weights are consecutive; phases with many taps come first.
        let (matrix, chunk) = (self.item / chunks, self.item % chunks);
        let (phase, panel) = (3 - matrix / layer.panels, matrix % layer.panels);
        let (image, chunk) = (chunk % self.images, chunk / self.images);
        let Phase { taps, panels } = &layer.phases[phase];
        let length = taps.len() * layer.input.channels * layer.width;
        let weights = &panels[panel * length..(panel + 1) * length];
        for row in chunk * rows..((chunk + 1) * rows).min(layer.input.size) {
            let mut row = Row {
                kernel: &self,
                taps,
                weights,
                phase: [phase / 2, phase % 2],
                panel,
                image,
                row,
            };
            tile_rows(simd, layer.input.size, &mut row);
        }
    }
}

/// One row of one phase and panel of one image.
struct Row<'a> {
    kernel: &'a DirectKernel<'a>,
    taps: &'a [Tap],
    weights: &'a [f32],
    phase: [usize; 2],
    panel: usize,
    image: usize,
    row: usize,
}

impl<S: Simd> RowKernel<S> for Row<'_> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let layer = self.kernel.layer;
        let channels = layer.input.channels;
        let mut sums = zero::<S, ROWS>(simd);
        let matrices = self.weights.chunks_exact(channels * layer.width);
        for (([y, x], _), weights) in self.taps.iter().zip(matrices) {
            let (row, column) = (self.row as isize + y, first as isize + x);
            let at = layer.input.pixel(self.image, row, column);
            let pixels = &self.kernel.input[at..at + ROWS * channels];
            let ahead = Ahead::behind(weights, first, ROWS, layer.input.size, S::LANES);
            accumulate(simd, pixels, channels, weights, ahead, &mut sums);
        }
        for half in 0..2 {
            let channel = self.panel * layer.width + half * S::LANES;
            if channel >= layer.output.channels {
                break;
            }
            // SAFETY: there is a bias for each column of each panel.
            let bias = unsafe { simd.load(layer.bias[channel..channel + S::LANES].as_ptr()) };
            for (pixel, sums) in sums.iter().enumerate() {
                let row = 2 * self.row + self.phase[0];
                let column = 2 * (first + pixel) + self.phase[1];
                let at = layer
                    .output
                    .pixel(self.image, row as isize, column as isize)
                    + channel;
                let value = simd.rectify(simd.add(sums[half], bias));
                // SAFETY: a vector does not extend beyond its pixel's channels; no other task has this phase and
                // panel.
                unsafe {
                    simd.store(
                        self.kernel.output.range(at..at + S::LANES).as_mut_ptr(),
                        value,
                    )
                };
            }
        }
    }
}
