//! Launches of `implicit_gemm_hopper_wgrad.cu`: the weight gradient by wgmma, in bf16.

use crate::convolution::ConvShape;
use crate::implicit_gemm::work;
use crate::implicit_gemm_hopper::{THREADS, pixel_tile};
use crate::kernel::{Launch, kernel};
use crate::precision::Precision;
use crate::tensor_map::{TensorMap, slab};
use crate::tile::TileConfig;

/// Pixels of y per stage.
pub const SLAB: usize = 64;
/// Channels per block of tile rows; all rows of a block belong to one tap.
const ROW_BLOCK: usize = 64;
/// The tile that decides whether a shape is supported and how many slices there are, independent of the actual tile.
const COUNTED_TILE: [usize; 2] = [256, 128];

kernel!(
    /// w from x and y.
    WGRAD,
    "implicit_gemm_hopper_wgrad.cu",
    Hopper,
    "conv_wgrad_hopper",
    "weight gradient as an implicit GEMM, as split-K partial sums",
    "over conv_wgrad_tiled: as conv_fprop_hopper; wgmma reads MN-major operands, so that nothing is transposed; the rows of a tile are blocks of 64 channels, each with its own tap"
);

/// A launch and the kernel arguments that follow from the shape.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kernel, grid and block.
    pub launch: Launch,
    /// `struct PixelSlabs`.
    pub slabs: [i32; 8],
    /// Number of split-K slices; partial sums of w are `[slices, R·S·C·K]`.
    pub slices: usize,
    /// Tensor maps of x and y.
    pub maps: [TensorMap; 2],
}

/// Partial sums of w on a device of `multiprocessors`.
///
/// `None` for shapes that would leave most of a tile empty or whose steps TMA does not support, and for operands other
/// than bf16, which wgmma cannot read MN-major.
pub fn wgrad(
    operand: Precision,
    s: &ConvShape,
    tile_config: &TileConfig,
    multiprocessors: usize,
) -> Option<Plan> {
    let pixels = [s.output[1], s.output[0], s.batch];
    let few = pixels.iter().product::<usize>() < 2 * SLAB;
    if operand != Precision::Bf16
        || s.channels < slab(operand)
        || s.outputs <= COUNTED_TILE[1] / 2
        || few
    {
        return None;
    }
    let tile = pixel_tile(pixels, SLAB);
    let steps = [s.stride[1], s.stride[0]];
    let x = [operand.padded(s.channels), s.input[1], s.input[0], s.batch];
    let y = [operand.padded(s.outputs), s.output[1], s.output[0], s.batch];
    let maps = [
        TensorMap::images(operand, x, tile, steps),
        TensorMap::images(operand, y, tile, [1, 1]),
    ];
    if maps.iter().any(|map| map.check().is_err()) {
        return None;
    }
    let across = slabs_across(s);
    let slabs: usize = across.iter().product();
    let tiles = tiles(s, [tile_config.tile.rows, tile_config.tile.columns]);
    let share = slabs.div_ceil(tile_config.slices.clamp(1, slabs));
    let slices = slabs.div_ceil(share);

    let mut constants = vec![operand.constant()];
    constants.extend(tile_config.tile.constants());
    let launch = Launch::specialised(
        &WGRAD,
        constants,
        [(tiles * slices).min(multiprocessors), 1, 1],
        [THREADS, 1, 1],
        work(operand, s, s.weight_len()),
    );
    let [columns, rows, images] = tile;
    let [right, down, deep] = across;
    let words = [columns, rows, images, right, down, deep, share, slices];
    Some(Plan {
        launch,
        slabs: words.map(|extent| i32::try_from(extent).unwrap_or(i32::MAX)),
        slices,
        maps,
    })
}

/// Slabs along the columns, the rows and the images of y.
fn slabs_across(s: &ConvShape) -> [usize; 3] {
    let pixels = [s.output[1], s.output[0], s.batch];
    let tile = pixel_tile(pixels, SLAB);
    [0, 1, 2].map(|axis| pixels[axis].div_ceil(tile[axis]))
}

/// Tiles of `rows` by `columns` in w.
fn tiles(s: &ConvShape, [rows, columns]: [usize; 2]) -> usize {
    let row_blocks = s.taps() * s.channels.div_ceil(ROW_BLOCK);
    row_blocks.div_ceil(rows / ROW_BLOCK) * s.outputs.div_ceil(columns)
}

/// Default number of slices of a weight gradient.
pub(crate) fn default_slices(s: &ConvShape) -> usize {
    let slabs: usize = slabs_across(s).iter().product();
    let share = share(slabs, tiles(s, COUNTED_TILE), s.weight_len());
    slabs.div_ceil(share)
}

/// Number of slabs per tile that takes the least time in a model.
///
/// The model counts waves of tiles over 132 multiprocessors, and writing and reading the partial sums. Its constants
/// are those of an H100 or H200 on every device, so that every device adds in the same order.
fn share(slabs: usize, tiles: usize, weights: usize) -> usize {
    const MULTIPROCESSORS: usize = 132;
    /// 256·128·64 multiply-adds, 2,048 per cycle at 1.7 GHz.
    const SECONDS_PER_SLAB: f64 = 0.6e-6;
    const BYTES_PER_SECOND: f64 = 3.3e12;
    const MOST_SLICES: usize = 64;
    let seconds = |slices: usize| {
        let share = slabs.div_ceil(slices);
        let waves = (tiles * slabs.div_ceil(share)).div_ceil(MULTIPROCESSORS);
        let traffic = if slices > 1 { 8 * slices * weights } else { 0 };
        (waves * share) as f64 * SECONDS_PER_SLAB + traffic as f64 / BYTES_PER_SECOND
    };
    let best = (1..=MOST_SLICES.min(slabs)).min_by(|a, b| seconds(*a).total_cmp(&seconds(*b)));
    slabs.div_ceil(best.unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fill_the_device() {
        // 64 → 128 channels at 64² pixels of y, batch 64: 7 tiles in 18 slices are 126 blocks.
        assert_eq!(4096usize.div_ceil(share(4096, 7, 25 * 64 * 128)), 18);
        // 256 → 512 channels at 16²: 100 tiles fill most of a wave, and a split would cost more than it gains.
        assert_eq!(share(256, 100, 25 * 256 * 512), 256);
        // There are never more slices than slabs.
        assert_eq!(share(3, 1, 1), 1);
    }
}
