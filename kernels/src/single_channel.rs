//! Launches of `single_channel.cu`: the three products where x has one channel.

use crate::convolution::{ConvShape, Split};
use crate::kernel::{Launch, Work, f32_bytes, kernel};
use crate::pack::Operand;

/// Channels of y in a block of fprop and wgrad.
pub const LANES: usize = 32;
/// Warps in such a block.
pub const WARPS: usize = 8;
/// Columns of y that a thread of fprop computes.
pub const PER_THREAD: usize = 8;
/// Elements of x that a block of fprop stages.
pub const PATCH: usize = 2048;
/// Rows and columns of x in a block of dgrad.
pub const TILE: usize = 16;
/// Channels of y that a block of dgrad stages at a time.
pub const CHANNELS: usize = 16;
/// Elements of y that it stages, padding included.
pub const STAGED: usize = 9600;
/// Taps that a thread of wgrad can keep.
pub const MOST_TAPS: usize = 25;

kernel!(
    /// 1 → K.
    FPROP,
    "single_channel.cu",
    Plain,
    "single_channel_fprop",
    "convolution of a one-channel image",
    "over conv_fprop: the patch of x in shared memory, 8 pixels per thread: one weight read serves 8 multiply-adds; takes over the activation; y may be packed"
);
kernel!(
    /// K → 1.
    DGRAD,
    "single_channel.cu",
    Plain,
    "single_channel_dgrad",
    "transposed convolution to a one-channel image",
    "over conv_dgrad: y staged in shared memory: read from device memory 1.6 times (tiles overlap) and not 6 times; takes over the activation; y may be packed"
);
kernel!(
    /// The weights between.
    WGRAD,
    "single_channel.cu",
    Plain,
    "single_channel_wgrad",
    "weight gradient where x has one channel, in partial sums",
    "over conv_wgrad: all taps of a channel in registers: y read once and not 25 times, packed or not"
);

/// Whether fprop has a kernel of its own for this shape.
pub fn has_fprop(shape: &ConvShape) -> bool {
    let columns = (WARPS * PER_THREAD - 1) * shape.stride[1] + shape.kernel[1];
    is_image(shape) && shape.kernel[0] * columns <= PATCH
}

/// Whether dgrad has a kernel of its own for this shape.
pub fn has_dgrad(shape: &ConvShape) -> bool {
    // Rows of y that reach TILE consecutive rows of x.
    let extent = |axis: usize| (TILE + shape.kernel[axis] - 1).div_ceil(shape.stride[axis]);
    is_image(shape) && extent(0) * extent(1) * (CHANNELS + 1) <= STAGED
}

/// Whether wgrad has a kernel of its own for this shape.
pub fn has_wgrad(shape: &ConvShape) -> bool {
    is_image(shape) && shape.taps() <= MOST_TAPS
}

/// One channel, and more than one pixel: a linear layer has no pixels to share anything between.
fn is_image(shape: &ConvShape) -> bool {
    shape.channels == 1 && shape.output != [1, 1]
}

/// y = activated conv(x, w) + bias, written as `to`.
pub fn fprop(to: Operand, shape: &ConvShape) -> Launch {
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

/// What a product costs whose y lies as `y` says.
fn work(y: Operand, shape: &ConvShape) -> Work {
    let pixels = shape.batch * shape.output[0] * shape.output[1];
    let mut work = shape.work();
    work.bytes += y.image_bytes(pixels, shape.outputs) as f64 - f32_bytes(shape.output_len());
    work
}

fn constants(to: Operand, shape: &ConvShape) -> Vec<(&'static str, u32)> {
    let mut constants = vec![to.constant()];
    constants.extend(shape.window_constants());
    constants
}

/// x = activated convᵀ(y, w) + bias, y lying as `from` says.
pub fn dgrad(from: Operand, shape: &ConvShape) -> Launch {
    let tiles = shape.input[0].div_ceil(TILE) * shape.input[1].div_ceil(TILE);
    Launch::specialised(
        &DGRAD,
        constants(from, shape),
        [shape.batch * tiles, 1, 1],
        [(TILE * TILE) as u32, 1, 1],
        work(from, shape),
    )
}

/// Blocks that keep a large device busy.
const WANTED_BLOCKS: usize = 1024;

/// Partial sums of w: `[slices, R·S·K]`, y lying as `from` says.
pub fn wgrad(from: Operand, shape: &ConvShape) -> (Launch, Split) {
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
