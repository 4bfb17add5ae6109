//! Launches of the tiled convolution GEMMs, on tensor cores unless operands are f32.
//!
//! The kernels are in `implicit_gemm.cu` and `implicit_gemm_wgrad.cu`.

use crate::convolution::ConvShape;
use crate::kernel::{Kernel, Launch, Work, kernel};
use crate::precision::Precision;
use crate::tile::TileConfig;

pub(crate) const THREADS: u32 = 256;

kernel!(
    /// y from x and w.
    FPROP,
    "implicit_gemm.cu",
    Tiled,
    "conv_fprop_tiled",
    "convolution as an implicit GEMM",
    "over conv_fprop: a 128×128 tile per block (or a tuned one) reads each operand up to 128 times less often; cp.async stages hide memory latency; mma.sync multiplies (f32: 16 multiply-adds per shared read of 16 bytes); ldmatrix without bank conflicts"
);
kernel!(
    /// x from y and w.
    DGRAD,
    "implicit_gemm.cu",
    Tiled,
    "conv_dgrad_tiled",
    "transposed convolution as one implicit GEMM per sub-pixel phase",
    "over conv_dgrad: as conv_fprop_tiled; the phases are separate GEMMs in one launch, and none multiplies an inserted zero"
);
kernel!(
    /// w from x and y.
    WGRAD,
    "implicit_gemm_wgrad.cu",
    Tiled,
    "conv_wgrad_tiled",
    "weight gradient as an implicit GEMM, as split-K partial sums",
    "over conv_wgrad: taps and channels share one tile axis, so that 64 channels fill a tile of 128 rows; split-K over the pixels, added in a fixed order"
);

/// y = conv(x, w) + bias.
pub fn fprop(operand: Precision, shape: &ConvShape, tile_config: &TileConfig) -> Launch {
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    let work = work(operand, shape, shape.output_len());
    let extents = [pixels, shape.outputs, 1];
    gather(&FPROP, operand, shape, tile_config, extents, work)
}

/// x = convᵀ(y, w) + bias.
pub fn dgrad(operand: Precision, shape: &ConvShape, tile_config: &TileConfig) -> Launch {
    let [rows, columns] = [0, 1].map(|axis| shape.input[axis].div_ceil(shape.stride[axis]));
    let phases = shape.stride[0] * shape.stride[1];
    let pixels = shape.batch * rows * columns;
    let work = work(operand, shape, shape.input_len());
    let extents = [pixels, shape.channels, phases];
    gather(&DGRAD, operand, shape, tile_config, extents, work)
}

fn gather(
    kernel: &'static Kernel,
    operand: Precision,
    shape: &ConvShape,
    tile_config: &TileConfig,
    [pixels, columns, phases]: [usize; 3],
    work: Work,
) -> Launch {
    let tiles = pixels.div_ceil(tile_config.tile.rows);
    // Bands are layers of the grid, whose number is limited.
    let fewest = (tiles * phases).div_ceil(MOST_LAYERS);
    let band = band(tile_config, tiles).max(fewest);
    Launch::specialised(
        kernel,
        constants(operand, shape, tile_config),
        [
            band,
            columns.div_ceil(tile_config.tile.columns),
            phases * tiles.div_ceil(band),
        ],
        [THREADS, 1, 1],
        work,
    )
}

fn constants(
    operand: Precision,
    shape: &ConvShape,
    tile_config: &TileConfig,
) -> Vec<(&'static str, u32)> {
    let mut constants = vec![operand.constant()];
    constants.extend(tile_config.tile.constants());
    constants.extend(shape.window_constants());
    constants
}

/// Maximum number of blocks along the third axis of a grid (CUDA C++ programming guide, "Technical specifications"),
/// halved to leave room for bands that are not full.
const MOST_LAYERS: usize = 32_768;

/// The band of a configuration, limited to `tiles` tiles.
pub(crate) fn band(tile_config: &TileConfig, tiles: usize) -> usize {
    let band = if tile_config.band == 0 {
        tiles
    } else {
        tile_config.band
    };
    band.clamp(1, tiles.max(1))
}

/// Split-K of a weight gradient over the batch's pixels; each slice writes a partial sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelSplit {
    /// Pixels of y per slice; the last one may have fewer.
    pub share: usize,
    /// Number of slices.
    pub slices: usize,
}

/// Number of blocks that keeps a large device busy.
const WANTED_BLOCKS: usize = 528;
/// Tile extents that determine the number of slices.
///
/// They do not depend on the actual tile, because sums depend on the slices.
const COUNTED_TILE: usize = 128;

/// Default number of slices of a weight gradient.
pub(crate) fn default_slices(operand: Precision, shape: &ConvShape) -> usize {
    let rows = shape.taps() * operand.padded(shape.channels);
    let tiles = rows.div_ceil(COUNTED_TILE) * shape.outputs.div_ceil(COUNTED_TILE);
    // Rounded down: a block beyond a full wave would cost as much as another wave.
    let wanted = (WANTED_BLOCKS / tiles).max(1);
    split(operand, shape, wanted).slices
}

/// Fewest pixels per slice: enough to fill the pipeline a few times.
pub(crate) fn least_share(operand: Precision) -> usize {
    8 * slab(operand)
}

/// Pixels per stage.
fn slab(operand: Precision) -> usize {
    64 / operand.bytes()
}

/// At most `wanted` slices, each of whole stages.
fn split(operand: Precision, shape: &ConvShape, wanted: usize) -> PixelSplit {
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    let share = pixels
        .div_ceil(wanted.max(1))
        .max(least_share(operand))
        .next_multiple_of(slab(operand));
    PixelSplit {
        share,
        slices: pixels.div_ceil(share),
    }
}

/// Partial sums of w: `[slices, R·S·C·K]`.
pub fn wgrad(
    operand: Precision,
    shape: &ConvShape,
    tile_config: &TileConfig,
) -> (Launch, PixelSplit) {
    let rows = shape.taps() * operand.padded(shape.channels);
    let split = split(operand, shape, tile_config.slices);
    let launch = Launch::specialised(
        &WGRAD,
        constants(operand, shape, tile_config),
        [
            rows.div_ceil(tile_config.tile.rows),
            shape.outputs.div_ceil(tile_config.tile.columns),
            split.slices,
        ],
        [THREADS, 1, 1],
        work(operand, shape, shape.weight_len()),
    );
    (launch, split)
}

/// Work of a GEMM: operands pass through memory packed, the `result` elements of the third tensor in f32.
pub(crate) fn work(operand: Precision, shape: &ConvShape, result: usize) -> Work {
    let elements = shape.input_len() + shape.output_len() + shape.weight_len();
    Work {
        operations: shape.work().operations,
        bytes: (operand.bytes() * (elements - result) + 4 * result) as f64,
    }
}
