//! Launches of `pack.cu`: GEMM operands, rounded, padded and transposed.

use crate::convolution::ConvShape;
use crate::kernel::{Launch, Work, f32_bytes, kernel};
use crate::precision::Precision;

kernel!(
    /// Packs rows; the innermost axis stays innermost.
    ROWS,
    "pack.cu",
    Plain,
    "pack_rows",
    "rows of f32 to rows of operands, padded to whole chunks of 16 bytes",
    "lets the GEMMs copy 16 aligned bytes at a time; rounds to nearest, which the hardware does not; 16 bytes per thread"
);

kernel!(
    /// Packs weights and swaps the two innermost axes.
    TRANSPOSED,
    "pack.cu",
    Plain,
    "pack_transposed",
    "weights [taps, C, K] of f32 to operands [taps, K, C], padded to whole chunks of 16 bytes",
    "through a tile in shared memory, so that reads and writes coalesce"
);

/// Packs a matrix `[rows, channels]`.
pub fn rows(operand: Precision, rows: usize, channels: usize) -> Launch {
    let packed = rows * operand.padded(channels);
    Launch::specialised(
        &ROWS,
        vec![operand.constant()],
        [(packed * operand.bytes() / 16).div_ceil(256), 1, 1],
        [256, 1, 1],
        work(operand, rows * channels, packed),
    )
}

/// Adjusts the work of a launch that writes packed rows in place of `[rows, channels]` in f32.
#[must_use]
pub fn with_packed_result(
    mut launch: Launch,
    to: Precision,
    rows: usize,
    channels: usize,
) -> Launch {
    launch.work.bytes += to.image_bytes(rows, channels) as f64 - f32_bytes(rows * channels);
    launch
}

/// Packs w `[taps, channels, outputs]` with the channels innermost.
pub fn transposed(operand: Precision, shape: &ConvShape) -> Launch {
    let padded = operand.padded(shape.channels);
    Launch::specialised(
        &TRANSPOSED,
        vec![operand.constant()],
        [
            padded.div_ceil(32),
            shape.outputs.div_ceil(32),
            shape.taps(),
        ],
        [32, 8, 1],
        work(
            operand,
            shape.weight_len(),
            shape.taps() * shape.outputs * padded,
        ),
    )
}

fn work(operand: Precision, values: usize, packed: usize) -> Work {
    Work {
        operations: 0.0,
        bytes: (4 * values + operand.bytes() * packed) as f64,
    }
}
