//! Launches of `single_channel.cu`: the three convolution GEMMs where x has one channel.

use crate::convolution::{ConvShape, Split};
use crate::kernel::{Launch, Work, f32_bytes, kernel};
use crate::precision::Precision;

/// Channels of y per block of fprop and wgrad.
pub const LANES: usize = 32;
/// Warps per block of fprop and wgrad.
pub const WARPS: usize = 8;
/// Columns of y per thread of fprop.
pub const PER_THREAD: usize = 8;
/// Most elements of x that a block of fprop stages.
pub const PATCH: usize = 2048;
/// Rows and columns of x per block of dgrad.
pub const TILE: usize = 16;
/// Channels of y that a block of dgrad stages at a time.
pub const CHANNELS: usize = 16;
/// Most elements of y that a block of dgrad stages, including padding.
pub const STAGED: usize = 9600;
/// Most taps that a thread of wgrad holds.
pub const MOST_TAPS: usize = 25;

kernel!(
    /// fprop: 1 → K channels.
    FPROP,
    "single_channel.cu",
    Plain,
    "single_channel_fprop",
    "convolution of a one-channel image",
    "over conv_fprop: the patch of x in shared memory, 8 pixels per thread, so that one weight read serves 8 multiply-adds; applies the activation; y may be packed"
);
kernel!(
    /// dgrad: K → 1 channels.
    DGRAD,
    "single_channel.cu",
    Plain,
    "single_channel_dgrad",
    "transposed convolution to a one-channel image",
    "over conv_dgrad: y staged in shared memory and read from device memory 1.6 times (tiles overlap) instead of 6 times; applies the activation; y may be packed"
);
kernel!(
    /// wgrad: weights between 1 and K channels.
    WGRAD,
    "single_channel.cu",
    Plain,
    "single_channel_wgrad",
    "weight gradient where x has one channel, in partial sums",
    "over conv_wgrad: all taps of a channel in registers, so that y is read once instead of 25 times; y may be packed"
);

/// Whether fprop supports this shape.
pub fn has_fprop(shape: &ConvShape) -> bool {
    let columns = (WARPS * PER_THREAD - 1) * shape.stride[1] + shape.kernel[1];
    is_image(shape) && shape.kernel[0] * columns <= PATCH
}

/// Whether dgrad supports this shape.
pub fn has_dgrad(shape: &ConvShape) -> bool {
    // Rows of y that reach TILE consecutive rows of x.
    let extent = |axis: usize| (TILE + shape.kernel[axis] - 1).div_ceil(shape.stride[axis]);
    is_image(shape) && extent(0) * extent(1) * (CHANNELS + 1) <= STAGED
}

/// Whether wgrad supports this shape.
pub fn has_wgrad(shape: &ConvShape) -> bool {
    is_image(shape) && shape.taps() <= MOST_TAPS
}

/// Whether x has one channel and y more than one pixel.
///
/// A linear layer has no pixels that could share data.
fn is_image(shape: &ConvShape) -> bool {
    shape.channels == 1 && shape.output != [1, 1]
}

/// y = activated(conv(x, w) + bias), stored in the format `to`.
pub fn fprop(to: Precision, shape: &ConvShape) -> Launch {
    let tiles = shape.output[1].div_ceil(WARPS * PER_THREAD);
    let padded = to.row(shape.outputs);
    Launch::specialised(
        &FPROP,
        constants(to, shape),
        [shape.batch * shape.output[0], tiles, padded.div_ceil(LANES)],
        [LANES as u32, WARPS as u32, 1],
        work(to, shape),
    )
}

/// Work of a GEMM whose y is stored in the format `y`.
fn work(y: Precision, shape: &ConvShape) -> Work {
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    let mut work = shape.work();
    work.bytes += y.image_bytes(pixels, shape.outputs) as f64 - f32_bytes(shape.output_len());
    work
}

fn constants(to: Precision, shape: &ConvShape) -> Vec<(&'static str, u32)> {
    let mut constants = vec![to.constant()];
    constants.extend(shape.window_constants());
    constants
}

/// x = activated(convᵀ(y, w) + bias), with y stored in the format `from`.
pub fn dgrad(from: Precision, shape: &ConvShape) -> Launch {
    let tiles = shape.input[0].div_ceil(TILE) * shape.input[1].div_ceil(TILE);
    Launch::specialised(
        &DGRAD,
        constants(from, shape),
        [shape.batch * tiles, 1, 1],
        [(TILE * TILE) as u32, 1, 1],
        work(from, shape),
    )
}

/// Number of blocks that keeps a large device busy.
const WANTED_BLOCKS: usize = 1024;

/// Partial sums of w, `[slices, R·S·K]`, with y stored in the format `from`.
pub fn wgrad(from: Precision, shape: &ConvShape) -> (Launch, Split) {
    let blocks = shape.outputs.div_ceil(LANES);
    let split = Split::of(shape, WANTED_BLOCKS / blocks);
    let launch = Launch::specialised(
        &WGRAD,
        constants(from, shape),
        [split.slices, blocks, 1],
        [LANES as u32, WARPS as u32, 1],
        work(from, shape),
    );
    (launch, split)
}
