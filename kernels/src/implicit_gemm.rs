//! Launches of `implicit_gemm.cu` and `implicit_gemm_wgrad.cu`: the three products in tiles, on tensor cores unless the
//! operands are f32.

use crate::convolution::ConvShape;
use crate::kernel::{Kernel, Launch, Work, kernel};
use crate::pack::Operand;
use crate::tuning::Choice;

pub(crate) const THREADS: u32 = 256;

kernel!(
    /// y from x and w.
    FPROP,
    "implicit_gemm.cu",
    Tiled,
    "conv_fprop_tiled",
    "convolution as an implicit matrix product",
    "over conv_fprop: a block's 128×128 tile, or another that was chosen, reads each operand up to 128 times less often; stages of cp.async hide memory; mma.sync multiplies (f32: 16 multiply-adds per shared read of 16 bytes), ldmatrix without bank conflicts"
);
kernel!(
    /// x from y and w.
    DGRAD,
    "implicit_gemm.cu",
    Tiled,
    "conv_dgrad_tiled",
    "transposed convolution as one implicit matrix product per sub-pixel phase",
    "over conv_dgrad: as conv_fprop_tiled; the phases are separate products in one launch, none multiplies an inserted zero"
);
kernel!(
    /// w from x and y.
    WGRAD,
    "implicit_gemm_wgrad.cu",
    Tiled,
    "conv_wgrad_tiled",
    "weight gradient as an implicit matrix product, in partial sums",
    "over conv_wgrad: taps and channels share one tile axis, so that 64 channels fill a tile of 128 rows; pixels are split over blocks and added in a fixed order"
);

/// y = conv(x, w) + bias.
pub fn fprop(operand: Operand, shape: &ConvShape, choice: &Choice) -> Launch {
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    let work = work(operand, shape, shape.output_len());
    let extents = [pixels, shape.outputs, 1];
    gather(&FPROP, operand, shape, choice, extents, work)
}

/// x = convᵀ(y, w) + bias.
pub fn dgrad(operand: Operand, shape: &ConvShape, choice: &Choice) -> Launch {
    let [rows, columns] = [0, 1].map(|axis| shape.input[axis].div_ceil(shape.stride[axis]));
    let phases = shape.stride[0] * shape.stride[1];
    let pixels = shape.batch * rows * columns;
    let work = work(operand, shape, shape.input_len());
    let extents = [pixels, shape.channels, phases];
    gather(&DGRAD, operand, shape, choice, extents, work)
}

fn gather(
    kernel: &'static Kernel,
    operand: Operand,
    shape: &ConvShape,
    choice: &Choice,
    [pixels, columns, phases]: [usize; 3],
    work: Work,
) -> Launch {
    let tiles = pixels.div_ceil(choice.tile.rows);
    // Bands are layers of the grid, of which there cannot be more.
    let fewest = (tiles * phases).div_ceil(MOST_LAYERS);
    let band = band(choice, tiles).max(fewest);
    Launch::specialised(
        kernel,
        constants(operand, shape, choice),
        [
            band,
            columns.div_ceil(choice.tile.columns),
            phases * tiles.div_ceil(band),
        ],
        [THREADS, 1, 1],
        work,
    )
}

fn constants(operand: Operand, shape: &ConvShape, choice: &Choice) -> Vec<(&'static str, u32)> {
    let mut constants = vec![operand.constant()];
    constants.extend(choice.tile.constants());
    constants.extend(shape.window_constants());
    constants
}

/// Blocks along the third axis of a grid (CUDA C++ programming guide, "Technical specifications"), rounded down for bands
/// that are not full.
const MOST_LAYERS: usize = 32_768;

/// The band of a choice, of so many tiles.
pub(crate) fn band(choice: &Choice, tiles: usize) -> usize {
    let band = if choice.band == 0 { tiles } else { choice.band };
    band.clamp(1, tiles.max(1))
}

/// How a weight gradient is split: shares of the batch's pixels, each with a partial sum of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelSplit {
    /// Pixels of y in a share; the last may have fewer.
    pub share: usize,
    /// Shares.
    pub slices: usize,
}

/// Blocks that keep a large device busy.
const WANTED_BLOCKS: usize = 528;
/// Extents of the tiles by which slices are counted, whatever the tile: sums are to depend on the slices alone.
const COUNTED_TILE: usize = 128;

/// Slices of a weight gradient where nothing else is chosen.
pub(crate) fn default_slices(operand: Operand, shape: &ConvShape) -> usize {
    let rows = shape.taps() * operand.padded(shape.channels);
    let tiles = rows.div_ceil(COUNTED_TILE) * shape.outputs.div_ceil(COUNTED_TILE);
    // Rounded down: a block beyond a full wave would cost as much as another wave.
    let wanted = (WANTED_BLOCKS / tiles).max(1);
    split(operand, shape, wanted).slices
}

/// Pixels that fill the pipeline a few times.
pub(crate) fn least_share(operand: Operand) -> usize {
    8 * slab(operand)
}

/// Pixels of a stage.
fn slab(operand: Operand) -> usize {
    64 / operand.bytes()
}

/// At most `wanted` shares, each of whole stages.
fn split(operand: Operand, shape: &ConvShape, wanted: usize) -> PixelSplit {
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
pub fn wgrad(operand: Operand, shape: &ConvShape, choice: &Choice) -> (Launch, PixelSplit) {
    let rows = shape.taps() * operand.padded(shape.channels);
    let split = split(operand, shape, choice.slices);
    let launch = Launch::specialised(
        &WGRAD,
        constants(operand, shape, choice),
        [
            rows.div_ceil(choice.tile.rows),
            shape.outputs.div_ceil(choice.tile.columns),
            split.slices,
        ],
        [THREADS, 1, 1],
        work(operand, shape, shape.weight_len()),
    );
    (launch, split)
}

/// The products' operations; operands pass through memory packed, the `result` elements of the third tensor in f32.
pub(crate) fn work(operand: Operand, shape: &ConvShape, result: usize) -> Work {
    let elements = shape.input_len() + shape.output_len() + shape.weight_len();
    Work {
        operations: shape.work().operations,
        bytes: (operand.bytes() * (elements - result) + 4 * result) as f64,
    }
}
