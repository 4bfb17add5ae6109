//! Launches of `implicit_gemm_hopper.cu`: fprop and dgrad by products of warpgroups, in bf16 or tf32.
//!
//! The grid is the caller's, as large as its device: results do not depend on it.

use crate::batch_norm::SLICE_PIXELS;
use crate::convolution::ConvShape;
use crate::implicit_gemm::{band, work};
use crate::kernel::{Kernel, Launch, kernel};
use crate::pack::Operand;
use crate::tensor_map::{TensorMap, slab};
use crate::tuning::Choice;

/// Pixels of the tile by which shapes are taken or not, whatever the tile that is chosen.
const TILE: usize = 256;
/// Threads of a block: two warpgroups that multiply, and one that copies.
pub(crate) const THREADS: u32 = 384;

kernel!(
    /// y from x and w.
    FPROP,
    "implicit_gemm_hopper.cu",
    Hopper,
    "conv_fprop_hopper",
    "convolution as an implicit matrix product",
    "over conv_fprop_tiled: wgmma reads operands of 256×128 tiles, or others that were chosen, from shared memory, where TMA puts them: no thread computes an address, and no fragment passes through registers; boxes step over pixels by the stride; one thread copies, two warpgroups multiply, and registers go where the sums are; persistent grid"
);
kernel!(
    /// x from y and w.
    DGRAD,
    "implicit_gemm_hopper.cu",
    Hopper,
    "conv_dgrad_hopper",
    "transposed convolution as one implicit matrix product per sub-pixel phase",
    "over conv_dgrad_tiled: as conv_fprop_hopper; the phases with the most taps come first, so that the last wave is of short tiles; of 64 channels a tile computes two phases at once, which share what they read of the source"
);

/// A launch, with what its kernel is told besides the shape.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kernel, grid and block.
    pub launch: Launch,
    /// `struct PixelTiles` of the source.
    pub tiles: [i32; 7],
    /// The packed depth of the source.
    pub depth: usize,
    /// The source and the weights.
    pub maps: [TensorMap; 2],
    /// Slices that the epilogue leaves statistics of.
    pub slices: usize,
    /// Images whose slices follow one another and are of no others; `None` where phases lie between.
    pub unit: Option<usize>,
}

/// y = conv(x, w) + bias on a device of `multiprocessors`; `None` for shapes that would leave most of a tile empty, or
/// that TMA cannot step through.
pub fn fprop(
    operand: Operand,
    s: &ConvShape,
    choice: &Choice,
    multiprocessors: usize,
) -> Option<Plan> {
    let source = [operand.padded(s.channels), s.input[1], s.input[0], s.batch];
    let [rows, columns] = s.output;
    let steps = [s.stride[1], s.stride[0]];
    let product = Product {
        source,
        pixels: [columns, rows, s.batch],
        steps,
        columns: s.outputs,
        phases: 1,
        together: 1,
        result: s.output_len(),
    };
    product.plan(&FPROP, operand, s, choice, multiprocessors)
}

/// x = convᵀ(y, w) + bias, likewise.
pub fn dgrad(
    operand: Operand,
    s: &ConvShape,
    choice: &Choice,
    multiprocessors: usize,
) -> Option<Plan> {
    let source = [operand.padded(s.outputs), s.output[1], s.output[0], s.batch];
    let [rows, columns] = [0, 1].map(|axis| s.input[axis].div_ceil(s.stride[axis]));
    let product = Product {
        source,
        pixels: [columns, rows, s.batch],
        steps: [1, 1],
        columns: s.channels,
        phases: s.stride[0] * s.stride[1],
        together: together(s),
        result: s.input_len(),
    };
    product.plan(&DGRAD, operand, s, choice, multiprocessors)
}

/// Phases of neighbouring columns that a tile of dgrad computes at once. It changes the order of sums, and is not chosen.
pub(crate) fn together(s: &ConvShape) -> usize {
    if s.channels <= 64 && s.stride[1] == 2 {
        2
    } else {
        1
    }
}

/// What fprop and dgrad differ in.
struct Product {
    /// Depth, columns, rows and images of the source.
    source: [usize; 4],
    /// Columns, rows and images of the output; of a phase, where there are several.
    pixels: [usize; 3],
    /// Pixels of the source from one pixel of the output to the next.
    steps: [usize; 2],
    /// Channels of the output.
    columns: usize,
    phases: usize,
    /// Phases that a tile computes at once, in parts of its columns.
    together: usize,
    /// Elements of the output.
    result: usize,
}

