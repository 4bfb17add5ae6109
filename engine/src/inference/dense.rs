//! The first layer: latent vectors to the coarsest feature maps, with a rectifier.
#![allow(unsafe_code)]

use super::image::Extents;
use super::team;
use crate::simd::memory::{Aligned, Shared};
use crate::simd::product::{Ahead, RowKernel, accumulate, tile_rows, zero};
use crate::simd::{InstructionSet, Kernel, Simd};

/// Weights in panels: each panel holds two vectors of features for each input, input by input.
#[derive(Debug)]
pub(super) struct Dense {
    inputs: usize,
    features: Extents,
    panels: Aligned,
    bias: Aligned,
    width: usize,
}

impl Dense {
    /// Packs `weight(feature, input)` and `bias(feature)` on `threads` threads.
    ///
    /// A feature is a pixel in row-major order and a channel.
    pub(super) fn pack(
        set: InstructionSet,
        inputs: usize,
        features: Extents,
        channels: usize,
        weight: impl Fn([usize; 2], usize) -> f32 + Sync,
        bias: impl Fn([usize; 2]) -> f32,
        threads: usize,
    ) -> Self {
        let width = 2 * set.lanes();
        let columns = features.size.pow(2) * features.channels;
        let count = columns.div_ceil(width);
        let mut panels = Aligned::zeroed(count * inputs * width);
        let mut packed_bias = Aligned::zeroed(count * width);
        let feature = |column: usize| {
            let (pixel, channel) = (column / features.channels, column % features.channels);
            (column < columns && channel < channels).then_some([pixel, channel])
        };
        for (column, packed) in packed_bias.iter_mut().enumerate() {
            *packed = feature(column).map_or(0.0, &bias);
        }
        let length = inputs * width;
        let shared = Shared::new(&mut panels);
        team::run(&mut vec![(); threads], |worker, ()| {
            worker.share(count.div_ceil(PANELS), |item| {
                let panels = item * PANELS..((item + 1) * PANELS).min(count);
                // SAFETY: each panel belongs to one task.
                let packed = unsafe { shared.range(panels.start * length..panels.end * length) };
                for (index, panel) in panels.zip(packed.chunks_exact_mut(length)) {
                    for lane in 0..width {
                        let Some(feature) = feature(index * width + lane) else {
                            continue;
                        };
                        for input in 0..inputs {
                            panel[input * width + lane] = weight(feature, input);
                        }
                    }
                }
            });
        });
        Self {
            inputs,
            features,
            panels,
            bias: packed_bias,
            width,
        }
    }

    /// Number of tasks.
    pub(super) fn items(&self) -> usize {
        self.panels().div_ceil(PANELS)
    }

    fn panels(&self) -> usize {
        self.bias.len() / self.width
    }
}

/// Panels per task.
const PANELS: usize = 64;

/// Computes some of the features of all images.
pub(super) struct DenseKernel<'a> {
    pub(super) layer: &'a Dense,
    pub(super) item: usize,
    /// Latent vectors, concatenated.
    pub(super) latents: &'a [f32],
    pub(super) output: Shared<'a>,
}

impl Kernel for DenseKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let images = self.latents.len() / self.layer.inputs;
        tile_rows(simd, images, &mut self);
    }
}

impl<S: Simd> RowKernel<S> for DenseKernel<'_> {
    #[inline(always)]
    fn run<const ROWS: usize>(&mut self, simd: S, first: usize) {
        let layer = self.layer;
        let (inputs, features) = (layer.inputs, layer.features);
        let latents = &self.latents[first * inputs..(first + ROWS) * inputs];
        let columns = features.size.pow(2) * features.channels;
        let panels = self.item * PANELS..((self.item + 1) * PANELS).min(layer.panels());
        for panel in panels {
            let weights =
                &layer.panels[panel * inputs * layer.width..(panel + 1) * inputs * layer.width];
            let bias = &layer.bias[panel * layer.width..(panel + 1) * layer.width];
            let mut sums = zero::<S, ROWS>(simd);
            let ahead = Ahead::behind(weights, first, ROWS, self.latents.len() / inputs, S::LANES);
            accumulate(simd, latents, inputs, weights, ahead, &mut sums);
            for half in 0..2 {
                let column = panel * layer.width + half * S::LANES;
                if column >= columns {
                    break;
                }
                let (pixel, channel) = (column / features.channels, column % features.channels);
                let (row, column) = (pixel / features.size, pixel % features.size);
                // SAFETY: `bias` holds two vectors.
                let bias = unsafe { simd.load(bias.as_ptr().add(half * S::LANES)) };
                for (image, sums) in sums.iter().enumerate() {
                    let at = features.pixel(first + image, row as isize, column as isize) + channel;
                    let value = simd.rectify(simd.add(sums[half], bias));
                    // SAFETY: a vector does not extend beyond its pixel's channels; no other task has this panel.
                    unsafe { simd.store(self.output.range(at..at + S::LANES).as_mut_ptr(), value) };
                }
            }
        }
    }
}
