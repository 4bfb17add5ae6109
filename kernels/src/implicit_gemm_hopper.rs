//! Launches of `implicit_gemm_hopper.cu`: fprop and dgrad by wgmma, in bf16 or tf32.
//!
//! The grid size is the number of multiprocessors, which the caller passes; results do not depend on it.

use crate::batch_norm::SLICE_PIXELS;
use crate::convolution::ConvShape;
use crate::implicit_gemm::{band, work};
use crate::kernel::{Kernel, Launch, kernel};
use crate::precision::Precision;
use crate::tensor_map::{TensorMap, slab};
use crate::tile::TileConfig;

/// Pixels of the tile that decides whether a shape is supported, independent of the actual tile.
const TILE: usize = 256;
/// Threads of a block: two consumer warpgroups, which multiply, and a producer warpgroup, which copies.
pub(crate) const THREADS: u32 = 384;

kernel!(
    /// y from x and w.
    FPROP,
    "implicit_gemm_hopper.cu",
    Hopper,
    "conv_fprop_hopper",
    "convolution as an implicit GEMM",
    "over conv_fprop_tiled: TMA copies operands of 256×128 tiles (or tuned ones) to shared memory, and wgmma reads them there: no thread computes addresses, and no fragment passes through registers; boxes step over pixels by the stride; one thread copies, two warpgroups multiply and get most of the registers; persistent grid"
);
kernel!(
    /// x from y and w.
    DGRAD,
    "implicit_gemm_hopper.cu",
    Hopper,
    "conv_dgrad_hopper",
    "transposed convolution as one implicit GEMM per sub-pixel phase",
    "over conv_dgrad_tiled: as conv_fprop_hopper; phases with the most taps come first, so that the last wave has short tiles; with at most 64 channels a tile computes two phases at once, which share their reads of the source"
);

/// A launch and the kernel arguments that follow from the shape.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kernel, grid and block.
    pub launch: Launch,
    /// `struct PixelTiles` of the source.
    pub tiles: [i32; 7],
    /// Packed depth of the source.
    pub depth: usize,
    /// Tensor maps of the source and the weights.
    pub maps: [TensorMap; 2],
    /// Number of slices for which the epilogue writes statistics.
    pub slices: usize,
    /// Number of images whose slices are contiguous and contain no other image.
    ///
    /// `None` if phases lie between.
    pub unit: Option<usize>,
}

/// y = conv(x, w) + bias on a device of `multiprocessors`.
///
/// `None` for shapes that would leave most of a tile empty, or whose steps TMA does not support.
pub fn fprop(
    operand: Precision,
    s: &ConvShape,
    tile_config: &TileConfig,
    multiprocessors: usize,
) -> Option<Plan> {
    let source = [operand.padded(s.channels), s.input[1], s.input[0], s.batch];
    let [rows, columns] = s.output;
    let steps = [s.stride[1], s.stride[0]];
    let product = TiledGemm {
        source,
        pixels: [columns, rows, s.batch],
        steps,
        columns: s.outputs,
        phases: 1,
        together: 1,
        result: s.output_len(),
    };
    product.plan(&FPROP, operand, s, tile_config, multiprocessors)
}

/// x = convᵀ(y, w) + bias; see [`fprop`].
pub fn dgrad(
    operand: Precision,
    s: &ConvShape,
    tile_config: &TileConfig,
    multiprocessors: usize,
) -> Option<Plan> {
    let source = [operand.padded(s.outputs), s.output[1], s.output[0], s.batch];
    let [rows, columns] = [0, 1].map(|axis| s.input[axis].div_ceil(s.stride[axis]));
    let product = TiledGemm {
        source,
        pixels: [columns, rows, s.batch],
        steps: [1, 1],
        columns: s.channels,
        phases: s.stride[0] * s.stride[1],
        together: together(s),
        result: s.input_len(),
    };
    product.plan(&DGRAD, operand, s, tile_config, multiprocessors)
}

/// Phases of neighbouring columns that a tile of dgrad computes at once.
///
/// It changes the order of sums and is therefore not tuned.
pub(crate) fn together(s: &ConvShape) -> usize {
    if s.channels <= 64 && s.stride[1] == 2 {
        2
    } else {
        1
    }
}

/// Differences between fprop and dgrad.
struct TiledGemm {
    /// Depth, columns, rows and images of the source.
    source: [usize; 4],
    /// Columns, rows and images of the output, or of one phase if there are several.
    pixels: [usize; 3],
    /// Distance of source pixels for neighbouring output pixels.
    steps: [usize; 2],
    /// Channels of the output.
    columns: usize,
    phases: usize,
    /// Phases that a tile computes at once, each in a part of its columns.
    together: usize,
    /// Elements of the output.
    result: usize,
}

impl TiledGemm {
    fn plan(
        &self,
        kernel: &'static Kernel,
        operand: Precision,
        s: &ConvShape,
        tile_config: &TileConfig,
        multiprocessors: usize,
    ) -> Option<Plan> {
        let pixels: usize = self.pixels.iter().product();
        let depth = self.source[0];
        if operand == Precision::F32
            || depth < slab(operand)
            || self.columns < 64
            || 2 * pixels < TILE
        {
            return None;
        }
        let tile = pixel_tile(self.pixels, tile_config.tile.rows);
        let phase_columns = tile_config.tile.columns / self.together;
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
        constants.extend(tile_config.tile.constants());
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
        let band = band(tile_config, pixel_tiles);
        let tiles = [columns, rows, images, right, down, deep, band];
        Some(Plan {
            launch,
            tiles: tiles.map(|extent| i32::try_from(extent).unwrap_or(i32::MAX)),
            depth,
            maps,
            unit: (self.phases == 1).then_some(images),
            slices: self.phases * pixel_tiles * (tile_config.tile.rows / SLICE_PIXELS),
        })
    }
}

/// Columns, rows and images of a tile of `size` pixels, chosen for the fewest tiles.
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
    use crate::convolution::ConvProduct;
    use crate::tuning::Problem;

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
            [ConvProduct::Fprop, ConvProduct::Dgrad]
                .map(|product| Problem::new(product, operand, &shape, true).tier == Tier::Hopper)
        };
        assert_eq!(taken(Precision::Bf16, shape), [true, true]);
        assert_eq!(taken(Precision::Tf32, shape), [true, true]);
        assert_eq!(taken(Precision::F32, shape), [false, false]);
        let single = ConvShape { batch: 1, ..shape };
        assert_eq!(taken(Precision::Bf16, single), [false, false]);
        let narrow = ConvShape {
            outputs: 48,
            ..shape
        };
        assert_eq!(taken(Precision::Bf16, narrow), [false, false]);
        assert_eq!(taken(Precision::Tf32, narrow), [false, true]);
        // Beyond the steps that TMA supports.
        let wide = ConvShape {
            input: [144, 144],
            stride: [9, 9],
            ..shape
        };
        assert_eq!(taken(Precision::Bf16, wide), [false, true]);
    }
}