impl Product {
    fn plan(
        &self,
        kernel: &'static Kernel,
        operand: Operand,
        s: &ConvShape,
        choice: &Choice,
        multiprocessors: usize,
    ) -> Option<Plan> {
        let pixels: usize = self.pixels.iter().product();
        let depth = self.source[0];
        if operand == Operand::F32
            || depth < slab(operand)
            || self.columns < 64
            || 2 * pixels < TILE
        {
            return None;
        }
        let tile = pixel_tile(self.pixels, choice.tile.rows);
        let phase_columns = choice.tile.columns / self.together;
        let maps = [
            TensorMap::images(operand, self.source, tile, self.steps),
            TensorMap::weights(operand, [depth, self.columns, s.taps()], phase_columns),
        ];
        if maps.iter().any(|map| map.check().is_err()) {
            return None;
        }
        let across = [0, 1, 2].map(|axis| self.pixels[axis].div_ceil(tile[axis]));
        let groups = self.phases / self.together;
        let pixel_tiles: usize = across.iter().product();
        let tiles = groups * pixel_tiles * self.columns.div_ceil(phase_columns);
        let mut constants = vec![operand.constant()];
        constants.extend(choice.tile.constants());
        if self.together > 1 {
            constants.push(("PHASES", self.together as u32));
        }
        let launch = Launch::specialised(
            kernel,
            constants,
            [tiles.min(multiprocessors), 1, 1],
            [THREADS, 1, 1],
            work(operand, s, self.result),
        );
        let [columns, rows, images] = tile;
        let [right, down, deep] = across;
        let band = band(choice, pixel_tiles);
        let tiles = [columns, rows, images, right, down, deep, band];
        Some(Plan {
            launch,
            tiles: tiles.map(|extent| i32::try_from(extent).unwrap_or(i32::MAX)),
            depth,
            maps,
            unit: (self.phases == 1).then_some(images),
            slices: self.phases * pixel_tiles * (choice.tile.rows / SLICE_PIXELS),
        })
    }
}

/// The columns, rows and images, `size` pixels in all, that cut images into the fewest tiles.
pub(crate) fn pixel_tile(pixels: [usize; 3], size: usize) -> [usize; 3] {
    let edges = [16, 8, 4, 2, 1];
    let candidates = edges.iter().flat_map(|&columns| {
        let rows = edges.iter().filter(move |&rows| columns * rows <= size);
        rows.map(move |&rows| [columns, rows, size / (columns * rows)])
    });
    let count = |tile: &[usize; 3]| -> usize {
        let axes = pixels.iter().zip(tile);
        axes.map(|(pixels, extent)| pixels.div_ceil(*extent))
            .product()
    };
    candidates.min_by_key(count).unwrap_or([1, 1, size])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tier;
    use crate::tuning::{Problem, Product};

    #[test]
    fn tiles_fit_the_images() {
        assert_eq!(pixel_tile([64, 64, 8], TILE), [16, 16, 1]);
        assert_eq!(pixel_tile([8, 8, 64], TILE), [8, 8, 4]);
        assert_eq!(pixel_tile([1, 1, 300], TILE), [1, 1, 256]);
        assert_eq!(pixel_tile([20, 4, 4], TILE), [16, 4, 4]);
        assert_eq!(pixel_tile([24, 8, 8], TILE), [8, 8, 4]);
        assert_eq!(pixel_tile([16, 16, 1], 64), [16, 4, 1]);
    }

    #[test]
    fn only_what_fills_a_tile_is_taken() {
        let shape = ConvShape {
            batch: 2,
            input: [16, 16],
            channels: 64,
            output: [8, 8],
            outputs: 128,
            kernel: [5, 5],
            stride: [2, 2],
            begin: [1, 1],
        };
        let taken = |operand, shape: ConvShape| {
            [Product::Fprop, Product::Dgrad]
                .map(|product| Problem::new(product, operand, &shape, true).tier == Tier::Hopper)
        };
        assert_eq!(taken(Operand::Bf16, shape), [true, true]);
        assert_eq!(taken(Operand::Tf32, shape), [true, true]);
        assert_eq!(taken(Operand::F32, shape), [false, false]);
        let single = ConvShape { batch: 1, ..shape };
        assert_eq!(taken(Operand::Bf16, single), [false, false]);
        let narrow = ConvShape {
            outputs: 48,
            ..shape
        };
        assert_eq!(taken(Operand::Bf16, narrow), [false, false]);
        assert_eq!(taken(Operand::Tf32, narrow), [false, true]);
        // Beyond the steps that TMA knows.
        let wide = ConvShape {
            input: [144, 144],
            stride: [9, 9],
            ..shape
        };
        assert_eq!(taken(Operand::Bf16, wide), [false, true]);
    }
}
