//! Launches of `implicit_gemm.cu` and `implicit_gemm_wgrad.cu`: the three products in tiles, on tensor cores unless the
//! operands are f32.

use crate::convolution::ConvShape;
use crate::kernel::{Kernel, Launch, Work, kernel};
use crate::pack::Operand;

/// Pixels in a block of fprop and dgrad, and both extents of a block of wgrad.
pub const TILE: usize = 128;
const THREADS: u32 = 256;

kernel!(
    /// y from x and w.
    FPROP,
    "implicit_gemm.cu",
    Tiled,
    "conv_fprop_tiled",
    "convolution as an implicit matrix product",
    "over conv_fprop: a block's 128×128 tile reads each operand up to 128 times less often; three stages of cp.async hide memory; mma.sync multiplies (f32: 16 multiply-adds per shared read of 16 bytes), ldmatrix without bank conflicts"
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
    "over conv_wgrad: taps and channels share one tile axis, so that 64 channels fill a tile of 128; pixels are split over blocks and added in a fixed order"
);

/// y = conv(x, w) + bias.
pub fn fprop(operand: Operand, shape: &ConvShape) -> Launch {
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    let work = work(operand, shape, shape.output_len());
    gather(&FPROP, operand, shape, [pixels, shape.outputs, 1], work)
}

/// x = convᵀ(y, w) + bias.
pub fn dgrad(operand: Operand, shape: &ConvShape) -> Launch {
    let [rows, columns] = [0, 1].map(|axis| shape.input[axis].div_ceil(shape.stride[axis]));
    let phases = shape.stride[0] * shape.stride[1];
    let pixels = shape.batch * rows * columns;
    let work = work(operand, shape, shape.input_len());
    gather(
        &DGRAD,
        operand,
        shape,
        [pixels, shape.channels, phases],
        work,
    )
}

fn gather(
    kernel: &'static Kernel,
    operand: Operand,
    shape: &ConvShape,
    [pixels, columns, phases]: [usize; 3],
    work: Work,
) -> Launch {
    let tile = if columns > 64 { TILE } else { 64 };
    let mut constants = vec![operand.constant(), ("TILE_N", tile as u32)];
    constants.extend(shape.window_constants());
    Launch::specialised(
        kernel,
        constants,
        [pixels.div_ceil(TILE), columns.div_ceil(tile), phases],
        [THREADS, 1, 1],
        work,
    )
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

/// Partial sums of w: `[slices, R·S·C·K]`.
pub fn wgrad(operand: Operand, shape: &ConvShape) -> (Launch, PixelSplit) {
    let rows = shape.taps() * operand.padded(shape.channels);
    let tiles = [rows.div_ceil(TILE), shape.outputs.div_ceil(TILE)];
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    // A share is a multiple of what one stage holds, and long enough to fill the pipeline a few times.
    let slab = 64 / operand.bytes();
    // Rounded down: a block beyond a full wave would cost as much as another wave.
    let wanted = (WANTED_BLOCKS / (tiles[0] * tiles[1])).max(1);
    let share = pixels.div_ceil(wanted).max(8 * slab).next_multiple_of(slab);
    let split = PixelSplit {
        share,
        slices: pixels.div_ceil(share),
    };
    let mut constants = vec![operand.constant()];
    constants.extend(shape.window_constants());
    let launch = Launch::specialised(
        &WGRAD,
        constants,
        [tiles[0], tiles[1], split.slices],
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
